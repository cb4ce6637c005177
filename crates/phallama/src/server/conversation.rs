//! A chat as pods take it, built from the items of APIs that divide it in another way.

use serde_json::{Value, json};

/// Messages in OpenAI's chat shape.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    messages: Vec<Value>,
}

impl Conversation {
    /// An instruction. Several in a row are one: many chat templates take only one.
    pub(crate) fn system(&mut self, text: &str) {
        match self.messages.last_mut().filter(|last| last["role"] == "system") {
            Some(last) => {
                let before = last["content"].as_str().unwrap_or_default();
                last["content"] = format!("{before}\n\n{text}").into();
            }
            None => self.messages.push(json!({"role": "system", "content": text})),
        }
    }

    /// Text, or parts.
    pub(crate) fn user(&mut self, content: Value) {
        self.messages.push(json!({"role": "user", "content": content}));
    }

    /// What the model said; it may have thought before and may call tools after.
    pub(crate) fn assistant(&mut self, content: Value) {
        match self.turn() {
            turn if turn.get("content").is_none() => turn["content"] = content,
            _ => self.messages.push(json!({"role": "assistant", "content": content})),
        }
    }

    /// What the model thought.
    pub(crate) fn thought(&mut self, text: &str) {
        let turn = self.turn();
        let before = turn["reasoning_content"].as_str().unwrap_or_default();
        turn["reasoning_content"] = format!("{before}{text}").into();
    }

    /// A tool that the model called; several in a row are of one turn.
    pub(crate) fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"id": id, "type": "function", "function": function});
        match &mut self.turn()["tool_calls"] {
            Value::Array(calls) => calls.push(call),
            none => *none = json!([call]),
        }
    }

    /// What a tool said.
    pub(crate) fn result(&mut self, id: &str, content: Value) {
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
    }

    /// The model's present turn.
    fn turn(&mut self) -> &mut Value {
        if self.messages.last().is_none_or(|last| last["role"] != "assistant") {
            self.messages.push(json!({"role": "assistant"}));
        }
        self.messages.last_mut().expect("one was pushed")
    }

    /// All messages. A thought that led to nothing is left out, which no pod would take.
    pub(crate) fn messages(mut self) -> Vec<Value> {
        self.messages.retain(|message| {
            message.get("content").is_some() || message.get("tool_calls").is_some()
        });
        self.messages
    }
}

/// Parts as the content of a message: one text is that text.
pub(crate) fn content(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [only] if only["type"] == "text" => only["text"].take(),
        _ => parts.into(),
    }
}

/// A part with text.
pub(crate) fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A part with an image, by `data:` URI.
pub(crate) fn image_part(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// A function that the model may call.
pub(crate) fn function(name: &Value, description: &Value, schema: &Value, strict: &Value) -> Value {
    let mut function = json!({"name": name});
    for (key, value) in [("description", description), ("parameters", schema), ("strict", strict)] {
        if !value.is_null() {
            function[key] = value.clone();
        }
    }
    json!({"type": "function", "function": function})
}

/// The text of messages and tools, as far as it is text: what can be counted without the model's
/// template.
pub(crate) fn plain_text(messages: &[Value]) -> String {
    let mut texts = Vec::new();
    for message in messages {
        let content = &message["content"];
        let parts = content.as_array().into_iter().flatten().map(|part| &part["text"]);
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls =
            calls.flat_map(|call| [&call["function"]["name"], &call["function"]["arguments"]]);
        let told = [content, &message["reasoning_content"]].into_iter().chain(parts).chain(calls);
        texts.extend(told.filter_map(Value::as_str).map(str::to_owned));
    }
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_in_a_row_are_one_and_a_turn_is_one_message() {
        let mut talk = Conversation::default();
        talk.system("a");
        talk.system("b");
        talk.user("hi".into());
        talk.thought("hm");
        talk.assistant("let me see".into());
        talk.call("c1", "f", "{}");
        talk.call("c2", "g", "{}");
        talk.result("c1", "1".into());
        talk.thought("in vain");
        talk.user("and?".into());
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        let expected = json!([
            {"role": "system", "content": "a\n\nb"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "reasoning_content": "hm", "content": "let me see",
             "tool_calls": [call("c1", "f"), call("c2", "g")]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "user", "content": "and?"},
        ]);
        assert_eq!(Value::Array(talk.messages()), expected);
    }
}
