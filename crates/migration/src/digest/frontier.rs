//! The digest of a growing stream: the roots of its complete subtrees and the leaf being filled.

use super::{Digest, LEAF, Piece};

/// Digest state of the first `len()` bytes of a stream.
///
/// The state at a leaf's boundary is small (one digest for every set bit of the number of leaves),
/// so that it can be saved with `W_durable` and gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frontier {
    roots: Vec<(usize, Digest)>,
    leaves: u64,
    partial: Vec<u8>,
}

/// A saved state that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest state is a number of leaves and as many digests as that has set bits")]
pub struct ParseFrontierError;

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// The state before the first byte.
    pub const fn new() -> Self {
        Self { roots: Vec::new(), leaves: 0, partial: Vec::new() }
    }

    /// Length of the stream so far, in bytes.
    pub fn len(&self) -> u64 {
        self.leaves * LEAF + self.partial.len() as u64
    }

    /// Whether the stream has no byte yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state at the last boundary between leaves.
    #[must_use]
    pub fn at_leaf_boundary(&self) -> Self {
        Self { roots: self.roots.clone(), leaves: self.leaves, partial: Vec::new() }
    }

    /// Appends to the stream.
    pub fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Data(bytes) => self.push_bytes(bytes),
            Piece::Zeroes(length) => self.push_zeroes(length),
        }
    }

    /// Appends one whole leaf by its digest.
    ///
    /// # Panics
    /// When a leaf has been begun.
    pub fn push_leaf(&mut self, leaf: Digest) {
        assert!(self.partial.is_empty(), "a leaf by its digest begins at a boundary");
        self.push_root(0, leaf);
    }

    /// The digest of the stream so far: a leaf that is not full counts as it is.
    pub fn digest(&self) -> Digest {
        let partial = (!self.partial.is_empty()).then(|| Digest::of_leaf(&self.partial));
        let roots = self.roots.iter().map(|(_, root)| *root).chain(partial);
        let folded = roots.rev().reduce(|right, left| Digest::of_children(left, right));
        folded.unwrap_or_else(|| Digest::of_leaf(&[]))
    }

    /// The state as text, for a record: leaves, roots, and the bytes of a begun leaf.
    pub fn to_text(&self) -> String {
        let mut text = self.leaves.to_string();
        for (_, root) in &self.roots {
            text.push_str(&format!(":{root}"));
        }
        if !self.partial.is_empty() {
            text.push('+');
            text.reserve(2 * self.partial.len());
            text.extend(self.partial.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit));
        }
        text
    }

    /// Reads what [`Frontier::to_text`] wrote.
    ///
    /// # Errors
    /// When the text is no such state.
    pub fn from_text(text: &str) -> Result<Self, ParseFrontierError> {
        let (trees, partial) = text.split_once('+').unwrap_or((text, ""));
        let mut parts = trees.split(':');
        let leaves: u64 = parts.next().and_then(|n| n.parse().ok()).ok_or(ParseFrontierError)?;
        if leaves.leading_zeros() < 16 {
            return Err(ParseFrontierError);
        }
        let levels = (0..48).rev().filter(|level| leaves >> level & 1 == 1);
        let mut roots = Vec::new();
        for level in levels {
            let root = parts.next().and_then(|p| p.parse().ok()).ok_or(ParseFrontierError)?;
            roots.push((level, root));
        }
        if parts.next().is_some() {
            return Err(ParseFrontierError);
        }
        Ok(Self { roots, leaves, partial: parse_bytes(partial)? })
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let mut partial = std::mem::take(&mut self.partial);
        super::cut(&mut partial, bytes, |leaf| self.push_root(0, leaf));
        self.partial = partial;
    }

    fn push_zeroes(&mut self, mut length: u64) {
        if !self.partial.is_empty() {
            let zeroes = length.min(LEAF - self.partial.len() as u64);
            length -= zeroes;
            let leaf = super::fill(&mut self.partial, zeroes);
            leaf.into_iter().for_each(|leaf| self.push_root(0, leaf));
        }
        while length >= LEAF {
            let level = self.largest_zero_tree(length / LEAF);
            self.push_root(level, Digest::of_zeroes(level));
            length -= LEAF << level;
        }
        if length > 0 {
            self.partial.resize(usize::try_from(length).expect("less than a leaf"), 0);
        }
    }

    /// Largest level whose tree begins here by alignment and has no more than `leaves` leaves.
    fn largest_zero_tree(&self, leaves: u64) -> usize {
        let aligned = if self.leaves == 0 { 48 } else { self.leaves.trailing_zeros() };
        aligned.min(leaves.ilog2()) as usize
    }

    fn push_root(&mut self, mut level: usize, mut root: Digest) {
        self.leaves += 1 << level;
        while let Some((_, left)) = self.roots.pop_if(|(l, _)| *l == level) {
            root = Digest::of_children(left, root);
            level += 1;
        }
        self.roots.push((level, root));
    }
}

