//! The ways in which a stream of bytes can arrive.

use bytes::BytesMut;

/// Gives the bytes to `take`, in pieces of `length` bytes or whole, until it has had enough
/// (`Some`) or all has come.
pub fn feed<T>(
    data: &[u8],
    length: Option<usize>,
    mut take: impl FnMut(&mut BytesMut) -> Option<T>,
) -> Option<T> {
    let mut input = BytesMut::new();
    for piece in data.chunks(length.unwrap_or(data.len()).max(1)) {
        input.extend_from_slice(piece);
        if let Some(end) = take(&mut input) {
            return Some(end);
        }
    }
    None
}
