//! Ollama's shapes: requests in, lines out.

use phallama_client::{FinishedAnswer, Method};
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;
use super::lookup::Gathered;
use super::openai::{flag, lookup, object, text};

/// Ollama's sampling options and the names the pod knows them by. The options of a local machine
/// (threads, GPU layers, batch) are the pod's business and are ignored.
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
    ("typical_p", "typical_p"),
    ("repeat_last_n", "repeat_last_n"),
    ("mirostat", "mirostat"),
    ("mirostat_tau", "mirostat_tau"),
    ("mirostat_eta", "mirostat_eta"),
];

/// What an Ollama request comes to.
#[derive(Debug)]
pub(crate) enum Asked {
    Answer(Call),
    /// Nothing to answer: the model is to be loaded, or, with a `keep_alive` of 0, unloaded. Either
    /// is the pod's business.
    Loaded {
        model: String,
        unload: bool,
    },
}

/// Reads `POST /api/chat`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    let unload = keep_alive(&request)?;
    let messages = messages(request.get("messages"))?;
    if messages.is_empty() {
        return Ok(Asked::Loaded { model, unload });
    }
    let mut body = options(&request)?;
    body.insert("messages".to_owned(), messages.into());
    if let Some(tools) = request.get("tools").and_then(Value::as_array).filter(|t| !t.is_empty()) {
        body.insert("tools".to_owned(), Value::Array(tools.clone()));
    }
    think(&request, &mut body)?;
    let stream = flag(&request, "stream", true)?;
    let method = Method::Chat;
    Ok(Asked::Answer(Call { model, method, stream, include_usage: false, body }))
}

