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

use blockferry_device::DeviceInfo;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::fence::FenceRequest;
use crate::flags::TransmissionFlags;
use crate::limits::{OPTION_BYTES_MAX, OPTIONS_MAX, STRING_BYTES_MAX};
use crate::option_data::{BadOption, InfoWishes, MetaQueries, parse_go, parse_meta};
use crate::request::{Negotiated, Style};
use crate::role::RoleClaim;
use crate::text;

/// The id of `base:allocation` on every connection to this server.
const ALLOCATION_CONTEXT: u32 = 1;
/// Magic, option and length, in bytes.
const OPTION_HEADER_BYTES: usize = 16;
/// Largest payload that this server takes, in bytes.
const PAYLOAD_MAX: u32 = blockferry_device::PAYLOAD_MAX;

/// One line of a list of exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportEntry {
    /// The export's name.
    pub name: String,
    /// A text for a person; may be empty.
    pub description: String,
}

/// What a client is told of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// The canonical name.
    pub name: String,
    /// A text for a person; may be empty.
    pub description: String,
    /// The device behind it.
    pub device: DeviceInfo,
}

/// Why an export is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only to tell about it: no request will follow.
    Info,
    /// For requests.
    Go,
}

/// An error reply to an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error.
    pub code: ReplyCode,
    /// A line for a person; cut at 4,096 bytes.
    pub message: String,
}

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// Send the output, then give more bytes.
    ReadMore,
    /// Answer with [`ServerHandshake::answer_list`].
    List,
    /// Open the export and answer with [`ServerHandshake::answer_open`].
    Open {
        /// As the client spelled it; empty means the default export.
        name: String,
        /// Why.
        purpose: Purpose,
    },
    /// Make the fence durable, then answer with [`ServerHandshake::answer_fence`].
    Fence(FenceRequest),
    /// Send the output; the transmission begins with the export that was opened last. Bytes that
    /// are left in the input belong to it.
    Transmit(Negotiated),
    /// Send the output, then close: the client has said good-bye.
    Ended,
}

/// Why the connection must be dropped: the client's fault, except for
/// [`ServerError::CannotRefuse`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Client flags that were not offered ("Client flags").
    #[error("the client set flags {0:#x}, which were not offered")]
    ClientFlags(u32),
    /// An option that does not begin with `IHAVEOPT`.
    #[error("expected an option's magic, got {0:#x}")]
    OptionMagic(u64),
    /// More than [`OPTION_BYTES_MAX`] bytes of data.
    #[error("{option} announces {length} bytes of data, more than {OPTION_BYTES_MAX}")]
    OptionTooLong {
        /// The option.
        option: OptionCode,
        /// The announced length in bytes.
        length: u32,
    },
    /// More than [`OPTIONS_MAX`] options.
    #[error("the client sent more than {OPTIONS_MAX} options")]
    TooManyOptions,
    /// Without fixed newstyle only `EXPORT_NAME` may be sent.
    #[error("{0} came without fixed newstyle, which leaves no way to answer it")]
    NotFixed(OptionCode),
    /// `EXPORT_NAME` with a bad name or after extended headers, which has no error reply.
    #[error("NBD_OPT_EXPORT_NAME cannot be answered: {0}")]
    ExportName(&'static str),
    /// The export was refused, and `EXPORT_NAME` has no error reply.
    #[error("NBD_OPT_EXPORT_NAME was refused: {0}")]
    CannotRefuse(String),
}

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

impl Refusal {
    /// `NBD_REP_ERR_UNKNOWN`
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_UNKNOWN), message: message.into() }
    }

    /// `NBD_REP_ERR_POLICY`
    pub fn policy(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_POLICY), message: message.into() }
    }

    /// `NBD_REP_ERR_INVALID`
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: ReplyCode(c::REP_ERR_INVALID), message: message.into() }
    }

    /// `NBD_REP_ERR_SHUTDOWN`
    pub fn shutdown() -> Self {
        Self {
            code: ReplyCode(c::REP_ERR_SHUTDOWN),
            message: "the server is shutting down".to_owned(),
        }
    }

    fn unsupported() -> Self {
        Self {
            code: ReplyCode(c::REP_ERR_UNSUP),
            message: "this server does not know the option".to_owned(),
        }
    }
}

impl From<BadOption> for Refusal {
    fn from(bad: BadOption) -> Self {
        let code = match bad {
            BadOption::TooManyQueries => c::REP_ERR_TOO_BIG,
            _ => c::REP_ERR_INVALID,
        };
        Self { code: ReplyCode(code), message: bad.to_string() }
    }
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

    /// Answers [`ServerStep::List`].
    ///
    /// # Panics
    /// When that was not the question.
    pub fn answer_list(&mut self, entries: &[ExportEntry]) {
        let Phase::Asked(Question::List) = self.phase else { panic!("no list was asked for") };
        let option = OptionCode(c::OPT_LIST);
        for entry in entries {
            let name = text::clip(&entry.name, STRING_BYTES_MAX);
            let description = text::clip(&entry.description, STRING_BYTES_MAX);
            let length = 4 + name.len() + description.len();
            self.reply_header(option, ReplyCode(c::REP_SERVER), length);
            self.output.put_u32(length_u32(name.len()));
            self.output.put_slice(name.as_bytes());
            self.output.put_slice(description.as_bytes());
        }
        self.acknowledge(option);
        self.phase = Phase::Options;
    }

