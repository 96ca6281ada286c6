//! One record as bytes: u32 payload length, u32 CRC32C over sequence and payload, u64 sequence,
//! payload.

use std::path::Path;

use serde::Serialize;

use crate::JournalError;

/// Largest payload of one record in bytes. The records of a volume are a few hundred; a set of
/// extents may take more. It bounds what a torn tail can be.
pub const PAYLOAD_MAX: usize = 1 << 20;

/// Length of what precedes the payload in bytes.
pub(crate) const FRAME_HEADER: usize = 16;

/// Largest frame in bytes.
pub(crate) const FRAME_MAX: usize = FRAME_HEADER + PAYLOAD_MAX;

/// A frame whose checksum is right.
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Length of the whole frame in bytes.
    pub(crate) fn length(&self) -> usize {
        FRAME_HEADER + self.payload.len()
    }
}

/// The frame that carries `record`.
pub(crate) fn encode<R: Serialize>(
    path: &Path,
    sequence: u64,
    record: &R,
) -> Result<Vec<u8>, JournalError> {
    let payload = serde_json::to_vec(record)
        .map_err(|source| JournalError::Unwritable { path: path.to_owned(), source })?;
    let length = match u32::try_from(payload.len()) {
        Ok(length) if payload.len() <= PAYLOAD_MAX => length,
        _ => {
            let (path, length) = (path.to_owned(), payload.len());
            return Err(JournalError::RecordTooLarge { path, length, max: PAYLOAD_MAX });
        }
    };
    let mut bytes = Vec::with_capacity(FRAME_HEADER + payload.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(sequence, &payload).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// The frame at the start of `bytes`; `Err` says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Frame<'_>, String> {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
        return Err(format!("{} bytes are fewer than a record's header", bytes.len()));
    };
    let length = u32::from_le_bytes(array(&header[..4])) as usize;
    let crc = u32::from_le_bytes(array(&header[4..8]));
    let sequence = u64::from_le_bytes(array(&header[8..]));
    if length == 0 || length > PAYLOAD_MAX {
        return Err(format!("a record's length cannot be {length}"));
    }
    let Some(payload) = rest.get(..length) else {
        return Err(format!("the record should have {length} bytes, the file has {}", rest.len()));
    };
    if checksum(sequence, payload) != crc {
        return Err("the record's checksum is wrong".to_owned());
    }
    Ok(Frame { sequence, payload })
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), payload)
}

/// The slice as an array of the same length.
pub(crate) fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(slice);
    array
}
