//! Transmission flags, and the features of a device that they stand for.

use blockferry_device::Features;

/// The 16 bits that a server sends with an export's size ("Transmission flags").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmissionFlags(pub u16);

impl TransmissionFlags {
    const HAS_FLAGS: u16 = 1 << 0;
    const READ_ONLY: u16 = 1 << 1;
    const SEND_FLUSH: u16 = 1 << 2;
    const SEND_FUA: u16 = 1 << 3;
    const ROTATIONAL: u16 = 1 << 4;
    const SEND_TRIM: u16 = 1 << 5;
    const SEND_WRITE_ZEROES: u16 = 1 << 6;
    const SEND_DF: u16 = 1 << 7;
    const CAN_MULTI_CONN: u16 = 1 << 8;
    const SEND_CACHE: u16 = 1 << 10;
    const SEND_FAST_ZERO: u16 = 1 << 11;

    /// The flags for a device; `structured` tells whether structured or extended replies were
    /// negotiated, without which `SEND_DF` must stay clear.
    pub const fn for_device(features: &Features, structured: bool) -> Self {
        let zeroes = features.write_zeroes && !features.read_only;
        let pairs = [
            (features.read_only, Self::READ_ONLY),
            (features.flush, Self::SEND_FLUSH),
            (features.fua, Self::SEND_FUA),
            (features.rotational, Self::ROTATIONAL),
            (features.trim && !features.read_only, Self::SEND_TRIM),
            (zeroes, Self::SEND_WRITE_ZEROES),
            (structured, Self::SEND_DF),
            (features.multi_conn, Self::CAN_MULTI_CONN),
            (features.cache, Self::SEND_CACHE),
            (zeroes && features.fast_zero, Self::SEND_FAST_ZERO),
        ];
        let mut bits = Self::HAS_FLAGS;
        let mut index = 0;
        while index < pairs.len() {
            if pairs[index].0 {
                bits |= pairs[index].1;
            }
            index += 1;
        }
        Self(bits)
    }

    /// What a server with these flags offers. `block_status` is not among the flags: it comes from
    /// the metadata contexts. Without `HAS_FLAGS` no other bit counts.
    pub const fn features(self, block_status: bool) -> Features {
        Features {
            read_only: self.has(Self::READ_ONLY),
            flush: self.has(Self::SEND_FLUSH),
            fua: self.has(Self::SEND_FUA),
            trim: self.has(Self::SEND_TRIM),
            write_zeroes: self.has(Self::SEND_WRITE_ZEROES),
            fast_zero: self.has(Self::SEND_FAST_ZERO) && self.has(Self::SEND_WRITE_ZEROES),
            cache: self.has(Self::SEND_CACHE),
            block_status,
            multi_conn: self.has(Self::CAN_MULTI_CONN),
            rotational: self.has(Self::ROTATIONAL),
        }
    }

    /// Whether reads may ask for an answer in one piece.
    pub const fn dont_fragment(self) -> bool {
        self.has(Self::SEND_DF)
    }

    const fn has(self, bit: u16) -> bool {
        self.0 & Self::HAS_FLAGS != 0 && self.0 & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features {
        read_only: false,
        flush: true,
        fua: true,
        trim: true,
        write_zeroes: true,
        fast_zero: true,
        cache: true,
        block_status: true,
        multi_conn: true,
        rotational: true,
    };

    #[test]
    fn flags_and_features_say_the_same() {
        assert_eq!(TransmissionFlags::for_device(&ALL, true).features(true), ALL);
        let none = Features::default();
        assert_eq!(TransmissionFlags::for_device(&none, false).features(false), none);
    }

    #[test]
    fn dont_fragment_is_offered_only_with_structured_replies() {
        assert!(TransmissionFlags::for_device(&ALL, true).dont_fragment());
        assert!(!TransmissionFlags::for_device(&ALL, false).dont_fragment());
    }

    #[test]
    fn a_read_only_export_offers_no_way_to_change_it() {
        let features = Features { read_only: true, ..ALL };
        let told = TransmissionFlags::for_device(&features, true).features(true);
        assert!(told.read_only && !told.trim && !told.write_zeroes && !told.fast_zero);
    }

    #[test]
    fn fast_zero_is_never_offered_without_write_zeroes() {
        let features = Features { write_zeroes: false, ..ALL };
        assert!(!TransmissionFlags::for_device(&features, true).features(true).fast_zero);
    }

    #[test]
    fn flags_without_the_first_bit_mean_nothing() {
        assert_eq!(TransmissionFlags(0xfffe).features(false), Features::default());
    }
}
