//! Ollama's shapes: requests in, lines out.

use phallama_client::FinishedAnswer;
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;
use super::openai::{flag, object, text};

/// Ollama's sampling options and the names the pod knows them by. `num_ctx` and the options of a
/// local machine (threads, GPU layers) are the pod's business and are ignored.
const OPTIONS: &[(&str, &str)] = &[
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("repeat_penalty", "repeat_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
];

/// Reads `POST /api/chat`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Call, ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    let mut body = options(&request)?;
    body.insert("messages".to_owned(), messages(request.get("messages"))?);
    if let Some(tools) = request.get("tools").and_then(Value::as_array).filter(|t| !t.is_empty()) {
        body.insert("tools".to_owned(), Value::Array(tools.clone()));
    }
    let stream = flag(&request, "stream", true)?;
    Ok(Call { model, stream, include_usage: false, body, completion: false })
}

/// Reads `POST /api/generate`. `None` when there is nothing to generate: clients use that to ask
/// for a model to be loaded.
pub(crate) fn parse_generate(bytes: &[u8]) -> Result<(String, Option<Call>), ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    let prompt = request.get("prompt").and_then(Value::as_str).unwrap_or_default();
    if prompt.is_empty() {
        return Ok((model, None));
    }
    let mut body = options(&request)?;
    let raw = flag(&request, "raw", false)?;
    if raw {
        body.insert("prompt".to_owned(), prompt.into());
    } else {
        let system = request.get("system").and_then(Value::as_str).filter(|s| !s.is_empty());
        let mut messages = Vec::new();
        messages.extend(system.map(|system| json!({"role": "system", "content": system})));
        messages.push(json!({"role": "user", "content": prompt}));
        body.insert("messages".to_owned(), messages.into());
    }
    for unsupported in ["suffix", "template", "images"] {
        if request.get(unsupported).is_some_and(|value| !is_empty(value)) {
            let message = format!("`{unsupported}` is not supported yet.");
            return Err(ApiError::invalid(unsupported, message));
        }
    }
    let stream = flag(&request, "stream", true)?;
    Ok((model.clone(), Some(Call { model, stream, include_usage: false, body, completion: raw })))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn messages(value: Option<&Value>) -> Result<Value, ApiError> {
    let Some(messages) = value.and_then(Value::as_array) else {
        return Err(ApiError::invalid("messages", "`messages` must be an array."));
    };
    messages.iter().map(message).collect()
}

/// Keeps what a chat template needs; tool-call arguments are an object in Ollama and text in
/// OpenAI.
fn message(message: &Value) -> Result<Value, ApiError> {
    if message.get("images").is_some_and(|images| !is_empty(images)) {
        return Err(ApiError::invalid("messages", "Images are not supported yet."));
    }
    let mut kept = Map::new();
    for name in ["role", "content", "name", "tool_call_id"] {
        if let Some(value) = message.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(calls) = message.get("tool_calls").and_then(Value::as_array) {
        let calls: Vec<Value> = calls.iter().enumerate().map(tool_call).collect();
        kept.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(Value::Object(kept))
}

fn tool_call((index, call): (usize, &Value)) -> Value {
    let function = &call["function"];
    json!({
        "id": format!("call_{index}"), "type": "function",
        "function": {"name": function["name"], "arguments": function["arguments"].to_string()},
    })
}

fn options(request: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    match request.get("options") {
        None | Some(Value::Null) => {}
        Some(Value::Object(options)) => {
            for (theirs, ours) in OPTIONS {
                if let Some(value) = options.get(*theirs).filter(|value| !value.is_null()) {
                    body.insert((*ours).to_owned(), value.clone());
                }
            }
            // Ollama's -1 and -2 mean "no limit of its own"; the offer's limit holds then.
            if let Some(limit) = options.get("num_predict").filter(|v| v.as_i64() > Some(0)) {
                body.insert("max_tokens".to_owned(), limit.clone());
            }
        }
        Some(_) => return Err(ApiError::invalid("options", "`options` must be an object.")),
    }
    if let Some(format) = request.get("format").filter(|format| !is_empty(format)) {
        body.insert("response_format".to_owned(), response_format(format)?);
    }
    Ok(body)
}

fn response_format(format: &Value) -> Result<Value, ApiError> {
    match format {
        Value::String(name) if name == "json" => Ok(json!({"type": "json_object"})),
        Value::Object(_) => Ok(json!({
            "type": "json_schema", "json_schema": {"name": "format", "schema": format},
        })),
        other => Err(ApiError::invalid(
            "format",
            format!("`format` must be \"json\" or a JSON schema, got {other}."),
        )),
    }
}

/// What all lines of one answer share.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) model: String,
    pub(crate) created_at: String,
    /// `/api/generate` has `response`, `/api/chat` has `message`.
    pub(crate) generate: bool,
}

/// The parts of an answer that a line can carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) content: String,
    pub(crate) thinking: String,
    pub(crate) tool_calls: Vec<Value>,
}

