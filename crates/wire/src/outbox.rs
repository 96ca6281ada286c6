//! Bytes on their way to a peer: headers together in one buffer, payloads as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Payloads up to this many bytes are copied behind their header: that costs less than a slice of
/// their own in a vectored write.
const COPIED_BYTES_MAX: usize = 256;
/// Room for headers, in bytes: those of a pipeline fit.
const HEADERS_BYTES: usize = 2 << 10;
/// Zeroes to send where a peer cannot be told of a hole.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A queue of bytes that leaves in vectored writes: it is a [`Buf`].
#[derive(Debug, Default)]
pub struct Outbox {
    closed: VecDeque<Bytes>,
    /// The last piece, still growing.
    open: BytesMut,
    remaining: usize,
}

impl Outbox {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is left to send.
    pub const fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Appends by copying.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if self.open.capacity() - self.open.len() < bytes.len() {
            self.open.reserve(bytes.len().max(HEADERS_BYTES));
        }
        self.open.extend_from_slice(bytes);
        self.remaining += bytes.len();
    }

    /// Appends without copying.
    #[inline]
    pub fn put_payload(&mut self, payload: Bytes) {
        if payload.len() <= COPIED_BYTES_MAX {
            return self.put(&payload);
        }
        if !self.open.is_empty() {
            self.closed.push_back(self.open.split().freeze());
        }
        self.remaining += payload.len();
        self.closed.push_back(payload);
    }

    /// Appends what another holds, which is empty then.
    pub fn append(&mut self, other: &mut Self) {
        for piece in other.closed.drain(..) {
            self.put_payload(piece);
        }
        self.put(&other.open);
        other.open.clear();
        other.remaining = 0;
    }

    /// What it holds, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let open = (!self.open.is_empty()).then_some(&self.open[..]);
        self.closed.iter().map(|piece| &piece[..]).chain(open)
    }

    /// Appends zeroes.
    pub fn put_zeroes(&mut self, mut length: u64) {
        while length > 0 {
            let piece = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROES.len());
            self.put_payload(Bytes::from_static(&ZEROES[..piece]));
            length -= piece as u64;
        }
    }
}

impl Buf for Outbox {
    #[inline]
    fn remaining(&self) -> usize {
        self.remaining
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.closed.front().map_or(&self.open, |first| first)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = slices.iter_mut().zip(self.pieces());
        pieces.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    #[inline]
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced beyond what is there");
        self.remaining -= count;
        while let Some(first) = self.closed.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.closed.pop_front();
        }
        self.open.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = outbox.chunks_vectored(&mut slices);
            let bytes: Vec<u8> =
                slices[..count].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            all.extend(&bytes);
            outbox.advance(bytes.len());
        }
        all
    }

    #[test]
    fn what_goes_in_comes_out_in_order_however_it_is_cut() {
        for step in [1, 7, 300, 4000] {
            let mut outbox = Outbox::new();
            outbox.put(b"head");
            outbox.put_payload(Bytes::from(vec![1; 1000]));
            outbox.put(b"mid");
            outbox.put_payload(Bytes::from_static(b"small"));
            outbox.put_zeroes(300);
            outbox.put(b"tail");
            let expected = [
                b"head".to_vec(),
                vec![1; 1000],
                b"midsmall".to_vec(),
                vec![0; 300],
                b"tail".to_vec(),
            ]
            .concat();
            assert_eq!(outbox.remaining(), expected.len());
            assert_eq!(drain(&mut outbox, step), expected);
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn one_queue_is_appended_to_another() {
        let (mut all, mut more) = (Outbox::new(), Outbox::new());
        for _ in 0..2 {
            all.put(b"head");
            more.put(b"reply");
            more.put_payload(Bytes::from(vec![1; 300]));
            more.put(b"end");
            all.append(&mut more);
            assert!(more.is_empty() && !more.has_remaining());
        }
        let reply = [b"headreply".to_vec(), vec![1; 300], b"end".to_vec()].concat();
        assert_eq!(drain(&mut all, 100), reply.repeat(2));
    }

    #[test]
    fn its_pieces_are_all_that_was_put_in_and_has_not_left() {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.pieces().count(), 0);
        outbox.put(b"head");
        outbox.put_payload(Bytes::from(vec![1; 300]));
        outbox.put(b"tail");
        outbox.advance(2);
        let pieces: Vec<&[u8]> = outbox.pieces().collect();
        assert_eq!(pieces.concat(), [&b"ad"[..], &[1; 300], b"tail"].concat());
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let payload = Bytes::from(vec![1; 1000]);
        let mut outbox = Outbox::new();
        outbox.put_payload(payload.clone());
        assert_eq!(outbox.chunk().as_ptr(), payload.as_ptr());
    }
}
