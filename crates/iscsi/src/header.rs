//! The basic header segment: the 48 bytes that every PDU begins with (RFC 7143 section 11.2.1).

use std::fmt;

use crate::limits::SEGMENT_BYTES_MAX;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial, Ttt};
use crate::opcode::Opcode;

/// Marks a command for immediate delivery.
const IMMEDIATE: u8 = 0x40;
/// The bits of the operation code.
const OPCODE_MASK: u8 = 0x3f;
/// Unit in which a header gives the length of the additional ones, in bytes.
const WORD_BYTES: usize = 4;

/// A basic header segment, as it stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header(pub [u8; Self::BYTES]);

impl Header {
    /// Its length in bytes.
    pub const BYTES: usize = 48;

    /// The operation code.
    pub const fn opcode(&self) -> Opcode {
        Opcode(self.0[0] & OPCODE_MASK)
    }

    /// Whether a request asks for immediate delivery.
    pub const fn is_immediate(&self) -> bool {
        self.0[0] & IMMEDIATE != 0
    }

    /// Length of the additional header segments in bytes (`TotalAHSLength`).
    pub const fn ahs_length(&self) -> usize {
        self.0[4] as usize * WORD_BYTES
    }

    /// Length of the data segment in bytes, without its padding (`DataSegmentLength`).
    pub const fn data_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// The Initiator Task Tag, which has its place in every PDU.
    pub const fn itt(&self) -> Itt {
        Itt(self.u32(16))
    }

    /// An empty header of the operation.
    pub(crate) const fn new(opcode: Opcode) -> Self {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = opcode.0;
        Self(bytes)
    }

    pub(crate) const fn flags(&self) -> u8 {
        self.0[1]
    }

    pub(crate) const fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    pub(crate) const fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub(crate) const fn lun(&self) -> Lun {
        Lun((self.u32(8) as u64) << 32 | self.u32(12) as u64)
    }

    pub(crate) const fn ttt(&self) -> Ttt {
        Ttt(self.u32(20))
    }

    /// `CmdSN` of a request that has one.
    pub(crate) const fn cmd_sn(&self) -> Serial {
        Serial(self.u32(24))
    }

    /// `ExpStatSN` of a request.
    pub(crate) const fn expected_stat_sn(&self) -> Serial {
        Serial(self.u32(28))
    }

    /// The numbers of a target's PDU.
    pub(crate) const fn sequence(&self) -> Sequence {
        Sequence {
            stat_sn: Serial(self.u32(24)),
            expected_cmd_sn: Serial(self.u32(28)),
            max_cmd_sn: Serial(self.u32(32)),
        }
    }

    pub(crate) const fn immediate(mut self, immediate: bool) -> Self {
        if immediate {
            self.0[0] |= IMMEDIATE;
        }
        self
    }

    pub(crate) const fn put_u8(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    pub(crate) fn put_u16(self, at: usize, value: u16) -> Self {
        self.put(at, value.to_be_bytes())
    }

    pub(crate) fn put_u32(self, at: usize, value: u32) -> Self {
        self.put(at, value.to_be_bytes())
    }

    pub(crate) fn put_lun(self, lun: Lun) -> Self {
        self.put(8, lun.0.to_be_bytes())
    }

    pub(crate) fn put_tags(self, itt: Itt, ttt: Ttt) -> Self {
        self.put_u32(16, itt.0).put_u32(20, ttt.0)
    }

    pub(crate) fn put_sequence(self, sequence: Sequence) -> Self {
        self.put_u32(24, sequence.stat_sn.0)
            .put_u32(28, sequence.expected_cmd_sn.0)
            .put_u32(32, sequence.max_cmd_sn.0)
    }

    pub(crate) fn put<const N: usize>(mut self, at: usize, bytes: [u8; N]) -> Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }

    /// Sets the lengths of what follows, in bytes: of additional headers, a multiple of 4, and of
    /// data.
    pub(crate) fn put_lengths(self, ahs: usize, data: u32) -> Self {
        assert!(ahs.is_multiple_of(WORD_BYTES) && ahs / WORD_BYTES <= 0xff, "words of headers");
        assert!(data <= SEGMENT_BYTES_MAX, "a segment of at most 24 bits");
        let [_, high, middle, low] = data.to_be_bytes();
        self.put(4, [(ahs / WORD_BYTES) as u8, high, middle, low])
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02x?}", self.opcode(), self.0)
    }
}
