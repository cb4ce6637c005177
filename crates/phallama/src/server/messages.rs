//! Anthropic's messages: what `POST /v1/messages` asks for.

mod written;

use phallama_client::Method;
use serde_json::{Map, Value, json};

use super::api_error::ApiError;
use super::call::Call;
use super::conversation::{self, Conversation, content, image_part, text_part};
use super::field::{copy, flag, given, map, object, refuse, text};

pub(crate) use written::Written;

/// Fields that need Anthropic's own machines.
const REFUSED: &[(&str, &str)] = &[
    ("mcp_servers", "pods connect to nothing; offer their tools in `tools`"),
    ("container", "pods run no code"),
];

/// What a request comes to.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) stream: bool,
}

/// Reads `POST /v1/messages`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Asked, ApiError> {
    let request = object(bytes)?;
    refuse(&request, REFUSED)?;
    let model = text(&request, "model")?;
    let mut body = Map::new();
    body.insert("messages".to_owned(), messages(&request)?.into());
    copy(&request, &["max_tokens", "temperature", "top_p", "top_k"], &mut body);
    if let Some(stop) = given(&request, "stop_sequences").filter(|stop| **stop != json!([])) {
        body.insert("stop".to_owned(), stop.clone());
    }
    let tools = tools(&request)?;
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    tool_choice(&request, &mut body)?;
    thinking(&request, &mut body)?;
    let stream = flag(&request, "stream", false)?;
    Ok(Asked { call: Call { model, method: Method::Chat, body }, stream })
}

/// Reads `POST /v1/messages/count_tokens`: the text of it all, to be tokenised. The tokens that the
/// model's template puts around it are not known here.
pub(crate) fn parse_count(bytes: &[u8]) -> Result<Call, ApiError> {
    let request = object(bytes)?;
    let model = text(&request, "model")?;
    let messages = messages(&request)?;
    let has_image = |message: &Value| {
        message["content"].as_array().is_some_and(|p| p.iter().any(|p| p["type"] == "image_url"))
    };
    if messages.iter().any(has_image) {
        let message = "The tokens of an image cannot be counted without asking the model.";
        return Err(ApiError::invalid("messages", message));
    }
    let mut text = conversation::plain_text(&messages);
    for tool in tools(&request)? {
        text.push('\n');
        text.push_str(&tool["function"].to_string());
    }
    let body = Map::from_iter([("content".to_owned(), text.into())]);
    Ok(Call { model, method: Method::Tokenise, body })
}

fn messages(request: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let mut talk = Conversation::default();
    if let Some(system) = given(request, "system") {
        let texts = texts(blocks(system, "system")?.as_slice(), "system")?;
        if !texts.is_empty() {
            talk.system(&texts);
        }
    }
    match request.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => {
            for (index, message) in messages.iter().enumerate() {
                add(&mut talk, message, &format!("messages[{index}]"))?;
            }
        }
        _ => {
            let message = "`messages` must be a list, not empty.";
            return Err(ApiError::invalid("messages", message));
        }
    }
    Ok(talk.messages())
}

fn add(talk: &mut Conversation, message: &Value, field: &str) -> Result<(), ApiError> {
    let content_field = format!("{field}.content");
    let blocks = blocks(&message["content"], &content_field)?;
    match message["role"].as_str() {
        Some("user") => said(talk, &blocks, &content_field),
        Some("assistant") => answered(talk, &blocks, &content_field),
        Some("system") => {
            talk.system(&texts(&blocks, &content_field)?);
            Ok(())
        }
        _ => {
            let field = format!("{field}.role");
            let message = format!("`{field}` must be user, assistant or system.");
            Err(ApiError::invalid(&field, message))
        }
    }
}

/// A text as a list of one block, or the list.
fn blocks(content: &Value, field: &str) -> Result<Vec<Value>, ApiError> {
    match content {
        Value::String(text) => Ok(vec![text_part(text)]),
        Value::Array(blocks) => Ok(blocks.clone()),
        _ => {
            let message = format!("`{field}` must be a text or a list of blocks.");
            Err(ApiError::invalid(field, message))
        }
    }
}

/// Blocks that can only be text.
fn texts(blocks: &[Value], field: &str) -> Result<String, ApiError> {
    let mut texts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        texts.push(block["text"].as_str().ok_or_else(|| unexpected(field, index, "text"))?);
    }
    Ok(texts.join("\n"))
}

