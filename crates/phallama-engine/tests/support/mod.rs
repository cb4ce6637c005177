//! What both test programs need to talk to an engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use phallama_engine::{
    Account, ChatRequest, ChatStream, Engine, EngineError, EngineEvent, FinishReason, Usage,
};
use serde_json::{Value, json};

pub(crate) const ANNE: Account = [0xA1; 20];
pub(crate) const BOB: Account = [0xB0; 20];

/// A chat request with one user message.
pub(crate) fn ask(message: &str) -> ChatRequest {
    let body = json!({ "messages": [{ "role": "user", "content": message }] });
    ChatRequest::parse(body.to_string().as_bytes()).unwrap()
}

/// Everything that an answer consisted of.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) pieces: Vec<u32>,
    pub(crate) prompt: Option<(u32, u32)>,
    pub(crate) others: Vec<EngineEvent>,
    pub(crate) end: Option<(FinishReason, Usage)>,
    pub(crate) error: Option<EngineError>,
}

/// Reads to the end and checks that nothing follows it.
pub(crate) async fn collect(stream: &mut ChatStream) -> Collected {
    let mut all = Collected::default();
    while let Some(event) = stream.next().await {
        assert!(all.end.is_none() && all.error.is_none(), "an event after the end: {event:?}");
        match event {
            Ok(EngineEvent::Prompt { prompt_tokens, cached_tokens }) => {
                assert!(all.prompt.is_none() && all.text.is_empty());
                all.prompt = Some((prompt_tokens, cached_tokens));
            }
            Ok(EngineEvent::Content { text, tokens }) => {
                all.text.push_str(&text);
                all.pieces.push(tokens);
            }
            Ok(EngineEvent::Reasoning { text, .. }) => all.reasoning.push_str(&text),
            Ok(EngineEvent::Finished { reason, usage, .. }) => all.end = Some((reason, usage)),
            Ok(other) => all.others.push(other),
            Err(error) => all.error = Some(error),
        }
    }
    assert!(stream.next().await.is_none());
    assert!(all.end.is_some() != all.error.is_some(), "exactly one end");
    all
}

/// A file that a variable names, or that `tools/setup.sh` provides.
pub(crate) fn given(variable: &str, part: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(setup).arg(part).output().unwrap();
    assert!(output.status.success(), "tools/setup.sh {part} failed; set {variable} instead");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// A chat template with places for tools, calls and thoughts. What a model of this size says in
/// them is what the examples before it said: with each tool come two.
pub(crate) fn able_template() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/able.jinja")
}

/// With such a template, a function is called of the model's own accord, and thoughts are told
/// apart from what is said.
pub(crate) async fn calls_and_thinks(engine: &Engine) {
    let said = async |more: Value| {
        let mut body = json!({ "temperature": 0, "repeat_penalty": 1, "max_tokens": 60 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        collect(&mut engine.chat(request, ANNE).await.unwrap()).await
    };
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } },
                         "required": ["a"], "additionalProperties": false });
    let function = json!({ "name": "get_number", "description": "One.", "parameters": schema });
    let messages = json!([{ "role": "user", "content": "Call get_number." }]);
    let tools = json!([{ "type": "function", "function": function }]);
    let called = said(json!({ "messages": messages, "tools": tools })).await;
    assert_eq!(called.end.unwrap().0, FinishReason::ToolCalls, "{called:?}");
    let (mut name, mut arguments, mut ids) = (String::new(), String::new(), 0);
    for event in &called.others {
        let EngineEvent::ToolCalls { calls, .. } = event else { continue };
        for call in calls.as_array().unwrap() {
            assert_eq!(call["index"], 0, "{called:?}");
            ids += usize::from(call["id"].is_string());
            name += call["function"]["name"].as_str().unwrap_or_default();
            arguments += call["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!((name.as_str(), arguments, ids), ("get_number", json!({ "a": 7 }), 1));
    assert!(!called.text.contains("tool_call"), "{called:?}");

    let mut messages = Vec::new();
    for word in ["one", "two", "three"] {
        let answer = json!({ "role": "assistant", "reasoning_content": "so", "content": word });
        messages.extend([json!({ "role": "user", "content": "Think." }), answer]);
    }
    messages.push(json!({ "role": "user", "content": "Think." }));
    let kwargs = json!({ "enable_thinking": true });
    let thought = said(json!({ "messages": messages, "chat_template_kwargs": kwargs })).await;
    assert_eq!((thought.reasoning.as_str(), thought.text.as_str()), ("so", "four"), "{thought:?}");
}
