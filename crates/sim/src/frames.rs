//! The frames of a journal as its documentation has them, to show what a reader would take for records
//! that does not look at their checksums.

/// Length of what precedes the first frame in bytes.
const HEADER: usize = 20;

/// Length of what precedes a payload in bytes: its length, the checksum and the sequence.
const FRAME: usize = 16;

/// Makes the checksum of each frame that is there in its whole length that of what stands there.
pub(crate) fn make_checksums_right(content: &mut [u8]) {
    let mut at = HEADER;
    while let Some(frame) = content.get_mut(at..).filter(|rest| rest.len() >= FRAME) {
        let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        let Some(payload) = frame.get(FRAME..FRAME + length).filter(|_| length > 0) else { return };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[8..FRAME]), payload);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        at += FRAME + length;
    }
}
