//! The lines of `/api/chat` and `/api/generate`, as chunks.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::chunk::{Choice, Chunk, Delta, Timings};
use crate::{EngineError, Usage};

/// Most calls in one line.
const CALLS_MAX: usize = 128;

/// What is remembered from line to line of one answer.
#[derive(Default)]
pub(crate) struct Lines {
    /// Calls told so far.
    calls: usize,
}

/// One line. A count that is absent is zero; there is always a prompt.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    response: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u32>,
    prompt_eval_cached_count: Option<u32>,
    #[serde(default)]
    eval_count: u32,
    #[serde(default)]
    prompt_eval_duration: u64,
    #[serde(default)]
    eval_duration: u64,
    logprobs: Option<Vec<Value>>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl Lines {
    /// Reads one line; says whether it is the last.
    pub(crate) fn read(&mut self, line: &str) -> Result<(Chunk, bool), EngineError> {
        let what = "a line that is not one of Ollama's";
        let line: Line = serde_json::from_str(line).map_err(|_| EngineError::Protocol { what })?;
        if let Some(error) = line.error {
            return Ok((Chunk::of_error(error), true));
        }
        let end = line.done.then(|| line.counts()).transpose()?;
        let message = line.message.unwrap_or_default();
        let tool_calls = self.calls(message.tool_calls.unwrap_or_default())?;
        let finish_reason = line.done.then(|| match line.done_reason {
            // Ollama says `stop` when it calls too.
            Some(word) if word == "stop" && self.calls > 0 => "tool_calls".to_owned(),
            word => word.unwrap_or_default(),
        });
        let choice = Choice {
            finish_reason,
            delta: Delta {
                content: message.content,
                reasoning_content: message.thinking.or(line.thinking),
                tool_calls,
                ..Delta::default()
            },
            text: line.response,
            logprobs: line.logprobs.map(logprobs),
        };
        Ok((Chunk::of(choice, end), line.done))
    }

    /// The calls as deltas of OpenAI's stream, each whole.
    fn calls(&mut self, calls: Vec<Call>) -> Result<Option<Value>, EngineError> {
        if calls.is_empty() {
            return Ok(None);
        }
        if calls.len() + self.calls > CALLS_MAX {
            return Err(EngineError::Protocol { what: "more calls of functions than are allowed" });
        }
        let deltas = calls.into_iter().map(|Call { id, function }| {
            let index = self.calls;
            self.calls += 1;
            let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{index}"));
            let arguments = function.arguments.to_string();
            let function = json!({ "name": function.name, "arguments": arguments });
            json!({ "index": index, "id": id, "type": "function", "function": function })
        });
        Ok(Some(deltas.collect()))
    }
}

