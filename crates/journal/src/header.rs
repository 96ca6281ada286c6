//! The first bytes of a journal: they tell it from every other file, so that opening the wrong one
//! never cuts it.

/// Names the format; the last byte is its version.
const MAGIC: [u8; 8] = *b"BFJRNL\0\x01";

/// Length of an encoded header in bytes.
pub(crate) const HEADER_LENGTH: usize = 20;

/// What the header tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The sequence of the first record in this file.
    pub(crate) first_sequence: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.first_sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `content`; `Err` says what was found instead.
    pub(crate) fn decode(content: &[u8]) -> Result<Self, String> {
        let Some((bytes, _)) = content.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(format!("it has {} bytes, fewer than a header", content.len()));
        };
        if bytes[..7] != MAGIC[..7] {
            return Err("its first bytes are not a journal's".to_owned());
        }
        if bytes[7] != MAGIC[7] {
            return Err(format!("its format has version {}, expected {}", bytes[7], MAGIC[7]));
        }
        let first_sequence = u64::from_le_bytes(crate::frame::array(&bytes[8..16]));
        let header = Self { first_sequence };
        if header.encode() != *bytes {
            return Err("the checksum of its header is wrong".to_owned());
        }
        Ok(header)
    }
}
