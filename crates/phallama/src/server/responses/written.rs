//! What `POST /v1/responses` answers: one object, or events of which the last carries it.

use bytes::Bytes;
use phallama_client::Usage;
use phallama_protocol::receipt::Finish;
use serde_json::{Map, Value, json};

use super::namespace;
use crate::server::answer::{Choice, Piece, Shape, named_event};
use crate::server::api_error::{Api, ApiError};
use crate::server::ask::Ended;

/// A response while it is written.
#[derive(Debug)]
pub(crate) struct Written {
    /// Made of letters and digits; each item's id ends with it.
    unique: String,
    created_unix_s: u64,
    model: String,
    repeated: Map<String, Value>,
    sequence: u64,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Item>,
}

/// The item that grows at present.
#[derive(Debug)]
enum Item {
    Reasoning { text: String },
    Message { text: String, logprobs: Vec<Value> },
    Call(Called),
}

/// A function that the model calls.
#[derive(Debug)]
struct Called {
    index: Option<u64>,
    id: String,
    namespace: Option<String>,
    name: String,
    arguments: String,
}

impl Item {
    /// The item with its content, as far as it goes.
    fn written(&self, id: &str, status: &str) -> Value {
        match self {
            Self::Reasoning { .. } => json!({
                "id": id, "type": "reasoning", "status": status, "summary": [],
                "content": [self.part()],
            }),
            Self::Message { .. } => json!({
                "id": id, "type": "message", "status": status, "role": "assistant",
                "content": [self.part()],
            }),
            Self::Call(call) => {
                let mut item = json!({
                    "id": id, "type": "function_call", "status": status, "call_id": call.id,
                    "name": call.name, "arguments": call.arguments,
                });
                if let Some(namespace) = &call.namespace {
                    item["namespace"] = namespace.as_str().into();
                }
                item
            }
        }
    }

    /// The one part of its content; a call has none.
    fn part(&self) -> Value {
        match self {
            Self::Reasoning { text } => json!({"type": "reasoning_text", "text": text}),
            Self::Message { text, logprobs } => json!({
                "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs,
            }),
            Self::Call(_) => Value::Null,
        }
    }

    fn prefix(&self) -> &'static str {
        match self {
            Self::Reasoning { .. } => "rs",
            Self::Message { .. } => "msg",
            Self::Call(_) => "fc",
        }
    }
}

impl Written {
    pub(crate) fn new(
        unique: String,
        created_unix_s: u64,
        model: String,
        repeated: Map<String, Value>,
    ) -> Self {
        let (sequence, output, open) = (0, Vec::new(), None);
        Self { unique, created_unix_s, model, repeated, sequence, output, open }
    }

    /// The response as it is now.
    fn response(&self, status: &str) -> Value {
        let mut response = json!({
            "id": format!("resp_{}", self.unique), "object": "response",
            "created_at": self.created_unix_s, "completed_at": null, "status": status,
            "background": false, "error": null, "incomplete_details": null, "model": self.model,
            "output": self.output, "previous_response_id": null, "service_tier": "default",
            "store": false, "usage": null,
        });
        for (name, value) in &self.repeated {
            response[name] = value.clone();
        }
        response
    }

