//! The event stream inside DATA: `tag 1 | len 2 | payload`, independent of frame borders.

use std::fmt;

use zeroize::Zeroize as _;

use crate::receipt::Finish;

/// Longest payload of an event, bytes.
pub const EVENT_PAYLOAD_MAX_LEN: usize = 65_535;

const CONTENT: u8 = 1;
const REASONING: u8 = 2;
const TOOL_CALLS: u8 = 3;
const LOGPROBS: u8 = 4;
const TIMINGS: u8 = 5;
const NEXT_CHOICE: u8 = 6;
const EMBEDDING: u8 = 7;
const TOKENS: u8 = 8;

/// Most numbers of four bytes in one event.
const WORDS_MAX: usize = EVENT_PAYLOAD_MAX_LEN / 4;

/// One step of an answer. Never logged: `Debug` shows lengths, not text.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// Text of the answer.
    Content(String),
    /// Text of the model's reasoning.
    Reasoning(String),
    /// JSON array of OpenAI tool call deltas.
    ToolCalls(String),
    /// JSON as in the `logprobs` of OpenAI's choice.
    Logprobs(String),
    /// How long the worker took.
    Timings {
        /// Milliseconds for the prompt.
        prompt_ms: u32,
        /// Milliseconds for the completion.
        predicted_ms: u32,
    },
    /// A choice has ended for this reason; what follows belongs to the next one. The last choice
    /// ends with the answer, whose receipt states its reason.
    NextChoice(Finish),
    /// The embedding of the next input, in order: bit patterns of IEEE 754 binary32.
    Embedding(Vec<u32>),
    /// The next token ids of a text.
    Tokens(Vec<u32>),
}

/// Why an event cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A payload that cannot be cut is longer than its length field can say.
    #[error("event {tag} has a payload of {got} bytes, more than 65535")]
    TooLong {
        /// Tag of the event.
        tag: u8,
        /// Length given.
        got: usize,
    },
    /// A tag that does not exist.
    #[error("event has the unknown tag {0}")]
    UnknownTag(u8),
    /// An event without payload.
    #[error("event {0} has no payload")]
    Empty(u8),
    /// Text that is not UTF-8.
    #[error("event {0} is not UTF-8")]
    NotUtf8(u8),
    /// Timings that do not have 8 bytes.
    #[error("timings have {0} bytes, not 8")]
    TimingsLength(usize),
    /// The end of a choice does not have 1 byte.
    #[error("the end of a choice has {0} bytes, not 1")]
    ChoiceLength(usize),
    /// No choice ends for this reason.
    #[error("a choice ended for the reason {0}, not 1 to 3")]
    ChoiceFinish(u8),
    /// Numbers that do not have four bytes each.
    #[error("event {tag} has {got} bytes, which is no number of four-byte words")]
    WordsLength {
        /// Tag of the event.
        tag: u8,
        /// Length received.
        got: usize,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(text) => write!(f, "Content({} B)", text.len()),
            Self::Reasoning(text) => write!(f, "Reasoning({} B)", text.len()),
            Self::ToolCalls(json) => write!(f, "ToolCalls({} B)", json.len()),
            Self::Logprobs(json) => write!(f, "Logprobs({} B)", json.len()),
            Self::Timings { prompt_ms, predicted_ms } => {
                write!(f, "Timings({prompt_ms} ms, {predicted_ms} ms)")
            }
            Self::NextChoice(finish) => write!(f, "NextChoice({finish:?})"),
            Self::Embedding(numbers) => write!(f, "Embedding({} numbers)", numbers.len()),
            Self::Tokens(tokens) => write!(f, "Tokens({})", tokens.len()),
        }
    }
}

