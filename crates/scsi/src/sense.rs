//! Sense data: why a command ended with CHECK CONDITION, in both formats (SPC-4 4.5).

use blockferry_wire::TooShort;

use crate::codes::SenseCode;

/// Whose fault it is, and what may help (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenseKey {
    /// Nothing to tell.
    NoSense,
    /// The medium cannot be read or written.
    MediumError,
    /// This side failed.
    HardwareError,
    /// The initiator's command is wrong.
    IllegalRequest,
    /// Something has changed that the initiator has to know first.
    UnitAttention,
    /// The unit may not be written, or not any more.
    DataProtect,
    /// The medium holds other bytes than the initiator expected.
    Miscompare,
}

impl SenseKey {
    const fn code(self) -> u8 {
        match self {
            Self::NoSense => 0x0,
            Self::MediumError => 0x3,
            Self::HardwareError => 0x4,
            Self::IllegalRequest => 0x5,
            Self::UnitAttention => 0x6,
            Self::DataProtect => 0x7,
            Self::Miscompare => 0xe,
        }
    }
}

/// The field that is wrong (SPC-4 4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldPointer {
    /// In the command descriptor block.
    Cdb {
        /// Its first byte.
        byte: u16,
        /// Its highest bit, where it is smaller than a byte.
        bit: Option<u8>,
    },
    /// In the parameter list.
    Parameters {
        /// Its first byte.
        byte: u16,
    },
}

/// What is told about one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sense {
    /// Whose fault it is.
    pub key: SenseKey,
    /// What exactly.
    pub code: SenseCode,
    /// The logical block address, or the offset in bytes, that the code speaks of.
    pub information: Option<u64>,
    /// The field that is wrong.
    pub pointer: Option<FieldPointer>,
}

/// Encoded sense data, as a transport sends it: at most 28 bytes, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenseData {
    bytes: [u8; DESCRIPTORS_BYTES_MAX],
    length: usize,
}

/// Which of the two formats is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseFormat {
    /// The old one, of 18 bytes; an address beyond 32 bits does not fit.
    Fixed,
    /// The newer one, with a descriptor for each thing.
    Descriptor,
}

/// Length of fixed format sense data.
const FIXED_BYTES: usize = 18;
/// Header, information descriptor (12 bytes) and field pointer descriptor (8 bytes).
const DESCRIPTORS_BYTES_MAX: usize = 8 + 12 + 8;

impl From<TooShort> for Sense {
    /// A parameter list that ends inside a field.
    fn from(_: TooShort) -> Self {
        Self::illegal(SenseCode::PARAMETER_LIST_LENGTH)
    }
}

impl Sense {
    /// A key and a code, and nothing else.
    pub const fn new(key: SenseKey, code: SenseCode) -> Self {
        Self { key, code, information: None, pointer: None }
    }

    /// An illegal request.
    pub(crate) const fn illegal(code: SenseCode) -> Self {
        Self::new(SenseKey::IllegalRequest, code)
    }

    /// A wrong field of the command descriptor block; `bit` is the highest of it.
    pub(crate) const fn cdb_field(byte: u16, bit: Option<u8>) -> Self {
        Self {
            pointer: Some(FieldPointer::Cdb { byte, bit }),
            ..Self::illegal(SenseCode::INVALID_FIELD_IN_CDB)
        }
    }

    /// A wrong field of the parameter list.
    pub(crate) fn parameter_field(byte: usize) -> Self {
        let byte = u16::try_from(byte).unwrap_or(u16::MAX);
        Self {
            pointer: Some(FieldPointer::Parameters { byte }),
            ..Self::illegal(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST)
        }
    }

    /// The same about this address or offset.
    pub(crate) const fn about(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// The bytes that a transport sends.
    pub fn encode(&self, format: SenseFormat) -> SenseData {
        match format {
            SenseFormat::Fixed => self.encode_fixed(),
            SenseFormat::Descriptor => self.encode_descriptors(),
        }
    }

    fn encode_fixed(&self) -> SenseData {
        let mut bytes = [0; DESCRIPTORS_BYTES_MAX];
        bytes[0] = 0x70;
        bytes[2] = self.key.code();
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[7] = 10;
        bytes[12] = self.code.asc();
        bytes[13] = self.code.ascq();
        if let Some(pointer) = self.pointer {
            bytes[15..18].copy_from_slice(&pointer.encode());
        }
        SenseData { bytes, length: FIXED_BYTES }
    }

    fn encode_descriptors(&self) -> SenseData {
        let mut data = SenseData { bytes: [0; DESCRIPTORS_BYTES_MAX], length: 8 };
        data.bytes[..4].copy_from_slice(&[
            0x72,
            self.key.code(),
            self.code.asc(),
            self.code.ascq(),
        ]);
        if let Some(information) = self.information {
            data.push(&[0x00, 0x0a, 0x80, 0x00]);
            data.push(&information.to_be_bytes());
        }
        if let Some(pointer) = self.pointer {
            data.push(&[0x02, 0x06, 0x00, 0x00]);
            data.push(&pointer.encode());
            data.push(&[0x00]);
        }
        data.bytes[7] = u8::try_from(data.length - 8).unwrap_or(u8::MAX);
        data
    }
}

impl FieldPointer {
    /// The three bytes of sense-key specific data.
    fn encode(self) -> [u8; 3] {
        let (flags, byte) = match self {
            Self::Cdb { byte, bit: Some(bit) } => (0xc8 | bit & 7, byte),
            Self::Cdb { byte, bit: None } => (0xc0, byte),
            Self::Parameters { byte } => (0x80, byte),
        };
        let [high, low] = byte.to_be_bytes();
        [flags, high, low]
    }
}

impl SenseData {
    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, more: &[u8]) {
        self.bytes[self.length..self.length + more.len()].copy_from_slice(more);
        self.length += more.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_has_the_layout_of_the_standard() {
        let sense = Sense::cdb_field(1, Some(4)).about(0x0102_0304);
        assert_eq!(
            sense.encode(SenseFormat::Fixed).as_bytes(),
            [0xf0, 0, 5, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcc, 0, 1]
        );
    }

    #[test]
    fn descriptor_format_has_the_layout_of_the_standard() {
        let sense = Sense::parameter_field(0x0123).about(0x0102_0304_0506_0708);
        let expected = [
            &[0x72, 5, 0x26, 0, 0, 0, 0, 20][..],
            &[0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x02, 0x06, 0, 0, 0x80, 0x01, 0x23, 0],
        ];
        assert_eq!(sense.encode(SenseFormat::Descriptor).as_bytes(), expected.concat());
        let plain = Sense::new(SenseKey::MediumError, SenseCode::WRITE_ERROR);
        assert_eq!(
            plain.encode(SenseFormat::Descriptor).as_bytes(),
            [0x72, 3, 0x0c, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn an_address_beyond_32_bits_is_not_told_in_fixed_format() {
        let sense = Sense::illegal(SenseCode::LBA_OUT_OF_RANGE).about(1 << 32);
        let data = sense.encode(SenseFormat::Fixed);
        assert_eq!(data.as_bytes()[..7], [0x70, 0, 5, 0, 0, 0, 0]);
        let data = sense.encode(SenseFormat::Descriptor);
        assert_eq!(data.as_bytes()[12..20], (1_u64 << 32).to_be_bytes());
    }
}
