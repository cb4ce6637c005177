//! What `POST /v1/messages` answers: one message, or events that make it up.

use bytes::Bytes;
use phallama_client::Usage;
use phallama_protocol::receipt::Finish;
use serde_json::{Map, Value, json};

use crate::server::answer::{Choice, Piece, Shape, named_event};
use crate::server::api_error::{Api, ApiError};
use crate::server::ask::Ended;

/// A message while it is written.
#[derive(Debug)]
pub(crate) struct Written {
    id: String,
    model: String,
    /// How many blocks are complete.
    blocks: usize,
    open: Option<Block>,
}

/// The block that grows at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    /// The call's index, where it has one.
    ToolUse(Option<u64>),
}

impl Written {
    pub(crate) fn new(id: String, model: String) -> Self {
        Self { id, model, blocks: 0, open: None }
    }

    fn message(&self, content: Vec<Value>, stop_reason: Value, usage: Value) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
        })
    }

    fn add(&mut self, piece: &Piece) -> Vec<Value> {
        let mut events = Vec::new();
        if !piece.thinking.is_empty() {
            let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.open(Block::Thinking, empty, &mut events);
            let delta = json!({"type": "thinking_delta", "thinking": piece.thinking});
            events.push(self.delta(delta));
        }
        if !piece.content.is_empty() {
            self.open(Block::Text, json!({"type": "text", "text": ""}), &mut events);
            events.push(self.delta(json!({"type": "text_delta", "text": piece.content})));
        }
        for call in &piece.tool_calls {
            let index = call["index"].as_u64();
            if index.is_none() {
                events.extend(self.close());
            }
            let function = &call["function"];
            let empty = json!({
                "type": "tool_use", "id": call["id"], "name": function["name"], "input": {},
            });
            self.open(Block::ToolUse(index), empty, &mut events);
            let arguments = function["arguments"].as_str().unwrap_or_default();
            events.push(self.delta(json!({"type": "input_json_delta", "partial_json": arguments})));
        }
        events
    }

    /// Begins a block, unless it is the open one.
    fn open(&mut self, block: Block, empty: Value, events: &mut Vec<Value>) {
        if self.open == Some(block) {
            return;
        }
        events.extend(self.close());
        let index = self.blocks;
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        self.open = Some(block);
    }

    fn delta(&self, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": self.blocks, "delta": delta})
    }

    /// Completes the open block.
    fn close(&mut self) -> Option<Value> {
        self.open.take()?;
        self.blocks += 1;
        Some(json!({"type": "content_block_stop", "index": self.blocks - 1}))
    }
}

impl Shape for Written {
    const API: Api = Api::Anthropic;
    const PING: Option<&'static str> = Some("event: ping\ndata: {\"type\": \"ping\"}\n\n");

    /// The tokens of the prompt are known at the end only; `message_delta` tells them.
    fn opening(&mut self) -> Vec<Bytes> {
        let message = self.message(Vec::new(), Value::Null, usage(&Usage::default()));
        vec![
            named_event(&json!({"type": "message_start", "message": message})),
            named_event(&json!({"type": "ping"})),
        ]
    }

    fn piece(&mut self, piece: Piece) -> Vec<Bytes> {
        self.add(&piece).iter().map(named_event).collect()
    }

    fn next_choice(&mut self, _: Finish) -> Vec<Bytes> {
        Vec::new()
    }

    fn closing(&mut self, end: &Ended) -> Vec<Bytes> {
        let delta = json!({"stop_reason": stop_reason(end.finish()), "stop_sequence": null});
        let last = json!({
            "type": "message_delta", "delta": delta, "usage": usage(&end.usage()),
            "phallama": end.proof(),
        });
        let stop = json!({"type": "message_stop"});
        self.close().iter().chain([&last, &stop]).map(named_event).collect()
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Bytes> {
        vec![named_event(&error.body(Self::API))]
    }

    fn whole(self, choices: Vec<Choice>, end: &Ended) -> Value {
        let content = choices.into_iter().flat_map(|choice| blocks(&choice.piece)).collect();
        self.message(content, stop_reason(end.finish()).into(), usage(&end.usage()))
    }
}

fn blocks(piece: &Piece) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !piece.thinking.is_empty() {
        blocks.push(json!({"type": "thinking", "thinking": piece.thinking, "signature": ""}));
    }
    if !piece.content.is_empty() {
        blocks.push(json!({"type": "text", "text": piece.content}));
    }
    for call in &piece.tool_calls {
        let function = &call["function"];
        // Arguments that `max_tokens` has cut are no object; the reason to stop says so.
        let input: Map<String, Value> =
            serde_json::from_str(function["arguments"].as_str().unwrap_or_default())
                .unwrap_or_default();
        blocks.push(json!({
            "type": "tool_use", "id": call["id"], "name": function["name"], "input": input,
        }));
    }
    blocks
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::Stop | Finish::Cancelled | Finish::Interim => "end_turn",
    }
}

/// Anthropic counts what was in the cache apart.
fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_part_is_a_block_of_its_own() {
        let mut written = Written::new("msg_1".to_owned(), "m".to_owned());
        let text = |text: &str| Piece { content: text.to_owned(), ..Piece::default() };
        let call = |index: u32, arguments: &str| {
            let function = json!({"name": "f", "arguments": arguments});
            let call = json!({"index": index, "id": "c", "function": function});
            Piece { tool_calls: vec![call], ..Piece::default() }
        };
        let thought = Piece { thinking: "hm".to_owned(), ..Piece::default() };
        let mut events = Vec::new();
        for part in [thought, text("a"), text("b"), call(0, "{"), call(0, "}"), call(1, "{}")] {
            events.extend(written.add(&part));
        }
        events.extend(written.close());
        let told: Vec<String> = events
            .iter()
            .map(|event| {
                let kind = event["type"].as_str().unwrap().trim_start_matches("content_block_");
                let of = ["delta", "content_block"].map(|name| event[name]["type"].as_str());
                let of = of.into_iter().flatten().next().unwrap_or_default();
                format!("{} {kind} {of}", event["index"]).trim_end().to_owned()
            })
            .collect();
        let expected = [
            "0 start thinking",
            "0 delta thinking_delta",
            "0 stop",
            "1 start text",
            "1 delta text_delta",
            "1 delta text_delta",
            "1 stop",
            "2 start tool_use",
            "2 delta input_json_delta",
            "2 delta input_json_delta",
            "2 stop",
            "3 start tool_use",
            "3 delta input_json_delta",
            "3 stop",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn arguments_are_an_object() {
        let call = |arguments: &str| {
            let function = json!({"name": "f", "arguments": arguments});
            let tool_calls = vec![json!({"id": "c", "function": function})];
            blocks(&Piece { tool_calls, ..Piece::default() }).remove(0)["input"].clone()
        };
        assert_eq!(call("{\"a\":1}"), json!({"a": 1}));
        assert_eq!(call("{\"a\":"), json!({}));
    }

    #[test]
    fn what_was_in_the_cache_is_counted_apart() {
        let told = usage(&Usage { prompt_tokens: 10, completion_tokens: 3, cached_tokens: 4 });
        assert_eq!(
            told,
            json!({"input_tokens": 6, "cache_creation_input_tokens": 0,
                   "cache_read_input_tokens": 4, "output_tokens": 3})
        );
    }
}