impl Event {
    /// Appends the event to `out`. Empty text appends nothing; long content, reasoning and tokens
    /// are cut into several events.
    ///
    /// # Errors
    /// [`EventError::TooLong`] for tool calls or logprobs above 65,535 bytes, and for an embedding
    /// of more than 16,383 numbers.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        match self {
            Self::Content(text) => put_text(out, CONTENT, text),
            Self::Reasoning(text) => put_text(out, REASONING, text),
            Self::ToolCalls(json) => put(out, TOOL_CALLS, json.as_bytes())?,
            Self::Logprobs(json) => put(out, LOGPROBS, json.as_bytes())?,
            Self::Timings { prompt_ms, predicted_ms } => {
                put(
                    out,
                    TIMINGS,
                    [prompt_ms.to_be_bytes(), predicted_ms.to_be_bytes()].as_flattened(),
                )?;
            }
            Self::NextChoice(finish) => put(out, NEXT_CHOICE, &[finish.id()])?,
            Self::Embedding(numbers) => put_words(out, EMBEDDING, numbers)?,
            Self::Tokens(tokens) => {
                tokens.chunks(WORDS_MAX).try_for_each(|part| put_words(out, TOKENS, part))?;
            }
        }
        Ok(())
    }

    fn decode(tag: u8, payload: &[u8]) -> Result<Self, EventError> {
        let text = || {
            let text = std::str::from_utf8(payload).map_err(|_| EventError::NotUtf8(tag))?;
            if text.is_empty() { Err(EventError::Empty(tag)) } else { Ok(text.to_owned()) }
        };
        match tag {
            CONTENT => text().map(Self::Content),
            REASONING => text().map(Self::Reasoning),
            TOOL_CALLS => text().map(Self::ToolCalls),
            LOGPROBS => text().map(Self::Logprobs),
            TIMINGS => {
                let length = EventError::TimingsLength(payload.len());
                let (halves, []) = payload.as_chunks::<4>() else { return Err(length) };
                let [prompt_ms, predicted_ms] = *halves else { return Err(length) };
                Ok(Self::Timings {
                    prompt_ms: u32::from_be_bytes(prompt_ms),
                    predicted_ms: u32::from_be_bytes(predicted_ms),
                })
            }
            NEXT_CHOICE => {
                let [id] = *payload else { return Err(EventError::ChoiceLength(payload.len())) };
                let finish = Finish::from_u8(id).filter(|_| (1..=3).contains(&id));
                finish.map(Self::NextChoice).ok_or(EventError::ChoiceFinish(id))
            }
            EMBEDDING => words(tag, payload).map(Self::Embedding),
            TOKENS => words(tag, payload).map(Self::Tokens),
            other => Err(EventError::UnknownTag(other)),
        }
    }
}

fn words(tag: u8, payload: &[u8]) -> Result<Vec<u32>, EventError> {
    match payload.as_chunks::<4>() {
        ([], []) => Err(EventError::Empty(tag)),
        (words, []) => Ok(words.iter().map(|word| u32::from_be_bytes(*word)).collect()),
        _ => Err(EventError::WordsLength { tag, got: payload.len() }),
    }
}

fn put_words(out: &mut Vec<u8>, tag: u8, words: &[u32]) -> Result<(), EventError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    put(out, tag, &bytes)
}

/// Text in events of at most 65,535 bytes, cut between characters.
fn put_text(out: &mut Vec<u8>, tag: u8, mut text: &str) {
    while !text.is_empty() {
        let end = text.floor_char_boundary(EVENT_PAYLOAD_MAX_LEN);
        let (head, tail) = text.split_at_checked(end).unwrap_or((text, ""));
        // Within the limit by construction.
        let _ = put(out, tag, head.as_bytes());
        text = tail;
    }
}

fn put(out: &mut Vec<u8>, tag: u8, payload: &[u8]) -> Result<(), EventError> {
    let got = payload.len();
    let len = u16::try_from(got).map_err(|_| EventError::TooLong { tag, got })?;
    if len > 0 {
        out.push(tag);
        out.extend(len.to_be_bytes());
        out.extend(payload);
    }
    Ok(())
}

/// Reads the event stream in pieces of any size. Holds at most one unfinished event.
#[derive(Default)]
pub struct EventDecoder {
    buffer: Vec<u8>,
}

impl EventDecoder {
    /// Takes the next bytes and returns the events that became complete with them.
    ///
    /// # Errors
    /// [`EventError`], naming the first rule that is broken. An unknown tag is refused as soon as
    /// it is seen.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventError> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut rest = self.buffer.as_slice();
        while let Some((&tag, after_tag)) = rest.split_first() {
            if !(CONTENT..=TOKENS).contains(&tag) {
                return Err(EventError::UnknownTag(tag));
            }
            let Some((len, after_len)) = after_tag.split_first_chunk::<2>() else { break };
            let len = usize::from(u16::from_be_bytes(*len));
            let Some((payload, after)) = after_len.split_at_checked(len) else { break };
            events.push(Event::decode(tag, payload)?);
            rest = after;
        }
        let kept = rest.to_vec();
        self.buffer.zeroize();
        self.buffer = kept;
        Ok(events)
    }

    /// Whether the stream may end here: no event is begun.
    pub fn is_complete(&self) -> bool {
        self.buffer.is_empty()
    }
}

impl fmt::Debug for EventDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventDecoder({} B)", self.buffer.len())
    }
}

