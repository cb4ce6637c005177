//! The `messages`, `tools` and `tool_choice` of a chat request.

use serde_json::Value;

use crate::RequestError;
use crate::fields::{list, object_of, required, short_text, text, unsupported, wrong_type};
use crate::schema::check_schema;

const MESSAGES_MAX: usize = 4096;
const PARTS_MAX: usize = 256;
const TOOLS_MAX: usize = 128;
const NAME_MAX_BYTES: usize = 256;

type Checked<T> = Result<T, RequestError>;

/// Checks the conversation and returns it as the worker should see it.
pub(crate) fn check_messages(value: Value) -> Checked<Value> {
    if list("messages", &value, MESSAGES_MAX)?.is_empty() {
        return Err(RequestError::Empty { field: "messages".to_owned() });
    }
    let Value::Array(mut messages) = value else { unreachable!("checked to be a list") };
    for (index, message) in messages.iter_mut().enumerate() {
        check_message(&format!("messages[{index}]"), message)?;
    }
    Ok(Value::Array(messages))
}

fn check_message(field: &str, message: &mut Value) -> Checked<()> {
    const KEYS: &[&str] =
        &["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
    let object = object_of(field, message, KEYS)?;
    let role_field = format!("{field}.role");
    let role = text(&role_field, required(field, object, "role")?)?.to_owned();
    match role.as_str() {
        "system" | "developer" | "user" | "assistant" | "tool" => {}
        other => {
            let expected = "system, developer, user, assistant or tool";
            return Err(unsupported(&role_field, other, expected));
        }
    }
    match object.get("content") {
        Some(content) if !content.is_null() => check_content(&format!("{field}.content"), content)?,
        _ if role == "assistant" => {}
        _ => return Err(RequestError::Missing { field: format!("{field}.content") }),
    }
    for key in ["name", "tool_call_id"] {
        if let Some(value) = object.get(key).filter(|value| !value.is_null()) {
            short_text(&format!("{field}.{key}"), value, NAME_MAX_BYTES)?;
        }
    }
    if let Some(value) = object.get("reasoning_content").filter(|value| !value.is_null()) {
        text(&format!("{field}.reasoning_content"), value)?;
    }
    if let Some(value) = object.get("tool_calls").filter(|value| !value.is_null()) {
        check_tool_calls(&format!("{field}.tool_calls"), value)?;
    }
    if role == "developer" {
        // OpenAI's newer word; chat templates of open models know only `system`.
        message["role"] = Value::from("system");
    }
    Ok(())
}

/// Text, or parts of type `text`. Anything that could make the worker open a URL or a file, or
/// decode an image, is refused here.
fn check_content(field: &str, content: &Value) -> Checked<()> {
    if content.is_string() {
        return Ok(());
    }
    if !content.is_array() {
        return Err(wrong_type(field, content, "a string or an array of text parts"));
    }
    for (index, part) in list(field, content, PARTS_MAX)?.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let kind = part.get("type").unwrap_or(&Value::Null);
        let kind = text(&format!("{field}.type"), kind)?;
        if kind != "text" {
            return Err(unsupported(&format!("{field}.type"), kind, "text"));
        }
        let part = object_of(&field, part, &["type", "text"])?;
        text(&format!("{field}.text"), required(&field, part, "text")?)?;
    }
    Ok(())
}

fn check_tool_calls(field: &str, value: &Value) -> Checked<()> {
    for (index, call) in list(field, value, TOOLS_MAX)?.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let call = object_of(&field, call, &["id", "type", "function", "index"])?;
        if let Some(id) = call.get("id") {
            short_text(&format!("{field}.id"), id, NAME_MAX_BYTES)?;
        }
        let function_field = format!("{field}.function");
        let function = required(&field, call, "function")?;
        let function = object_of(&function_field, function, &["name", "arguments"])?;
        let name = required(&function_field, function, "name")?;
        short_text(&format!("{function_field}.name"), name, NAME_MAX_BYTES)?;
        let arguments = required(&function_field, function, "arguments")?;
        text(&format!("{function_field}.arguments"), arguments)?;
    }
    Ok(())
}

/// `tools`: up to 128 functions whose parameters are bounded JSON schemas.
pub(crate) fn check_tools(value: &Value) -> Checked<()> {
    for (index, tool) in list("tools", value, TOOLS_MAX)?.iter().enumerate() {
        let field = format!("tools[{index}]");
        let tool = object_of(&field, tool, &["type", "function"])?;
        let kind = text(&format!("{field}.type"), required(&field, tool, "type")?)?;
        if kind != "function" {
            return Err(unsupported(&format!("{field}.type"), kind, "function"));
        }
        let field = format!("{field}.function");
        let keys = &["name", "description", "parameters", "strict"];
        let function = object_of(&field, required("tools", tool, "function")?, keys)?;
        let name = required(&field, function, "name")?;
        if short_text(&format!("{field}.name"), name, NAME_MAX_BYTES)?.is_empty() {
            return Err(RequestError::Empty { field: format!("{field}.name") });
        }
        if let Some(description) = function.get("description") {
            text(&format!("{field}.description"), description)?;
        }
        if let Some(schema) = function.get("parameters") {
            check_schema(&format!("{field}.parameters"), schema)?;
        }
    }
    Ok(())
}

/// `tool_choice`: llama-server knows the three words, not the choice of one function.
pub(crate) fn check_tool_choice(value: &Value) -> Checked<()> {
    match text("tool_choice", value)? {
        "none" | "auto" | "required" => Ok(()),
        other => Err(unsupported("tool_choice", other, "none, auto or required")),
    }
}
