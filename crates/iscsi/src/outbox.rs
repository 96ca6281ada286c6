//! PDUs on their way to a peer, with the digests that were agreed on.

use std::io::IoSlice;

use blockferry_wire as wire;
use bytes::{Buf, Bytes};

use crate::digest::{Digest, Digests, padding};
use crate::header::Header;

/// A queue of PDUs that leaves in vectored writes: it is a [`Buf`].
#[derive(Debug, Default)]
pub struct Outbox {
    queue: wire::Outbox,
    digests: Digests,
}

impl Outbox {
    /// An empty queue of a connection without digests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is left to send.
    pub const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What it holds, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.queue.pieces()
    }

    /// Digests for all PDUs that are put in from now on.
    pub const fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Appends a PDU whose data is copied.
    ///
    /// # Panics
    /// When a segment is longer than a header can tell.
    pub fn put_pdu(&mut self, header: Header, ahs: &[u8], data: &[u8]) {
        self.put_headers(header, ahs, data.len());
        self.queue.put(data);
        let digest = if self.digests.data { Digest::of(data) } else { Digest::default() };
        self.end_data(data.len(), digest);
    }

    /// Appends a PDU with `length` bytes of data, which the pieces hold and which are not copied.
    ///
    /// # Panics
    /// When the pieces hold more or less, or more than a header can tell.
    pub fn put_data_pdu(
        &mut self,
        header: Header,
        length: usize,
        pieces: impl Iterator<Item = Bytes>,
    ) {
        self.put_headers(header, &[], length);
        let (mut digest, mut left) = (Digest::default(), length);
        for piece in pieces {
            left = left.checked_sub(piece.len()).expect("pieces of the announced length");
            if self.digests.data {
                digest.add(&piece);
            }
            self.queue.put_payload(piece);
        }
        assert_eq!(left, 0, "pieces of the announced length");
        self.end_data(length, digest);
    }

    fn put_headers(&mut self, header: Header, ahs: &[u8], data_length: usize) {
        let data_length = u32::try_from(data_length).expect("a segment of at most 24 bits");
        let header = header.put_lengths(ahs.len(), data_length);
        self.queue.put(&header.0);
        self.queue.put(ahs);
        if self.digests.header {
            let mut digest = Digest::of(&header.0);
            digest.add(ahs);
            self.queue.put(&digest.bytes());
        }
    }

    /// Padding and digest behind a data segment that is not empty.
    fn end_data(&mut self, length: usize, mut digest: Digest) {
        let padding = &[0; 3][..padding(length)];
        self.queue.put(padding);
        if self.digests.data && length > 0 {
            digest.add(padding);
            self.queue.put(&digest.bytes());
        }
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.queue.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.queue.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.queue.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::Opcode;

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
        let header = Header::new(Opcode::DATA_IN);
        for step in [1, 7, 300, 4000] {
            let mut outbox = Outbox::new();
            outbox.put_pdu(header, &[], b"small");
            let pieces = [Bytes::from(vec![1; 1000]), Bytes::from_static(b"x")];
            outbox.put_data_pdu(header, 1001, pieces.into_iter());
            outbox.put_pdu(header, &[0; 8], b"");
            let expected = [
                &header.put_lengths(0, 5).0[..],
                b"small\0\0\0",
                &header.put_lengths(0, 1001).0,
                &[1; 1000],
                b"x\0\0\0",
                &header.put_lengths(8, 0).0,
                &[0; 8],
            ]
            .concat();
            assert_eq!(outbox.remaining(), expected.len());
            assert_eq!(drain(&mut outbox, step), expected);
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn digests_cover_headers_and_data_with_its_padding() {
        let header = Header::new(Opcode::DATA_IN);
        let mut outbox = Outbox::new();
        outbox.set_digests(Digests { header: true, data: true });
        outbox.put_pdu(header, &[1; 4], b"abc");
        outbox.put_pdu(header, &[], b"");
        let first = header.put_lengths(4, 3);
        let expected = [
            &first.0[..],
            &[1; 4],
            &Digest::of(&[&first.0[..], &[1; 4]].concat()).bytes(),
            b"abc\0",
            &Digest::of(b"abc\0").bytes(),
            &header.0,
            &Digest::of(&header.0).bytes(),
        ]
        .concat();
        assert_eq!(drain(&mut outbox, 4000), expected);
    }

    #[test]
    fn large_data_is_not_copied_and_has_its_digest_all_the_same() {
        let data = Bytes::from(vec![1; 1000]);
        let mut outbox = Outbox::new();
        outbox.set_digests(Digests { header: false, data: true });
        outbox.put_data_pdu(Header::new(Opcode::DATA_IN), 1000, std::iter::once(data.clone()));
        assert_eq!(outbox.pieces().nth(1).unwrap().as_ptr(), data.as_ptr());
        assert_eq!(outbox.pieces().nth(2).unwrap(), Digest::of(&data).bytes());
    }
}
