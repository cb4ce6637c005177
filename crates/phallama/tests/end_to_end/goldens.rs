//! Each endpoint, whole and streamed, as an app sees it: the request and everything that came back.
//! Ids, times and what depends on the run are replaced, nothing else.

use serde_json::{Value, json};

use crate::failures::stable;
use crate::stack::{MODEL, Options, Stack, VECTORS};

/// Fields whose values differ from run to run.
const REDACTED: &[&str] = &[
    "allowed",
    "bytes_down",
    "bytes_up",
    "created",
    "created_at",
    "completed_at",
    "cumulative",
    "expires_at",
    "id",
    "item_id",
    "modified_at",
    "total_duration",
];
/// Headers that belong to the API.
const HEADERS: &[&str] = &[
    "content-type",
    "x-phallama-cost",
    "x-phallama-pod",
    "x-phallama-receipt",
    "x-phallama-verified",
    "x-request-id",
];

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_redacted = REDACTED.contains(&name.as_str()) && !value.is_null();
                // Names of models and calls are the same every time.
                if is_redacted && *value != "c1" && *value != MODEL {
                    *value = format!("[{name}]").into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// JSON, ndjson or events, each JSON redacted.
fn redacted(body: &str) -> String {
    if let Ok(mut value) = serde_json::from_str::<Value>(body) {
        redact(&mut value);
        return format!("{value:#}");
    }
    let line = |line: &str| {
        let (before, json) = match line.strip_prefix("data: ") {
            Some(json) => ("data: ", json),
            None => ("", line),
        };
        match serde_json::from_str::<Value>(json) {
            Ok(mut value) => {
                redact(&mut value);
                format!("{before}{value}")
            }
            Err(_) => line.to_owned(),
        }
    };
    body.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Request and response in one text.
async fn recorded(stack: &Stack, method: http::Method, path: &str, body: Option<&Value>) -> String {
    let mut request = reqwest::Client::new().request(method.clone(), stack.url(path));
    let mut sent = String::new();
    if let Some(body) = body {
        request = request.json(body);
        sent = format!("{body:#}\n");
    }
    let response = request.send().await.expect("the local server answers");
    let mut head = format!("{}\n", response.status());
    for name in HEADERS {
        if let Some(value) = response.headers().get(*name) {
            let value = value.to_str().expect("visible ASCII");
            let value = if *name == "x-request-id" { "[id]" } else { value };
            head = format!("{head}{name}: {value}\n");
        }
    }
    let answer = redacted(&response.text().await.expect("a whole body"));
    stable(stack, &format!("{method} {path}\n{sent}\n{head}\n{answer}\n"))
}

/// A tool for the model to call.
fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather", "parameters": {"type": "object", "properties": {}},
    }}])
}

/// A request by the name of its snapshot: path and body.
type Question = (&'static str, &'static str, Value);

fn says(script: &str) -> Value {
    json!([{"role": "user", "content": script}])
}

fn of_openai() -> Vec<Question> {
    let (chat, completion) = ("/v1/chat/completions", "/v1/completions");
    let usage = json!({"include_usage": true});
    vec![
        (
            "openai_chat",
            chat,
            json!({
                "messages": says("say one two"), "max_tokens": 16, "stream_options": usage,
            }),
        ),
        ("openai_chat_thinks", chat, json!({"messages": says("think hm"), "max_tokens": 16})),
        (
            "openai_chat_calls",
            chat,
            json!({
                "messages": says("tool weather"), "max_tokens": 16, "tools": tools(),
            }),
        ),
        (
            "openai_chat_logprobs_and_choices",
            chat,
            json!({
                "messages": says("logprobs 1"), "max_tokens": 16, "logprobs": true, "n": 2,
            }),
        ),
        ("openai_completion", completion, json!({"prompt": "say one two", "max_tokens": 16})),
        (
            "openai_completion_of_two_prompts",
            completion,
            json!({
                "prompt": ["say one", "say two"], "max_tokens": 16, "stream_options": usage,
            }),
        ),
    ]
}

fn of_responses() -> Vec<Question> {
    let path = "/v1/responses";
    let tools = json!([{"type": "function", "name": "weather", "parameters": {}}]);
    vec![
        (
            "responses",
            path,
            json!({
                "input": "say one two", "instructions": "be brief", "max_output_tokens": 16,
            }),
        ),
        ("responses_cut", path, json!({"input": "tokens 9", "max_output_tokens": 2})),
        ("responses_thinks", path, json!({"input": "think hm", "max_output_tokens": 16})),
        (
            "responses_calls",
            path,
            json!({
                "input": "tool weather", "max_output_tokens": 16, "tools": tools,
            }),
        ),
    ]
}