/// What the user says: results of tools first, since they answer the turn before.
fn said(talk: &mut Conversation, blocks: &[Value], field: &str) -> Result<(), ApiError> {
    let mut parts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if block["type"] != "tool_result" {
            parts.push(part(block, field, index)?);
            continue;
        }
        let id = block["tool_use_id"].as_str().ok_or_else(|| unexpected(field, index, "id"))?;
        let told = match block.get("content") {
            None | Some(Value::Null) => Vec::new(),
            Some(told) => self::blocks(told, field)?,
        };
        let told: Vec<Value> =
            told.iter().map(|one| part(one, field, index)).collect::<Result<_, _>>()?;
        talk.result(id, if told.is_empty() { "".into() } else { content(told) });
    }
    if !parts.is_empty() {
        talk.user(content(parts));
    }
    Ok(())
}

/// Text, an image, or a document that is text.
fn part(block: &Value, field: &str, index: usize) -> Result<Value, ApiError> {
    let source = &block["source"];
    let word = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    let read = match (block["type"].as_str(), source["type"].as_str()) {
        (Some("text"), _) => word(block, "text").map(|text| text_part(&text)),
        (Some("image"), Some("base64")) => {
            let image = word(source, "media_type").zip(word(source, "data"));
            image.map(|(kind, data)| image_part(&format!("data:{kind};base64,{data}")))
        }
        (Some("document"), Some("text")) => word(source, "data").map(|text| text_part(&text)),
        _ => None,
    };
    read.ok_or_else(|| {
        unexpected(field, index, "text, an image in base64, a document in plain text, tool_result")
    })
}

/// What the model said before.
fn answered(talk: &mut Conversation, blocks: &[Value], field: &str) -> Result<(), ApiError> {
    let mut said = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let wrong = || unexpected(field, index, "text, thinking or tool_use");
        match block["type"].as_str() {
            Some("text") => said.push(block["text"].as_str().ok_or_else(wrong)?),
            Some("thinking") => talk.thought(block["thinking"].as_str().ok_or_else(wrong)?),
            // The first is encrypted by somebody else, the second follows the text.
            Some("redacted_thinking" | "tool_use") => {}
            _ => return Err(wrong()),
        }
    }
    if !said.is_empty() {
        talk.assistant(said.concat().into());
    }
    for (index, block) in blocks.iter().enumerate().filter(|(_, one)| one["type"] == "tool_use") {
        let word = |name: &str| {
            block[name]
                .as_str()
                .ok_or_else(|| unexpected(field, index, "tool_use with id and name"))
        };
        talk.call(word("id")?, word("name")?, &block["input"].to_string());
    }
    Ok(())
}

fn unexpected(field: &str, index: usize, expected: &str) -> ApiError {
    let field = format!("{field}[{index}]");
    let message = format!("`{field}` is no block that can be here; expected {expected}.");
    ApiError::invalid(&field, message)
}

fn tools(request: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let tool = |(index, tool): (usize, &Value)| match tool["type"].as_str() {
        None | Some("custom") => Ok(conversation::function(
            &tool["name"],
            &tool["description"],
            &tool["input_schema"],
            &tool["strict"],
        )),
        Some(other) => {
            let field = format!("tools[{index}].type");
            let message = format!("`{field}` must be custom, got {other}: it runs elsewhere.");
            Err(ApiError::invalid(&field, message))
        }
    };
    super::field::list(request, "tools")?.iter().enumerate().map(tool).collect()
}