const fn hex_digit(value: u8) -> char {
    (match value {
        0..10 => b'0' + value,
        _ => b'a' + value - 10,
    }) as char
}

fn hex_value(digit: u8) -> Result<u8, ParseFrontierError> {
    let value = (digit as char).to_digit(16).ok_or(ParseFrontierError)?;
    u8::try_from(value).map_err(|_| ParseFrontierError)
}

/// The bytes of a begun leaf, fewer than a leaf has.
fn parse_bytes(text: &str) -> Result<Vec<u8>, ParseFrontierError> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() || pairs.len() as u64 >= LEAF {
        return Err(ParseFrontierError);
    }
    pairs.iter().map(|[high, low]| Ok(hex_value(*high)? << 4 | hex_value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(pieces: &[Piece<'_>]) -> Digest {
        let mut stream = Frontier::new();
        pieces.iter().for_each(|piece| stream.push(*piece));
        stream.digest()
    }

    #[test]
    fn a_hole_equals_written_zeroes_wherever_it_lies() {
        let data = vec![7; 3 * LEAF as usize + 5];
        for zeroes in [1, LEAF - 1, LEAF, 9 * LEAF, 37 * LEAF + 3] {
            let written = vec![0; zeroes as usize];
            let as_hole = [Piece::Data(&data), Piece::Zeroes(zeroes), Piece::Data(&data)];
            let as_data = [Piece::Data(&data), Piece::Data(&written), Piece::Data(&data)];
            assert_eq!(digest_of(&as_hole), digest_of(&as_data), "{zeroes} zeroes");
        }
    }

    #[test]
    fn how_the_stream_is_cut_does_not_change_its_digest() {
        let data: Vec<u8> = (0..5 * LEAF + 77).map(|n| (n % 251) as u8).collect();
        let whole = digest_of(&[Piece::Data(&data)]);
        for cut in [1, 4096, 65_536, 100_000] {
            let pieces: Vec<_> = data.chunks(cut).map(Piece::Data).collect();
            assert_eq!(digest_of(&pieces), whole);
        }
    }

    #[test]
    fn one_flipped_bit_changes_the_digest() {
        let mut data = vec![0; 10 * LEAF as usize];
        let before = digest_of(&[Piece::Data(&data)]);
        data[5 * LEAF as usize] = 1;
        assert_ne!(digest_of(&[Piece::Data(&data)]), before);
    }

    #[test]
    fn a_saved_state_goes_on_as_if_it_had_never_stopped() {
        let data: Vec<u8> = (0..7 * LEAF).map(|n| (n % 13) as u8).collect();
        let mut stream = Frontier::new();
        stream.push(Piece::Data(&data));
        stream.push(Piece::Data(&data[..100]));
        let saved = stream.at_leaf_boundary();
        let mut resumed = Frontier::from_text(&saved.to_text()).expect("its own text");
        assert_eq!(resumed, saved);
        resumed.push(Piece::Data(&data[..100]));
        assert_eq!(resumed.digest(), stream.digest());
    }

    #[test]
    fn a_state_inside_a_leaf_survives_as_text() {
        let mut stream = Frontier::new();
        stream.push(Piece::Data(&[9; LEAF as usize + 3]));
        assert_eq!(Frontier::from_text(&stream.to_text()), Ok(stream));
    }

    #[test]
    fn a_damaged_state_is_refused() {
        for text in [
            "",
            "x",
            "1",
            "1:zz",
            "0:00",
            "99999999999999999999",
            "3:00",
            "0+f",
            "0++f",
            "0+zz",
            "0+é",
        ] {
            assert!(Frontier::from_text(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn eight_exbibytes_of_nothing_cost_nothing() {
        let mut stream = Frontier::new();
        stream.push(Piece::Zeroes(1 << 62));
        assert_eq!(stream.len(), 1 << 62);
    }
}
