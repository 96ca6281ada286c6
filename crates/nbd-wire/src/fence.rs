//! The private option that ends the older generations of a session.

use blockferry_block::{Generation, SessionId};
use blockferry_wire::Fields;
use bytes::BufMut;

use crate::limits::STRING_BYTES_MAX;
use crate::option_data::{BadOption, check_version, put_version};
use crate::text;

/// "Let nothing of this session older than this generation execute any more." A server acknowledges
/// it only when that is durable (I12, I13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRequest {
    /// The export on which the session's requests ran.
    pub export: String,
    /// The session.
    pub session: SessionId,
    /// The first generation that may still execute.
    pub generation: Generation,
}

impl FenceRequest {
    /// The option's data, big-endian: version, export name with its length, session, generation.
    pub fn encode(&self, out: &mut impl BufMut) {
        put_version(out);
        let name = text::clip(&self.export, STRING_BYTES_MAX).as_bytes();
        out.put_u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
        out.put_slice(name);
        out.put_slice(self.session.as_bytes());
        out.put_u64(self.generation.0);
    }

    pub(crate) fn decode(data: &[u8]) -> Result<Self, BadOption> {
        let mut fields = Fields::new(data);
        check_version(&mut fields)?;
        let fence = Self {
            export: text::parse(fields.counted()?)?.to_owned(),
            session: SessionId::from_bytes(fields.array()?),
            generation: Generation(fields.u64()?),
        };
        if fields.is_empty() { Ok(fence) } else { Err(BadOption::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let mut data = Vec::new();
        fence().encode(&mut data);
        data
    }

    fn fence() -> FenceRequest {
        FenceRequest {
            export: "vol".to_owned(),
            session: SessionId::from_bytes([9; 16]),
            generation: Generation(3),
        }
    }

    #[test]
    fn a_fence_reads_back_as_it_was_written() {
        assert_eq!(FenceRequest::decode(&encoded()), Ok(fence()));
        assert_eq!(encoded()[..9], [0, 1, 0, 0, 0, 3, b'v', b'o', b'l']);
    }

    #[test]
    fn a_fence_cut_anywhere_or_too_long_is_refused() {
        let mut data = encoded();
        for end in 0..data.len() {
            assert_eq!(FenceRequest::decode(&data[..end]), Err(BadOption::TooShort));
        }
        data.push(0);
        assert_eq!(FenceRequest::decode(&data), Err(BadOption::TooLong));
    }
}
