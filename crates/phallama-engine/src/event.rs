use std::fmt;

use serde_json::Value;

/// Token counts of one request, as the worker counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt after the chat template, cached ones included.
    pub prompt_tokens: u32,
    /// Tokens generated, the end-of-answer token included.
    pub completion_tokens: u32,
    /// Of `prompt_tokens`, those taken from the account's own prefix cache.
    pub cached_tokens: u32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer or met a stop string.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
    /// The model asked for tool calls.
    ToolCalls,
}

impl FinishReason {
    /// The word OpenAI's API uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// One step of an answer. `Debug` prints sizes, never text.
#[derive(Clone, PartialEq)]
pub enum EngineEvent {
    /// The prompt was tokenised; sent once, before the first token is computed.
    Prompt {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of those, taken from the account's own prefix cache.
        cached_tokens: u32,
    },
    /// A piece of the answer.
    Content {
        /// Complete UTF-8 characters.
        text: String,
        /// Tokens generated since the previous event.
        tokens: u32,
    },
    /// A piece of the model's reasoning, for models that mark it.
    Reasoning {
        /// Complete UTF-8 characters.
        text: String,
        /// Tokens generated since the previous event.
        tokens: u32,
    },
    /// Tool call deltas: the array `delta.tool_calls` of OpenAI's stream.
    ToolCalls {
        /// The JSON array.
        calls: Value,
        /// Tokens generated since the previous event.
        tokens: u32,
    },
    /// Log probabilities of the tokens of the event just before: the object `logprobs` of
    /// OpenAI's stream.
    Logprobs(Value),
    /// A choice that is not the last is complete; what follows belongs to the next one.
    NextChoice {
        /// Why it ended.
        reason: FinishReason,
    },
    /// The answer is complete; nothing follows.
    Finished {
        /// Why its last choice ended.
        reason: FinishReason,
        /// Final token counts: the prompt once, the tokens of all choices.
        usage: Usage,
        /// Time spent on the prompt in milliseconds, for all choices.
        prompt_ms: f64,
        /// Time spent generating in milliseconds, for all choices.
        predicted_ms: f64,
    },
}

impl fmt::Debug for EngineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt { prompt_tokens, cached_tokens } => {
                write!(f, "Prompt({prompt_tokens} tokens, {cached_tokens} cached)")
            }
            Self::Content { text, tokens } => write!(f, "Content({} B, {tokens})", text.len()),
            Self::Reasoning { text, tokens } => write!(f, "Reasoning({} B, {tokens})", text.len()),
            Self::ToolCalls { tokens, .. } => write!(f, "ToolCalls({tokens})"),
            Self::Logprobs(_) => f.write_str("Logprobs"),
            Self::NextChoice { reason } => write!(f, "NextChoice({reason:?})"),
            Self::Finished { reason, usage, .. } => write!(f, "Finished({reason:?}, {usage:?})"),
        }
    }
}