fn of_messages() -> Vec<Question> {
    let path = "/v1/messages";
    let tools = json!([{"name": "weather", "input_schema": {"type": "object"}}]);
    vec![
        (
            "messages",
            path,
            json!({
                "messages": says("say one two"), "system": "be brief", "max_tokens": 16,
            }),
        ),
        ("messages_cut", path, json!({"messages": says("tokens 9"), "max_tokens": 2})),
        ("messages_thinks", path, json!({"messages": says("think hm"), "max_tokens": 16})),
        (
            "messages_calls",
            path,
            json!({
                "messages": says("tool weather"), "max_tokens": 16, "tools": tools,
            }),
        ),
    ]
}

fn of_ollama() -> Vec<Question> {
    vec![
        (
            "ollama_chat",
            "/api/chat",
            json!({
                "messages": says("say one two"), "options": {"num_predict": 16},
            }),
        ),
        (
            "ollama_chat_calls",
            "/api/chat",
            json!({
                "messages": says("tool weather"), "options": {"num_predict": 16}, "tools": tools(),
            }),
        ),
        (
            "ollama_generate",
            "/api/generate",
            json!({
                "prompt": "say one two", "system": "be brief", "options": {"num_predict": 16},
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_recorded() {
    let stack = Stack::start(Options { slots: 1, ..Options::scripted() }).await;
    // Each whole and streamed.
    let questions = [of_openai(), of_responses(), of_messages(), of_ollama()].concat();
    for (name, path, mut body) in questions {
        body["model"] = MODEL.into();
        for stream in [false, true] {
            body["stream"] = stream.into();
            let text = recorded(&stack, http::Method::POST, path, Some(&body)).await;
            let name = if stream { format!("{name}_streamed") } else { name.to_owned() };
            insta::assert_snapshot!(name, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_as_recorded() {
    let stack = Stack::start(Options { slots: 1, vectors: true, ..Options::scripted() }).await;
    let get = http::Method::GET;
    for (name, path) in [
        ("root", "/"),
        ("openai_models", "/v1/models"),
        ("openai_model", &format!("/v1/models/{MODEL}")),
        ("ollama_version", "/api/version"),
        ("ollama_status", "/api/status"),
        ("ollama_tags", "/api/tags"),
    ] {
        let text = recorded(&stack, get.clone(), path, None).await;
        insta::assert_snapshot!(name, text);
    }
    for (name, path, body) in [
        ("openai_embeddings", "/v1/embeddings", json!({"model": VECTORS, "input": ["a b", "c"]})),
        (
            "openai_embeddings_in_base64",
            "/v1/embeddings",
            json!({
                "model": VECTORS, "input": "a b", "encoding_format": "base64",
            }),
        ),
        ("ollama_embed", "/api/embed", json!({"model": VECTORS, "input": ["a b", "c"]})),
        ("ollama_embeddings", "/api/embeddings", json!({"model": VECTORS, "prompt": "a b"})),
        ("ollama_show", "/api/show", json!({"model": MODEL})),
        ("ollama_show_by_name", "/api/show", json!({"name": VECTORS})),
        ("ollama_pull", "/api/pull", json!({"model": MODEL})),
        ("ollama_pull_whole", "/api/pull", json!({"model": MODEL, "stream": false})),
        ("ollama_pull_of_nothing", "/api/pull", json!({"model": "no-such-model"})),
        ("ollama_load", "/api/generate", json!({"model": MODEL, "keep_alive": "5m"})),
        ("ollama_unload", "/api/chat", json!({"model": MODEL, "keep_alive": 0})),
        (
            "count_tokens",
            "/v1/messages/count_tokens",
            json!({
                "model": MODEL, "messages": [{"role": "user", "content": "one two three"}],
            }),
        ),
        ("tokenize", "/tokenize", json!({"model": MODEL, "content": "one two three"})),
        ("detokenize", "/detokenize", json!({"model": MODEL, "tokens": [1, 2]})),
    ] {
        let text = recorded(&stack, http::Method::POST, path, Some(&body)).await;
        insta::assert_snapshot!(name, text);
    }
}
