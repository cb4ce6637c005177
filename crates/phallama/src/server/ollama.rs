//! Ollama's shapes: requests in, lines out.

mod context;
pub(crate) mod network;
mod template;

use std::time::Instant;

use bytes::Bytes;
use phallama_client::Method;
use phallama_protocol::receipt::Finish;
use serde_json::{Map, Value, json};

use super::answer::{Choice, Piece, Shape};
use super::api_error::{Api, ApiError};
use super::ask::Ended;
use super::call::Call;
use super::field::{flag, given, is_empty, list, object, refuse, text};
use super::in_use::KeepAlive;
use super::lookup::{self, Gathered};
use template::Values;

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
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) keep_alive: KeepAlive,
    /// Nothing to answer: the model is to be loaded, or, with a `keep_alive` of 0, unloaded. Either
    /// is the pod's business.
    pub(crate) question: Option<Question>,
}

#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) call: Call,
    pub(crate) stream: bool,
    /// What the answer's `context` begins with; absent where an answer has none.
    pub(crate) history: Option<Vec<Value>>,
}

/// Reads `POST /api/chat`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    let (model, keep_alive) = (text(&request, "model")?, keep_alive(&request)?);
    let messages: Vec<Value> =
        list(&request, "messages")?.iter().map(message).collect::<Result<_, _>>()?;
    if messages.is_empty() {
        return Ok(Asked { model, keep_alive, question: None });
    }
    let mut body = options(&request)?;
    body.insert("messages".to_owned(), messages.into());
    let tools = list(&request, "tools")?;
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    think(&request, &mut body)?;
    let call = Call { model: model.clone(), method: Method::Chat, body };
    let question = Question { call, stream: flag(&request, "stream", true)?, history: None };
    Ok(Asked { model, keep_alive, question: Some(question) })
}

/// Reads `POST /api/generate`.
pub(crate) fn parse_generate(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    let (model, keep_alive) = (text(&request, "model")?, keep_alive(&request)?);
    let [prompt, suffix, template] = ["prompt", "suffix", "template"].map(|n| word(&request, n));
    let (prompt, suffix, template) = (prompt?, suffix?, template?);
    if prompt.is_empty() {
        return Ok(Asked { model, keep_alive, question: None });
    }
    let mut body = options(&request)?;
    let is_raw = flag(&request, "raw", false)?;
    if is_raw {
        let why = "a raw prompt is all that the model sees";
        refuse(&request, &["template", "system", "context"].map(|field| (field, why)))?;
    }
    let (method, history) = if is_raw || !suffix.is_empty() || !template.is_empty() {
        completion(&request, &mut body)?;
        (Method::Completion, None)
    } else {
        (Method::Chat, Some(chat_of_prompt(&request, &mut body)?))
    };
    let call = Call { model: model.clone(), method, body };
    let question = Question { call, stream: flag(&request, "stream", true)?, history };
    Ok(Asked { model, keep_alive, question: Some(question) })
}

/// A prompt that goes to the model as it is, with a suffix, or as the app's template makes it.
fn completion(request: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    refuse(
        request,
        &[
            ("images", "only the model's own template knows where an image belongs"),
            ("context", "only the model's own template knows how a conversation goes on"),
        ],
    )?;
    let (prompt, suffix) = (word(request, "prompt")?, word(request, "suffix")?);
    let template = word(request, "template")?;
    if template.is_empty() {
        body.insert("prompt".to_owned(), prompt.into());
        if !suffix.is_empty() {
            body.insert("suffix".to_owned(), suffix.into());
        }
    } else {
        let values = Values { system: word(request, "system")?, prompt, suffix };
        let prompt = template::render(template, &values).map_err(|problem| {
            let message = format!("`template` has what is not understood here: {problem}.");
            ApiError::invalid("template", message)
        })?;
        body.insert("prompt".to_owned(), prompt.into());
    }
    // What is a yes or no for a chat is a number here.
    let top = body.remove("top_logprobs");
    if body.remove("logprobs") == Some(json!(true)) {
        body.insert("logprobs".to_owned(), top.unwrap_or_else(|| 1.into()));
    }
    Ok(())
}