    fn event(&mut self, kind: &str, mut fields: Value) -> Value {
        fields["type"] = kind.into();
        fields["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        fields
    }

    /// An event of the open item, with what all of those say.
    fn of_item(&mut self, item: &Item, kind: &str, mut fields: Value) -> Value {
        fields["item_id"] = self.id_of(item).into();
        fields["output_index"] = self.output.len().into();
        if !matches!(item, Item::Call(_)) {
            fields["content_index"] = 0.into();
        }
        self.event(kind, fields)
    }

    fn id_of(&self, item: &Item) -> String {
        format!("{}_{}_{}", item.prefix(), self.unique, self.output.len())
    }

    /// Makes `item` the open one.
    fn begin(&mut self, item: Item) -> Vec<Value> {
        let mut events = self.close("completed");
        let mut empty = item.written(&self.id_of(&item), "in_progress");
        if let Some(content) = empty.get_mut("content") {
            *content = json!([]);
        }
        let index = self.output.len();
        events.push(
            self.event("response.output_item.added", json!({"output_index": index, "item": empty})),
        );
        if !item.part().is_null() {
            let part = json!({"part": item.part()});
            events.push(self.of_item(&item, "response.content_part.added", part));
        }
        self.open = Some(item);
        events
    }

    /// Completes the open item.
    fn close(&mut self, status: &str) -> Vec<Value> {
        let Some(item) = self.open.take() else { return Vec::new() };
        let (kind, whole) = match &item {
            Item::Reasoning { text } => ("response.reasoning_text.done", json!({"text": text})),
            Item::Message { text, logprobs } => {
                ("response.output_text.done", json!({"text": text, "logprobs": logprobs}))
            }
            Item::Call(call) => (
                "response.function_call_arguments.done",
                json!({"name": call.name, "arguments": call.arguments}),
            ),
        };
        let mut events = vec![self.of_item(&item, kind, whole)];
        if !item.part().is_null() {
            let part = json!({"part": item.part()});
            events.push(self.of_item(&item, "response.content_part.done", part));
        }
        let written = item.written(&self.id_of(&item), status);
        let done = json!({"output_index": self.output.len(), "item": written});
        events.push(self.event("response.output_item.done", done));
        self.output.push(written);
        events
    }

    fn add(&mut self, piece: Piece) -> Vec<Value> {
        let mut events = Vec::new();
        if !piece.thinking.is_empty() {
            if !matches!(self.open, Some(Item::Reasoning { .. })) {
                events.extend(self.begin(Item::Reasoning { text: String::new() }));
            }
            events.extend(self.grow("response.reasoning_text.delta", &piece.thinking, Vec::new()));
        }
        if !piece.content.is_empty() || !piece.logprobs.is_empty() {
            if !matches!(self.open, Some(Item::Message { .. })) {
                let (text, logprobs) = (String::new(), Vec::new());
                events.extend(self.begin(Item::Message { text, logprobs }));
            }
            let logprobs = piece.logprobs.into_iter().map(with_bytes).collect();
            events.extend(self.grow("response.output_text.delta", &piece.content, logprobs));
        }
        for part in &piece.tool_calls {
            let index = part["index"].as_u64();
            let goes_on = matches!(&self.open,
                Some(Item::Call(open)) if index.is_some() && open.index == index);
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if !goes_on {
                let (id, called) = (word(&part["id"]), word(&part["function"]["name"]));
                let tools = self.repeated.get("tools").unwrap_or(&Value::Null);
                let (namespace, name) = namespace::parted(tools, &called);
                let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
                let arguments = String::new();
                let called = Called { index, id, namespace, name, arguments };
                events.extend(self.begin(Item::Call(called)));
            }
            let more = word(&part["function"]["arguments"]);
            events.extend(self.grow("response.function_call_arguments.delta", &more, Vec::new()));
        }
        events
    }

    /// Adds to the open item.
    fn grow(&mut self, kind: &str, more: &str, tokens: Vec<Value>) -> Option<Value> {
        let mut item = self.open.take()?;
        let mut fields = json!({"delta": more});
        match &mut item {
            Item::Reasoning { text } | Item::Call(Called { arguments: text, .. }) => {
                text.push_str(more);
            }
            Item::Message { text, logprobs } => {
                text.push_str(more);
                fields["logprobs"] = tokens.clone().into();
                logprobs.extend(tokens);
            }
        }
        let event = self.of_item(&item, kind, fields);
        self.open = Some(item);
        Some(event)
    }

    /// The last events and, in the very last, the whole response.
    fn end(&mut self, end: &Ended) -> Vec<Value> {
        let is_cut = end.finish() == Finish::Length;
        let status = if is_cut { "incomplete" } else { "completed" };
        let mut events = self.close(status);
        let mut response = self.response(status);
        if is_cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        } else {
            response["completed_at"] = crate::clock::now_unix_s().into();
        }
        response["usage"] = usage(&end.usage());
        response["phallama"] = end.proof();
        events.push(self.event(&format!("response.{status}"), json!({"response": response})));
        events
    }
}

impl Shape for Written {
    const API: Api = Api::OpenAi;

    fn opening(&mut self) -> Vec<Bytes> {
        let kinds = ["response.created", "response.in_progress"];
        let events = kinds.map(|kind| {
            let response = self.response("in_progress");
            self.event(kind, json!({"response": response}))
        });
        encoded(&events)
    }

    fn piece(&mut self, piece: Piece) -> Vec<Bytes> {
        encoded(&self.add(piece))
    }

    fn next_choice(&mut self, _: Finish) -> Vec<Bytes> {
        Vec::new()
    }

    fn closing(&mut self, end: &Ended) -> Vec<Bytes> {
        encoded(&self.end(end))
    }

