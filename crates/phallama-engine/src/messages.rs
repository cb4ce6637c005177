//! The `messages` of a chat request.

use serde_json::Value;

use crate::RequestError;
use crate::fields::{list, object_of, required, short_text, text, unsupported, wrong_type};
use crate::image::{IMAGES_MAX, check_image};
use crate::tools::{NAME_MAX_BYTES, TOOLS_MAX};

const MESSAGES_MAX: usize = 4096;
const PARTS_MAX: usize = 256;

type Checked<T> = Result<T, RequestError>;

/// Checks the conversation; returns it as the worker should see it, and how many images it has.
pub(crate) fn check_messages(value: Value) -> Checked<(Value, usize)> {
    if list("messages", &value, MESSAGES_MAX)?.is_empty() {
        return Err(RequestError::Empty { field: "messages".to_owned() });
    }
    let Value::Array(mut messages) = value else { unreachable!("checked to be a list") };
    let mut images = 0;
    for (index, message) in messages.iter_mut().enumerate() {
        images += check_message(&format!("messages[{index}]"), message)?;
    }
    if images > IMAGES_MAX {
        let field = "messages (images)".to_owned();
        return Err(RequestError::TooMany { field, got: images, max: IMAGES_MAX });
    }
    Ok((Value::Array(messages), images))
}

fn check_message(field: &str, message: &mut Value) -> Checked<usize> {
    const KEYS: &[&str] =
        &["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
    let object = object_of(field, message, KEYS)?;
    let role_field = format!("{field}.role");
    let role = text(&role_field, required(field, object, "role")?)?;
    if !["system", "developer", "user", "assistant", "tool"].contains(&role) {
        let expected = "system, developer, user, assistant or tool";
        return Err(unsupported(&role_field, role, expected));
    }
    let given = |key: &str| object.get(key).filter(|value| !value.is_null());
    let images = match given("content") {
        Some(content) => check_content(&format!("{field}.content"), content)?,
        // The worker takes no message with nothing in it.
        None if role == "assistant" && given("tool_calls").is_some() => 0,
        None => return Err(RequestError::Missing { field: format!("{field}.content") }),
    };
    for key in ["name", "tool_call_id"] {
        if let Some(value) = given(key) {
            short_text(&format!("{field}.{key}"), value, NAME_MAX_BYTES)?;
        }
    }
    if let Some(value) = given("reasoning_content") {
        text(&format!("{field}.reasoning_content"), value)?;
    }
    if let Some(value) = given("tool_calls") {
        check_tool_calls(&format!("{field}.tool_calls"), value)?;
    }
    if role == "developer" {
        // OpenAI's newer word; chat templates of open models know only `system`.
        message["role"] = Value::from("system");
    }
    Ok(images)
}

/// Text, or parts of type `text` and `image_url`; returns the number of images. Whatever else could
/// make the worker open a URL or a file is refused here.
fn check_content(field: &str, content: &Value) -> Checked<usize> {
    if content.is_string() {
        return Ok(0);
    }
    if !content.is_array() {
        return Err(wrong_type(field, content, "a string or an array of parts"));
    }
    let mut images = 0;
    for (index, part) in list(field, content, PARTS_MAX)?.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let kind = part.get("type").unwrap_or(&Value::Null);
        match text(&format!("{field}.type"), kind)? {
            "text" => {
                let part = object_of(&field, part, &["type", "text"])?;
                text(&format!("{field}.text"), required(&field, part, "text")?)?;
            }
            "image_url" => {
                check_image_part(&field, part)?;
                images += 1;
            }
            other => {
                return Err(unsupported(&format!("{field}.type"), other, "text or image_url"));
            }
        }
    }
    Ok(images)
}

fn check_image_part(field: &str, part: &Value) -> Checked<()> {
    let part = object_of(field, part, &["type", "image_url"])?;
    let image_field = format!("{field}.image_url");
    let image = required(field, part, "image_url")?;
    let image = object_of(&image_field, image, &["url", "detail"])?;
    let url_field = format!("{image_field}.url");
    check_image(&url_field, text(&url_field, required(&image_field, image, "url")?)?)
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
