//! The tree digest of the ordered stream: it proves the transport.
//!
//! The stream is cut into leaves of 64 KiB; each has the XXH3-128 of its bytes, and each inner node
//! that of its two children. Roots of all-zero trees are known beforehand, so a hole costs the
//! logarithm of its length and equals written zeroes. The hash detects accidents, not attacks: an
//! attacker who can change the stream can change the volume.

mod frontier;
mod ledger;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_128;

pub use frontier::{Frontier, ParseFrontierError};
pub use ledger::{Ledger, Noted};

/// Length of a leaf in bytes. Checkpoints lie on multiples of it (or at the volume's end).
pub const LEAF: u64 = 64 << 10;

/// The name under which reports show the algorithm.
pub const ALGORITHM: &str = "xxh3-128-tree-64k";

/// Deepest tree: 2^48 leaves hold every 64-bit size.
const LEVELS: usize = 49;

/// Digest of a leaf, an inner node or a whole stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// The digest of one leaf's bytes; a short one only at the volume's end.
    pub fn of_leaf(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    fn of_children(left: Self, right: Self) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&left.0.to_be_bytes());
        bytes[16..].copy_from_slice(&right.0.to_be_bytes());
        Self(xxh3_128(&bytes))
    }

    /// The digest of 2^`level` whole leaves of zeroes.
    fn of_zeroes(level: usize) -> Self {
        static ROOTS: LazyLock<[Digest; LEVELS]> = LazyLock::new(|| {
            let mut root = Digest::of_leaf(&[0; LEAF as usize]);
            std::array::from_fn(|_| {
                let parent = Digest::of_children(root, root);
                std::mem::replace(&mut root, parent)
            })
        });
        ROOTS[level]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseDigestError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseDigestError)
    }
}

/// Cuts bytes into leaves: `whole` is told the digest of each that is complete, and what is begun is
/// kept in `partial`, fewer bytes than a leaf has.
fn cut(partial: &mut Vec<u8>, mut bytes: &[u8], mut whole: impl FnMut(Digest)) {
    while !bytes.is_empty() {
        let room = LEAF as usize - partial.len();
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        bytes = later;
        if now.len() as u64 == LEAF {
            whole(Digest::of_leaf(now));
            continue;
        }
        partial.extend_from_slice(now);
        close(partial).into_iter().for_each(&mut whole);
    }
}

/// The same for zeroes that complete no more than the leaf that is begun.
fn fill(partial: &mut Vec<u8>, zeroes: u64) -> Option<Digest> {
    let zeroes = usize::try_from(zeroes).expect("less than a leaf");
    partial.resize(partial.len() + zeroes, 0);
    close(partial)
}

/// The digest of a leaf that is complete; another begins then.
fn close(partial: &mut Vec<u8>) -> Option<Digest> {
    let leaf = (partial.len() as u64 == LEAF).then(|| Digest::of_leaf(partial))?;
    partial.clear();
    Some(leaf)
}

/// One leaf's worth of a piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes as they were sent.
    Data(&'a [u8]),
    /// So many bytes of zeroes.
    Zeroes(u64),
}
