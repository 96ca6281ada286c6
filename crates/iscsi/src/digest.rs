//! CRC32C digests (RFC 7143 section 13.1).

/// A digest, in bytes.
pub(crate) const DIGEST_BYTES: usize = 4;
/// What every segment's length is filled up to a multiple of, in bytes.
const ALIGNMENT: usize = 4;

/// Which digests a connection has; none while the login lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Behind the headers.
    pub header: bool,
    /// Behind the data and its padding.
    pub data: bool,
}

/// A digest over bytes that come piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest(u32);

impl Digest {
    /// The digest of the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.add(bytes);
        digest
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    /// As it stands on the wire.
    pub(crate) const fn bytes(self) -> [u8; DIGEST_BYTES] {
        self.0.to_le_bytes()
    }
}

/// How many bytes of padding follow a data segment of the length.
pub(crate) const fn padding(length: usize) -> usize {
    length.wrapping_neg() % ALIGNMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7143 appendix A.4, "CRC Examples".
    #[test]
    fn digests_are_those_of_the_rfc() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, digest) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending, [0x4e, 0x79, 0xdd, 0x46]),
            (&descending, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(Digest::of(bytes).bytes(), digest);
        }
    }

    #[test]
    fn segments_are_filled_up_to_words() {
        for (length, expected) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0), (0xff_ffff, 1)] {
            assert_eq!(padding(length), expected);
        }
    }
}