    /// Answers [`ServerStep::Fence`]; success only when the fence is durable.
    ///
    /// # Panics
    /// When that was not the question.
    pub fn answer_fence(&mut self, outcome: Result<(), Refusal>) {
        let Phase::Asked(Question::Fence) = self.phase else { panic!("no fence was asked for") };
        let option = OptionCode(c::OPT_BLOCKFERRY_FENCE);
        match outcome {
            Ok(()) => self.acknowledge(option),
            Err(refusal) => self.refuse(option, &refusal),
        }
        self.phase = Phase::Options;
    }

    /// Answers [`ServerStep::Open`].
    ///
    /// # Panics
    /// When that was not the question.
    pub fn answer_open(&mut self, outcome: Result<&ExportInfo, Refusal>) {
        let asked = std::mem::replace(&mut self.phase, Phase::Options);
        let Phase::Asked(Question::Open { name, then }) = asked else {
            panic!("no export was asked for")
        };
        match outcome {
            Ok(export) => self.opened(&name, then, export),
            Err(refusal) => self.not_opened(then, &refusal),
        }
    }

    fn not_opened(&mut self, then: Then, refusal: &Refusal) {
        match then.option() {
            Some(option) => self.refuse(option, refusal),
            None => {
                let error = ServerError::CannotRefuse(refusal.message.clone());
                self.phase = Phase::Finished(Err(error));
            }
        }
    }

    fn opened(&mut self, name: &str, then: Then, export: &ExportInfo) {
        match then {
            Then::ExportName => {
                self.output.put_u64(export.device.size);
                self.output.put_u16(self.flags(export).0);
                if !self.no_zeroes {
                    self.output.put_bytes(0, c::EXPORT_NAME_ZEROES);
                }
                self.transmit(name);
            }
            Then::Info(wishes) => self.describe(OptionCode(c::OPT_INFO), wishes, export),
            Then::Go(wishes) => {
                self.describe(OptionCode(c::OPT_GO), wishes, export);
                self.transmit(name);
            }
            Then::ListMeta(queries) => {
                let listed = queries.count == 0 || queries.base || queries.allocation;
                self.contexts(c::OPT_LIST_META_CONTEXT, listed.then_some(0), export);
            }
            Then::SetMeta(queries) => {
                let id = queries.allocation.then_some(ALLOCATION_CONTEXT);
                if self.contexts(c::OPT_SET_META_CONTEXT, id, export) {
                    self.allocation_of = Some(name.to_owned());
                }
            }
        }
    }

    /// Lists `base:allocation` under the id, where the export has it. True when it did.
    fn contexts(&mut self, option: u32, id: Option<u32>, export: &ExportInfo) -> bool {
        let option = OptionCode(option);
        let id = id.filter(|_| export.device.features.block_status);
        if let Some(id) = id {
            let length = 4 + c::BASE_ALLOCATION.len();
            self.reply_header(option, ReplyCode(c::REP_META_CONTEXT), length);
            self.output.put_u32(id);
            self.output.put_slice(c::BASE_ALLOCATION.as_bytes());
        }
        self.acknowledge(option);
        id.is_some()
    }

    fn describe(&mut self, option: OptionCode, wishes: InfoWishes, export: &ExportInfo) {
        let info = ReplyCode(c::REP_INFO);
        self.reply_header(option, info, 12);
        self.output.put_u16(c::INFO_EXPORT);
        self.output.put_u64(export.device.size);
        self.output.put_u16(self.flags(export).0);
        if wishes.name {
            self.text_info(option, c::INFO_NAME, &export.name);
        }
        if wishes.description && !export.description.is_empty() {
            self.text_info(option, c::INFO_DESCRIPTION, &export.description);
        }
        if wishes.block_size {
            self.reply_header(option, info, 14);
            self.output.put_u16(c::INFO_BLOCK_SIZE);
            self.output.put_u32(export.device.block_size_min);
            self.output.put_u32(export.device.block_size_preferred);
            self.output.put_u32(export.device.payload_max.min(PAYLOAD_MAX));
        }
        self.acknowledge(option);
    }

    fn text_info(&mut self, option: OptionCode, kind: u16, value: &str) {
        let value = text::clip(value, STRING_BYTES_MAX);
        self.reply_header(option, ReplyCode(c::REP_INFO), 2 + value.len());
        self.output.put_u16(kind);
        self.output.put_slice(value.as_bytes());
    }

    fn flags(&self, export: &ExportInfo) -> TransmissionFlags {
        TransmissionFlags::for_device(&export.device.features, self.style != Style::Simple)
    }

    fn transmit(&mut self, name: &str) {
        let selected = self.allocation_of.as_deref() == Some(name);
        let negotiated = Negotiated {
            style: self.style,
            allocation_context: selected.then_some(ALLOCATION_CONTEXT),
        };
        self.phase = Phase::Finished(Ok(ServerStep::Transmit(negotiated)));
    }

    fn acknowledge(&mut self, option: OptionCode) {
        self.reply_header(option, ReplyCode(c::REP_ACK), 0);
    }

    fn refuse(&mut self, option: OptionCode, refusal: &Refusal) {
        let message = text::clip(&refusal.message, STRING_BYTES_MAX);
        self.reply_header(option, refusal.code, message.len());
        self.output.put_slice(message.as_bytes());
    }

    fn reply_header(&mut self, option: OptionCode, code: ReplyCode, length: usize) {
        self.output.put_u64(c::OPTION_REPLY_MAGIC);
        self.output.put_u32(option.0);
        self.output.put_u32(code.0);
        self.output.put_u32(length_u32(length));
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

/// The length of something of ours, all of which is far below 4 GiB.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