/// A prompt as the next message of the conversation in `context`; returns that conversation.
fn chat_of_prompt(
    request: &Map<String, Value>,
    body: &mut Map<String, Value>,
) -> Result<Vec<Value>, ApiError> {
    let mut messages = context::read(request)?;
    let system = word(request, "system")?;
    if !system.is_empty() {
        messages.retain(|message| message["role"] != "system");
        messages.insert(0, json!({"role": "system", "content": system}));
    }
    let mut user = json!({"role": "user", "content": word(request, "prompt")?});
    if let Some(images) = request.get("images").filter(|images| !is_empty(images)) {
        user["images"] = images.clone();
    }
    messages.push(message(&user)?);
    body.insert("messages".to_owned(), messages.clone().into());
    think(request, body)?;
    Ok(messages)
}

/// A text, empty when it is not there.
fn word<'a>(request: &'a Map<String, Value>, name: &str) -> Result<&'a str, ApiError> {
    match given(request, name) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ApiError::invalid(name, format!("`{name}` must be a text."))),
    }
}

/// Reads `POST /api/embed`; `None` when there is nothing to embed.
pub(crate) fn parse_embed(bytes: &[u8]) -> Result<(String, Option<Call>), ApiError> {
    let request = object(bytes)?;
    let call = lookup::call(&request, Method::Embeddings, &["input", "dimensions"])?;
    let nothing = call.body.get("input").is_none_or(is_empty);
    Ok((call.model.clone(), (!nothing).then_some(call)))
}

/// Reads the older `POST /api/embeddings`.
pub(crate) fn parse_embeddings(bytes: &[u8]) -> Result<Call, ApiError> {
    let mut request = object(bytes)?;
    let prompt = request.remove("prompt").unwrap_or(Value::Null);
    request.insert("input".to_owned(), prompt);
    lookup::call(&request, Method::Embeddings, &["input"])
}

/// The answer of `POST /api/embed`.
pub(crate) fn embeddings(model: &str, gathered: Option<&Gathered>, total_ns: u64) -> Value {
    let vectors = gathered.map_or(&[][..], |gathered| &gathered.vectors);
    let tokens = gathered.map_or(0, |gathered| gathered.end.usage().prompt_tokens);
    json!({
        "model": model, "embeddings": vectors, "total_duration": total_ns, "load_duration": 0,
        "prompt_eval_count": tokens,
    })
}

/// `keep_alive`: a number of seconds, or a duration.
fn keep_alive(request: &Map<String, Value>) -> Result<KeepAlive, ApiError> {
    let read = match request.get("keep_alive").unwrap_or(&Value::Null) {
        Value::Null => Some(KeepAlive::USUAL),
        Value::Number(seconds) => seconds.as_f64().map(KeepAlive::of_seconds),
        Value::String(text) => KeepAlive::of_text(text),
        _ => None,
    };
    read.ok_or_else(|| {
        let message = "`keep_alive` must be a number of seconds or a duration such as 5m.";
        ApiError::invalid("keep_alive", message)
    })
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

/// How Ollama's endpoints write an answer: one line for each part.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) model: String,
    pub(crate) created_at: String,
    /// `/api/generate` has `response`, `/api/chat` has `message`.
    pub(crate) generate: bool,
    pub(crate) began: Instant,
    pub(crate) history: Option<Vec<Value>>,
    /// The answer so far, for its `context`.
    pub(crate) told: String,
}

