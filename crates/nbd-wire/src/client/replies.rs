//! A server's replies to the options that the client's handshake sent.

use blockferry_wire::Fields;
use bytes::{Buf, BytesMut};

use super::{BlockSizes, ClientHandshake, Phase};
use crate::client::{ClientError, ClientOutcome};
use crate::codes::{OptionCode, ReplyCode};
use crate::constants as c;
use crate::flags::TransmissionFlags;
use crate::limits::{LIST_ENTRIES_MAX, OPTION_REPLIES_MAX, OPTION_REPLY_BYTES_MAX};
use crate::request::Style;
use crate::server::ExportEntry;
use crate::text;

/// Magic, option, reply and length, in bytes.
const REPLY_HEADER_BYTES: usize = 20;

impl ClientHandshake {
    /// One reply to the option that was sent last, when it is there whole.
    pub(super) fn read_reply(&mut self, input: &mut BytesMut) -> Result<bool, ClientError> {
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
                self.send_role_or_meta();
            }
            c::OPT_STRUCTURED_REPLY => {
                self.style = Style::Structured;
                self.send_role_or_meta();
            }
            c::OPT_SET_META_CONTEXT => self.send_go(),
            c::OPT_BLOCKFERRY_ROLE => {
                self.role_accepted = true;
                self.send_meta_or_go();
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
            c::OPT_STRUCTURED_REPLY if !hopeless => self.send_role_or_meta(),
            c::OPT_SET_META_CONTEXT if !hopeless => {
                self.context = None;
                self.send_go();
            }
            c::OPT_BLOCKFERRY_ROLE if unsupported => self.send_meta_or_go(),
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
}
