//! What both test programs need to talk to an engine.

use phallama_engine::{
    Account, ChatRequest, ChatStream, EngineError, EngineEvent, FinishReason, Usage,
};
use serde_json::json;

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