impl Lines {
    fn line(&self, piece: &Piece) -> Value {
        let mut line = json!({"model": self.model, "created_at": self.created_at, "done": false});
        if !piece.logprobs.is_empty() {
            line["logprobs"] = piece.logprobs.clone().into();
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
    fn last(&self, piece: &Piece, end: &Ended) -> Value {
        let mut line = self.line(piece);
        let reason = if end.finish() == Finish::Length { "length" } else { "stop" };
        let (usage, (prompt_ms, predicted_ms)) = (end.usage(), end.worker_ms());
        line["done"] = true.into();
        line["done_reason"] = reason.into();
        line["total_duration"] = nanoseconds_since(self.began).into();
        line["load_duration"] = 0.into();
        line["prompt_eval_count"] = usage.prompt_tokens.into();
        line["prompt_eval_duration"] = nanoseconds(prompt_ms).into();
        line["eval_count"] = usage.completion_tokens.into();
        line["eval_duration"] = nanoseconds(predicted_ms).into();
        if let Some(history) = &self.history {
            line["context"] = context::write(history, &self.told).into();
        }
        line
    }

    /// The answer to a request without anything to answer.
    pub(crate) fn loaded(&self, unload: bool) -> Value {
        let mut line = self.line(&Piece::default());
        line["done"] = true.into();
        line["done_reason"] = if unload { "unload" } else { "load" }.into();
        line
    }
}

impl Shape for Lines {
    const API: Api = Api::Ollama;
    const CONTENT_TYPE: &'static str = "application/x-ndjson";
    const PING: Option<&'static str> = None;

    fn opening(&mut self) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, piece: Piece) -> Vec<Bytes> {
        if self.history.is_some() {
            self.told.push_str(&piece.content);
        }
        vec![encode(&self.line(&piece))]
    }

    fn next_choice(&mut self, _: Finish) -> Vec<Bytes> {
        Vec::new()
    }

    fn closing(&mut self, end: &Ended) -> Vec<Bytes> {
        let mut last = self.last(&Piece::default(), end);
        last["phallama"] = end.proof();
        vec![encode(&last)]
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Bytes> {
        vec![encode(&error.body(Self::API))]
    }

    fn whole(mut self, choices: Vec<Choice>, end: &Ended) -> Value {
        let piece = choices.into_iter().next_back().map(|choice| choice.piece).unwrap_or_default();
        self.told.clone_from(&piece.content);
        self.last(&piece, end)
    }
}

fn encode(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

/// How long something took so far.
pub(crate) fn nanoseconds_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
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
        asked.question.expect("something is asked").call
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
                let asked = parsed.unwrap();
                assert!(asked.question.is_none());
                assert_eq!(asked.keep_alive.is_over(), unloads, "{body}");
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
            ("template", json!("{{ range .Messages }}{{ end }}")),
            ("context", json!([1, 2])),
            ("images", json!(["aGk="])),
            ("think", json!("deeply")),
            ("prompt", json!(["x"])),
            ("keep_alive", json!("soon")),
            ("stream", json!("yes")),
            ("format", json!("xml")),
        ] {
            let mut body = json!({"model": "m", "prompt": "x"});
            body[field] = value;
            let error = parse_generate(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field));
        }
        for field in ["template", "system", "context", "images"] {
            let mut body = json!({"model": "m", "prompt": "x", "raw": true});
            body[field] = json!(["x"]);
            if field != "images" && field != "context" {
                body[field] = json!("x");
            }
            let error = parse_generate(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field));
        }
    }

    #[test]
    fn a_template_makes_a_raw_prompt() {
        let call = generate(&json!({
            "model": "m", "prompt": "x", "system": "s",
            "template": "{{ .System }} [{{ .Prompt }}] {{ .Response }}",
        }));
        assert_eq!(Value::Object(call.body), json!({"prompt": "s [x] "}));
        assert_eq!(call.method, Method::Completion);
    }

    #[test]
    fn a_context_goes_on_with_its_conversation() {
        let user = |text: &str| json!({"role": "user", "content": text});
        let system = |text: &str| json!({"role": "system", "content": text});
        let context = context::write(&[system("old"), user("a")], "b");
        let request = json!({"model": "m", "prompt": "c", "system": "new", "context": context});
        let asked = parse_generate(request.to_string().as_bytes()).unwrap();
        let question = asked.question.unwrap();
        let answer = json!({"role": "assistant", "content": "b"});
        let expected = vec![system("new"), user("a"), answer, user("c")];
        assert_eq!(question.call.body["messages"], Value::Array(expected.clone()));
        assert_eq!(question.history, Some(expected));
        assert!(question.stream, "Ollama streams unless told otherwise");
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
