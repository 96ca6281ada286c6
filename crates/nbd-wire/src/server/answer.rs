//! The answers of the server's handshake, as bytes.

use bytes::BufMut;

use super::{ALLOCATION_CONTEXT, Phase, Question, ServerHandshake, Then};
use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::flags::TransmissionFlags;
use crate::limits::STRING_BYTES_MAX;
use crate::option_data::InfoWishes;
use crate::option_data::length_u32;
use crate::request::{Negotiated, Style};
use crate::server::{ExportEntry, ExportInfo, Refusal, ServerError, ServerStep};
use crate::text;

/// Largest payload that this server takes, in bytes.
const PAYLOAD_MAX: u32 = blockferry_device::PAYLOAD_MAX;

impl ServerHandshake {
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

    pub(super) fn acknowledge(&mut self, option: OptionCode) {
        self.reply_header(option, ReplyCode(c::REP_ACK), 0);
    }

    pub(super) fn refuse(&mut self, option: OptionCode, refusal: &Refusal) {
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
