//! `response_format` and JSON schemas, which the worker turns into grammars.
//!
//! The conversion is where a small request can cost most: repetition counts are unrolled into the
//! grammar, patterns are expanded, references may be remote. All of them are bounded here.

use serde_json::Value;

use crate::RequestError;
use crate::fields::{
    at_most_bytes, boolean, integer, object, object_of, required, short_text, text, unsupported,
};

const SCHEMA_MAX_BYTES: usize = 64 * 1024;
const PATTERN_MAX_BYTES: usize = 256;
const REPEAT_MAX: i64 = 4096;
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

/// Checks the size and the costly keywords of a JSON schema.
pub(crate) fn check_schema(field: &str, schema: &Value) -> Checked<()> {
    object(field, schema)?;
    at_most_bytes(field, schema.to_string().len(), SCHEMA_MAX_BYTES)?;
    check_keywords(field, schema)
}

/// Walks the schema; its depth is bounded by the depth check of the whole request.
fn check_keywords(field: &str, value: &Value) -> Checked<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_keywords(field, item)),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            check_keyword(field, key, value)?;
            check_keywords(field, value)
        }),
        _ => Ok(()),
    }
}

fn check_keyword(field: &str, key: &str, value: &Value) -> Checked<()> {
    let path = || format!("{field}…{key}");
    match key {
        "minItems" | "maxItems" | "minLength" | "maxLength" if value.is_number() => {
            integer(&path(), value, 0, REPEAT_MAX).map(drop)
        }
        "pattern" if value.is_string() => short_text(&path(), value, PATTERN_MAX_BYTES).map(drop),
        "$ref" if value.is_string() => match text(&path(), value)? {
            local if local.starts_with('#') => Ok(()),
            remote => Err(unsupported(&path(), remote, "a reference that starts with `#`")),
        },
        _ => Ok(()),
    }
}
