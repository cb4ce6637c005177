//! OpenAI's responses, without a store: what `POST /v1/responses` asks for.

mod namespace;
mod written;

use phallama_client::Method;
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;
use super::conversation::{self, Conversation, content, image_part, text_part};
use super::field::{copy, flag, given, list, map, object, refuse, text};

pub(crate) use written::Written;

/// Fields that need a store or OpenAI's own machines.
const REFUSED: &[(&str, &str)] = &[
    ("previous_response_id", "answers are not stored; send the whole conversation in `input`"),
    ("conversation", "conversations are not stored; send the whole of it in `input`"),
    ("background", "an answer is told while it is made"),
    ("prompt", "stored prompts are OpenAI's; send `instructions` and `input`"),
];

/// Tools of OpenAI's own machines that clients offer in passing. A model that never calls them
/// answers well, so they are left out; the others are refused.
const LEFT_OUT: &[&str] = &["web_search", "web_search_preview", "image_generation"];

/// What of a request its response repeats, with what stands there otherwise.
fn repeated() -> Value {
    json!({
        "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
        "parallel_tool_calls": true, "prompt_cache_key": null, "reasoning": null,
        "safety_identifier": null, "temperature": null, "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": null,
        "truncation": "disabled", "user": null,
    })
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) stream: bool,
    /// Fields of the response that repeat the request.
    pub(crate) repeated: Map<String, Value>,
}

/// Reads `POST /v1/responses`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    refuse(&request, REFUSED)?;
    let model = text(&request, "model")?;
    let mut body = Map::new();
    body.insert("messages".to_owned(), messages(&request)?.into());
    copy(&request, &["temperature", "top_p", "parallel_tool_calls"], &mut body);
    if let Some(limit) = given(&request, "max_output_tokens") {
        body.insert("max_tokens".to_owned(), limit.clone());
    }
    if let Some(effort) = given(&map(&request, "reasoning")?, "effort") {
        body.insert("reasoning_effort".to_owned(), effort.clone());
    }
    tools(&request, &mut body)?;
    if let Some(format) = given(&map(&request, "text")?, "format") {
        body.insert("response_format".to_owned(), response_format(format)?);
    }
    logprobs(&request, &mut body)?;
    flag(&map(&request, "stream_options")?, "include_obfuscation", false)?;
    let stream = flag(&request, "stream", false)?;
    let Value::Object(mut repeated) = repeated() else { unreachable!("an object") };
    for (name, value) in &mut repeated {
        if let Some(given) = given(&request, name) {
            *value = given.clone();
        }
    }
    if repeated["text"].get("format").is_none() {
        repeated["text"]["format"] = json!({"type": "text"});
    }
    Ok(Asked { call: Call { model, method: Method::Chat, body }, stream, repeated })
}

fn messages(request: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let mut talk = Conversation::default();
    if given(request, "instructions").is_some() {
        talk.system(&text(request, "instructions")?);
    }
    match request.get("input") {
        Some(Value::String(text)) if !text.is_empty() => talk.user(text.as_str().into()),
        Some(Value::Array(items)) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                add(&mut talk, item, &format!("input[{index}]"))?;
            }
        }
        _ => {
            let message = "`input` must be a text or a list of items, not empty.";
            return Err(ApiError::invalid("input", message));
        }
    }
    Ok(talk.messages())
}