impl Line {
    /// A line before the last.
    pub(crate) fn piece(&self, piece: &Piece) -> Value {
        let mut line = json!({"model": self.model, "created_at": self.created_at, "done": false});
        if self.generate {
            line["response"] = piece.content.as_str().into();
            if !piece.thinking.is_empty() {
                line["thinking"] = piece.thinking.as_str().into();
            }
            return line;
        }
        let mut message = json!({"role": "assistant", "content": piece.content});
        if !piece.thinking.is_empty() {
            message["thinking"] = piece.thinking.as_str().into();
        }
        if !piece.tool_calls.is_empty() {
            message["tool_calls"] = piece.tool_calls.iter().map(ollama_tool_call).collect();
        }
        line["message"] = message;
        line
    }

    /// The last line: counts and durations in nanoseconds.
    pub(crate) fn last(&self, piece: &Piece, answer: &FinishedAnswer, total_ns: u64) -> Value {
        let mut line = self.piece(piece);
        let reason = super::openai::finish_reason(answer);
        line["done"] = true.into();
        line["done_reason"] = if reason == "length" { "length" } else { "stop" }.into();
        line["total_duration"] = total_ns.into();
        line["load_duration"] = 0.into();
        line["prompt_eval_count"] = answer.usage.prompt_tokens.into();
        line["prompt_eval_duration"] = nanoseconds(answer.prompt_ms).into();
        line["eval_count"] = answer.usage.completion_tokens.into();
        line["eval_duration"] = nanoseconds(answer.predicted_ms).into();
        line
    }

    /// The answer to an empty `/api/generate`.
    pub(crate) fn loaded(&self) -> Value {
        let mut line = self.piece(&Piece::default());
        line["done"] = true.into();
        line["done_reason"] = "load".into();
        line
    }
}

fn nanoseconds(ms: u32) -> u64 {
    u64::from(ms) * 1_000_000
}

/// Ollama gives arguments as an object and knows no id.
fn ollama_tool_call(call: &Value) -> Value {
    let function = &call["function"];
    let arguments = function["arguments"].as_str().unwrap_or("{}");
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
    json!({"function": {"name": function["name"], "arguments": arguments}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_options_and_format() {
        let call = parse_chat(
            br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[],
                 "format":"json","options":{"num_predict":5,"top_k":3,"num_ctx":99}}"#,
        )
        .unwrap();
        assert!(call.stream, "Ollama streams unless told otherwise");
        let expected = json!({
            "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "top_k": 3,
            "response_format": {"type": "json_object"},
        });
        assert_eq!(Value::Object(call.body), expected);
    }

    #[test]
    fn no_limit_of_its_own_leaves_the_limit_to_the_offer() {
        let body = br#"{"model":"m","prompt":"x","options":{"num_predict":-1}}"#;
        let (_, call) = parse_generate(body).unwrap();
        assert!(!call.unwrap().body.contains_key("max_tokens"));
    }

    #[test]
    fn an_empty_prompt_loads_and_a_raw_one_completes() {
        assert!(parse_generate(br#"{"model":"m"}"#).unwrap().1.is_none());
        let (_, call) = parse_generate(br#"{"model":"m","prompt":"x","raw":true}"#).unwrap();
        let call = call.unwrap();
        assert!(call.completion);
        assert_eq!(call.body["prompt"], "x");
    }

    #[test]
    fn refuses_what_it_would_otherwise_drop_silently() {
        let body = br#"{"model":"m","prompt":"x","images":["aGk="]}"#;
        let error = parse_generate(body).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("images"));
        assert_eq!(error.message, "`images` is not supported yet. No prompt was sent.");
    }
}