fn tool_choice(
    request: &Map<String, Value>,
    body: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let choice = map(request, "tool_choice")?;
    let ours = match choice.get("type").map(|kind| kind.as_str().unwrap_or_default()) {
        None => return Ok(()),
        Some("auto") => json!("auto"),
        Some("none") => json!("none"),
        Some("any") => json!("required"),
        Some("tool") => json!({"type": "function", "function": {"name": choice.get("name")}}),
        Some(_) => {
            let message = "`tool_choice.type` must be auto, any, tool or none.";
            return Err(ApiError::invalid("tool_choice.type", message));
        }
    };
    body.insert("tool_choice".to_owned(), ours);
    if flag(&choice, "disable_parallel_tool_use", false)? {
        body.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

/// Whether to think, how hard, and in which form to answer.
fn thinking(request: &Map<String, Value>, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let enable = match given(&map(request, "thinking")?, "type").map(Value::as_str) {
        None | Some(Some("adaptive")) => None,
        Some(Some("enabled")) => Some(true),
        Some(Some("disabled")) => Some(false),
        Some(_) => {
            let message = "`thinking.type` must be enabled, disabled or adaptive.";
            return Err(ApiError::invalid("thinking.type", message));
        }
    };
    if let Some(enable) = enable {
        body.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": enable}));
    }
    let config = map(request, "output_config")?;
    if let Some(effort) = given(&config, "effort") {
        // The highest has another name here.
        let effort = if *effort == "max" { json!("xhigh") } else { effort.clone() };
        body.insert("reasoning_effort".to_owned(), effort);
    }
    let format = given(&config, "format").or_else(|| given(request, "output_format"));
    if let Some(format) = format {
        if format["type"] != "json_schema" {
            let message = "`output_config.format.type` must be json_schema.";
            return Err(ApiError::invalid("output_config.format", message));
        }
        let schema = json!({"name": "answer", "schema": format["schema"]});
        let wrapped = json!({"type": "json_schema", "json_schema": schema});
        body.insert("response_format".to_owned(), wrapped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &Value) -> Value {
        Value::Object(parse(request.to_string().as_bytes()).unwrap().call.body)
    }

    #[test]
    fn settings_have_their_counterparts() {
        let got = body(&json!({
            "model": "m", "max_tokens": 9, "temperature": 1, "top_k": 3, "stop_sequences": ["x"],
            "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                       {"type": "text", "text": "b"}],
            "messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": "u"},
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {}}},
            "context_management": {"edits": []}, "service_tier": "auto",
        }));
        let function = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
        let expected = json!({
            "messages": [
                {"role": "system", "content": "a\nb"}, {"role": "user", "content": "hi"},
            ],
            "max_tokens": 9, "temperature": 1, "top_k": 3, "stop": ["x"],
            "tools": [{"type": "function", "function": function}], "tool_choice": "required",
            "parallel_tool_calls": false, "chat_template_kwargs": {"enable_thinking": true},
            "reasoning_effort": "xhigh",
            "response_format": {"type": "json_schema",
                                "json_schema": {"name": "answer", "schema": {}}},
        });
        assert_eq!(got, expected);
    }

    #[test]
    fn blocks_are_the_conversation_so_far() {
        let got = body(&json!({"model": "m", "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {
                    "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=",
                }},
                {"type": "text", "text": "what"},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "go on"},
                {"type": "tool_result", "tool_use_id": "t", "content": [
                    {"type": "text", "text": "1"},
                ]},
            ]},
        ]}));
        let url = "data:image/png;base64,iVBORw0KGgo=";
        let function = json!({"name": "f", "arguments": "{\"a\":1}"});
        let expected = json!([
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what"},
            ]},
            {"role": "assistant", "reasoning_content": "hm", "content": "let me see",
             "tool_calls": [{"id": "t", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "t", "content": "1"},
            {"role": "user", "content": "go on"},
        ]);
        assert_eq!(got["messages"], expected);
    }

    #[test]
    fn names_the_field_at_fault() {
        let says = |content: Value| json!([{"role": "user", "content": content}]);
        for (field, value, param) in [
            ("mcp_servers", json!([{}]), "mcp_servers"),
            ("container", json!("c"), "container"),
            ("messages", json!([]), "messages"),
            ("messages", json!([{"role": "wizard", "content": "x"}]), "messages[0].role"),
            ("messages", says(json!(1)), "messages[0].content"),
            (
                "messages",
                says(json!([{"type": "image", "source": {"type": "url", "url": "x"}}])),
                "messages[0].content[0]",
            ),
            ("messages", says(json!([{"type": "tool_use"}])), "messages[0].content[0]"),
            ("tools", json!([{"type": "bash_20250124", "name": "bash"}]), "tools[0].type"),
            ("tool_choice", json!({"type": "all"}), "tool_choice.type"),
            ("thinking", json!({"type": "deep"}), "thinking.type"),
            ("output_config", json!({"format": {"type": "xml"}}), "output_config.format"),
        ] {
            let mut request = json!({"model": "m", "messages": says(json!("hi"))});
            request[field] = value.clone();
            let error = parse(request.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{field}: {value}");
        }
    }

    #[test]
    fn everything_that_is_text_is_counted_and_an_image_cannot_be() {
        let call = parse_count(
            br#"{"model":"m","system":"s","messages":[{"role":"user","content":"hi"}],
                 "tools":[{"name":"f","input_schema":{}}]}"#,
        )
        .unwrap();
        assert_eq!(call.method, Method::Tokenise);
        assert_eq!(call.body["content"], "s\nhi\n{\"name\":\"f\",\"parameters\":{}}");
        let image = parse_count(
            br#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":
                 {"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}]}"#,
        );
        assert_eq!(image.unwrap_err().param.as_deref(), Some("messages"));
    }
}