impl Line {
    fn counts(&self) -> Result<(Usage, Timings), EngineError> {
        let what = "an end without the count of the prompt's tokens";
        let prompt_tokens = self.prompt_eval_count.ok_or(EngineError::Protocol { what })?;
        let cached_tokens = self.prompt_eval_cached_count.unwrap_or(0).min(prompt_tokens);
        let usage = Usage { prompt_tokens, completion_tokens: self.eval_count, cached_tokens };
        let (prompt_ms, predicted_ms) =
            (milliseconds(self.prompt_eval_duration), milliseconds(self.eval_duration));
        Ok((usage, Timings::whole(self.eval_count, prompt_ms, predicted_ms)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration that is shown, not counted")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Ollama's list in OpenAI's shape, where every token has alternatives.
fn logprobs(mut tokens: Vec<Value>) -> Value {
    for token in tokens.iter_mut().filter_map(Value::as_object_mut) {
        token.entry("top_logprobs").or_insert_with(|| json!([]));
    }
    json!({ "content": tokens })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::Decoding;
    use crate::generation::Dialect;
    use crate::{EngineEvent, FinishReason};

    /// The steps of an answer of one choice, or why it is none.
    fn decode(lines: &[Value]) -> Result<Vec<EngineEvent>, EngineError> {
        let mut decoding = Decoding::new(Dialect::Ollama, false, true);
        for line in lines {
            if decoding.feed(format!("{line}\n").as_bytes())? {
                decoding.end_choice(false)?;
            }
        }
        Ok(std::iter::from_fn(|| decoding.next_event()).collect())
    }

    fn end(more: &Value) -> Value {
        let mut line = json!({
            "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": "stop",
            "prompt_eval_count": 9, "prompt_eval_cached_count": 4, "prompt_eval_duration": 1_500_000,
            "eval_count": 3, "eval_duration": 2_000_000,
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    }

    fn says(text: &str) -> Value {
        json!({ "message": { "role": "assistant", "content": text }, "done": false })
    }

    #[test]
    fn an_answer_has_the_server_s_own_counts() {
        let events = decode(&[says("a"), says("b"), end(&json!({}))]).unwrap();
        let usage = Usage { prompt_tokens: 9, completion_tokens: 3, cached_tokens: 4 };
        let expected = [
            EngineEvent::Content { text: "a".to_owned(), tokens: 1 },
            EngineEvent::Content { text: "b".to_owned(), tokens: 1 },
            EngineEvent::Finished {
                reason: FinishReason::Stop,
                usage,
                prompt_ms: 1.5,
                predicted_ms: 2.0,
            },
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn thinking_calls_and_text_of_the_last_line_are_told() {
        let think = json!({ "message": { "thinking": "hm" }, "done": false });
        let calls = json!([{ "function": { "name": "f", "arguments": { "a": 1 } } },
                           { "id": "x", "function": { "name": "g", "arguments": {} } }]);
        let last = end(&json!({ "message": { "content": "so", "tool_calls": calls } }));
        let events = decode(&[think, last]).unwrap();
        assert_eq!(events[0], EngineEvent::Reasoning { text: "hm".to_owned(), tokens: 1 });
        assert_eq!(events[1], EngineEvent::Content { text: "so".to_owned(), tokens: 2 });
        let EngineEvent::ToolCalls { calls, tokens: 0 } = &events[2] else { panic!("{events:?}") };
        let first = json!({ "index": 0, "id": "call_0", "type": "function",
                            "function": { "name": "f", "arguments": "{\"a\":1}" } });
        assert_eq!((&calls[0], &calls[1]["id"]), (&first, &json!("x")));
        let EngineEvent::Finished { reason, .. } = events[3] else { panic!("{events:?}") };
        assert_eq!(reason, FinishReason::ToolCalls);
    }

    #[test]
    fn what_has_been_told_is_not_taken_back() {
        let pieces: Vec<Value> = ["a", "b", "c", "d", "e"].map(says).into();
        let events = decode(&[pieces, vec![end(&json!({}))]].concat()).unwrap();
        let Some(EngineEvent::Finished { usage, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(usage.completion_tokens, 5, "five pieces are no three tokens");
    }

    #[test]
    fn what_is_no_answer_has_its_own_error() {
        for (line, problem) in [
            (json!([1]), "a line that is not one of Ollama's"),
            (end(&json!({ "eval_count": -1 })), "a line that is not one of Ollama's"),
            (end(&json!({ "eval_count": 1_u64 << 32 })), "a line that is not one of Ollama's"),
            (end(&json!({ "prompt_eval_count": null })), "without the count of the prompt's"),
            (end(&json!({ "done_reason": "load" })), "an unknown finish_reason"),
            (end(&json!({ "done_reason": null })), "an unknown finish_reason"),
            (json!({ "error": "out of memory" }), "failed during the answer"),
        ] {
            let error = decode(&[line]).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
        let call = json!({ "function": { "name": "f" } });
        let many = json!({ "message": { "tool_calls": vec![call; 129] }, "done": false });
        let error = decode(&[many]).unwrap_err();
        assert!(error.to_string().contains("more calls of functions"), "{error}");
    }
}