impl Drop for EventDecoder {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(events: &[Event]) -> Vec<u8> {
        let mut out = Vec::new();
        for event in events {
            event.encode(&mut out).unwrap();
        }
        out
    }

    fn check_refused(bytes: &[u8], expected: EventError) {
        assert_eq!(EventDecoder::default().push(bytes), Err(expected));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "€".repeat(50_000);
        let bytes = encode(&[Event::Content(text.clone())]);
        let events = EventDecoder::default().push(&bytes).unwrap();
        assert_eq!(events.len(), 3);
        let joined: String = events
            .iter()
            .map(|event| match event {
                Event::Content(part) => part.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(joined == text);
    }

    #[test]
    fn rejects_json_that_does_not_fit() {
        let json = "x".repeat(EVENT_PAYLOAD_MAX_LEN + 1);
        let got = json.len();
        assert_eq!(
            Event::ToolCalls(json.clone()).encode(&mut Vec::new()),
            Err(EventError::TooLong { tag: TOOL_CALLS, got })
        );
        assert_eq!(
            Event::Logprobs(json).encode(&mut Vec::new()),
            Err(EventError::TooLong { tag: LOGPROBS, got })
        );
    }

    #[test]
    fn empty_text_writes_nothing() {
        assert!(encode(&[Event::Content(String::new())]).is_empty());
    }

    #[test]
    fn rejects_unknown_tag_before_its_payload_arrives() {
        check_refused(&[9], EventError::UnknownTag(9));
        check_refused(&[0], EventError::UnknownTag(0));
    }

    #[test]
    fn rejects_empty_event_bad_utf8_and_short_timings() {
        check_refused(&[1, 0, 0], EventError::Empty(1));
        check_refused(&[2, 0, 1, 0xff], EventError::NotUtf8(2));
        check_refused(&[5, 0, 1, 0], EventError::TimingsLength(1));
    }

    #[test]
    fn rejects_a_choice_without_reason_and_words_that_are_cut() {
        check_refused(&[6, 0, 0], EventError::ChoiceLength(0));
        check_refused(&[6, 0, 2, 1, 1], EventError::ChoiceLength(2));
        check_refused(&[6, 0, 1, 0], EventError::ChoiceFinish(0));
        check_refused(&[6, 0, 1, 4], EventError::ChoiceFinish(4));
        check_refused(&[7, 0, 0], EventError::Empty(7));
        check_refused(&[7, 0, 3, 1, 2, 3], EventError::WordsLength { tag: 7, got: 3 });
        check_refused(&[8, 0, 5, 1, 2, 3, 4, 5], EventError::WordsLength { tag: 8, got: 5 });
    }

    #[test]
    fn many_tokens_are_cut_into_events_and_a_long_embedding_is_refused() {
        let tokens: Vec<u32> = (0..40_000).collect();
        let events =
            EventDecoder::default().push(&encode(&[Event::Tokens(tokens.clone())])).unwrap();
        assert_eq!(events.len(), 3);
        let parts = events.into_iter().flat_map(|event| match event {
            Event::Tokens(part) => part,
            other => panic!("{other:?}"),
        });
        assert!(parts.eq(tokens));
        let error = Event::Embedding(vec![0; 16_384]).encode(&mut Vec::new()).unwrap_err();
        assert_eq!(error, EventError::TooLong { tag: EMBEDDING, got: 65_536 });
    }

    #[test]
    fn debug_form_shows_no_text() {
        assert_eq!(format!("{:?}", Event::Content("secret".into())), "Content(6 B)");
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            ".{1,40}".prop_map(Event::Content),
            ".{1,40}".prop_map(Event::Reasoning),
            ".{1,40}".prop_map(Event::ToolCalls),
            ".{1,40}".prop_map(Event::Logprobs),
            any::<(u32, u32)>()
                .prop_map(|(prompt_ms, predicted_ms)| Event::Timings { prompt_ms, predicted_ms }),
            prop::sample::select(vec![Finish::Stop, Finish::Length, Finish::ToolCalls])
                .prop_map(Event::NextChoice),
            prop::collection::vec(any::<u32>(), 1..9).prop_map(Event::Embedding),
            prop::collection::vec(any::<u32>(), 1..9).prop_map(Event::Tokens),
        ]
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            events in prop::collection::vec(any_event(), 0..12), step in 1usize..50,
        ) {
            let mut decoder = EventDecoder::default();
            let mut read = Vec::new();
            for piece in encode(&events).chunks(step) {
                read.extend(decoder.push(piece).unwrap());
            }
            prop_assert!(decoder.is_complete());
            prop_assert!(read == events);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = EventDecoder::default().push(&bytes);
        }
    }
}
