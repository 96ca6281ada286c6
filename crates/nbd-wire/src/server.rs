//! The server's side of the fixed newstyle handshake.
//!
//! ```text
//!   ClientFlags --> Options <--> Asked (the caller answers a question)
//!                      |           |
//!                      +---> Finished: transmission, or the end
//! ```
//!
//! The caller feeds bytes to [`ServerHandshake::step`], answers its questions and sends what
//! [`ServerHandshake::take_output`] holds. This file does not know which exports exist.

mod answer;
mod conversation;
#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use conversation::{ExportEntry, ExportInfo, Purpose, Refusal, ServerError, ServerStep};

use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::fence::FenceRequest;
use crate::limits::{OPTION_BYTES_MAX, OPTIONS_MAX};
use crate::option_data::{InfoWishes, MetaQueries, parse_go, parse_meta};
use crate::request::Style;
use crate::role::RoleClaim;
use crate::text;

/// The id of `base:allocation` on every connection to this server.
const ALLOCATION_CONTEXT: u32 = 1;
/// Magic, option and length, in bytes.
const OPTION_HEADER_BYTES: usize = 16;
/// The handshake of one connection.
#[derive(Debug)]
pub struct ServerHandshake {
    phase: Phase,
    output: BytesMut,
    options_seen: u32,
    fixed: bool,
    no_zeroes: bool,
    style: Style,
    /// The export for which `base:allocation` was selected.
    allocation_of: Option<String>,
    role: Option<RoleClaim>,
}

#[derive(Debug)]
enum Phase {
    ClientFlags,
    Options,
    Asked(Question),
    Finished(Result<ServerStep, ServerError>),
}

#[derive(Debug)]
enum Question {
    List,
    Fence,
    Open { name: String, then: Then },
}

/// What an opened export is wanted for.
#[derive(Clone, Copy, Debug)]
enum Then {
    ExportName,
    Info(InfoWishes),
    Go(InfoWishes),
    ListMeta(MetaQueries),
    SetMeta(MetaQueries),
}

impl Default for ServerHandshake {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerHandshake {
    /// A new connection; the greeting is already in the output.
    pub fn new() -> Self {
        let mut output = BytesMut::with_capacity(256);
        output.put_u64(c::INIT_MAGIC);
        output.put_u64(c::OPTION_MAGIC);
        output.put_u16(c::FLAG_FIXED_NEWSTYLE | c::FLAG_NO_ZEROES);
        Self {
            phase: Phase::ClientFlags,
            output,
            options_seen: 0,
            fixed: false,
            no_zeroes: false,
            style: Style::Simple,
            allocation_of: None,
            role: None,
        }
    }

    /// Takes what is to be sent to the client.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// The role that the client claimed, once it has.
    pub const fn role(&self) -> Option<&RoleClaim> {
        self.role.as_ref()
    }

    /// Goes on with the bytes that have come so far; consumes what it understood.
    ///
    /// # Errors
    /// When the client broke the protocol, or cannot be answered: drop the connection.
    ///
    /// # Panics
    /// When the last question has not been answered.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<ServerStep, ServerError> {
        loop {
            let progressed = match &self.phase {
                Phase::ClientFlags => self.read_client_flags(input)?,
                Phase::Options => match self.read_option(input)? {
                    Some(ServerStep::ReadMore) => true,
                    Some(step) => return Ok(step),
                    None => false,
                },
                Phase::Asked(question) => panic!("{question:?} has not been answered"),
                Phase::Finished(end) => return end.clone(),
            };
            if !progressed {
                return Ok(ServerStep::ReadMore);
            }
        }
    }

    fn read_client_flags(&mut self, input: &mut BytesMut) -> Result<bool, ServerError> {
        if input.len() < 4 {
            return Ok(false);
        }
        let flags = input.get_u32();
        if flags & !(c::FLAG_C_FIXED_NEWSTYLE | c::FLAG_C_NO_ZEROES) != 0 {
            return Err(ServerError::ClientFlags(flags));
        }
        self.fixed = flags & c::FLAG_C_FIXED_NEWSTYLE != 0;
        self.no_zeroes = flags & c::FLAG_C_NO_ZEROES != 0;
        self.phase = Phase::Options;
        Ok(true)
    }

    /// One option, when it is there whole. `ReadMore` means that it was dealt with here.
    fn read_option(&mut self, input: &mut BytesMut) -> Result<Option<ServerStep>, ServerError> {
        let Some((mut header, _)) = input.split_at_checked(OPTION_HEADER_BYTES) else {
            return Ok(None);
        };
        let magic = header.get_u64();
        let option = OptionCode(header.get_u32());
        let length = header.get_u32();
        if magic != c::OPTION_MAGIC {
            return Err(ServerError::OptionMagic(magic));
        }
        if length > OPTION_BYTES_MAX {
            return Err(ServerError::OptionTooLong { option, length });
        }
        let whole = OPTION_HEADER_BYTES + length as usize;
        if input.len() < whole {
            return Ok(None);
        }
        if self.options_seen == OPTIONS_MAX {
            return Err(ServerError::TooManyOptions);
        }
        self.options_seen += 1;
        let data = input.split_to(whole);
        self.option(option, &data[OPTION_HEADER_BYTES..]).map(Some)
    }

