//! The answer to a message that is no command: what an obliging model would give, made from the
//! request alone. The rules are listed at the top of `main.rs`.

use std::cell::Cell;

use serde_json::{Map, Value, json};

/// Deeper than any schema that the engine accepts needs; schemas may refer to themselves.
const DEPTH_MAX: usize = 16;

pub(crate) enum Reply {
    /// A call of a function with its arguments.
    Call {
        name: String,
        arguments: Value,
    },
    Text(String),
}

pub(crate) fn reply(body: &Value, message: &str) -> Reply {
    if let Some(function) = function_to_call(body, message) {
        let name = function["name"].as_str().unwrap_or_default().to_owned();
        let arguments = match &function["parameters"] {
            Value::Null => json!({}),
            schema => Maker::new(schema, message).value(schema, 0),
        };
        return Reply::Call { name, arguments };
    }
    match &body["response_format"]["json_schema"]["schema"] {
        Value::Null => Reply::Text("ok".to_owned()),
        schema => Reply::Text(Maker::new(schema, message).value(schema, 0).to_string()),
    }
}

/// Whether the request is one that a model would think about first.
pub(crate) fn thinks(body: &Value) -> bool {
    body["chat_template_kwargs"]["enable_thinking"] == true
        || ["low", "medium", "high"].iter().any(|effort| body["reasoning_effort"] == **effort)
}

/// The function that the message names, else the first, unless one was called before.
fn function_to_call<'a>(body: &'a Value, message: &str) -> Option<&'a Value> {
    let tools = body["tools"].as_array()?;
    let messages = body["messages"].as_array()?;
    let wanted = match body["tool_choice"].as_str() {
        Some("none") => false,
        Some("required") => true,
        _ => messages.iter().all(|message| message["role"] != "tool"),
    };
    let functions = || tools.iter().map(|tool| &tool["function"]);
    let is_named = |function: &&Value| {
        let names = message.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c));
        names.into_iter().any(|name| function["name"] == name)
    };
    functions().find(is_named).or_else(|| functions().next()).filter(|_| wanted)
}

/// Makes values of a schema out of a message.
struct Maker<'a> {
    root: &'a Value,
    message: &'a str,
    quoted: Vec<&'a str>,
    numbers: Vec<i64>,
    /// How many of the numbers were used.
    used: Cell<usize>,
}

impl<'a> Maker<'a> {
    fn new(root: &'a Value, message: &'a str) -> Self {
        let digits = message.split(|c: char| !c.is_ascii_digit());
        let numbers = digits.filter_map(|number| number.parse().ok()).collect();
        Self { root, message, quoted: quoted(message), numbers, used: Cell::new(0) }
    }

    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if let Some(pointer) = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#')) {
            let target = self.root.pointer(pointer).unwrap_or(&Value::Null);
            return self.value(target, depth + 1);
        }
        if let Some(only) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return only.clone();
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(options) = schema[key].as_array() {
                let option = options.iter().find(|option| option["type"] != "null");
                return option.map_or(Value::Null, |option| self.value(option, depth + 1));
            }
        }
        let kinds =
            [&schema["type"]].into_iter().chain(schema["type"].as_array().into_iter().flatten());
        match kinds.filter_map(Value::as_str).find(|kind| *kind != "null") {
            Some("array") => json!([self.value(&schema["items"], depth + 1)]),
            Some("integer" | "number") => self.number(schema).into(),
            Some("boolean") => true.into(),
            Some("object") => self.object(schema, depth),
            None if schema["properties"].is_object() => self.object(schema, depth),
            _ => self.text().into(),
        }
    }

    /// All properties of the schema; where it names none, those that the message quotes.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let of_schema = schema["properties"].as_object().into_iter().flatten();
        let mut object: Map<String, Value> = of_schema
            .map(|(name, property)| (name.clone(), self.value(property, depth + 1)))
            .collect();
        if schema.get("properties").is_none() {
            object.extend(self.quoted.iter().map(|name| ((*name).to_owned(), "ok".into())));
        }
        object.into()
    }

    /// The next number of the message, within the schema's bounds.
    fn number(&self, schema: &Value) -> i64 {
        let number = self.numbers.get(self.used.get()).copied().unwrap_or(1);
        self.used.set(self.used.get() + 1);
        let bound = |name: &str| schema[name].as_i64();
        let number = bound("minimum").map_or(number, |minimum| number.max(minimum));
        bound("maximum").map_or(number, |maximum| number.min(maximum))
    }

    /// What the message quotes first, else its last word.
    fn text(&self) -> &'a str {
        let last = || {
            let mut words = self.message.split(|c: char| !c.is_alphanumeric());
            words.rfind(|word| !word.is_empty()).unwrap_or("ok")
        };
        self.quoted.first().copied().unwrap_or_else(last)
    }
}

/// The texts in single or double quotes. An apostrophe within a word is none.
fn quoted(message: &str) -> Vec<&str> {
    let (mut found, mut rest, mut before) = (Vec::new(), message, None::<char>);
    while let Some(at) = rest.find(['\'', '"']) {
        let quote = &rest[at..=at];
        let opens = !rest[..at].chars().next_back().or(before).is_some_and(char::is_alphanumeric);
        let after = &rest[at + 1..];
        let end = after.find(quote).filter(|_| opens);
        let next = end.map_or(at + 1, |length| {
            found.push(&after[..length]);
            at + length + 2
        });
        before = rest[..next].chars().next_back();
        rest = &rest[next..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: &Value, message: &str) -> Value {
        Maker::new(schema, message).value(schema, 0)
    }

    #[test]
    fn values_of_a_schema_come_from_the_message() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": { "type": "integer" }, "b": { "type": "number", "maximum": 1 },
                "c": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/word" }] },
                "d": { "type": ["null", "array"], "items": { "enum": ["x", "y"] } },
                "e": { "type": "object", "properties": {} }, "f": { "type": "boolean" },
            },
            "$defs": { "word": { "type": "string" } },
        });
        let expected = json!({ "a": 3, "b": 1, "c": "Boston", "d": ["x"], "e": {}, "f": true });
        assert_eq!(made(&schema, "It's 3 + 4 in Boston?"), expected);
    }

    #[test]
    fn an_open_object_has_the_keys_that_the_message_quotes() {
        let made = made(&json!({ "type": "object" }), "JSON with 'setup' and \"end\", don't say");
        assert_eq!(made, json!({ "setup": "ok", "end": "ok" }));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let mut value = made(&json!({ "$ref": "#" }), "x");
        assert_eq!(value.take(), Value::Null);
    }

    #[test]
    fn calls_the_function_that_is_named_and_says_what_came_of_it() {
        let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
        let mut body = json!({
            "messages": [{ "role": "user", "content": "use g()" }],
            "tools": [tool("f"), tool("g")],
        });
        let called = |body: &Value| match reply(body, "use g()") {
            Reply::Call { name, .. } => name,
            Reply::Text(text) => text,
        };
        assert_eq!(called(&body), "g");
        body["tool_choice"] = "none".into();
        assert_eq!(called(&body), "ok");
        body["tool_choice"] = "auto".into();
        body["messages"] = json!([{ "role": "tool", "content": "1" }]);
        assert_eq!(called(&body), "ok");
    }
}
