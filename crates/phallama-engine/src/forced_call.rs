//! Calls of functions by models whose chat template knows none.
//!
//! llama-server leaves tools away where the template has no place for them, and says nothing. A
//! call that is required can be had from any model all the same: the functions are described in a
//! system message, a schema leaves nothing but a call, and what comes is told as a call. Whether to
//! call at all cannot be left to such a model, so that is refused.

use serde_json::{Value, json};

use crate::generation::Generation;
use crate::{EngineError, RequestError};

const INSTRUCTION: &str = "Call one of these functions. Answer with JSON alone, \
                           {\"name\": …, \"arguments\": {…}}.";

/// Turns a request whose call is required into one that any model can answer.
///
/// # Errors
/// [`EngineError::NotServed`] when a call is possible but not required; [`EngineError::Request`]
/// when a schema is asked for beside it.
pub(crate) fn force_call(asked: &mut Generation) -> Result<(), EngineError> {
    let choice = asked.fields.remove("tool_choice");
    let tools = asked.fields.remove("tools");
    let word = choice.as_ref().and_then(Value::as_str).unwrap_or("auto");
    let Some(Value::Array(tools)) = tools.filter(|_| word != "none") else { return Ok(()) };
    if word != "required" {
        let what = "this model's chat template knows no tools: require a call (tool_choice), or ask \
                    another model";
        return Err(EngineError::NotServed { what });
    }
    if asked.fields.contains_key("response_format") {
        let (field, other) = ("response_format", "tool_choice");
        return Err(RequestError::Conflict { field, other }.into());
    }
    asked.fields.remove("parallel_tool_calls");
    describe(asked, &tools);
    let calls: Vec<Value> = tools.iter().enumerate().map(call_schema).collect();
    let wrapper = json!({ "name": "call", "schema": { "anyOf": calls } });
    asked.put("response_format", json!({ "type": "json_schema", "json_schema": wrapper }));
    asked.call_is_forced = true;
    Ok(())
}

/// Puts the functions into the system message.
fn describe(asked: &mut Generation, tools: &[Value]) {
    let functions: Vec<&Value> = tools.iter().map(|tool| &tool["function"]).collect();
    let text = format!("{INSTRUCTION}\n{}", json!(functions));
    let Some(Value::Array(messages)) = asked.fields.get_mut("messages") else { return };
    match messages.first_mut() {
        Some(first) if first["role"] == "system" && first["content"].is_string() => {
            let said = first["content"].as_str().unwrap_or_default();
            first["content"] = format!("{said}\n\n{text}").into();
        }
        _ => messages.insert(0, json!({ "role": "system", "content": text })),
    }
}

/// The schema of a call of one function.
fn call_schema((index, tool): (usize, &Value)) -> Value {
    let function = &tool["function"];
    let mut arguments = function.get("parameters").cloned().unwrap_or(Value::Null);
    if arguments.is_null() {
        arguments = json!({ "type": "object" });
    }
    move_references(&mut arguments, &format!("#/anyOf/{index}/properties/arguments"));
    json!({
        "type": "object", "required": ["name", "arguments"], "additionalProperties": false,
        "properties": { "name": { "const": function["name"] }, "arguments": arguments },
    })
}

/// References from the root of a schema that is no longer the root.
fn move_references(schema: &mut Value, root: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, root)),
        Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str().and_then(|text| text.strip_prefix('#')) {
                    Some(path) if key == "$ref" => *value = format!("{root}{path}").into(),
                    _ => move_references(value, root),
                }
            }
        }
        _ => {}
    }
}

/// The delta of the call that the model wrote, if it wrote all of it.
pub(crate) fn read_call(text: &str, choice: u32) -> Option<Value> {
    let call: Value = serde_json::from_str(text).ok()?;
    let (name, arguments) = (call.get("name")?, call.get("arguments")?.to_string());
    let function = json!({ "name": name, "arguments": arguments });
    let id = format!("call_{choice}");
    Some(json!([{ "index": 0, "id": id, "type": "function", "function": function }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChatRequest;

    fn forced(more: &Value) -> Result<Generation, EngineError> {
        let tool = |name: &str| {
            json!({ "type": "function", "function": { "name": name, "parameters": {
                "type": "object", "properties": { "a": { "$ref": "#/$defs/x" }, "$ref": {} },
                "$defs": { "x": { "type": "integer" } },
            } } })
        };
        let mut body = json!({
            "messages": [{ "role": "system", "content": "Be brief." },
                         { "role": "user", "content": "hi" }],
            "tools": [tool("f"), tool("g")],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        let mut asked = request.generation().clone();
        force_call(&mut asked).map(|()| asked)
    }

    #[test]
    fn a_required_call_becomes_a_schema_and_a_description() {
        let asked = forced(&json!({ "tool_choice": "required" })).unwrap();
        let schema = &asked.fields["response_format"]["json_schema"]["schema"];
        let second = &schema["anyOf"][1]["properties"];
        assert_eq!(second["name"], json!({ "const": "g" }));
        let reference = &second["arguments"]["properties"]["a"]["$ref"];
        assert_eq!(reference, "#/anyOf/1/properties/arguments/$defs/x");
        assert!(schema.pointer(&reference.as_str().unwrap()[1..]).is_some());
        let system = asked.fields["messages"][0]["content"].as_str().unwrap();
        assert!(system.starts_with("Be brief.\n\nCall one of these functions."), "{system}");
        assert!(asked.call_is_forced);
        assert!(!asked.fields.contains_key("tools") && !asked.fields.contains_key("tool_choice"));
        let named = json!({ "tool_choice": { "type": "function", "function": { "name": "g" } } });
        let schema = &forced(&named).unwrap().fields["response_format"]["json_schema"]["schema"];
        assert_eq!(schema["anyOf"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_call_that_is_left_to_the_model_is_refused_and_none_is_none() {
        for more in [json!({}), json!({ "tool_choice": "auto" })] {
            let error = forced(&more).err().unwrap();
            assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
        }
        let none = forced(&json!({ "tool_choice": "none" })).unwrap();
        assert!(!none.call_is_forced && !none.fields.contains_key("tools"));
        let both =
            json!({ "tool_choice": "required", "response_format": { "type": "json_object" } });
        assert!(matches!(forced(&both), Err(EngineError::Request(RequestError::Conflict { .. }))));
    }

    #[test]
    fn what_was_written_is_told_as_a_call_once_it_is_whole() {
        let call = read_call(r#"{"name":"f","arguments":{"a":1}}"#, 2).unwrap();
        let function = json!({ "name": "f", "arguments": "{\"a\":1}" });
        let expected =
            json!([{ "index": 0, "id": "call_2", "type": "function", "function": function }]);
        assert_eq!(call, expected);
        for text in ["", r#"{"name":"f","argu"#, "[]", r#"{"name":"f"}"#] {
            assert_eq!(read_call(text, 0), None, "{text}");
        }
    }
}
