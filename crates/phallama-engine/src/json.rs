//! JSON from strangers: bounded in depth, and no key twice in one object.
//!
//! Of two equal keys parsers take the first or the last as they like, so a body that has them means
//! different things to those who read it one after the other.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::RequestError;
use crate::fields::cut;

/// Deepest nesting of arrays and objects in a request.
const DEPTH_MAX: usize = 64;

/// Parses a whole document.
///
/// # Errors
/// [`RequestError::TooDeep`], [`RequestError::DuplicateField`], [`RequestError::InvalidJson`].
pub(crate) fn parse(json: &[u8]) -> Result<Value, RequestError> {
    check_depth(json)?;
    let twice = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed = Document(&twice).deserialize(&mut deserializer);
    let parsed = parsed.and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| match twice.take() {
        Some(field) => RequestError::DuplicateField { field },
        None => RequestError::InvalidJson { line: error.line(), column: error.column() },
    })
}

/// Refuses deep nesting before a recursive parser sees it.
fn check_depth(json: &[u8]) -> Result<(), RequestError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(RequestError::TooDeep { max: DEPTH_MAX });
        }
    }
    Ok(())
}

/// Builds a [`Value`]; leaves the name of the first key that came twice in the cell.
#[derive(Clone, Copy)]
struct Document<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                self.0.replace(Some(cut(&key)));
                return Err(A::Error::custom("a key comes twice"));
            }
            let value = entries.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn depth_is_limited_before_parsing() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(64).as_bytes()).is_ok_and(|value| value.is_array()));
        for levels in [65, 1_000, 1 << 20] {
            let error = parse("[".repeat(levels).as_bytes());
            assert_eq!(error, Err(RequestError::TooDeep { max: 64 }));
        }
        assert_eq!(parse(nested(65).as_bytes()), Err(RequestError::TooDeep { max: 64 }));
        let in_text = format!(r#""\"{}""#, "[".repeat(99));
        assert!(parse(in_text.as_bytes()).is_ok_and(|value| value.is_string()));
    }

    #[test]
    fn a_key_that_comes_twice_is_named() {
        for body in [r#"{"a":1,"b":2,"a":1}"#, r#"[{"x":{"a":1,"\u0061":2}}]"#] {
            let expected = RequestError::DuplicateField { field: "a".to_owned() };
            assert_eq!(parse(body.as_bytes()), Err(expected), "{body}");
        }
        assert!(parse(br#"[{"a":1},{"a":{"a":1}}]"#).is_ok_and(|value| value.is_array()));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for body in
            ["", "{", "{}x", r#""\ud800""#, r#""\udc00\ud800""#, "NaN", "1e999", "\"\u{1}\""]
        {
            let error = parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, RequestError::InvalidJson { line: 0..=1, .. }), "{body}");
        }
        let not_utf8 = parse(b"\"\xff\"").unwrap_err();
        assert!(matches!(not_utf8, RequestError::InvalidJson { line: 1, .. }));
    }

    proptest! {
        #[test]
        fn reads_what_others_read(
            numbers in prop::collection::vec(any::<f64>().prop_filter("no JSON", |f| f.is_finite()), 0..4),
            texts in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..4),
        ) {
            let value = serde_json::json!({ "numbers": numbers, "texts": texts, "none": null });
            let json = value.to_string();
            let expected: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(parse(json.as_bytes()), Ok(expected));
        }
    }
}
