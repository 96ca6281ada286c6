//! Data in pieces: what a command read, on its way out, and what it is to write, on its way in.

use bytes::{Bytes, BytesMut};

/// Zeroes to send where a target cannot tell of a hole.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A part of what a command read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPart {
    /// Data.
    Bytes(Bytes),
    /// So many zeroes.
    Zeroes(u64),
}

impl DataPart {
    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeroes(count) => *count,
        }
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `max` bytes from the offset on, which lies inside.
    fn slice(&self, from: u64, max: usize) -> Bytes {
        let length = usize::try_from(self.len() - from).unwrap_or(usize::MAX).min(max);
        match self {
            Self::Bytes(bytes) => {
                let from = from as usize;
                bytes.slice(from..from + length)
            }
            Self::Zeroes(_) => Bytes::from_static(&ZEROES[..length.min(ZEROES.len())]),
        }
    }
}

/// Takes the content of parts piece by piece, without copying.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    parts: &'a [DataPart],
    /// How far the first part has been taken.
    taken: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(parts: &'a [DataPart]) -> Self {
        Self { parts, taken: 0 }
    }

    /// The next pieces, `length` bytes together or what is left.
    pub(crate) fn take(&mut self, length: usize) -> impl Iterator<Item = Bytes> {
        let mut left = length;
        std::iter::from_fn(move || {
            let piece = self.piece(left)?;
            left -= piece.len();
            Some(piece)
        })
    }

    fn piece(&mut self, max: usize) -> Option<Bytes> {
        while let Some((first, rest)) = self.parts.split_first() {
            if self.taken == first.len() {
                (self.parts, self.taken) = (rest, 0);
            } else if max == 0 {
                return None;
            } else {
                let piece = first.slice(self.taken, max);
                self.taken += piece.len() as u64;
                return Some(piece);
            }
        }
        None
    }
}

/// Data that has come, in its order. The pieces lie where they were received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    first: Bytes,
    more: Vec<Bytes>,
}

impl Pieces {
    /// How many bytes they hold.
    pub fn len(&self) -> usize {
        self.iter().map(Bytes::len).sum()
    }

    /// Whether they hold nothing.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Each piece; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        Some(&self.first).filter(|first| !first.is_empty()).into_iter().chain(&self.more)
    }

    /// All in one piece, which is a copy only where there are several.
    pub fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        self.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.first.is_empty() { self.first = piece } else { self.more.push(piece) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_in_any_lengths() {
        let parts = [
            DataPart::Bytes(Bytes::from_static(b"abc")),
            DataPart::Zeroes(0),
            DataPart::Zeroes(100_000),
            DataPart::Bytes(Bytes::from_static(b"defg")),
        ];
        for step in [1, 2, 5, 4096, 100_007, 1 << 20] {
            let mut cursor = Cursor::new(&parts);
            let mut all = Vec::new();
            while all.len() < 100_007 {
                let before = all.len();
                cursor.take(step).for_each(|piece| all.extend_from_slice(&piece));
                assert_eq!(all.len() - before, step.min(100_007 - before));
            }
            assert_eq!(all, [&b"abc"[..], &[0; 100_000], b"defg"].concat());
        }
    }

    #[test]
    fn data_is_not_copied_on_its_way_out() {
        let data = Bytes::from(vec![1; 1000]);
        let parts = [DataPart::Bytes(data.clone())];
        let mut cursor = Cursor::new(&parts);
        assert_eq!(cursor.take(10).map(|piece| piece.len()).sum::<usize>(), 10);
        assert_eq!(cursor.take(10).next().unwrap().as_ptr(), data[10..].as_ptr());
    }

    #[test]
    fn one_piece_is_handed_on_as_it_is() {
        let piece = Bytes::from(vec![1; 10]);
        let mut pieces = Pieces::default();
        assert!(pieces.is_empty());
        pieces.push(Bytes::new());
        pieces.push(piece.clone());
        assert_eq!(pieces.clone().into_bytes().as_ptr(), piece.as_ptr());
        pieces.push(Bytes::from_static(b"x"));
        assert_eq!((pieces.len(), pieces.iter().count()), (11, 2));
        assert_eq!(pieces.into_bytes(), [&[1; 10][..], b"x"].concat());
    }
}
