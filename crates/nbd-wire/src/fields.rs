//! Reads big-endian fields from a peer's bytes, never beyond their end.

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The message ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

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

    /// Everything that is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
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

    /// Bytes whose length stands before them in 32 bits. The length is compared with what is there
    /// and never used otherwise.
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], TooShort> {
        let length = usize::try_from(self.u32()?).map_err(|_| TooShort)?;
        self.bytes(length)
    }
}

/// The length of something of ours, all of which is far below 4 GiB.
pub(crate) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_beyond_the_end_is_refused_and_consumes_nothing() {
        let mut fields = Fields::new(&[0, 1, 2]);
        assert_eq!(fields.u32(), Err(TooShort));
        assert_eq!(fields.u16(), Ok(1));
        assert_eq!(fields.rest(), [2]);
    }

    #[test]
    fn a_length_larger_than_the_message_is_refused() {
        let mut fields = Fields::new(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(fields.counted(), Err(TooShort));
    }
}