/// Reads `POST /api/generate`.
pub(crate) fn parse_generate(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    let unload = keep_alive(&request)?;
    let word = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let (prompt, suffix, system) = (word("prompt"), word("suffix"), word("system"));
    if prompt.is_empty() {
        return Ok(Asked::Loaded { model, unload });
    }
    for (unsupported, why) in [
        ("template", "the pod's model has its own"),
        ("context", "send the conversation as messages to /api/chat"),
    ] {
        if request.get(unsupported).is_some_and(|value| !is_empty(value)) {
            let message = format!("`{unsupported}` is not supported: {why}.");
            return Err(ApiError::invalid(unsupported, message));
        }
    }
    let mut body = options(&request)?;
    let raw = flag(&request, "raw", false)? || !suffix.is_empty();
    if raw {
        body.insert("prompt".to_owned(), prompt.into());
        if !suffix.is_empty() {
            body.insert("suffix".to_owned(), suffix.into());
        }
    } else {
        let mut user = json!({"role": "user", "content": prompt});
        if let Some(images) = request.get("images").filter(|images| !is_empty(images)) {
            user["images"] = images.clone();
        }
        let mut messages = Vec::new();
        if !system.is_empty() {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(message(&user)?);
        body.insert("messages".to_owned(), messages.into());
        think(&request, &mut body)?;
    }
    let method = if raw { Method::Completion } else { Method::Chat };
    if raw {
        // What is a yes or no for a chat is a number here.
        let top = body.remove("top_logprobs");
        if body.get("logprobs") == Some(&json!(true)) {
            body.insert("logprobs".to_owned(), top.unwrap_or_else(|| 1.into()));
        } else {
            body.remove("logprobs");
        }
    }
    let stream = flag(&request, "stream", true)?;
    Ok(Asked::Answer(Call { model, method, stream, include_usage: false, body }))
}

/// Reads `POST /api/embed`; `None` when there is nothing to embed.
pub(crate) fn parse_embed(bytes: &[u8]) -> Result<(String, Option<Call>), ApiError> {
    let request = object(bytes)?;
    let call = lookup(&request, Method::Embeddings, &["input", "dimensions"])?;
    let nothing = call.body.get("input").is_none_or(is_empty);
    Ok((call.model.clone(), (!nothing).then_some(call)))
}

/// Reads the older `POST /api/embeddings`.
pub(crate) fn parse_embeddings(bytes: &[u8]) -> Result<Call, ApiError> {
    let mut request = object(bytes)?;
    let prompt = request.remove("prompt").unwrap_or(Value::Null);
    request.insert("input".to_owned(), prompt);
    lookup(&request, Method::Embeddings, &["input"])
}

/// The answer of `POST /api/embed`.
pub(crate) fn embeddings(model: &str, gathered: Option<&Gathered>, total_ns: u64) -> Value {
    let vectors = gathered.map_or(&[][..], |gathered| &gathered.vectors);
    let tokens = gathered.map_or(0, |gathered| gathered.finished.usage.prompt_tokens);
    json!({
        "model": model, "embeddings": vectors, "total_duration": total_ns, "load_duration": 0,
        "prompt_eval_count": tokens,
    })
}

/// `keep_alive` is the pod's business; says whether the model was to be unloaded at once.
fn keep_alive(request: &Map<String, Value>) -> Result<bool, ApiError> {
    match request.get("keep_alive").unwrap_or(&Value::Null) {
        Value::Null => Ok(false),
        Value::Number(seconds) => Ok(seconds.as_f64() == Some(0.0)),
        Value::String(text) => Ok(["0", "0s", "0m", "0h"].contains(&text.as_str())),
        other => {
            let message = format!("`keep_alive` must be a number or a duration, got {other}.");
            Err(ApiError::invalid("keep_alive", message))
        }
    }
}

/// `think`: yes or no, or how much.
fn think(request: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let (effort, enable) = match request.get("think").unwrap_or(&Value::Null) {
        Value::Null => return Ok(()),
        Value::Bool(true) => (None, true),
        Value::Bool(false) => (Some("none"), false),
        Value::String(level) if ["low", "medium", "high"].contains(&level.as_str()) => {
            (Some(level.as_str()), true)
        }
        other => {
            let message = format!("`think` must be true, false, low, medium or high, got {other}.");
            return Err(ApiError::invalid("think", message));
        }
    };
    body.extend(effort.map(|effort| ("reasoning_effort".to_owned(), effort.into())));
    body.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": enable}));
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn messages(value: Option<&Value>) -> Result<Vec<Value>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(messages)) => messages.iter().map(message).collect(),
        Some(_) => Err(ApiError::invalid("messages", "`messages` must be an array.")),
    }
}

