//! The client's side of the handshake, with servers of every age.
//!
//! ```text
//!   EXTENDED_HEADERS -> STRUCTURED_REPLY -> SET_META_CONTEXT -> role -> GO -> EXPORT_NAME
//! ```
//!
//! Each step is left out where it is not wanted or cannot follow, and only the last is tried where
//! the server does not speak fixed newstyle. Whatever the server sends is bounded before it is kept.

use blockferry_device::{DeviceInfo, PAYLOAD_MAX};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::fence::FenceRequest;
use crate::fields::{Fields, TooShort};
use crate::flags::TransmissionFlags;
use crate::limits::{
    BLOCK_SIZE_MIN_MAX, EXPORT_BYTES_MAX, LIST_ENTRIES_MAX, OPTION_REPLIES_MAX,
    OPTION_REPLY_BYTES_MAX, STRING_BYTES_MAX,
};
use crate::request::{Negotiated, Style};
use crate::role::RoleClaim;
use crate::server::ExportEntry;
use crate::text;

/// Both magics and the handshake flags, in bytes.
const GREETING_BYTES: usize = 18;
/// Magic, option, reply and length, in bytes.
const REPLY_HEADER_BYTES: usize = 20;
/// Preferred block size where the server tells none, in bytes ("Size constraints").
const BLOCK_SIZE_PREFERRED: u32 = 4096;

/// What the connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To use an export.
    Join {
        /// Its name; empty for the default export.
        export: String,
        /// Ask for `base:allocation`.
        block_status: bool,
        /// The role to claim.
        role: Option<RoleClaim>,
    },
    /// To list the exports.
    List,
    /// To fence a session.
    Fence(FenceRequest),
}

/// How much of the protocol is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// All of it.
    Full,
    /// Only `EXPORT_NAME`, for servers that close the connection at an option they do not know.
    Plain,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// What the connection is for.
    pub goal: Goal,
    /// How much of the protocol is tried.
    pub manners: Manners,
}

/// An export that was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What it is and can do.
    pub device: DeviceInfo,
    /// The framing.
    pub negotiated: Negotiated,
    /// Reads may ask for an answer in one piece.
    pub dont_fragment: bool,
    /// The server knows roles and accepted the claim.
    pub role_accepted: bool,
}

/// What came of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutcome {
    /// The transmission begins; bytes that are left in the input belong to it.
    Joined(Joined),
    /// The exports.
    Listed(Vec<ExportEntry>),
    /// The session is fenced, and durably so.
    Fenced,
    /// The server does not know fences.
    FenceUnsupported,
}

/// What the caller has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send the output, then give more bytes.
    ReadMore,
    /// Send the output; the handshake is over.
    Finished(ClientOutcome),
}

/// Why the handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server refused an option that is needed. The output holds a good-bye to send.
    #[error("the server refused {option} with {code}: {message}")]
    Refused {
        /// The option.
        option: OptionCode,
        /// The error.
        code: ReplyCode,
        /// The server's text; may be empty.
        message: String,
    },
    /// The peer is no NBD server.
    #[error("expected an NBD server's greeting, got {0:#018x}")]
    NotNbd(u64),
    /// The server speaks the oldstyle negotiation, which has no names for exports.
    #[error("the server speaks the oldstyle negotiation, which is not supported")]
    Oldstyle,
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Broken(&'static str),
    /// The export's size cannot be.
    #[error("the server tells an export size of {0} bytes, more than {EXPORT_BYTES_MAX}")]
    Size(u64),
    /// Block sizes that the protocol does not allow.
    #[error("the server tells block sizes that cannot be: minimum {minimum}, maximum {maximum}")]
    BlockSizes {
        /// The minimum in bytes.
        minimum: u32,
        /// The maximum payload in bytes.
        maximum: u32,
    },
}

impl From<TooShort> for ClientError {
    fn from(_: TooShort) -> Self {
        Self::Broken("a reply ends early")
    }
}

/// The handshake of one connection.
#[derive(Debug)]
pub struct ClientHandshake {
    config: ClientConfig,
    phase: Phase,
    output: BytesMut,
    no_zeroes: bool,
    style: Style,
    context: Option<u32>,
    role_accepted: bool,
    export: Option<(u64, TransmissionFlags)>,
    block_sizes: Option<BlockSizes>,
    entries: Vec<ExportEntry>,
}

#[derive(Clone, Debug)]
enum Phase {
    Greeting,
    Replies { option: OptionCode, seen: u32 },
    ExportName,
    Finished(Result<ClientOutcome, ClientError>),
}

