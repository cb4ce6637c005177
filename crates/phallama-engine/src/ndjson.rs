use std::collections::VecDeque;

use crate::SseError;

/// Longest line accepted: a whole call of a function comes in one.
const LINE_MAX_BYTES: usize = 1024 * 1024;

/// Decoder of lines of JSON: yields each complete line that is not empty.
///
/// Bytes may arrive cut anywhere, also inside a UTF-8 character. What has no line end is not
/// yielded.
#[derive(Debug, Default)]
pub(crate) struct LineDecoder {
    line: Vec<u8>,
    lines: VecDeque<String>,
}

impl LineDecoder {
    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`SseError::LineTooLong`], [`SseError::NotUtf8`]. The decoder is then of no further use.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), SseError> {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > LINE_MAX_BYTES {
                return Err(SseError::LineTooLong { max_bytes: LINE_MAX_BYTES });
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            bytes = &bytes[end + 1..];
            let line = String::from_utf8(std::mem::take(&mut self.line));
            let line = line.map_err(|_| SseError::NotUtf8)?;
            if !line.trim().is_empty() {
                self.lines.push_back(line);
            }
        }
        Ok(())
    }

    /// The next complete line.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, SseError> {
        let mut decoder = LineDecoder::default();
        parts.into_iter().try_for_each(|part| decoder.feed(part))?;
        Ok(std::iter::from_fn(|| decoder.next_line()).collect())
    }

    #[test]
    fn yields_whole_lines_only_wherever_they_are_cut() {
        let stream = "{\"a\":\"žluť 🦙\"}\r\n\n \n{}\n{\"cut\"".as_bytes();
        for step in 1..9 {
            let lines = decode(stream.chunks(step)).unwrap();
            assert_eq!(lines, ["{\"a\":\"žluť 🦙\"}\r", "{}"], "{step}");
        }
    }

    #[test]
    fn refuses_a_line_without_end_and_bytes_that_are_no_text() {
        let mut decoder = LineDecoder::default();
        decoder.feed(&vec![b'x'; LINE_MAX_BYTES]).unwrap();
        assert_eq!(decoder.feed(b"x"), Err(SseError::LineTooLong { max_bytes: LINE_MAX_BYTES }));
        assert_eq!(decode([b"\xf0\x9f\n".as_slice()]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn what_was_written_is_what_is_read(
            texts in prop::collection::vec("[^\n ]{1,40}", 0..10),
            cut in 1usize..9,
        ) {
            let texts: Vec<String> =
                texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
            let stream = texts.iter().fold(String::new(), |all, text| all + text + "\n");
            prop_assert_eq!(decode(stream.as_bytes().chunks(cut)).unwrap(), texts);
        }
    }
}
