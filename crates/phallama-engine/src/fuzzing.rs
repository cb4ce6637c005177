//! What the fuzz targets reach beside the public interface. Not for anybody else.

use serde_json::{Map, Value};

use crate::decoding::Decoding;
use crate::generation::Dialect;
use crate::vectors::{read_text, read_tokens};
use crate::{ChatRequest, CompletionRequest, Embeddings, EngineEvent, Usage};

/// The bodies that the worker would get for a chat.
pub fn chat_bodies(request: ChatRequest) -> Vec<Map<String, Value>> {
    bodies(request.for_worker(3, false, 4096))
}

/// The bodies that the worker would get for a completion.
pub fn completion_bodies(request: CompletionRequest) -> Vec<Map<String, Value>> {
    bodies(request.for_worker(3, false, 4096))
}

fn bodies(mut choices: crate::generation::Choices) -> Vec<Map<String, Value>> {
    std::iter::from_fn(|| choices.next_body())
        .map(|body| serde_json::from_slice(&body).expect("what we wrote is JSON"))
        .collect()
}

/// What a stream of the worker comes to: its events, its counts, and the error that ended it.
pub type Decoded = (Vec<EngineEvent>, Usage, Option<String>);

/// Decodes `parts` one after the other, as so many choices.
pub fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>, choices: u32) -> Decoded {
    run(Decoding::default(), parts, choices)
}

fn run<'a>(
    mut decoding: Decoding,
    parts: impl IntoIterator<Item = &'a [u8]>,
    choices: u32,
) -> Decoded {
    let (mut events, mut left) = (Vec::new(), choices);
    for part in parts {
        let fed = decoding.feed(part).and_then(|ended| {
            if ended {
                left = left.saturating_sub(1);
                decoding.end_choice(left > 0)?;
            }
            Ok(())
        });
        events.extend(std::iter::from_fn(|| decoding.next_event()));
        if let Err(error) = fed {
            return (events, decoding.usage(), Some(error.to_string()));
        }
        if left == 0 {
            break;
        }
    }
    (events, decoding.usage(), None)
}

/// Decodes `parts` one after the other, as one answer of Ollama's.
pub fn decode_ollama<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    run(Decoding::new(Dialect::Ollama, false, true), parts, 1)
}

/// Reads an answer of Ollama's that comes in one piece as each kind that there is.
pub fn read_ollama_whole(body: &[u8], count: usize) -> Option<Embeddings> {
    if let Ok(answer) = serde_json::from_slice(body) {
        let _ = crate::ollama::shown(&answer);
    }
    Embeddings::read_ollama(body, count).ok()
}

/// Reads an answer that comes in one piece as each kind that there is.
pub fn read_whole(
    body: &[u8],
    count: usize,
) -> (Option<Embeddings>, Option<Vec<u32>>, Option<String>) {
    (Embeddings::read(body, count).ok(), read_tokens(body).ok(), read_text(body).ok())
}