#[derive(Clone, Copy, Debug)]
struct BlockSizes {
    minimum: u32,
    preferred: u32,
    maximum: u32,
}

impl ClientHandshake {
    /// A new connection; the server speaks first.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            phase: Phase::Greeting,
            output: BytesMut::with_capacity(256),
            no_zeroes: false,
            style: Style::Simple,
            context: None,
            role_accepted: false,
            export: None,
            block_sizes: None,
            entries: Vec::new(),
        }
    }

    /// Takes what is to be sent to the server.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// Whether an option has been sent to which the server owes an answer. A server that closes the
    /// connection then may be one that does not know the option ([`Manners::Plain`] suits it).
    pub const fn is_haggling(&self) -> bool {
        matches!(self.phase, Phase::Replies { .. })
    }

    /// Goes on with the bytes that have come so far; consumes what it understood.
    ///
    /// # Errors
    /// When the server refused what is needed, or broke the protocol: send the output and close.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        loop {
            let progressed = match &self.phase {
                Phase::Greeting => self.read_greeting(input)?,
                Phase::Replies { .. } => self.read_reply(input)?,
                Phase::ExportName => self.read_export_name(input)?,
                Phase::Finished(end) => return end.clone().map(ClientStep::Finished),
            };
            if !progressed {
                return Ok(ClientStep::ReadMore);
            }
        }
    }

    fn read_greeting(&mut self, input: &mut BytesMut) -> Result<bool, ClientError> {
        let mut fields = Fields::new(input);
        match fields.u64() {
            Ok(c::INIT_MAGIC) => {}
            Ok(other) => return Err(ClientError::NotNbd(other)),
            Err(TooShort) => return Ok(false),
        }
        match fields.u64() {
            Ok(c::OPTION_MAGIC) => {}
            Ok(c::OLDSTYLE_MAGIC) => return Err(ClientError::Oldstyle),
            Ok(other) => return Err(ClientError::NotNbd(other)),
            Err(TooShort) => return Ok(false),
        }
        let Ok(flags) = fields.u16() else { return Ok(false) };
        input.advance(GREETING_BYTES);
        self.begin(flags);
        Ok(true)
    }

    /// Answers the greeting and sends the first option.
    fn begin(&mut self, flags: u16) {
        let fixed = flags & c::FLAG_FIXED_NEWSTYLE != 0;
        self.no_zeroes = flags & c::FLAG_NO_ZEROES != 0;
        let mut reply = 0;
        if fixed {
            reply |= c::FLAG_C_FIXED_NEWSTYLE;
        }
        if self.no_zeroes {
            reply |= c::FLAG_C_NO_ZEROES;
        }
        self.output.put_u32(reply);
        match (&self.config.goal, self.config.manners) {
            (Goal::Join { .. }, Manners::Full) if fixed => {
                self.send(c::OPT_EXTENDED_HEADERS, &[]);
            }
            (Goal::Join { .. }, _) => self.send_export_name(),
            (Goal::List, _) if fixed => self.send(c::OPT_LIST, &[]),
            (Goal::List, _) => {
                let error = refused_by_age(c::OPT_LIST);
                self.phase = Phase::Finished(Err(error));
            }
            (Goal::Fence(fence), _) if fixed => {
                let mut data = Vec::new();
                fence.encode(&mut data);
                self.send(c::OPT_BLOCKFERRY_FENCE, &data);
            }
            (Goal::Fence(_), _) => {
                self.phase = Phase::Finished(Ok(ClientOutcome::FenceUnsupported));
            }
        }
    }

    fn send(&mut self, option: u32, data: &[u8]) {
        self.put_option(option, data);
        self.phase = Phase::Replies { option: OptionCode(option), seen: 0 };
    }

    fn put_option(&mut self, option: u32, data: &[u8]) {
        self.output.put_u64(c::OPTION_MAGIC);
        self.output.put_u32(option);
        self.output.put_u32(length_u32(data.len()));
        self.output.put_slice(data);
    }

    fn send_export_name(&mut self) {
        let name = self.export_name();
        self.put_option(c::OPT_EXPORT_NAME, name.as_bytes());
        self.phase = Phase::ExportName;
    }

    fn send_go(&mut self) {
        let mut data = counted(&self.export_name());
        data.put_u16(1);
        data.put_u16(c::INFO_BLOCK_SIZE);
        self.send(c::OPT_GO, &data);
    }

    /// The next option once the framing is settled.
    fn send_meta_or_role(&mut self) {
        let wanted = matches!(self.config.goal, Goal::Join { block_status: true, .. });
        if !wanted || self.style == Style::Simple {
            return self.send_role_or_go();
        }
        let mut data = counted(&self.export_name());
        data.put_u32(1);
        data.put_slice(&counted(c::BASE_ALLOCATION));
        self.send(c::OPT_SET_META_CONTEXT, &data);
    }

    fn send_role_or_go(&mut self) {
        let Goal::Join { role: Some(role), .. } = &self.config.goal else { return self.send_go() };
        let mut data = Vec::new();
        role.encode(&mut data);
        self.send(c::OPT_BLOCKFERRY_ROLE, &data);
    }

    fn export_name(&self) -> String {
        match &self.config.goal {
            Goal::Join { export, .. } => text::clip(export, STRING_BYTES_MAX).to_owned(),
            Goal::List | Goal::Fence(_) => String::new(),
        }
    }

    /// One reply to the option that was sent last, when it is there whole.
    fn read_reply(&mut self, input: &mut BytesMut) -> Result<bool, ClientError> {
        let Phase::Replies { option, seen } = self.phase else { return Ok(false) };
        let Some((mut header, _)) = input.split_at_checked(REPLY_HEADER_BYTES) else {
            return Ok(false);
        };
        let magic = header.get_u64();
        let told = OptionCode(header.get_u32());
        let code = ReplyCode(header.get_u32());
        let length = header.get_u32();
        if magic != c::OPTION_REPLY_MAGIC || told != option {
            return Err(ClientError::Broken("expected a reply to the option sent last"));
        }
        if length > OPTION_REPLY_BYTES_MAX {
            return Err(ClientError::Broken("a reply to an option is too long"));
        }
        let whole = REPLY_HEADER_BYTES + length as usize;
        if input.len() < whole {
            return Ok(false);
        }
        let limit = if option.0 == c::OPT_LIST { LIST_ENTRIES_MAX } else { OPTION_REPLIES_MAX };
        if seen >= limit {
            return Err(ClientError::Broken("the replies to an option do not end"));
        }
        self.phase = Phase::Replies { option, seen: seen + 1 };
        let data = input.split_to(whole);
        self.reply(option, code, &data[REPLY_HEADER_BYTES..])?;
        Ok(true)
    }

    fn reply(
        &mut self,
        option: OptionCode,
        code: ReplyCode,
        data: &[u8],
    ) -> Result<(), ClientError> {
        match (option.0, code.0) {
            (_, c::REP_ACK) => self.acknowledged(option),
            (c::OPT_LIST, c::REP_SERVER) => self.take_entry(data),
            (c::OPT_GO, c::REP_INFO) => self.take_info(data),
            (c::OPT_SET_META_CONTEXT, c::REP_META_CONTEXT) => self.take_context(data),
            _ if code.is_error() => self.errored(option, code, data),
            _ => Err(ClientError::Broken("a reply of a type that does not answer the option")),
        }
    }

    fn acknowledged(&mut self, option: OptionCode) -> Result<(), ClientError> {
        match option.0 {
            c::OPT_EXTENDED_HEADERS => {
                self.style = Style::Extended;
                self.send_meta_or_role();
            }
            c::OPT_STRUCTURED_REPLY => {
                self.style = Style::Structured;
                self.send_meta_or_role();
            }
            c::OPT_SET_META_CONTEXT => self.send_role_or_go(),
            c::OPT_BLOCKFERRY_ROLE => {
                self.role_accepted = true;
                self.send_go();
            }
            c::OPT_LIST => {
                let entries = std::mem::take(&mut self.entries);
                self.leave(Ok(ClientOutcome::Listed(entries)));
            }
            c::OPT_BLOCKFERRY_FENCE => self.leave(Ok(ClientOutcome::Fenced)),
            _ => self.joined()?,
        }
        Ok(())
    }

    fn errored(
        &mut self,
        option: OptionCode,
        code: ReplyCode,
        data: &[u8],
    ) -> Result<(), ClientError> {
        let unsupported = code.0 == c::REP_ERR_UNSUP;
        // A server that shuts down, or that wants TLS first, says so to every option.
        let hopeless = matches!(code.0, c::REP_ERR_SHUTDOWN | c::REP_ERR_TLS_REQD);
        match option.0 {
            c::OPT_EXTENDED_HEADERS if !hopeless => self.send(c::OPT_STRUCTURED_REPLY, &[]),
            c::OPT_STRUCTURED_REPLY if !hopeless => self.send_role_or_go(),
            c::OPT_SET_META_CONTEXT if !hopeless => {
                self.context = None;
                self.send_role_or_go();
            }
            c::OPT_BLOCKFERRY_ROLE if unsupported => self.send_go(),
            c::OPT_BLOCKFERRY_FENCE if unsupported => {
                self.leave(Ok(ClientOutcome::FenceUnsupported));
            }
            c::OPT_GO if unsupported && self.style != Style::Extended => self.send_export_name(),
            _ => {
                let message = text::display(data);
                self.leave(Err(ClientError::Refused { option, code, message }));
            }
        }
        Ok(())
    }

    /// Says good-bye and ends the handshake.
    fn leave(&mut self, end: Result<ClientOutcome, ClientError>) {
        self.put_option(c::OPT_ABORT, &[]);
        self.phase = Phase::Finished(end);
    }

    fn take_entry(&mut self, data: &[u8]) -> Result<(), ClientError> {
        let mut fields = Fields::new(data);
        let bad = ClientError::Broken("a listed export has no proper name");
        let name = text::parse(fields.counted()?).map_err(|_| bad)?.to_owned();
        let description = text::display(fields.rest());
        self.entries.push(ExportEntry { name, description });
        Ok(())
    }

    fn take_context(&mut self, data: &[u8]) -> Result<(), ClientError> {
        let mut fields = Fields::new(data);
        let id = fields.u32()?;
        if fields.rest() != c::BASE_ALLOCATION.as_bytes() || self.context.is_some() {
            return Err(ClientError::Broken("a metadata context that was not asked for"));
        }
        self.context = Some(id);
        Ok(())
    }

    fn take_info(&mut self, data: &[u8]) -> Result<(), ClientError> {
        let mut fields = Fields::new(data);
        match fields.u16()? {
            c::INFO_EXPORT => {
                self.export = Some((fields.u64()?, TransmissionFlags(fields.u16()?)));
            }
            c::INFO_BLOCK_SIZE => {
                self.block_sizes = Some(BlockSizes {
                    minimum: fields.u32()?,
                    preferred: fields.u32()?,
                    maximum: fields.u32()?,
                });
            }
            // Information that was not asked for is ignored, whatever its length.
            _ => return Ok(()),
        }
        if fields.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Broken("an information reply is too long"))
        }
    }

    fn read_export_name(&mut self, input: &mut BytesMut) -> Result<bool, ClientError> {
        let zeroes = if self.no_zeroes { 0 } else { c::EXPORT_NAME_ZEROES };
        if input.len() < 10 + zeroes {
            return Ok(false);
        }
        self.export = Some((input.get_u64(), TransmissionFlags(input.get_u16())));
        input.advance(zeroes);
        self.joined()?;
        Ok(true)
    }

    fn joined(&mut self) -> Result<(), ClientError> {
        let (size, flags) =
            self.export.ok_or(ClientError::Broken("success without the export's size"))?;
        if size > EXPORT_BYTES_MAX {
            return Err(ClientError::Size(size));
        }
        let mut device = DeviceInfo::new(size, flags.features(self.context.is_some()));
        if let Some(sizes) = self.block_sizes {
            sizes.apply(&mut device)?;
        }
        let negotiated = Negotiated { style: self.style, allocation_context: self.context };
        self.phase = Phase::Finished(Ok(ClientOutcome::Joined(Joined {
            device,
            negotiated,
            dont_fragment: flags.dont_fragment() && self.style != Style::Simple,
            role_accepted: self.role_accepted,
        })));
        Ok(())
    }
}