fn add(talk: &mut Conversation, item: &Value, field: &str) -> Result<(), ApiError> {
    let word = |name: &str| {
        item[name].as_str().ok_or_else(|| {
            ApiError::invalid(
                &format!("{field}.{name}"),
                format!("`{field}.{name}` must be a text."),
            )
        })
    };
    match item["type"].as_str().unwrap_or("message") {
        "message" => {
            let parts = parts(&item["content"], &format!("{field}.content"))?;
            match word("role")? {
                "system" | "developer" => {
                    let texts: Vec<&str> =
                        parts.iter().filter_map(|p| p["text"].as_str()).collect();
                    talk.system(&texts.join("\n"));
                }
                "user" => talk.user(content(parts)),
                "assistant" => talk.assistant(content(parts)),
                other => {
                    let field = format!("{field}.role");
                    let message = format!(
                        "`{field}` is {other}, expected system, developer, user or assistant."
                    );
                    return Err(ApiError::invalid(&field, message));
                }
            }
        }
        "function_call" => {
            let name = namespace::joined(&item["namespace"], &word("name")?.into());
            let name = name.as_str().unwrap_or_default();
            talk.call(word("call_id")?, name, word("arguments")?);
        }
        "function_call_output" => {
            let parts = parts(&item["output"], &format!("{field}.output"))?;
            talk.result(word("call_id")?, content(parts));
        }
        "reasoning" => {
            let told = ["content", "summary"].map(|name| item[name].as_array());
            let texts = told.into_iter().flatten().find(|list| !list.is_empty());
            for text in texts.into_iter().flatten().filter_map(|part| part["text"].as_str()) {
                talk.thought(text);
            }
        }
        other => {
            let field = format!("{field}.type");
            let message = format!(
                "`{field}` is {other}, expected message, function_call, function_call_output or \
                 reasoning."
            );
            return Err(ApiError::invalid(&field, message));
        }
    }
    Ok(())
}

/// A text, or a list of parts with texts and images.
fn parts(content: &Value, field: &str) -> Result<Vec<Value>, ApiError> {
    let list = match content {
        Value::String(text) => return Ok(vec![text_part(text)]),
        Value::Array(list) => list,
        _ => {
            let message = format!("`{field}` must be a text or a list of parts.");
            return Err(ApiError::invalid(field, message));
        }
    };
    let part = |(index, part): (usize, &Value)| {
        let word = |name: &str| part[name].as_str();
        match (word("type"), word("text"), word("refusal"), word("image_url")) {
            (Some("input_text" | "output_text" | "text"), Some(text), _, _)
            | (Some("refusal"), _, Some(text), _) => Ok(text_part(text)),
            (Some("input_image"), _, _, Some(url)) if url.starts_with("data:") => {
                Ok(image_part(url))
            }
            _ => {
                let field = format!("{field}[{index}]");
                let message = format!(
                    "`{field}` must be input_text or output_text with `text`, or input_image with \
                     a data: URI as `image_url`; nothing is fetched."
                );
                Err(ApiError::invalid(&field, message))
            }
        }
    };
    list.iter().enumerate().map(part).collect()
}

