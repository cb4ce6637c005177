//! OpenAI's shapes: requests in, chunks out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use phallama_client::{FinishedAnswer, Method, Usage};
use phallama_protocol::receipt::Finish;
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;
use super::lookup::Gathered;

/// Fields of a generating request that are passed on. Everything else is ignored, as OpenAI's
/// clients expect of a compatible server. The later ones are those of open models' servers.
const PASSED: &[&str] = &[
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "logit_bias",
    "logprobs",
    "n",
    "grammar",
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
];

/// Those of a chat alone.
const PASSED_CHAT: &[&str] = &[
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "top_logprobs",
    "reasoning_effort",
    "chat_template_kwargs",
];

/// Those of a completion alone.
const PASSED_COMPLETION: &[&str] = &["prompt", "suffix", "echo", "best_of"];

/// Keys of a message that clients send back from an answer and that say nothing to a model.
const ECHOED: &[&str] = &["refusal", "annotations"];

/// Reads `POST /v1/chat/completions`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Call, ApiError> {
    let request = object(bytes)?;
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if request.get(old).is_some_and(|value| !value.is_null()) {
            return Err(ApiError::invalid(old, format!("`{old}` is not supported; use `{new}`.")));
        }
    }
    let mut call = call(&request, Method::Chat, PASSED_CHAT)?;
    let Some(messages) = request.get("messages").and_then(Value::as_array) else {
        return Err(ApiError::invalid("messages", "`messages` must be an array."));
    };
    let messages: Vec<Value> = messages.iter().map(message).collect();
    call.body.insert("messages".to_owned(), messages.into());
    Ok(call)
}

/// A message without what its client left empty.
fn message(message: &Value) -> Value {
    let mut message = message.clone();
    if let Value::Object(fields) = &mut message {
        fields.retain(|name, value| !value.is_null() && !ECHOED.contains(&name.as_str()));
    }
    message
}

/// Reads `POST /v1/completions`.
pub(crate) fn parse_completion(bytes: &[u8]) -> Result<Call, ApiError> {
    let request = object(bytes)?;
    let mut call = call(&request, Method::Completion, PASSED_COMPLETION)?;
    // A list of one text is that text.
    if let Some(Value::Array(prompts)) = call.body.get("prompt")
        && prompts.iter().any(|prompt| !prompt.is_number())
    {
        let [only] = prompts.as_slice() else {
            let message = "`prompt` must be one text or one list of token ids.";
            return Err(ApiError::invalid("prompt", message));
        };
        let only = only.clone();
        call.body.insert("prompt".to_owned(), only);
    }
    Ok(call)
}

fn call(request: &Map<String, Value>, method: Method, more: &[&str]) -> Result<Call, ApiError> {
    let model = text(request, "model")?;
    let stream = flag(request, "stream", false)?;
    let include_usage = request
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let given = |name: &str| request.get(name).filter(|value| !value.is_null());
    let mut body = Map::new();
    for name in PASSED.iter().chain(more) {
        if let Some(value) = given(name) {
            body.insert((*name).to_owned(), value.clone());
        }
    }
    if let Some(limit) = given("max_completion_tokens") {
        body.insert("max_tokens".to_owned(), limit.clone());
    }
    Ok(Call { model, method, stream, include_usage, body })
}

/// Reads `POST /v1/embeddings`; says whether the vectors are wanted in base64.
pub(crate) fn parse_embeddings(bytes: &[u8]) -> Result<(Call, bool), ApiError> {
    let request = object(bytes)?;
    let base64 = match request.get("encoding_format").unwrap_or(&Value::Null) {
        Value::Null => false,
        Value::String(format) if format == "float" => false,
        Value::String(format) if format == "base64" => true,
        other => {
            let message = format!("`encoding_format` must be float or base64, got {other}.");
            return Err(ApiError::invalid("encoding_format", message));
        }
    };
    Ok((lookup(&request, Method::Embeddings, &["input", "dimensions"])?, base64))
}

/// A request whose answer comes in one piece, with the fields that are passed on.
pub(crate) fn lookup(
    request: &Map<String, Value>,
    method: Method,
    passed: &[&str],
) -> Result<Call, ApiError> {
    let model = text(request, "model")?;
    let given = |name: &&&str| request.get(**name).is_some_and(|value| !value.is_null());
    let body = passed.iter().filter(given);
    let body = body.map(|name| ((*name).to_owned(), request[*name].clone())).collect();
    Ok(Call { model, method, stream: false, include_usage: false, body })
}

