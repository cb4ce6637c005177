//! Fields of an app's JSON: what they must be, or which of them is at fault.

use serde_json::{Map, Value};

use super::api_error::ApiError;

/// A JSON object, or why not.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::invalid("body", "The body must be a JSON object.")),
        Err(error) => Err(ApiError::invalid("body", format!("The body is not JSON: {error}."))),
    }
}

/// A field that is there and not `null`.
pub(crate) fn given<'a>(request: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    request.get(name).filter(|value| !value.is_null())
}

/// A string field that must be there.
pub(crate) fn text(request: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    match request.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(ApiError::invalid(name, format!("`{name}` must be a non-empty string."))),
    }
}

/// A boolean field with a default.
pub(crate) fn flag(
    request: &Map<String, Value>,
    name: &str,
    default: bool,
) -> Result<bool, ApiError> {
    match given(request, name) {
        None => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => {
            Err(ApiError::invalid(name, format!("`{name}` must be true or false, got {other}.")))
        }
    }
}

/// An object field, empty when it is not there.
pub(crate) fn map(
    request: &Map<String, Value>,
    name: &str,
) -> Result<Map<String, Value>, ApiError> {
    match given(request, name) {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(ApiError::invalid(name, format!("`{name}` must be an object."))),
    }
}

/// An array field, empty when it is not there.
pub(crate) fn list<'a>(
    request: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a [Value], ApiError> {
    match given(request, name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(ApiError::invalid(name, format!("`{name}` must be an array."))),
    }
}

/// Refuses fields that would otherwise be dropped without a word; `empty` values are no harm.
pub(crate) fn refuse(
    request: &Map<String, Value>,
    fields: &[(&str, &str)],
) -> Result<(), ApiError> {
    match fields.iter().find(|(name, _)| request.get(*name).is_some_and(|v| !is_empty(v))) {
        None => Ok(()),
        Some((name, why)) => {
            Err(ApiError::invalid(name, format!("`{name}` is not supported: {why}.")))
        }
    }
}

/// Copies the named fields that are given.
pub(crate) fn copy(request: &Map<String, Value>, names: &[&str], body: &mut Map<String, Value>) {
    for name in names {
        if let Some(value) = given(request, name) {
            body.insert((*name).to_owned(), value.clone());
        }
    }
}

/// What clients send for "not this field".
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
