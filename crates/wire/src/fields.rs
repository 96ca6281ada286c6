//! Reads big-endian fields from a peer's bytes, never beyond their end.

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

/// The message ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort;

impl<'a> Fields<'a> {
    /// All of the message.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes that are left.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none are left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is left.
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// So many bytes.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], TooShort> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(TooShort)?;
        self.0 = tail;
        Ok(head)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(TooShort)?;
        self.0 = tail;
        Ok(*head)
    }

    /// A field of 8 bits.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn u8(&mut self) -> Result<u8, TooShort> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A field of 16 bits.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn u16(&mut self) -> Result<u16, TooShort> {
        self.array().map(u16::from_be_bytes)
    }

    /// A field of 32 bits.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn u32(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_be_bytes)
    }

    /// A field of 64 bits.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken.
    pub fn u64(&mut self) -> Result<u64, TooShort> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes whose length stands before them in 32 bits. The length is compared with what is there
    /// and never used otherwise.
    ///
    /// # Errors
    /// [`TooShort`]; then nothing is taken but the length, if it is there.
    pub fn counted(&mut self) -> Result<&'a [u8], TooShort> {
        let length = usize::try_from(self.u32()?).map_err(|_| TooShort)?;
        self.bytes(length)
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
        assert_eq!(fields.rest(), [2]);
    }

    #[test]
    fn a_length_larger_than_the_message_is_refused() {
        let mut fields = Fields::new(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(fields.counted(), Err(TooShort));
    }
}
