//! The most that a request can use, read off its body (spec/billing.md, *Prices and rounding*).
//!
//! Client and enclave compute it from the same bytes, so that the voucher's cap and the enclave's
//! reserve agree. It says nothing about whether the body is valid: the enclave's engine does.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::request::Method;

/// Prompt tokens that a reserve adds for the chat template's frame of a request.
pub const RESERVE_TOKENS_PER_REQUEST: u64 = 64;
/// Prompt tokens that a reserve adds for the chat template's frame of a message.
pub const RESERVE_TOKENS_PER_MESSAGE: u64 = 16;
/// Prompt tokens that a reserve adds for an image, in the place of the bytes of its URL.
pub const RESERVE_TOKENS_PER_IMAGE: u64 = 1_024;

/// The most tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of all choices together.
    pub completion_tokens: u64,
}

/// The body is not a JSON object with the fields that bound its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body lacks what bounds its cost, at line {line}, column {column}")]
pub struct DemandError {
    /// 1-based line of the body.
    pub line: usize,
    /// 1-based column.
    pub column: usize,
}

// By value, because that is the shape `map_err` hands over; what serde says may quote the prompt.
impl From<serde_json::Error> for DemandError {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

#[derive(Deserialize)]
struct Generation {
    max_tokens: u32,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Parts(Vec<Part>),
    Text(IgnoredAny),
}

#[derive(Deserialize)]
struct Part {
    image_url: Option<ImageUrl>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
}

impl Demand {
    /// What `body`, a request of `method`, can use at most.
    ///
    /// The prompt: one token per byte of the body, [`RESERVE_TOKENS_PER_REQUEST`], and for chats
    /// [`RESERVE_TOKENS_PER_MESSAGE`] for each message; an image counts
    /// [`RESERVE_TOKENS_PER_IMAGE`] and not the bytes of its URL. The completion: `max_tokens` for
    /// each of `n` choices; none for methods that generate nothing.
    ///
    /// # Errors
    /// [`DemandError`].
    pub fn of(method: Method, body: &[u8]) -> Result<Self, DemandError> {
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let prompt_tokens = bytes.saturating_add(RESERVE_TOKENS_PER_REQUEST);
        match method {
            Method::Chat | Method::Completion => {
                let asked: Generation = serde_json::from_slice(body)?;
                let choices = u64::from(asked.n.unwrap_or(1).max(1));
                Ok(Self {
                    prompt_tokens: with_messages(prompt_tokens, &asked.messages),
                    completion_tokens: u64::from(asked.max_tokens).saturating_mul(choices),
                })
            }
            Method::Embeddings | Method::Tokenise | Method::Detokenise => {
                Ok(Self { prompt_tokens, completion_tokens: 0 })
            }
        }
    }
}

impl Demand {
    /// What a chat with one choice and no images can use at most, before there is a body: for
    /// planning.
    pub fn of_chat(body_bytes: u64, messages: u64, max_tokens: u32) -> Self {
        let frame = messages
            .saturating_mul(RESERVE_TOKENS_PER_MESSAGE)
            .saturating_add(RESERVE_TOKENS_PER_REQUEST);
        Self {
            prompt_tokens: body_bytes.saturating_add(frame),
            completion_tokens: max_tokens.into(),
        }
    }
}

fn with_messages(prompt_tokens: u64, messages: &[Message]) -> u64 {
    messages.iter().fold(prompt_tokens, |tokens, message| {
        let parts: &[Part] = match &message.content {
            Some(Content::Parts(parts)) => parts,
            _ => &[],
        };
        let images = parts.iter().filter_map(|part| part.image_url.as_ref());
        let tokens = tokens.saturating_add(RESERVE_TOKENS_PER_MESSAGE);
        images.fold(tokens, |tokens, image| {
            let url = u64::try_from(image.url.len()).unwrap_or(u64::MAX);
            tokens.saturating_sub(url).saturating_add(RESERVE_TOKENS_PER_IMAGE)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, body: &str, more_than_bytes: i64, completion_tokens: u64) {
        let demand = Demand::of(method, body.as_bytes()).unwrap();
        let expected = i64::try_from(body.len()).unwrap() + more_than_bytes;
        assert_eq!(i64::try_from(demand.prompt_tokens).unwrap(), expected, "{body}");
        assert_eq!(demand.completion_tokens, completion_tokens, "{body}");
    }

    #[test]
    fn a_chat_adds_its_request_and_its_messages() {
        let body = r#"{"max_tokens":9,"messages":[{"content":"a"},{"content":null},{}]}"#;
        check(Method::Chat, body, 64 + 3 * 16, 9);
    }

    #[test]
    fn a_plan_is_what_the_body_comes_to() {
        let body = r#"{"max_tokens":9,"messages":[{"content":"a"},{"content":"b"}]}"#;
        let planned = Demand::of_chat(body.len() as u64, 2, 9);
        assert_eq!(Demand::of(Method::Chat, body.as_bytes()), Ok(planned));
    }

    #[test]
    fn every_choice_has_its_own_completion() {
        check(Method::Completion, r#"{"prompt":"a","max_tokens":9,"n":3}"#, 64, 27);
        check(Method::Completion, r#"{"prompt":"a","max_tokens":9,"n":null}"#, 64, 9);
    }

    #[test]
    fn an_image_counts_as_one_and_not_by_its_bytes() {
        let url = "data:image/png;base64,AAAA";
        let body = format!(
            r#"{{"max_tokens":1,"messages":[{{"content":[{{"type":"text","text":"x"}},
                {{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
        );
        check(Method::Chat, &body, 64 + 16 + 1_024 - i64::try_from(url.len()).unwrap(), 1);
    }

    #[test]
    fn what_generates_nothing_has_a_prompt_only() {
        for method in [Method::Embeddings, Method::Tokenise, Method::Detokenise] {
            check(method, r#"{"input":"a"}"#, 64, 0);
        }
    }

    #[test]
    fn a_body_without_a_bound_has_no_demand() {
        for body in ["", "[]", "{}", r#"{"max_tokens":-1}"#, r#"{"max_tokens":1,"max_tokens":2}"#] {
            assert!(Demand::of(Method::Chat, body.as_bytes()).is_err(), "{body}");
        }
    }
}