/// Keeps what a chat template needs; tool-call arguments are an object in Ollama and text in
/// OpenAI, images a list beside the text.
fn message(message: &Value) -> Result<Value, ApiError> {
    let mut kept = Map::new();
    let given = |name: &str| message.get(name).filter(|value| !value.is_null());
    for (theirs, ours) in [
        ("role", "role"),
        ("content", "content"),
        ("thinking", "reasoning_content"),
        ("name", "name"),
        ("tool_name", "name"),
        ("tool_call_id", "tool_call_id"),
    ] {
        if let Some(value) = given(theirs).filter(|value| ours == "content" || !is_empty(value)) {
            kept.insert(ours.to_owned(), value.clone());
        }
    }
    if let Some(images) = given("images").filter(|images| !is_empty(images)) {
        let text = kept.get("content").cloned().unwrap_or_else(|| "".into());
        kept.insert("content".to_owned(), with_images(&text, images)?);
    }
    if let Some(calls) = given("tool_calls").and_then(Value::as_array).filter(|c| !c.is_empty()) {
        let calls: Vec<Value> = calls.iter().enumerate().map(tool_call).collect();
        kept.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(Value::Object(kept))
}

/// A message's parts: the images, then the text.
fn with_images(text: &Value, images: &Value) -> Result<Value, ApiError> {
    let refused = |message: &str| ApiError::invalid("images", message);
    let list = images.as_array().ok_or_else(|| refused("`images` must be an array."))?;
    let mut parts = Vec::new();
    for image in list {
        let base64 = image.as_str().ok_or_else(|| refused("An image must be base64."))?;
        // The first bytes of a file in base64 say what it is.
        let kind = [("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif")]
            .into_iter()
            .find_map(|(magic, kind)| base64.starts_with(magic).then_some(kind))
            .ok_or_else(|| refused("An image must be PNG, JPEG or GIF in base64."))?;
        let url = format!("data:image/{kind};base64,{base64}");
        parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    if !is_empty(text) {
        parts.push(json!({"type": "text", "text": text}));
    }
    Ok(parts.into())
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
            // Ollama's -1 and -2 mean "no limit of its own"; the offer's limits hold then, also
            // where the context asked for is larger than the offer's.
            let limits = ["num_predict", "num_ctx"].map(|name| options.get(name)?.as_i64());
            if let Some(limit) = limits.into_iter().flatten().filter(|limit| *limit > 0).min() {
                body.insert("max_tokens".to_owned(), limit.into());
            }
        }
        Some(_) => return Err(ApiError::invalid("options", "`options` must be an object.")),
    }
    if let Some(format) = request.get("format").filter(|format| !is_empty(format)) {
        body.insert("response_format".to_owned(), response_format(format)?);
    }
    for name in ["logprobs", "top_logprobs", "grammar"] {
        if let Some(value) = request.get(name).filter(|value| !value.is_null() && **value != false)
        {
            body.insert(name.to_owned(), value.clone());
        }
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
    pub(crate) fn piece(&self, piece: &Piece, logprobs: &Value) -> Value {
        let mut line = json!({"model": self.model, "created_at": self.created_at, "done": false});
        if let Some(tokens) = logprobs.get("content") {
            line["logprobs"] = tokens.clone();
        }
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
    pub(crate) fn last(
        &self,
        piece: &Piece,
        logprobs: &Value,
        answer: &FinishedAnswer,
        total_ns: u64,
    ) -> Value {
        let mut line = self.piece(piece, logprobs);
        let reason = super::openai::finish_reason(answer.finish);
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

    /// The answer to a request without anything to answer.
    pub(crate) fn loaded(&self, unload: bool) -> Value {
        let mut line = self.piece(&Piece::default(), &Value::Null);
        line["done"] = true.into();
        line["done_reason"] = if unload { "unload" } else { "load" }.into();
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

    fn answer(asked: Asked) -> Call {
        match asked {
            Asked::Answer(call) => call,
            Asked::Loaded { .. } => panic!("nothing is asked"),
        }
    }

    fn chat(body: &Value) -> Call {
        answer(parse_chat(body.to_string().as_bytes()).unwrap())
    }

    fn generate(body: &Value) -> Call {
        answer(parse_generate(body.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn maps_options_and_format() {
        let call = chat(&json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [],
            "format": "json", "logprobs": false,
            "options": {"num_predict": 5, "top_k": 3, "num_ctx": 99, "num_gpu": 1,
                        "repeat_last_n": -1, "mirostat": 2},
        }));
        assert!(call.stream, "Ollama streams unless told otherwise");
        let expected = json!({
            "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "top_k": 3,
            "repeat_last_n": -1, "mirostat": 2, "response_format": {"type": "json_object"},
        });
        assert_eq!(Value::Object(call.body), expected);
    }

    #[test]
    fn no_limit_of_its_own_leaves_the_limit_to_the_offer() {
        let options = |options: Value| {
            generate(&json!({"model": "m", "prompt": "x", "options": options})).body
        };
        assert!(!options(json!({"num_predict": -1})).contains_key("max_tokens"));
        assert_eq!(options(json!({"num_predict": -2, "num_ctx": 64}))["max_tokens"], 64);
        assert_eq!(options(json!({"num_predict": 100, "num_ctx": 64}))["max_tokens"], 64);
    }

    #[test]
    fn nothing_to_answer_loads_or_unloads() {
        for (body, unloads) in [
            (r#"{"model":"m"}"#, false),
            (r#"{"model":"m","prompt":"","keep_alive":"5m"}"#, false),
            (r#"{"model":"m","keep_alive":0}"#, true),
        ] {
            for parsed in [parse_generate(body.as_bytes()), parse_chat(body.as_bytes())] {
                let Asked::Loaded { unload, .. } = parsed.unwrap() else { panic!("{body}") };
                assert_eq!(unload, unloads, "{body}");
            }
        }
        let error = parse_chat(br#"{"model":"m","keep_alive":[]}"#).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("keep_alive"));
    }

    #[test]
    fn a_raw_prompt_or_a_suffix_makes_a_completion() {
        let call = generate(&json!({
            "model": "m", "prompt": "x", "raw": true, "logprobs": true, "top_logprobs": 3,
        }));
        let expected = json!({"prompt": "x", "logprobs": 3});
        assert_eq!((call.method, Value::Object(call.body)), (Method::Completion, expected));
        let call = generate(&json!({"model": "m", "prompt": "x", "suffix": "z", "system": "s"}));
        assert_eq!(Value::Object(call.body), json!({"prompt": "x", "suffix": "z"}));
    }

    #[test]
    fn system_images_and_thinking_reach_the_chat() {
        let call = generate(&json!({
            "model": "m", "prompt": "what", "system": "be brief", "think": "high",
            "images": ["iVBORw0KGgoAAA=="],
        }));
        let url = "data:image/png;base64,iVBORw0KGgoAAA==";
        let parts = json!([
            {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what"},
        ]);
        let expected = json!({
            "messages": [
                {"role": "system", "content": "be brief"}, {"role": "user", "content": parts},
            ],
            "reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": true},
        });
        assert_eq!((call.method, Value::Object(call.body)), (Method::Chat, expected));
        for (think, expected) in [
            (
                json!(false),
                json!({"reasoning_effort": "none",
                "chat_template_kwargs": {"enable_thinking": false}}),
            ),
            (json!(true), json!({"chat_template_kwargs": {"enable_thinking": true}})),
        ] {
            let mut body = chat(&json!({"model": "m", "messages": [{}], "think": think})).body;
            body.remove("messages");
            assert_eq!(Value::Object(body), expected);
        }
    }

    #[test]
    fn a_conversation_with_tools_becomes_openais() {
        let call = chat(&json!({"model": "m", "messages": [
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                {"function": {"name": "f", "arguments": {"a": 1}}},
            ]},
            {"role": "tool", "content": "1", "tool_name": "f"},
        ]}));
        let function = json!({"name": "f", "arguments": "{\"a\":1}"});
        let expected = json!([
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
                {"id": "call_0", "type": "function", "function": function},
            ]},
            {"role": "tool", "content": "1", "name": "f"},
        ]);
        assert_eq!(call.body["messages"], expected);
    }

    #[test]
    fn refuses_what_it_would_otherwise_drop_silently() {
        for (field, value) in [
            ("template", json!("{{ .Prompt }}")),
            ("context", json!([1, 2])),
            ("images", json!(["aGk="])),
            ("think", json!("deeply")),
        ] {
            let mut body = json!({"model": "m", "prompt": "x"});
            body[field] = value;
            let error = parse_generate(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field));
        }
    }

    #[test]
    fn embeddings_come_by_both_names() {
        let (model, call) = parse_embed(br#"{"model":"m","input":["a"],"truncate":true}"#).unwrap();
        let body = Value::Object(call.unwrap().body);
        assert_eq!((model.as_str(), body), ("m", json!({"input": ["a"]})));
        assert!(parse_embed(br#"{"model":"m","input":[]}"#).unwrap().1.is_none());
        let call = parse_embeddings(br#"{"model":"m","prompt":"a"}"#).unwrap();
        assert_eq!(Value::Object(call.body), json!({"input": "a"}));
    }
}