    /// The response failed, and, as an error object of its own, why: clients of the API look for
    /// either.
    fn failed(&mut self, error: &ApiError) -> Vec<Bytes> {
        let mut response = self.response("failed");
        response["error"] = json!({"code": "server_error", "message": error.message});
        let failed = self.event("response.failed", json!({"response": response}));
        let mut why = error.body(Self::API);
        for name in ["code", "message", "param"] {
            why[name] = why["error"][name].clone();
        }
        let why = self.event("error", why);
        encoded(&[failed, why])
    }

    fn whole(mut self, choices: Vec<Choice>, end: &Ended) -> Value {
        for choice in choices {
            self.add(choice.piece);
        }
        let mut last = self.end(end).pop().expect("an answer ends with an event");
        last["response"].take()
    }
}

fn encoded(events: &[Value]) -> Vec<Bytes> {
    events.iter().map(named_event).collect()
}

/// Tokens are told with their bytes here.
fn with_bytes(mut token: Value) -> Value {
    let add = |one: &mut Value| {
        if one.get("bytes").is_none_or(Value::is_null) {
            one["bytes"] = one["token"].as_str().unwrap_or_default().as_bytes().into();
        }
    };
    add(&mut token);
    if let Value::Array(others) = &mut token["top_logprobs"] {
        others.iter_mut().for_each(add);
    }
    token
}

/// Tokens of the reasoning are not counted apart.
fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(events: &[Value]) -> Vec<&str> {
        events.iter().map(|event| event["type"].as_str().unwrap()).collect()
    }

    fn call(index: u32, name: Option<&str>, arguments: &str) -> Piece {
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"index": index, "id": "c", "type": "function", "function": function});
        Piece { tool_calls: vec![call], ..Piece::default() }
    }

    #[test]
    fn each_kind_of_part_has_an_item_of_its_own() {
        let mut written = Written::new("1".to_owned(), 0, "m".to_owned(), Map::new());
        let text = |text: &str| Piece { content: text.to_owned(), ..Piece::default() };
        let thought = Piece { thinking: "hm".to_owned(), ..Piece::default() };
        let mut events = Vec::new();
        for part in [
            thought,
            text("a"),
            text("b"),
            call(0, Some("f"), "{"),
            call(0, None, "}"),
            call(1, Some("g"), "{}"),
        ] {
            events.extend(written.add(part));
        }
        events.extend(written.close("completed"));
        assert_eq!(
            kinds(&events),
            [
                "response.output_item.added",
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
            ]
        );
        let numbers: Vec<u64> =
            events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..22).collect::<Vec<u64>>());
        let output = Value::Array(written.output);
        assert_eq!(output[0]["content"][0]["text"], "hm");
        assert_eq!(output[1]["content"][0]["text"], "ab");
        assert_eq!((&output[2]["name"], &output[2]["arguments"]), (&json!("f"), &json!("{}")));
        assert_eq!(
            (&output[3]["id"], &output[3]["type"]),
            (&json!("fc_1_3"), &json!("function_call"))
        );
    }

    #[test]
    fn a_call_names_the_namespace_of_its_function() {
        let inside = json!([{"type": "function", "name": "f"}]);
        let tools = json!([{"type": "namespace", "name": "n", "tools": inside}]);
        let repeated = Map::from_iter([("tools".to_owned(), tools)]);
        let mut written = Written::new("1".to_owned(), 0, "m".to_owned(), repeated);
        written.add(call(0, Some("n__f"), "{}"));
        let told = |item: &Value| (item["namespace"].clone(), item["name"].clone());
        let last = written.close("completed").pop().unwrap();
        assert_eq!(told(&last["item"]), (json!("n"), json!("f")));
        assert_eq!(told(&written.output[0]), (json!("n"), json!("f")));
    }

    #[test]
    fn tokens_have_their_bytes() {
        let token = json!({"token": "ž", "logprob": -1.0, "top_logprobs": [{"token": "a"}]});
        let told = with_bytes(token);
        assert_eq!(told["bytes"], json!([197, 190]));
        assert_eq!(told["top_logprobs"][0]["bytes"], json!([97]));
    }

    #[test]
    fn a_failure_is_an_event_and_an_error_object() {
        let mut written = Written::new("1".to_owned(), 0, "m".to_owned(), Map::new());
        let lines = written.failed(&ApiError::invalid("input", "No."));
        let last = String::from_utf8(lines.last().unwrap().to_vec()).unwrap();
        let data = last.strip_prefix("event: error\ndata: ").unwrap();
        let error: Value = serde_json::from_str(data).unwrap();
        assert_eq!(error["code"], "invalid_request");
        assert_eq!(error["error"]["param"], "input");
    }
}
