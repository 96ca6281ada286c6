//! The SCSI commands that a load needs (SBC-4, SPC-4), and what is told when one fails.

use blockferry_block::Extent;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a logical block.
const BLOCK: u64 = 512;

/// A write or read is durable, or is read from what is (FUA).
const FUA: u8 = 0x08;
/// WRITE SAME gives space back (UNMAP).
const UNMAP: u8 = 0x08;
/// WRITE SAME has no data and writes zeroes (NDOB).
const NO_DATA: u8 = 0x01;
/// A registration outlives a loss of power (APTPL).
const PERSIST: u8 = 0x01;

/// The reservation of a trial: only who is registered may write (Write Exclusive - Registrants Only).
pub const RESERVATION_TYPE: u8 = 5;

/// A command with what it transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(crate) cdb: [u8; 16],
    pub(crate) data_out: Bytes,
    pub(crate) data_in_bytes: u32,
}

/// Why a command failed: sense key, additional sense code and its qualifier; zeroes where nothing was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sense {
    /// The sense key.
    pub key: u8,
    /// The additional sense code with its qualifier.
    pub code: (u8, u8),
}

impl Sense {
    /// What a COMPARE AND WRITE found was not what it expected.
    pub const MISCOMPARE: u8 = 0x0e;
    /// Something has happened to the unit; the command was not executed.
    pub const UNIT_ATTENTION: u8 = 0x06;

    /// From a response's data: a length, then sense data in either format (SPC-4 4.5).
    pub(crate) fn decode(data: &[u8]) -> Self {
        let sense = data.get(2..).unwrap_or_default();
        let at = |index: usize| sense.get(index).copied().unwrap_or(0);
        match at(0) & 0x7f {
            0x72 | 0x73 => Self { key: at(1) & 0x0f, code: (at(2), at(3)) },
            _ => Self { key: at(2) & 0x0f, code: (at(12), at(13)) },
        }
    }
}

impl Command {
    fn new(operation: u8) -> Self {
        let mut cdb = [0; 16];
        cdb[0] = operation;
        Self { cdb, data_out: Bytes::new(), data_in_bytes: 0 }
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.cdb[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Address and length of a command with 16 bytes.
    fn at(self, extent: Extent) -> Self {
        self.put(2, &(extent.start() / BLOCK).to_be_bytes())
            .put(10, &narrow(extent.len() / BLOCK).to_be_bytes())
    }

    fn sends(self, data_out: Bytes) -> Self {
        Self { data_out, ..self }
    }

    fn gets(self, data_in_bytes: u32) -> Self {
        Self { data_in_bytes, ..self }
    }

    /// READ (16).
    pub fn read(extent: Extent) -> Self {
        Self::new(0x88).at(extent).gets(narrow(extent.len()))
    }

    /// WRITE (16).
    pub fn write(offset: u64, data: Bytes, fua: bool) -> Self {
        let extent = Extent::between(offset, offset + data.len() as u64);
        Self::new(0x8a).at(extent).put(1, &[if fua { FUA } else { 0 }]).sends(data)
    }

    /// WRITE SAME (16) with zeroes.
    pub fn zero(extent: Extent, unmap: bool) -> Self {
        Self::new(0x93).at(extent).put(1, &[NO_DATA | if unmap { UNMAP } else { 0 }])
    }

    /// UNMAP of one extent.
    pub fn unmap(extent: Extent) -> Self {
        let mut list = BytesMut::new();
        list.put_u16(22);
        list.put_u16(16);
        list.put_u32(0);
        list.put_u64(extent.start() / BLOCK);
        list.put_u32(narrow(extent.len() / BLOCK));
        list.put_u32(0);
        Self::new(0x42).put(7, &24_u16.to_be_bytes()).sends(list.freeze())
    }

    /// SYNCHRONIZE CACHE (16) of everything.
    pub fn synchronize() -> Self {
        Self::new(0x91)
    }

    /// READ CAPACITY (16).
    pub fn read_capacity() -> Self {
        Self::new(0x9e).put(1, &[0x10]).put(10, &32_u32.to_be_bytes()).gets(32)
    }

    /// COMPARE AND WRITE of one block.
    pub fn compare_and_write(offset: u64, expected: &[u8], data: &[u8]) -> Self {
        let both = [expected, data].concat();
        let blocks = u8::try_from(data.len() as u64 / BLOCK).unwrap_or(u8::MAX);
        Self::new(0x89)
            .put(2, &(offset / BLOCK).to_be_bytes())
            .put(13, &[blocks])
            .sends(both.into())
    }

    /// PERSISTENT RESERVE OUT: registers a key in the place of any other, for good.
    pub fn register(key: u64) -> Self {
        Self::persistent(6, 0, [0, key])
    }

    /// PERSISTENT RESERVE OUT: reserves the unit, with [`RESERVATION_TYPE`].
    pub fn reserve(key: u64) -> Self {
        Self::persistent(1, RESERVATION_TYPE, [key, 0])
    }

    fn persistent(action: u8, kind: u8, [key, new]: [u64; 2]) -> Self {
        let mut list = BytesMut::new();
        list.put_u64(key);
        list.put_u64(new);
        list.put_u32(0);
        list.put_u32(u32::from(PERSIST) << 24);
        let cdb = Self::new(0x5f).put(1, &[action, kind]).put(5, &24_u32.to_be_bytes());
        cdb.sends(list.freeze())
    }

    /// PERSISTENT RESERVE IN: the registered keys.
    pub fn read_keys() -> Self {
        Self::new(0x5e).put(1, &[0]).put(7, &1024_u16.to_be_bytes()).gets(1024)
    }

    /// PERSISTENT RESERVE IN: the reservation.
    pub fn read_reservation() -> Self {
        Self::new(0x5e).put(1, &[1]).put(7, &24_u16.to_be_bytes()).gets(24)
    }
}

/// Lengths of a load are far below this limit.
fn narrow(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