fn tools(request: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let mut tools = Vec::new();
    for (index, tool) in list(request, "tools")?.iter().enumerate() {
        match (tool["type"].as_str(), tool["tools"].as_array()) {
            (Some("namespace"), Some(inside)) => {
                for (at, one) in inside.iter().enumerate() {
                    let field = format!("tools[{index}].tools[{at}]");
                    tools.extend(function(one, &tool["name"], &field)?);
                }
            }
            _ => tools.extend(function(tool, &Value::Null, &format!("tools[{index}]"))?),
        }
    }
    if let Some(choice) = given(request, "tool_choice") {
        let choice = tool_choice(choice, &mut tools)?;
        body.insert("tool_choice".to_owned(), choice);
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    Ok(())
}

/// A function, inside a namespace or not; nothing for a tool that is left out.
fn function(tool: &Value, namespace: &Value, field: &str) -> Result<Option<Value>, ApiError> {
    match tool["type"].as_str() {
        Some("function") => Ok(Some(conversation::function(
            &namespace::joined(namespace, &tool["name"]),
            &tool["description"],
            &tool["parameters"],
            &tool["strict"],
        ))),
        Some(kind) if LEFT_OUT.contains(&kind) => Ok(None),
        _ => {
            let field = format!("{field}.type");
            let message = format!("`{field}` must be function, got {}.", tool["type"]);
            Err(ApiError::invalid(&field, message))
        }
    }
}

/// One function, or some of them, are named in a shape of their own.
fn tool_choice(choice: &Value, tools: &mut Vec<Value>) -> Result<Value, ApiError> {
    match (choice, choice["type"].as_str()) {
        (Value::String(_), _) => Ok(choice.clone()),
        (_, Some("function")) => {
            let name = namespace::joined(&choice["namespace"], &choice["name"]);
            Ok(json!({"type": "function", "function": {"name": name}}))
        }
        (_, Some("allowed_tools")) => {
            let allowed = choice["tools"].as_array().map_or(&[][..], Vec::as_slice);
            let allowed: Vec<Value> = allowed
                .iter()
                .map(|one| namespace::joined(&one["namespace"], &one["name"]))
                .collect();
            tools.retain(|tool| allowed.contains(&tool["function"]["name"]));
            Ok(choice["mode"].clone())
        }
        _ => {
            let message =
                "`tool_choice` must be none, auto, required, a function or allowed_tools.";
            Err(ApiError::invalid("tool_choice", message))
        }
    }
}

/// A schema stands here where chat completions have an object around it.
fn response_format(format: &Value) -> Result<Value, ApiError> {
    match format["type"].as_str() {
        Some("text" | "json_object") => Ok(json!({"type": format["type"]})),
        Some("json_schema") => {
            let mut wrapped = Map::new();
            if let Some(format) = format.as_object() {
                copy(format, &["name", "schema", "strict"], &mut wrapped);
            }
            Ok(json!({"type": "json_schema", "json_schema": wrapped}))
        }
        _ => {
            let message = "`text.format.type` must be text, json_object or json_schema.";
            Err(ApiError::invalid("text.format", message))
        }
    }
}

fn logprobs(request: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let top = given(request, "top_logprobs").filter(|top| **top != 0);
    let included =
        list(request, "include")?.iter().any(|one| *one == "message.output_text.logprobs");
    if top.is_some() || included {
        body.insert("logprobs".to_owned(), true.into());
    }
    body.extend(top.map(|top| ("top_logprobs".to_owned(), top.clone())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &Value) -> Value {
        Value::Object(parse(request.to_string().as_bytes()).unwrap().call.body)
    }

    fn at_fault(field: &str, value: Value) -> String {
        let mut request = json!({"model": "m", "input": "hi"});
        request[field] = value;
        parse(request.to_string().as_bytes()).unwrap_err().param.unwrap()
    }

    #[test]
    fn a_text_is_a_question_with_instructions_and_settings() {
        let request = json!({
            "model": "m", "input": "hi", "instructions": "be brief", "max_output_tokens": 9,
            "temperature": 0, "top_p": 0.5, "reasoning": {"effort": "low", "summary": "auto"},
            "store": true, "include": ["reasoning.encrypted_content"], "stream": true,
            "text": {"verbosity": "low", "format": {
                "type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object"},
            }},
        });
        let expected = json!({
            "messages": [
                {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"},
            ],
            "max_tokens": 9, "temperature": 0, "top_p": 0.5, "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {
                "name": "n", "strict": true, "schema": {"type": "object"},
            }},
        });
        assert_eq!(body(&request), expected);
        let asked = parse(request.to_string().as_bytes()).unwrap();
        assert!(asked.stream);
        assert_eq!(asked.repeated["max_output_tokens"], 9);
        assert_eq!(asked.repeated["parallel_tool_calls"], true);
    }

    #[test]
    fn items_are_the_conversation_so_far() {
        let url = "data:image/png;base64,iVBORw0KGgo=";
        let got = body(&json!({"model": "m", "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
            {"role": "user", "content": [
                {"type": "input_text", "text": "what"}, {"type": "input_image", "image_url": url},
            ]},
            {"type": "reasoning", "id": "r", "summary": [], "content": [
                {"type": "reasoning_text", "text": "hm"},
            ]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {"type": "message", "role": "assistant", "id": "x", "status": "completed", "content": [
                {"type": "output_text", "text": "one", "annotations": []},
            ]},
        ]}));
        let function = json!({"name": "f", "arguments": "{}"});
        let expected = json!([
            {"role": "system", "content": "d"},
            {"role": "user", "content": [
                {"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": url}},
            ]},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
                {"id": "c", "type": "function", "function": function},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "assistant", "content": "one"},
        ]);
        assert_eq!(got["messages"], expected);
    }

    #[test]
    fn functions_are_passed_on_and_a_choice_may_narrow_them() {
        let function = |name: &str| json!({"type": "function", "name": name, "parameters": {}});
        let request = |choice: Value| {
            let tools = json!([function("f"), {"type": "web_search"}, function("g")]);
            body(&json!({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice}))
        };
        let names = |body: &Value| -> Vec<String> {
            let tools = body["tools"].as_array().unwrap().iter();
            tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let both = request(json!("auto"));
        assert_eq!(
            (names(&both), &both["tool_choice"]),
            (vec!["f".into(), "g".into()], &json!("auto"))
        );
        let one = request(json!({"type": "function", "name": "g"}));
        assert_eq!(one["tool_choice"], json!({"type": "function", "function": {"name": "g"}}));
        let some = request(json!({
            "type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}],
        }));
        assert_eq!((names(&some), &some["tool_choice"]), (vec!["f".into()], &json!("required")));
    }

    #[test]
    fn functions_in_a_namespace_are_functions_of_the_model() {
        let function = |name: &str| json!({"type": "function", "name": name, "parameters": {}});
        let space =
            json!({"type": "namespace", "name": "n", "tools": [function("f"), function("g")]});
        let got = body(&json!({
            "model": "m", "tools": [function("f"), space], "input": [
                {"role": "user", "content": "hi"},
                {"type": "function_call", "call_id": "c", "namespace": "n", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
            ],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
                {"type": "function", "name": "f"}, {"type": "function", "namespace": "n", "name": "g"},
            ]},
        }));
        let names: Vec<&Value> =
            got["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]).collect();
        assert_eq!(names, ["f", "n__g"]);
        assert_eq!(got["messages"][1]["tool_calls"][0]["function"]["name"], "n__f");
        assert_eq!(at_fault("tools", json!([{"type": "namespace", "name": "n"}])), "tools[0].type");
        let odd = json!([{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]);
        assert_eq!(at_fault("tools", odd), "tools[0].tools[0].type");
    }

    #[test]
    fn names_the_field_at_fault() {
        for (field, value, param) in [
            ("previous_response_id", json!("resp_1"), "previous_response_id"),
            ("conversation", json!("c"), "conversation"),
            ("background", json!(true), "background"),
            ("prompt", json!({"id": "p"}), "prompt"),
            ("input", json!([]), "input"),
            ("input", json!([{"type": "item_reference", "id": "i"}]), "input[0].type"),
            ("input", json!([{"role": "wizard", "content": "x"}]), "input[0].role"),
            ("input", json!([{"role": "user", "content": 1}]), "input[0].content"),
            (
                "input",
                json!([{"type": "function_call", "call_id": "c", "name": "f"}]),
                "input[0].arguments",
            ),
            (
                "input",
                json!([{"role": "user", "content": [
                    {"type": "input_image", "image_url": "https://a.example/b.png"},
                ]}]),
                "input[0].content[0]",
            ),
            ("tools", json!([{"type": "code_interpreter"}]), "tools[0].type"),
            ("tool_choice", json!({"type": "mcp"}), "tool_choice"),
            ("text", json!({"format": {"type": "xml"}}), "text.format"),
            ("stream", json!("yes"), "stream"),
        ] {
            assert_eq!(at_fault(field, value.clone()), param, "{field}: {value}");
        }
        assert_eq!(parse(b"{\"input\":\"hi\"}").unwrap_err().param.as_deref(), Some("model"));
    }
}
