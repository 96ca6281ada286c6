//! The client's side of the handshake, with servers of every age.
//!
//! ```text
//!   EXTENDED_HEADERS -> STRUCTURED_REPLY -> SET_META_CONTEXT -> role -> GO -> EXPORT_NAME
//! ```
//!
//! Each step is left out where it is not wanted or cannot follow, and only the last is tried where
//! the server does not speak fixed newstyle. Whatever the server sends is bounded before it is kept.

mod conversation;
mod replies;
#[cfg(test)]
mod tests;

use blockferry_device::{DeviceInfo, PAYLOAD_MAX};
use blockferry_wire::{Fields, TooShort};
use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use conversation::{
    ClientConfig, ClientError, ClientOutcome, ClientStep, Goal, Joined, Manners,
};

use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::flags::TransmissionFlags;
use crate::limits::{BLOCK_SIZE_MIN_MAX, EXPORT_BYTES_MAX, STRING_BYTES_MAX};
use crate::option_data::length_u32;
use crate::request::{Negotiated, Style};
use crate::server::ExportEntry;
use crate::text;

/// Both magics and the handshake flags, in bytes.
const GREETING_BYTES: usize = 18;
/// Preferred block size where the server tells none, in bytes ("Size constraints").
const BLOCK_SIZE_PREFERRED: u32 = 4096;

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

    /// The next option once the framing is settled: who asks decides what there is to see, so the
    /// role goes before the questions about the export.
    fn send_role_or_meta(&mut self) {
        let Goal::Join { role: Some(role), .. } = &self.config.goal else {
            return self.send_meta_or_go();
        };
        let mut data = Vec::new();
        role.encode(&mut data);
        self.send(c::OPT_BLOCKFERRY_ROLE, &data);
    }

    fn send_meta_or_go(&mut self) {
        let wanted = matches!(self.config.goal, Goal::Join { block_status: true, .. });
        if !wanted || self.style == Style::Simple {
            return self.send_go();
        }
        let mut data = counted(&self.export_name());
        data.put_u32(1);
        data.put_slice(&counted(c::BASE_ALLOCATION));
        self.send(c::OPT_SET_META_CONTEXT, &data);
    }

    fn export_name(&self) -> String {
        match &self.config.goal {
            Goal::Join { export, .. } => text::clip(export, STRING_BYTES_MAX).to_owned(),
            Goal::List | Goal::Fence(_) => String::new(),
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
