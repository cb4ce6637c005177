//! OpenAI's shapes: requests in, chunks out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use phallama_client::{Method, Usage};
use phallama_protocol::receipt::Finish;
use serde_json::{Map, Value, json};

use super::answer::{Choice, Piece, Shape};
use super::api_error::{Api, ApiError};
use super::ask::Ended;
use super::call::Call;
use super::field::{copy, flag, given, list, map, object, refuse, text};
use super::lookup::{self, Gathered};

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
const PASSED_COMPLETION: &[&str] = &["suffix", "echo", "best_of"];

/// Most prompts of one completion request.
const PROMPTS_MAX: usize = 64;

/// Keys of a message that clients send back from an answer and that say nothing to a model.
const ECHOED: &[&str] = &["refusal", "annotations"];

/// Fields that would change the answer, and what to do without them.
const REFUSED: &[(&str, &str)] = &[
    ("functions", "use `tools`"),
    ("function_call", "use `tool_choice`"),
    ("audio", "pods answer in text"),
    ("web_search_options", "pods search nothing"),
];

/// What a request for an answer comes to.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) model: String,
    /// One for each prompt.
    pub(crate) calls: Vec<Call>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

/// Reads `POST /v1/chat/completions`.
pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    refuse(&request, REFUSED)?;
    if let Some(other) = list(&request, "modalities")?.iter().find(|one| **one != "text") {
        let message = format!("`modalities` must be [\"text\"], got {other}.");
        return Err(ApiError::invalid("modalities", message));
    }
    let Some(messages) = request.get("messages").and_then(Value::as_array) else {
        return Err(ApiError::invalid("messages", "`messages` must be an array."));
    };
    let messages: Vec<Value> = messages.iter().map(message).collect();
    let mut call = call(&request, Method::Chat, PASSED_CHAT)?;
    call.body.insert("messages".to_owned(), messages.into());
    asked(&request, vec![call])
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
pub(crate) fn parse_completion(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    let base = call(&request, Method::Completion, PASSED_COMPLETION)?;
    let prompt = given(&request, "prompt").unwrap_or(&Value::Null);
    // A list of numbers is one prompt in tokens.
    let prompts = match prompt.as_array() {
        Some(list) if !list.iter().all(Value::is_number) => list.as_slice(),
        _ => std::slice::from_ref(prompt),
    };
    if prompts.len() > PROMPTS_MAX {
        let message =
            format!("`prompt` has {} texts, at most {PROMPTS_MAX} are allowed.", prompts.len());
        return Err(ApiError::invalid("prompt", message));
    }
    let calls = prompts.iter().map(|prompt| one_prompt(&base, prompt)).collect::<Result<_, _>>()?;
    asked(&request, calls)
}

fn one_prompt(base: &Call, prompt: &Value) -> Result<Call, ApiError> {
    if !prompt.is_string() && !prompt.is_array() {
        let message = "`prompt` must be a text, a list of token ids, or a list of either.";
        return Err(ApiError::invalid("prompt", message));
    }
    let mut body = base.body.clone();
    body.insert("prompt".to_owned(), prompt.clone());
    Ok(Call { model: base.model.clone(), body, ..*base })
}

fn asked(request: &Map<String, Value>, calls: Vec<Call>) -> Result<Asked, ApiError> {
    let options = map(request, "stream_options")?;
    // What flows on loopback needs no padding; between here and the pod all frames have one size.
    flag(&options, "include_obfuscation", false)?;
    let include_usage = flag(&options, "include_usage", false)?;
    let stream = flag(request, "stream", false)?;
    Ok(Asked { model: text(request, "model")?, calls, stream, include_usage })
}

fn call(request: &Map<String, Value>, method: Method, more: &[&str]) -> Result<Call, ApiError> {
    let mut body = Map::new();
    copy(request, PASSED, &mut body);
    copy(request, more, &mut body);
    if let Some(limit) = given(request, "max_completion_tokens") {
        body.insert("max_tokens".to_owned(), limit.clone());
    }
    Ok(Call { model: text(request, "model")?, method, body })
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
    Ok((lookup::call(&request, Method::Embeddings, &["input", "dimensions"])?, base64))
}

