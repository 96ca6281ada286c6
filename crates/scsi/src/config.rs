//! What a unit is from outside: fixed for its life, the same on every server that has its volume.

use blockferry_block::VolumeName;

use crate::geometry::Geometry;

/// Who makes the disk, as INQUIRY tells it (SPC-4 6.6.2). Part of a disk's identity: never changed.
pub const VENDOR: &str = "BLKFERRY";
/// What the disk is.
pub const PRODUCT: &str = "VOLUME";
/// Revision of what initiators see. The same on all servers, so that a disk stays what it is when
/// it moves between programs of two versions.
pub const REVISION: &str = "0001";

/// Who a volume is. It travels with the volume, so that an initiator finds the same disk behind
/// another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The volume's own number, drawn once at random.
    pub uuid: [u8; 16],
    /// Its name, for people.
    pub name: VolumeName,
}

/// Whether the space behind blocks can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// Every block has its space; nothing can be unmapped.
    Full,
    /// Blocks have space once they are written; what was unmapped reads as zeroes (SBC-3 4.7.3).
    Thin,
}

/// A unit from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitConfig {
    /// Who the volume is.
    pub identity: Identity,
    /// Its size in blocks.
    pub geometry: Geometry,
    /// Whether space can be given back.
    pub provisioning: Provisioning,
    /// The volume cannot be written, whatever an initiator says.
    pub read_only: bool,
    /// The medium rotates.
    pub rotational: bool,
}

impl Identity {
    /// The serial number: 32 hexadecimal digits.
    pub fn serial(&self) -> String {
        self.uuid.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A locally assigned NAA name, 3h and 60 bits of the volume's number (SPC-4 7.8.6.6.4). This
    /// project has no company identifier to make a worldwide one of.
    pub(crate) fn naa(&self) -> [u8; 8] {
        let number = u128::from_be_bytes(self.uuid);
        let folded = (number >> 64) ^ (number & u128::from(u64::MAX));
        let name = folded & 0x0fff_ffff_ffff_ffff | 0x3 << 60;
        name.to_be_bytes().last_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_and_a_name_follow_from_the_number_alone() {
        let uuid = [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0xff];
        let one = Identity { uuid, name: "a".parse().unwrap() };
        let renamed = Identity { uuid, name: "b".parse().unwrap() };
        assert_eq!(one.serial(), "010203040506070800000000000000ff");
        assert_eq!(one.naa(), [0x31, 2, 3, 4, 5, 6, 7, 8 ^ 0xff]);
        assert_eq!((one.serial(), one.naa()), (renamed.serial(), renamed.naa()));
    }
}