/// The answer of `POST /v1/embeddings`.
pub(crate) fn embeddings(model: &str, gathered: &Gathered, base64: bool) -> Value {
    let entry = |(index, vector): (usize, &Vec<f32>)| {
        let embedding = if base64 { as_base64(vector).into() } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = gathered.vectors.iter().enumerate().map(entry).collect();
    let tokens = gathered.finished.usage.prompt_tokens;
    json!({
        "object": "list", "model": model, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

/// Little-endian binary32, as OpenAI's clients read it.
fn as_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
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
    /// `/v1/completions` has `text`, `/v1/chat/completions` a message.
    pub(crate) completion: bool,
}

impl Envelope {
    fn object(&self, chat: &str, choices: Value) -> Value {
        let object = if self.completion { "text_completion" } else { chat };
        json!({
            "id": self.id, "object": object, "created": self.created_unix_s, "model": self.model,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        self.object("chat.completion.chunk", choices)
    }

    /// A chunk with one choice.
    pub(crate) fn delta(
        &self,
        index: usize,
        delta: Value,
        logprobs: Value,
        finish: Option<&str>,
    ) -> Value {
        let mut choice = json!({"index": index, "logprobs": logprobs, "finish_reason": finish});
        if self.completion {
            choice["text"] = delta.get("content").cloned().unwrap_or_else(|| "".into());
            choice["logprobs"] = completion_logprobs(&logprobs);
        } else {
            choice["delta"] = delta;
        }
        self.chunk(json!([choice]))
    }

    /// The chunk that OpenAI sends last when `include_usage` was asked for.
    pub(crate) fn usage(&self, answer: &FinishedAnswer) -> Value {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage(&answer.usage);
        chunk
    }

    /// The whole answer at once: message, logprobs and reason of each choice.
    pub(crate) fn whole(
        &self,
        choices: Vec<(Value, Value, Finish)>,
        answer: &FinishedAnswer,
    ) -> Value {
        let entry = |(index, (message, logprobs, finish)): (usize, (Value, Value, Finish))| {
            let mut choice = json!({"index": index, "finish_reason": finish_reason(finish)});
            if self.completion {
                choice["text"] = message["content"].clone();
                choice["logprobs"] = completion_logprobs(&logprobs);
            } else {
                choice["message"] = message;
                choice["logprobs"] = logprobs;
            }
            choice
        };
        let choices: Vec<Value> = choices.into_iter().enumerate().map(entry).collect();
        let mut whole = self.object("chat.completion", choices.into());
        whole["usage"] = usage(&answer.usage);
        whole
    }
}

/// The older shape of log probabilities, which `/v1/completions` has.
fn completion_logprobs(logprobs: &Value) -> Value {
    let Some(tokens) = logprobs["content"].as_array() else { return Value::Null };
    let top = |token: &Value| -> Value {
        let alternatives = token["top_logprobs"].as_array().into_iter().flatten();
        let named = alternatives.filter_map(|one| Some((one["token"].as_str()?, &one["logprob"])));
        Value::Object(named.map(|(token, logprob)| (token.to_owned(), logprob.clone())).collect())
    };
    json!({
        "tokens": tokens.iter().map(|token| token["token"].clone()).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token["logprob"].clone()).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
    })
}

/// OpenAI's word for why an answer or a choice ended.
pub(crate) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop | Finish::Cancelled | Finish::Interim => "stop",
    }
}

fn usage(usage: &Usage) -> Value {
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
            br#"{"model":"m","messages":[],"store":true,"temperature":0.5,"stop":null,"n":2,
                 "max_completion_tokens":7,"stream":true,"stream_options":{"include_usage":true},
                 "prompt":"no","reasoning_effort":"low"}"#,
        )
        .unwrap();
        assert!(call.stream && call.include_usage);
        let expected = json!({
            "messages": [], "temperature": 0.5, "max_tokens": 7, "n": 2, "reasoning_effort": "low",
        });
        assert_eq!((call.method, Value::Object(call.body)), (Method::Chat, expected));
    }

    #[test]
    fn an_answer_may_be_sent_back_as_it_came() {
        let call = parse_chat(
            br#"{"model":"m","messages":[{"role":"assistant","content":"a","refusal":null,
                 "annotations":[],"audio":null,"tool_calls":null,"function_call":null}]}"#,
        )
        .unwrap();
        assert_eq!(call.body["messages"], json!([{"role": "assistant", "content": "a"}]));
    }

    #[test]
    fn names_the_field_at_fault() {
        assert_eq!(refused("[]").1.as_deref(), Some("body"));
        assert_eq!(refused(r#"{"messages":[]}"#).1.as_deref(), Some("model"));
        assert_eq!(refused(r#"{"model":"m","messages":"hi"}"#).1.as_deref(), Some("messages"));
        let (message, param) = refused(r#"{"model":"m","messages":[],"stream":"yes"}"#);
        assert_eq!(param.as_deref(), Some("stream"));
        assert_eq!(message, "`stream` must be true or false, got \"yes\". No prompt was sent.");
        let old = refused(r#"{"model":"m","messages":[],"functions":[]}"#);
        assert_eq!(old.1.as_deref(), Some("functions"));
    }

    #[test]
    fn a_completion_has_one_prompt() {
        let prompt = |prompt: &str| {
            let body = format!(r#"{{"model":"m","prompt":{prompt},"suffix":"s","messages":[]}}"#);
            parse_completion(body.as_bytes()).map(|call| Value::Object(call.body))
        };
        for (given, passed) in [("\"a\"", json!("a")), ("[\"a\"]", json!("a")), ("[1]", json!([1]))]
        {
            assert_eq!(prompt(given).unwrap(), json!({"prompt": passed, "suffix": "s"}));
        }
        assert_eq!(prompt(r#"["a","b"]"#).unwrap_err().param.as_deref(), Some("prompt"));
    }

    #[test]
    fn embeddings_are_wanted_as_numbers_or_in_base64() {
        let parse = |format: &str| {
            let body = format!(r#"{{"model":"m","input":["a"],"user":"u"{format}}}"#);
            parse_embeddings(body.as_bytes())
        };
        let (call, base64) = parse("").unwrap();
        assert_eq!((Value::Object(call.body), base64), (json!({"input": ["a"]}), false));
        assert!(parse(r#","encoding_format":"base64""#).unwrap().1);
        assert!(parse(r#","encoding_format":"int8""#).is_err());
        assert_eq!(as_base64(&[1.0, -2.5]), "AACAPwAAIMA=");
    }

    #[test]
    fn completions_have_the_older_shape_of_logprobs() {
        let chat = json!({"content": [{
            "token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.0}],
        }]});
        assert_eq!(
            completion_logprobs(&chat),
            json!({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -1.0}]})
        );
        assert_eq!(completion_logprobs(&Value::Null), Value::Null);
    }
}