    fn option(&mut self, option: OptionCode, data: &[u8]) -> Result<ServerStep, ServerError> {
        if option.0 == c::OPT_EXPORT_NAME {
            return self.export_name(data);
        }
        if !self.fixed {
            return Err(ServerError::NotFixed(option));
        }
        let outcome = match option.0 {
            c::OPT_ABORT => self.abort(),
            c::OPT_LIST => self.list(data),
            c::OPT_INFO => self.info(data),
            c::OPT_GO => self.go(data),
            c::OPT_STRUCTURED_REPLY => self.structured_reply(data),
            c::OPT_EXTENDED_HEADERS => self.extended_headers(data),
            c::OPT_LIST_META_CONTEXT => self.list_meta(data),
            c::OPT_SET_META_CONTEXT => self.set_meta(data),
            c::OPT_BLOCKFERRY_ROLE => self.claim_role(data),
            c::OPT_BLOCKFERRY_FENCE => self.fence(data),
            // The place for TLS. When it comes, everything negotiated before it is forgotten, and
            // bytes that arrived before the TLS handshake end the connection.
            c::OPT_STARTTLS => Err(Refusal::unsupported()),
            _ => Err(Refusal::unsupported()),
        };
        Ok(outcome.unwrap_or_else(|refusal| {
            self.refuse(option, &refusal);
            ServerStep::ReadMore
        }))
    }

    fn export_name(&mut self, data: &[u8]) -> Result<ServerStep, ServerError> {
        if self.style == Style::Extended {
            return Err(ServerError::ExportName("extended headers need NBD_OPT_GO"));
        }
        let name = text::parse(data)
            .map_err(|_| ServerError::ExportName("the name is no string of the protocol"))?;
        Ok(self.ask_open(name, Then::ExportName))
    }

    fn abort(&mut self) -> Result<ServerStep, Refusal> {
        self.acknowledge(OptionCode(c::OPT_ABORT));
        self.phase = Phase::Finished(Ok(ServerStep::Ended));
        Ok(ServerStep::Ended)
    }

    fn list(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        require_no_data(data)?;
        self.phase = Phase::Asked(Question::List);
        Ok(ServerStep::List)
    }

    fn info(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        let (name, wishes) = parse_go(data)?;
        Ok(self.ask_open(name, Then::Info(wishes)))
    }

    fn go(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        let (name, wishes) = parse_go(data)?;
        Ok(self.ask_open(name, Then::Go(wishes)))
    }

    fn structured_reply(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        require_no_data(data)?;
        match self.style {
            Style::Simple => self.style = Style::Structured,
            Style::Structured => return Err(Refusal::invalid("already negotiated")),
            Style::Extended => {
                return Err(Refusal {
                    code: ReplyCode(c::REP_ERR_EXT_HEADER_REQD),
                    message: "extended headers are in use already".to_owned(),
                });
            }
        }
        self.acknowledge(OptionCode(c::OPT_STRUCTURED_REPLY));
        Ok(ServerStep::ReadMore)
    }

    fn extended_headers(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        require_no_data(data)?;
        if self.style == Style::Extended {
            return Err(Refusal::invalid("already negotiated"));
        }
        self.style = Style::Extended;
        self.acknowledge(OptionCode(c::OPT_EXTENDED_HEADERS));
        Ok(ServerStep::ReadMore)
    }

    fn list_meta(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        self.require_structured()?;
        let (name, queries) = parse_meta(data)?;
        Ok(self.ask_open(name, Then::ListMeta(queries)))
    }

    fn set_meta(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        // A selection replaces the one before it even when it fails.
        self.allocation_of = None;
        self.require_structured()?;
        let (name, queries) = parse_meta(data)?;
        Ok(self.ask_open(name, Then::SetMeta(queries)))
    }

    fn claim_role(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        if self.role.is_some() {
            return Err(Refusal::invalid("the connection has a role already"));
        }
        self.role = Some(RoleClaim::decode(data)?);
        self.acknowledge(OptionCode(c::OPT_BLOCKFERRY_ROLE));
        Ok(ServerStep::ReadMore)
    }

    fn fence(&mut self, data: &[u8]) -> Result<ServerStep, Refusal> {
        let fence = FenceRequest::decode(data)?;
        self.phase = Phase::Asked(Question::Fence);
        Ok(ServerStep::Fence(fence))
    }

    fn require_structured(&self) -> Result<(), Refusal> {
        match self.style {
            Style::Simple => Err(Refusal::invalid("negotiate structured replies first")),
            Style::Structured | Style::Extended => Ok(()),
        }
    }

    fn ask_open(&mut self, name: &str, then: Then) -> ServerStep {
        let purpose = match then {
            Then::ExportName | Then::Go(_) => Purpose::Go,
            Then::Info(_) | Then::ListMeta(_) | Then::SetMeta(_) => Purpose::Info,
        };
        self.phase = Phase::Asked(Question::Open { name: name.to_owned(), then });
        ServerStep::Open { name: name.to_owned(), purpose }
    }
}

impl Then {
    /// The option that an error reply names; `None` for the one that knows no error reply.
    const fn option(self) -> Option<OptionCode> {
        match self {
            Self::ExportName => None,
            Self::Info(_) => Some(OptionCode(c::OPT_INFO)),
            Self::Go(_) => Some(OptionCode(c::OPT_GO)),
            Self::ListMeta(_) => Some(OptionCode(c::OPT_LIST_META_CONTEXT)),
            Self::SetMeta(_) => Some(OptionCode(c::OPT_SET_META_CONTEXT)),
        }
    }
}

fn require_no_data(data: &[u8]) -> Result<(), Refusal> {
    if data.is_empty() { Ok(()) } else { Err(Refusal::invalid("the option takes no data")) }
}
