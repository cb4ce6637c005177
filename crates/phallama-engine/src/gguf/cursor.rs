//! Reads forward, and never past what the file has.

use std::io::{self, Read};

use super::{GgufError, GgufRefusal, HEADER_MAX_BYTES};

/// A position in the header of a file whose size is known.
pub(super) struct Cursor<R> {
    reader: R,
    offset: u64,
    file_len: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(reader: R, file_len: u64) -> Self {
        Self { reader, offset: 0, file_len }
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Checks that `needed` more bytes are there, and belong into a header.
    pub(super) fn need(&self, what: &'static str, needed: u64) -> Result<(), GgufError> {
        let left = self.file_len.saturating_sub(self.offset);
        if needed > left {
            return Err(self.truncated(what, needed, left));
        }
        if self.offset.saturating_add(needed) > HEADER_MAX_BYTES {
            let refusal = GgufRefusal::HeaderTooLarge { max: HEADER_MAX_BYTES };
            return Err(GgufError::refused(self.offset, refusal));
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], GgufError> {
        let len = N as u64;
        self.need(what, len)?;
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => {
                self.offset = self.offset.saturating_add(len);
                Ok(bytes)
            }
            // The file has shrunk meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.truncated(what, len, 0))
            }
            Err(source) => Err(GgufError::Unreadable { offset: self.offset, source }),
        }
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// The length of a string or array, not above `max`; `too_long` makes the refusal.
    pub(super) fn length(
        &mut self,
        what: &'static str,
        max: u64,
        too_long: impl FnOnce(u64) -> GgufRefusal,
    ) -> Result<u64, GgufError> {
        let at = self.offset;
        let length = self.u64(what)?;
        if length > max {
            return Err(GgufError::refused(at, too_long(length)));
        }
        Ok(length)
    }

    /// The next `len` bytes. The buffer grows with what is really there.
    pub(super) fn take(&mut self, what: &'static str, len: u64) -> Result<Vec<u8>, GgufError> {
        let mut bytes = Vec::new();
        self.copy(what, len, |reader| reader.read_to_end(&mut bytes).map(|read| read as u64))?;
        Ok(bytes)
    }

    /// Reads `len` bytes and forgets them.
    pub(super) fn skip(&mut self, what: &'static str, len: u64) -> Result<(), GgufError> {
        self.copy(what, len, |reader| io::copy(reader, &mut io::sink()))
    }

    fn copy(
        &mut self,
        what: &'static str,
        len: u64,
        read: impl FnOnce(&mut io::Take<&mut R>) -> io::Result<u64>,
    ) -> Result<(), GgufError> {
        self.need(what, len)?;
        let done = read(&mut (&mut self.reader).take(len))
            .map_err(|source| GgufError::Unreadable { offset: self.offset, source })?;
        if done != len {
            return Err(self.truncated(what, len, done));
        }
        self.offset = self.offset.saturating_add(len);
        Ok(())
    }

    fn truncated(&self, what: &'static str, needed: u64, left: u64) -> GgufError {
        GgufError::refused(self.offset, GgufRefusal::Truncated { what, needed, left })
    }
}
