//! Reads big-endian fields from an initiator's bytes, never beyond their end.

use crate::codes::SenseCode;
use crate::sense::Sense;

/// What is left of a parameter list or a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The bytes ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

impl From<TooShort> for Sense {
    /// A parameter list that ends inside a field.
    fn from(_: TooShort) -> Self {
        Self::illegal(SenseCode::PARAMETER_LIST_LENGTH)
    }
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], TooShort> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(TooShort)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(TooShort)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, TooShort> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TooShort> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, TooShort> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_beyond_the_end_is_refused_and_consumes_nothing() {
        let mut fields = Fields::new(&[0, 1, 2]);
        assert_eq!(fields.u32(), Err(TooShort));
        assert_eq!(fields.u16(), Ok(1));
        assert_eq!(fields.len(), 1);
        assert_eq!(fields.u8(), Ok(2));
        assert!(fields.is_empty());
    }
}