/// The answer of `POST /v1/embeddings`.
pub(crate) fn embeddings(model: &str, gathered: &Gathered, base64: bool) -> Value {
    let entry = |(index, vector): (usize, &Vec<f32>)| {
        let embedding = if base64 { as_base64(vector).into() } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = gathered.vectors.iter().enumerate().map(entry).collect();
    let tokens = gathered.end.usage().prompt_tokens;
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

/// How OpenAI's chat and completion endpoints write an answer.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    pub(crate) id: String,
    pub(crate) created_unix_s: u64,
    pub(crate) model: String,
    /// `/v1/completions` has `text`, `/v1/chat/completions` a message.
    pub(crate) completion: bool,
    pub(crate) include_usage: bool,
    /// Which of the choices is being written.
    pub(crate) choice: usize,
}

impl Chunks {
    fn object(&self, chat: &str, choices: Value) -> Value {
        let object = if self.completion { "text_completion" } else { chat };
        json!({
            "id": self.id, "object": object, "created": self.created_unix_s, "model": self.model,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.object("chat.completion.chunk", choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// A chunk with one choice.
    fn delta(&self, piece: &Piece, finish: Option<&str>) -> Value {
        let mut choice = json!({"index": self.choice, "finish_reason": finish});
        if self.completion {
            choice["text"] = piece.content.as_str().into();
            choice["logprobs"] = completion_logprobs(&piece.logprobs);
        } else {
            choice["delta"] = delta(piece);
            choice["logprobs"] = chat_logprobs(&piece.logprobs);
        }
        self.chunk(json!([choice]))
    }

    /// An empty delta that names the role, which OpenAI's clients see first of a choice.
    fn role(&self) -> Option<Bytes> {
        if self.completion {
            return None;
        }
        let delta = json!({"role": "assistant", "content": ""});
        let choice = json!({
            "index": self.choice, "delta": delta, "logprobs": null, "finish_reason": null,
        });
        Some(encode(&self.chunk(json!([choice]))))
    }

    fn end_of_choice(&self, finish: Finish) -> Value {
        self.delta(&Piece::default(), Some(finish_reason(finish)))
    }
}

impl Shape for Chunks {
    const API: Api = Api::OpenAi;

    fn opening(&mut self) -> Vec<Bytes> {
        self.role().into_iter().collect()
    }

    fn piece(&mut self, piece: Piece) -> Vec<Bytes> {
        vec![encode(&self.delta(&piece, None))]
    }

    fn next_choice(&mut self, ended: Finish) -> Vec<Bytes> {
        let end = encode(&self.end_of_choice(ended));
        self.choice += 1;
        std::iter::once(end).chain(self.role()).collect()
    }

    fn closing(&mut self, end: &Ended) -> Vec<Bytes> {
        let mut last = self.end_of_choice(end.finish());
        last["phallama"] = end.proof();
        let mut chunks = vec![encode(&last)];
        if self.include_usage {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage(&end.usage());
            chunks.push(encode(&chunk));
        }
        chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
        chunks
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Bytes> {
        vec![encode(&error.body(Self::API))]
    }

    fn whole(self, choices: Vec<Choice>, end: &Ended) -> Value {
        let entry = |(index, told): (usize, Choice)| {
            let reason = finish_reason(told.finish);
            let mut choice = json!({"index": index, "finish_reason": reason});
            if self.completion {
                choice["text"] = told.piece.content.as_str().into();
                choice["logprobs"] = completion_logprobs(&told.piece.logprobs);
            } else {
                choice["message"] = message_of(&told.piece);
                choice["logprobs"] = chat_logprobs(&told.piece.logprobs);
            }
            choice
        };
        let choices: Vec<Value> = choices.into_iter().enumerate().map(entry).collect();
        let mut whole = self.object("chat.completion", choices.into());
        whole["usage"] = usage(&end.usage());
        whole
    }
}

fn encode(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn delta(piece: &Piece) -> Value {
    let mut delta = json!({});
    if !piece.content.is_empty() {
        delta["content"] = piece.content.as_str().into();
    }
    if !piece.thinking.is_empty() {
        delta["reasoning_content"] = piece.thinking.as_str().into();
    }
    if !piece.tool_calls.is_empty() {
        delta["tool_calls"] = piece.tool_calls.clone().into();
    }
    delta
}

fn message_of(piece: &Piece) -> Value {
    let mut message = delta(piece);
    message["role"] = "assistant".into();
    message["refusal"] = Value::Null;
    if message.get("content").is_none() {
        let empty = piece.tool_calls.is_empty();
        message["content"] = if empty { "".into() } else { Value::Null };
    }
    message
}

fn chat_logprobs(tokens: &[Value]) -> Value {
    if tokens.is_empty() { Value::Null } else { json!({"content": tokens, "refusal": null}) }
}

/// The older shape of log probabilities, which `/v1/completions` has.
fn completion_logprobs(tokens: &[Value]) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (String, Option<String>) {
        let error = parse_chat(body.as_bytes()).unwrap_err();
        (error.message, error.param)
    }

    #[test]
    fn passes_known_fields_and_drops_the_rest() {
        let asked = parse_chat(
            br#"{"model":"m","messages":[],"store":true,"temperature":0.5,"stop":null,"n":2,
                 "max_completion_tokens":7,"stream":true,"stream_options":{"include_usage":true},
                 "prompt":"no","reasoning_effort":"low"}"#,
        )
        .unwrap();
        assert!(asked.stream && asked.include_usage);
        let [call] = <[Call; 1]>::try_from(asked.calls).unwrap();
        let expected = json!({
            "messages": [], "temperature": 0.5, "max_tokens": 7, "n": 2, "reasoning_effort": "low",
        });
        assert_eq!((call.method, Value::Object(call.body)), (Method::Chat, expected));
    }

    #[test]
    fn an_answer_may_be_sent_back_as_it_came() {
        let asked = parse_chat(
            br#"{"model":"m","messages":[{"role":"assistant","content":"a","refusal":null,
                 "annotations":[],"audio":null,"tool_calls":null,"function_call":null}]}"#,
        )
        .unwrap();
        let messages = &asked.calls[0].body["messages"];
        assert_eq!(messages, &json!([{"role": "assistant", "content": "a"}]));
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

    #[test]
    fn each_prompt_of_a_completion_is_a_question() {
        let prompts = |prompt: &str| {
            let body = format!(r#"{{"model":"m","prompt":{prompt},"suffix":"s","messages":[]}}"#);
            let asked = parse_completion(body.as_bytes())?;
            Ok(asked.calls.into_iter().map(|call| Value::Object(call.body)).collect::<Vec<_>>())
        };
        for (given, passed) in [
            ("\"a\"", vec![json!("a")]),
            ("[\"a\", \"b\"]", vec![json!("a"), json!("b")]),
            ("[1, 2]", vec![json!([1, 2])]),
            ("[[1], [2]]", vec![json!([1]), json!([2])]),
        ] {
            let expected = passed.iter().map(|prompt| json!({"prompt": prompt, "suffix": "s"}));
            let got: Result<_, ApiError> = prompts(given);
            assert_eq!(got.unwrap(), expected.collect::<Vec<_>>(), "{given}");
        }
        for wrong in ["null", "1", "[\"a\", 1]", "{}"] {
            assert_eq!(prompts(wrong).unwrap_err().param.as_deref(), Some("prompt"), "{wrong}");
        }
    }

    #[test]
    fn refuses_what_would_change_the_answer_and_ignores_the_rest() {
        let param = |field: &str| {
            let body = format!(r#"{{"model":"m","messages":[],{field}}}"#);
            parse_chat(body.as_bytes()).err().and_then(|error| error.param)
        };
        for (field, at_fault) in [
            (r#""functions":[{}]"#, "functions"),
            (r#""audio":{"voice":"a"}"#, "audio"),
            (r#""modalities":["text","audio"]"#, "modalities"),
            (r#""stream_options":[]"#, "stream_options"),
            (r#""stream_options":{"include_usage":"yes"}"#, "include_usage"),
        ] {
            assert_eq!(param(field).as_deref(), Some(at_fault));
        }
        for ignored in [
            r#""modalities":["text"]"#,
            r#""metadata":{"a":"b"},"store":true,"service_tier":"auto","verbosity":"low""#,
            r#""stream_options":{"include_obfuscation":false},"never_heard_of":1"#,
        ] {
            assert_eq!(param(ignored), None, "{ignored}");
        }
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
        let tokens = [json!({
            "token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.0}],
        })];
        assert_eq!(
            completion_logprobs(&tokens),
            json!({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -1.0}]})
        );
        assert_eq!(completion_logprobs(&[]), Value::Null);
    }
}
