//! The JSON that llama-server puts into each event of an answer, in OpenAI's shape or, where text
//! is filled in, in its own.

use serde::Deserialize;
use serde_json::Value;

use crate::{FinishReason, Usage};

/// One chunk of `/v1/chat/completions`, `/v1/completions` or `/infill`.
#[derive(Deserialize)]
pub(crate) struct Chunk {
    #[serde(default)]
    pub(crate) choices: Vec<Choice>,
    usage: Option<WireUsage>,
    pub(crate) timings: Option<Timings>,
    pub(crate) prompt_progress: Option<Progress>,
    /// Present instead of everything else when the worker gave up.
    pub(crate) error: Option<Value>,
    /// So is a bare error object on an `error:` line.
    pub(crate) message: Option<String>,
    #[serde(flatten)]
    own: Own,
}

/// What chunks of `/infill` have instead of choices.
#[derive(Deserialize, Default)]
struct Own {
    content: Option<String>,
    /// Whether this is the last chunk, which has no `[DONE]` behind it.
    stop: Option<bool>,
    stop_type: Option<String>,
    #[serde(default)]
    tokens_evaluated: u32,
    completion_probabilities: Option<Value>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Choice {
    pub(crate) finish_reason: Option<String>,
    #[serde(default)]
    pub(crate) delta: Delta,
    pub(crate) text: Option<String>,
    pub(crate) logprobs: Option<Value>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Delta {
    pub(crate) content: Option<String>,
    pub(crate) reasoning_content: Option<String>,
    /// Newer vLLM's word for it; some say both.
    pub(crate) reasoning: Option<String>,
    pub(crate) tool_calls: Option<Value>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

/// Sent with every token, because we ask for `timings_per_token`.
#[derive(Deserialize, Clone, Copy, Default)]
pub(crate) struct Timings {
    #[serde(default)]
    cache_n: u32,
    #[serde(default)]
    pub(crate) predicted_n: u32,
    #[serde(default)]
    pub(crate) prompt_ms: f64,
    #[serde(default)]
    pub(crate) predicted_ms: f64,
}

/// Sent before the prompt is computed and after each batch of it: we ask for `return_progress`.
#[derive(Deserialize, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) total: u32,
    #[serde(default)]
    pub(crate) cache: u32,
    #[serde(default)]
    pub(crate) processed: u32,
}

impl Timings {
    /// Of an answer that is complete.
    pub(crate) fn whole(predicted_n: u32, prompt_ms: f64, predicted_ms: f64) -> Self {
        Self { predicted_n, prompt_ms, predicted_ms, ..Self::default() }
    }
}

impl Chunk {
    /// What another protocol says: a piece of the answer, and with the last one its counts.
    pub(crate) fn of(choice: Choice, end: Option<(Usage, Timings)>) -> Self {
        let (usage, timings) = end.unzip();
        let usage = usage.map(|usage| WireUsage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            prompt_tokens_details: Some(PromptDetails { cached_tokens: Some(usage.cached_tokens) }),
        });
        Self { choices: vec![choice], usage, timings, ..Self::empty() }
    }

    /// An answer that failed.
    pub(crate) fn of_error(error: Value) -> Self {
        Self { error: Some(error), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            choices: Vec::new(),
            usage: None,
            timings: None,
            prompt_progress: None,
            error: None,
            message: None,
            own: Own::default(),
        }
    }

    /// Brings a chunk of the worker's own shape into OpenAI's; says whether it is the last.
    pub(crate) fn into_choices(mut self) -> (Self, bool) {
        let own = std::mem::take(&mut self.own);
        let Some(is_last) = own.stop else { return (self, false) };
        if is_last {
            let timings = self.timings.unwrap_or_default();
            self.usage = Some(WireUsage {
                prompt_tokens: own.tokens_evaluated,
                completion_tokens: timings.predicted_n,
                prompt_tokens_details: Some(PromptDetails { cached_tokens: Some(timings.cache_n) }),
            });
        }
        let limited = own.stop_type.as_deref() == Some("limit");
        let reason = if limited { "length" } else { "stop" };
        let probabilities = own.completion_probabilities;
        self.choices.push(Choice {
            finish_reason: is_last.then(|| reason.to_owned()),
            text: own.content,
            logprobs: probabilities.map(|content| serde_json::json!({ "content": content })),
            ..Choice::default()
        });
        (self, is_last)
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(|usage| Usage {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cached_tokens: usage
                .prompt_tokens_details
                .as_ref()
                .and_then(|details| details.cached_tokens)
                .unwrap_or_default(),
        })
    }

    /// What the worker says went wrong, if it does.
    pub(crate) fn failure(&self) -> Option<String> {
        let inner = self.error.as_ref();
        let says =
            |error: &'_ Value| error.get("message").or(Some(error))?.as_str().map(str::to_owned);
        let message = inner.and_then(says);
        message.or_else(|| inner.map(Value::to_string)).or_else(|| self.message.clone())
    }
}

/// The worker's word for why it ended.
pub(crate) fn finish_reason(word: &str) -> Option<FinishReason> {
    match word {
        "stop" => Some(FinishReason::Stop),
        "length" => Some(FinishReason::Length),
        "tool_calls" => Some(FinishReason::ToolCalls),
        _ => None,
    }
}
