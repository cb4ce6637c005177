//! OpenAI's shapes: requests in, chunks and completions out.

use phallama_client::FinishedAnswer;
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;

/// Fields that reach the pod under their own name. Everything else is ignored, as OpenAI's clients
/// expect of a compatible server.
const PASSED: &[&str] = &[
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
];

/// Reads `POST /v1/chat/completions`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Call, ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    if !request.get("messages").is_some_and(Value::is_array) {
        return Err(ApiError::invalid("messages", "`messages` must be an array."));
    }
    let stream = flag(&request, "stream", false)?;
    let include_usage = request
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut body = Map::new();
    for name in PASSED {
        if let Some(value) = request.get(*name).filter(|value| !value.is_null()) {
            body.insert((*name).to_owned(), value.clone());
        }
    }
    if let Some(limit) = request.get("max_completion_tokens").filter(|value| !value.is_null()) {
        body.insert("max_tokens".to_owned(), limit.clone());
    }
    Ok(Call { model, stream, include_usage, body, completion: false })
}

/// A JSON object, or why not.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::invalid("body", "The body must be a JSON object.")),
        Err(error) => Err(ApiError::invalid("body", format!("The body is not JSON: {error}."))),
    }
}

/// A string field that must be there.
pub(crate) fn text(request: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    match request.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(ApiError::invalid(name, format!("`{name}` must be a non-empty string."))),
    }
}

/// A boolean field with a default.
pub(crate) fn flag(
    request: &Map<String, Value>,
    name: &str,
    default: bool,
) -> Result<bool, ApiError> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => {
            Err(ApiError::invalid(name, format!("`{name}` must be true or false, got {other}.")))
        }
    }
}

/// What all chunks of one answer share.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) created_unix_s: u64,
    pub(crate) model: String,
}

impl Envelope {
    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created_unix_s,
            "model": self.model, "choices": choices,
        })
    }

    /// A chunk with one choice.
    pub(crate) fn delta(&self, delta: Value, logprobs: Value, finish: Option<&str>) -> Value {
        self.chunk(json!([{
            "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
        }]))
    }

    /// The chunk that OpenAI sends last when `include_usage` was asked for.
    pub(crate) fn usage(&self, answer: &FinishedAnswer) -> Value {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage(answer);
        chunk
    }

    /// The whole answer at once.
    pub(crate) fn completion(
        &self,
        message: Value,
        logprobs: Value,
        answer: &FinishedAnswer,
    ) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created_unix_s,
            "model": self.model,
            "choices": [{
                "index": 0, "message": message, "logprobs": logprobs,
                "finish_reason": finish_reason(answer),
            }],
            "usage": usage(answer),
        })
    }
}

/// OpenAI's word for why the answer ended.
pub(crate) fn finish_reason(answer: &FinishedAnswer) -> &'static str {
    use phallama_protocol::receipt::Finish;
    match answer.finish {
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop | Finish::Cancelled | Finish::Interim => "stop",
    }
}

fn usage(answer: &FinishedAnswer) -> Value {
    let usage = &answer.usage;
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

/// One entry of `/v1/models`.
pub(crate) fn model(name: &str, created_unix_s: u64) -> Value {
    json!({"id": name, "object": "model", "created": created_unix_s, "owned_by": "phallama"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (String, Option<String>) {
        let error = parse_chat(body.as_bytes()).unwrap_err();
        (error.message, error.param)
    }

    #[test]
    fn passes_known_fields_and_drops_the_rest() {
        let call = parse_chat(
            br#"{"model":"m","messages":[],"store":true,"temperature":0.5,"stop":null,
                 "max_completion_tokens":7,"stream":true,"stream_options":{"include_usage":true}}"#,
        )
        .unwrap();
        assert!(call.stream && call.include_usage);
        assert_eq!(
            Value::Object(call.body),
            json!({"messages": [], "temperature": 0.5, "max_tokens": 7})
        );
    }

    #[test]
    fn names_the_field_at_fault() {
        assert_eq!(refused("[]").1.as_deref(), Some("body"));
        assert_eq!(refused(r#"{"messages":[]}"#).1.as_deref(), Some("model"));
        assert_eq!(refused(r#"{"model":"m","messages":"hi"}"#).1.as_deref(), Some("messages"));
        let (message, param) = refused(r#"{"model":"m","messages":[],"stream":"yes"}"#);
        assert_eq!(param.as_deref(), Some("stream"));
        assert_eq!(message, "`stream` must be true or false, got \"yes\". No prompt was sent.");
    }
}