impl BlockSizes {
    /// Puts the sizes into the device's description. A preferred size that cannot be is only advice,
    /// and replaced; the other two bind.
    fn apply(self, device: &mut DeviceInfo) -> Result<(), ClientError> {
        let Self { minimum, preferred, maximum } = self;
        let possible = minimum.is_power_of_two() && minimum <= BLOCK_SIZE_MIN_MAX;
        if !possible || maximum < minimum {
            return Err(ClientError::BlockSizes { minimum, maximum });
        }
        let advisable = preferred.is_power_of_two() && preferred >= minimum;
        device.block_size_min = minimum;
        device.block_size_preferred =
            if advisable { preferred } else { BLOCK_SIZE_PREFERRED.max(minimum) };
        device.payload_max = maximum.min(PAYLOAD_MAX) / minimum * minimum;
        Ok(())
    }
}

fn refused_by_age(option: u32) -> ClientError {
    ClientError::Refused {
        option: OptionCode(option),
        code: ReplyCode(c::REP_ERR_UNSUP),
        message: "the server does not speak fixed newstyle".to_owned(),
    }
}

/// A string with its length in 32 bits before it.
fn counted(value: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(value.len() + 10);
    data.put_u32(length_u32(value.len()));
    data.put_slice(value.as_bytes());
    data
}

/// The length of something of ours, all of which is far below 4 GiB.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
