use std::collections::VecDeque;

/// Longest line accepted from the worker. A chunk with 20 alternatives per token has about 4 KiB.
const LINE_MAX_BYTES: usize = 256 * 1024;

/// Most bytes of `data` lines in one event.
const EVENT_MAX_BYTES: usize = 4 * LINE_MAX_BYTES;

/// Why a stream is not server-sent events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line without an end.
    #[error("a line is longer than {max_bytes} bytes")]
    LineTooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// An event without an end.
    #[error("an event is longer than {max_bytes} bytes")]
    EventTooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// Not UTF-8 once the event is complete.
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Decoder of `text/event-stream` (WHATWG HTML, section 9.2): yields the data of each event.
///
/// Bytes may arrive cut anywhere, also inside a UTF-8 character or between CR and LF. Comments and
/// the fields `event`, `id` and `retry` are skipped. llama-server also writes `error: {…}` lines;
/// they count as data, because their JSON object says by itself that it is an error.
#[derive(Debug, Default)]
pub struct SseDecoder {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    events: VecDeque<String>,
}

impl SseDecoder {
    /// An empty decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`SseError`] when a bound is exceeded or an event is not UTF-8. The decoder is then of no
    /// further use.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), SseError> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > LINE_MAX_BYTES {
                return Err(SseError::LineTooLong { max_bytes: LINE_MAX_BYTES });
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.line_complete()?;
        }
        Ok(())
    }

    /// The data of the next complete event.
    pub fn next_event(&mut self) -> Option<String> {
        self.events.pop_front()
    }

    fn line_complete(&mut self) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.event_complete();
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        if name != b"data" && name != b"error" {
            return Ok(());
        }
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if self.data.len() + value.len() + 1 > EVENT_MAX_BYTES {
            return Err(SseError::EventTooLong { max_bytes: EVENT_MAX_BYTES });
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        Ok(())
    }

    fn event_complete(&mut self) -> Result<(), SseError> {
        if !std::mem::take(&mut self.has_data) {
            return Ok(());
        }
        let data = std::mem::take(&mut self.data);
        self.events.push_back(String::from_utf8(data).map_err(|_| SseError::NotUtf8)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, SseError> {
        let mut decoder = SseDecoder::new();
        let mut events = Vec::new();
        for part in parts {
            decoder.feed(part)?;
            events.extend(std::iter::from_fn(|| decoder.next_event()));
        }
        Ok(events)
    }

    fn check(stream: &str, expected: &[&str]) {
        assert_eq!(decode([stream.as_bytes()]).unwrap(), expected);
        assert_eq!(decode(stream.as_bytes().chunks(1)).unwrap(), expected);
    }

    #[test]
    fn yields_the_data_of_complete_events_only() {
        check("data: one\n\ndata: two\n\ndata: cut", &["one", "two"]);
    }

    #[test]
    fn accepts_every_line_end() {
        check("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]);
    }

    #[test]
    fn joins_data_lines_and_skips_other_fields_and_comments() {
        check(": ping\nevent: x\nid: 1\ndata:a\ndata: b\ndata\n\n\n\n", &["a\nb\n"]);
    }

    #[test]
    fn takes_error_lines_of_llama_server_as_data() {
        check("error: {\"code\":500}\n\n", &["{\"code\":500}"]);
    }

    #[test]
    fn keeps_characters_that_arrive_in_pieces() {
        check("data: žluťoučký 🦙\n\n", &["žluťoučký 🦙"]);
    }

    #[test]
    fn refuses_a_line_without_end() {
        let mut decoder = SseDecoder::new();
        decoder.feed(&vec![b'x'; LINE_MAX_BYTES]).unwrap();
        assert_eq!(decoder.feed(b"x"), Err(SseError::LineTooLong { max_bytes: LINE_MAX_BYTES }));
    }

    #[test]
    fn refuses_an_event_without_end() {
        let line = [b"data: ".as_slice(), &vec![b'x'; LINE_MAX_BYTES - 100], b"\n"].concat();
        let result = decode(std::iter::repeat_n(line.as_slice(), 5));
        assert_eq!(result, Err(SseError::EventTooLong { max_bytes: EVENT_MAX_BYTES }));
    }

    #[test]
    fn refuses_data_that_is_not_utf8() {
        assert_eq!(decode([b"data: \xff\n\n".as_slice()]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_give_the_same_result_and_never_panic(
            stream in prop::collection::vec(
                prop_oneof![
                    Just(b"data: ".to_vec()),
                    Just(b"error:".to_vec()),
                    Just(b"\n".to_vec()),
                    Just(b"\r".to_vec()),
                    Just("\u{1f999}".as_bytes().to_vec()),
                    prop::collection::vec(any::<u8>(), 0..6),
                ],
                0..40,
            ),
            cut in 1usize..9,
        ) {
            let stream = stream.concat();
            prop_assert_eq!(decode([stream.as_slice()]), decode(stream.chunks(cut)));
        }

        #[test]
        fn what_was_written_is_what_is_read(
            texts in prop::collection::vec("[^\r\n]{0,40}", 0..10),
            cut in 1usize..9,
        ) {
            let stream = texts.iter().fold(String::new(), |all, text| all + "data: " + text + "\n\n");
            prop_assert_eq!(decode(stream.as_bytes().chunks(cut)).unwrap(), texts);
        }
    }
}
