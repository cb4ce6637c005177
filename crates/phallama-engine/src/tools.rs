//! The `tools` and `tool_choice` of a chat request.

use serde_json::Value;

use crate::RequestError;
use crate::fields::{
    at_most_bytes, boolean, list, object_of, required, short_text, text, unsupported, wrong_type,
};
use crate::schema::check_schema;

/// Most functions of a request, and most calls in one message.
pub(crate) const TOOLS_MAX: usize = 128;
pub(crate) const NAME_MAX_BYTES: usize = 256;
const TOOLS_MAX_BYTES: usize = 256 * 1024;

type Checked<T> = Result<T, RequestError>;

/// What the worker is told about tools.
#[derive(Default)]
pub(crate) struct Tools {
    /// The functions that may be called, if any.
    pub(crate) tools: Option<Value>,
    /// `none`, `auto` or `required`, if it was said.
    pub(crate) choice: Option<&'static str>,
}

/// Checks both fields together. The choice of one function becomes a list of that function, one of
/// which must be called: llama-server knows only the three words.
pub(crate) fn check_tools(tools: Option<Value>, choice: Option<&Value>) -> Checked<Tools> {
    let tools = tools.map(checked_list).transpose()?.filter(|tools| !tools.is_empty());
    let none = || RequestError::Missing { field: "tools".to_owned() };
    let (tools, choice) = match choice {
        None => (tools, None),
        Some(Value::String(word)) => match word.as_str() {
            "none" => (tools, Some("none")),
            "auto" => (tools, Some("auto")),
            "required" => (Some(tools.ok_or_else(none)?), Some("required")),
            other => {
                let expected = "none, auto, required or one function";
                return Err(unsupported("tool_choice", other, expected));
            }
        },
        Some(function) => {
            let name = named(function)?;
            let mut tools = tools.ok_or_else(none)?;
            tools.retain(|tool| tool["function"]["name"] == name);
            if tools.is_empty() {
                let expected = "the name of one of `tools`";
                return Err(unsupported("tool_choice.function.name", name, expected));
            }
            (Some(tools), Some("required"))
        }
    };
    let choice = choice.filter(|_| tools.is_some());
    Ok(Tools { tools: tools.map(Value::Array), choice })
}

fn named(choice: &Value) -> Checked<&str> {
    if !choice.is_object() {
        return Err(wrong_type("tool_choice", choice, "a string or an object"));
    }
    let choice = object_of("tool_choice", choice, &["type", "function"])?;
    let kind = text("tool_choice.type", required("tool_choice", choice, "type")?)?;
    if kind != "function" {
        return Err(unsupported("tool_choice.type", kind, "function"));
    }
    let function = required("tool_choice", choice, "function")?;
    let function = object_of("tool_choice.function", function, &["name"])?;
    text("tool_choice.function.name", required("tool_choice.function", function, "name")?)
}

fn checked_list(value: Value) -> Checked<Vec<Value>> {
    list("tools", &value, TOOLS_MAX)?;
    at_most_bytes("tools", value.to_string().len(), TOOLS_MAX_BYTES)?;
    let Value::Array(tools) = value else { unreachable!("checked to be a list") };
    for (index, tool) in tools.iter().enumerate() {
        check_tool(&format!("tools[{index}]"), tool)?;
    }
    Ok(tools)
}

/// One function whose parameters are a bounded JSON schema.
fn check_tool(field: &str, tool: &Value) -> Checked<()> {
    let tool = object_of(field, tool, &["type", "function"])?;
    let kind = text(&format!("{field}.type"), required(field, tool, "type")?)?;
    if kind != "function" {
        return Err(unsupported(&format!("{field}.type"), kind, "function"));
    }
    let function = required(field, tool, "function")?;
    let field = format!("{field}.function");
    let keys = &["name", "description", "parameters", "strict"];
    let function = object_of(&field, function, keys)?;
    check_name(&format!("{field}.name"), required(&field, function, "name")?)?;
    let given = |key: &str| function.get(key).filter(|value| !value.is_null());
    if let Some(description) = given("description") {
        text(&format!("{field}.description"), description)?;
    }
    if let Some(schema) = given("parameters") {
        check_schema(&format!("{field}.parameters"), schema)?;
    }
    if let Some(strict) = given("strict") {
        boolean(&format!("{field}.strict"), strict)?;
    }
    Ok(())
}

/// A name goes into a grammar and is told apart by the worker's parser.
fn check_name(field: &str, value: &Value) -> Checked<()> {
    let name = short_text(field, value, NAME_MAX_BYTES)?;
    if name.is_empty() {
        return Err(RequestError::Empty { field: field.to_owned() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(unsupported(field, &c.to_string(), "letters, digits and _ - . : /")),
        None => Ok(()),
    }
}
