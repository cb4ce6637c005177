//! Reading and writing of fixed-layout byte strings, without indexing and without panics.

use crate::amount::{Amount, AmountError};

/// What a fixed-layout reader can find wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The input ends inside a field.
    #[error("input ends inside a field")]
    Short,
    /// A 16-byte amount is above 2^96 − 1.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

/// A cursor over borrowed bytes.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(ReadError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn amount(&mut self) -> Result<Amount, ReadError> {
        Ok(Amount::new(u128::from_be_bytes(self.array()?))?)
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// `len` as the four length bytes of the page; lengths are checked against their limit before.
pub(crate) fn len_u32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}
