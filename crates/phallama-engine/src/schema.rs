//! `response_format` and JSON schemas, which the worker turns into grammars.
//!
//! The conversion is where a small request can cost most: repetition counts are unrolled into the
//! grammar, patterns are expanded, references may be remote. All of them are bounded here.

use serde_json::Value;

use crate::RequestError;
use crate::fields::{
    at_most_bytes, boolean, cut, integer, object, object_of, required, short_text, text,
    unsupported,
};
use crate::pattern::check_pattern;

const SCHEMA_MAX_BYTES: usize = 64 * 1024;
const SCHEMA_DEPTH_MAX: usize = 32;
/// Rules for the optional properties of an object grow with the cube of their number.
const PROPERTIES_MAX: usize = 256;
/// The worker unrolls no more.
const REPEAT_MAX: i64 = 2_000;
/// Rules that keep other properties apart are nested as deep as names are long.
const NAME_MAX_BYTES: usize = 256;

type Checked<T> = Result<T, RequestError>;

/// Checks `response_format` and returns the schema it stands for, if any.
pub(crate) fn check_response_format(value: &Value) -> Checked<Option<Value>> {
    let field = "response_format";
    let format = object_of(field, value, &["type", "json_schema"])?;
    let kind = text("response_format.type", required(field, format, "type")?)?;
    match kind {
        "text" => Ok(None),
        "json_object" => Ok(Some(serde_json::json!({ "type": "object" }))),
        "json_schema" => {
            let field = "response_format.json_schema";
            let keys = &["name", "description", "schema", "strict"];
            let wrapper =
                object_of(field, required("response_format", format, "json_schema")?, keys)?;
            for key in ["name", "description"] {
                if let Some(value) = wrapper.get(key) {
                    short_text(&format!("{field}.{key}"), value, NAME_MAX_BYTES)?;
                }
            }
            if let Some(strict) = wrapper.get("strict").filter(|value| !value.is_null()) {
                boolean("response_format.json_schema.strict", strict)?;
            }
            let schema = required(field, wrapper, "schema")?;
            check_schema("response_format.json_schema.schema", schema)?;
            Ok(Some(schema.clone()))
        }
        other => {
            let expected = "text, json_object or json_schema";
            Err(unsupported("response_format.type", other, expected))
        }
    }
}

/// Checks the size, the shape and the costly keywords of a JSON schema.
pub(crate) fn check_schema(field: &str, schema: &Value) -> Checked<()> {
    object(field, schema)?;
    at_most_bytes(field, schema.to_string().len(), SCHEMA_MAX_BYTES)?;
    let got = depth(schema);
    if got > SCHEMA_DEPTH_MAX {
        let (field, max) = (field.to_owned(), SCHEMA_DEPTH_MAX);
        return Err(RequestError::NestedTooDeep { field, got, max });
    }
    check_keywords(field, schema)
}

/// Levels of objects and arrays. Recursive: the depth of the whole request is bounded.
fn depth(value: &Value) -> usize {
    let below = |values: &mut dyn Iterator<Item = &Value>| values.map(depth).max().unwrap_or(0);
    match value {
        Value::Array(items) => 1 + below(&mut items.iter()),
        Value::Object(entries) => 1 + below(&mut entries.values()),
        _ => 0,
    }
}

fn check_keywords(field: &str, value: &Value) -> Checked<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_keywords(field, item)),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            at_most_bytes(&format!("{field}…{}", cut(key)), key.len(), NAME_MAX_BYTES)?;
            check_keyword(field, key, value)?;
            check_keywords(field, value)
        }),
        _ => Ok(()),
    }
}

fn check_keyword(field: &str, key: &str, value: &Value) -> Checked<()> {
    let path = || format!("{field}…{key}");
    match (key, value) {
        ("minItems" | "maxItems" | "minLength" | "maxLength", Value::Number(_)) => {
            integer(&path(), value, 0, REPEAT_MAX).map(drop)
        }
        ("pattern", Value::String(pattern)) => check_pattern(&path(), pattern),
        ("$ref", Value::String(reference)) if !reference.starts_with('#') => {
            Err(unsupported(&path(), reference, "a reference that starts with `#`"))
        }
        ("properties", Value::Object(properties)) if properties.len() > PROPERTIES_MAX => {
            let (got, max) = (properties.len(), PROPERTIES_MAX);
            Err(RequestError::TooMany { field: path(), got, max })
        }
        _ => Ok(()),
    }
}
