//! Requests that generate nothing: embeddings, tokens of a text, text of tokens.

use std::fmt;

use serde_json::{Value, json};

use crate::checker::{fields_of, none_left, take_labels};
use crate::fields::{at_most_bytes, boolean, integer, list, text, tokens, wrong_type};
use crate::{RequestError, TOKENS_MAX};

/// Most texts in one request for embeddings.
const INPUTS_MAX: usize = 256;
const TEXT_MAX_BYTES: usize = 2 * 1024 * 1024;
const DIMENSIONS_MAX: i64 = 16_383;

type Checked<T> = Result<T, RequestError>;

/// A request for embeddings that passed every check.
///
/// Fields: `input` (a string, an array of strings, an array of token ids, or an array of those),
/// `dimensions`; `model` and `user` have no effect.
#[derive(Clone, PartialEq)]
pub struct EmbeddingsRequest {
    pub(crate) inputs: Vec<Value>,
    pub(crate) dimensions: Option<usize>,
}

/// A text whose tokens are asked for.
///
/// Fields: `content` (a string), `add_special` (whether the tokens that begin a text are wanted
/// too), `parse_special` (whether words of the template count as the tokens they stand for).
#[derive(Clone, PartialEq)]
pub struct TokeniseRequest(Value);

/// Tokens whose text is asked for. Fields: `tokens`, an array of token ids.
#[derive(Clone, PartialEq)]
pub struct DetokeniseRequest(Value);

impl EmbeddingsRequest {
    /// Parses and checks the JSON body, whose size the caller has already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut sent = fields_of(body)?;
        let input = sent.remove("input");
        let input = input.ok_or_else(|| RequestError::Missing { field: "input".to_owned() })?;
        let inputs = check_inputs(input)?;
        let dimensions = sent.remove("dimensions");
        let dimensions = dimensions
            .map(|value| integer("dimensions", &value, 1, DIMENSIONS_MAX))
            .transpose()?
            .map(|dimensions| usize::try_from(dimensions).expect("the range fits"));
        take_labels(&mut sent)?;
        none_left(&sent)?;
        Ok(Self { inputs, dimensions })
    }
}

/// One input for each vector that is wanted.
fn check_inputs(input: Value) -> Checked<Vec<Value>> {
    let inputs = match input {
        Value::Array(items) if !items.first().is_some_and(Value::is_number) => items,
        Value::String(_) | Value::Array(_) => vec![input],
        other => return Err(wrong_type("input", &other, "a string or an array")),
    };
    if inputs.is_empty() {
        return Err(RequestError::Empty { field: "input".to_owned() });
    }
    if inputs.len() > INPUTS_MAX {
        let field = "input".to_owned();
        return Err(RequestError::TooMany { field, got: inputs.len(), max: INPUTS_MAX });
    }
    for (index, input) in inputs.iter().enumerate() {
        let field = format!("input[{index}]");
        match input {
            Value::String(text) => at_most_bytes(&field, text.len(), TEXT_MAX_BYTES)?,
            Value::Array(_) => tokens(&field, input)?,
            other => return Err(wrong_type(&field, other, "a string or an array of token ids")),
        }
        if input == "" || *input == json!([]) {
            return Err(RequestError::Empty { field });
        }
    }
    Ok(inputs)
}

impl TokeniseRequest {
    /// Parses and checks the JSON body, whose size the caller has already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut sent = fields_of(body)?;
        let content = sent.remove("content");
        let content =
            content.ok_or_else(|| RequestError::Missing { field: "content".to_owned() })?;
        at_most_bytes("content", text("content", &content)?.len(), TEXT_MAX_BYTES)?;
        let mut kept = json!({ "content": content });
        for name in ["add_special", "parse_special"] {
            if let Some(value) = sent.remove(name) {
                kept[name] = boolean(name, &value)?.into();
            }
        }
        take_labels(&mut sent)?;
        none_left(&sent)?;
        Ok(Self(kept))
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

impl DetokeniseRequest {
    /// Parses and checks the JSON body, whose size the caller has already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut sent = fields_of(body)?;
        let ids = sent.remove("tokens");
        let ids = ids.ok_or_else(|| RequestError::Missing { field: "tokens".to_owned() })?;
        list("tokens", &ids, TOKENS_MAX)?;
        tokens("tokens", &ids)?;
        take_labels(&mut sent)?;
        none_left(&sent)?;
        Ok(Self(json!({ "tokens": ids })))
    }

    /// How many tokens are given.
    pub fn count(&self) -> usize {
        self.0["tokens"].as_array().map_or(0, Vec::len)
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

impl fmt::Debug for EmbeddingsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddingsRequest({} inputs)", self.inputs.len())
    }
}

impl fmt::Debug for TokeniseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokeniseRequest(…)")
    }
}

impl fmt::Debug for DetokeniseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DetokeniseRequest({} tokens)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        EmbeddingsRequest::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_shape_of_input_becomes_a_list() {
        for (input, expected) in [
            (r#""a""#, json!(["a"])),
            (r#"["a","b"]"#, json!(["a", "b"])),
            ("[1,2]", json!([[1, 2]])),
            ("[[1],[2,3]]", json!([[1], [2, 3]])),
            (r#"["a",[2]]"#, json!(["a", [2]])),
        ] {
            let body = format!(r#"{{"model":"m","input":{input},"user":null}}"#);
            let request = EmbeddingsRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(Value::Array(request.inputs), expected);
        }
    }

    #[test]
    fn each_bound_has_its_own_error() {
        for (body, message) in [
            ("{}", "field `input` is missing"),
            (r#"{"input":1}"#, "field `input` is a number, expected a string or an array"),
            (r#"{"input":[]}"#, "field `input` is empty"),
            (r#"{"input":["a",""]}"#, "field `input[1]` is empty"),
            (r#"{"input":[[]]}"#, "field `input[0]` is empty"),
            (r#"{"input":[-1]}"#, "field `input[0][0]` is -1, expected 0 to 2147483647"),
            (r#"{"input":[[1,"a"]]}"#, "field `input[0][1]` is a string, expected an integer"),
            (
                r#"{"input":[{}]}"#,
                "field `input[0]` is an object, expected a string or an array of token ids",
            ),
            (r#"{"input":"a","dimensions":0}"#, "field `dimensions` is 0, expected 1 to 16383"),
            (r#"{"input":"a","embd_normalize":0}"#, "field `embd_normalize` is not supported"),
            (r#"{"input":"a","input":"b"}"#, "field `input` comes twice in one object"),
        ] {
            assert_eq!(refused(body), message);
        }
        let many = format!(r#"{{"input":[{}]}}"#, ["\"a\""; 257].join(","));
        assert_eq!(refused(&many), "field `input` has 257 entries, at most 256 are allowed");
    }

    #[test]
    fn texts_and_tokens_are_checked_both_ways() {
        let body = TokeniseRequest::parse(br#"{"content":"","add_special":true}"#).unwrap().body();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, json!({ "content": "", "add_special": true }));
        let refused = |body: &str| TokeniseRequest::parse(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            refused(r#"{"content":["a",1]}"#),
            "field `content` is an array, expected a string"
        );
        assert_eq!(
            refused(r#"{"content":"a","with_pieces":true}"#),
            "field `with_pieces` is not supported"
        );
        let request = DetokeniseRequest::parse(br#"{"tokens":[1,2]}"#).unwrap();
        assert_eq!((request.count(), request.body()), (2, br#"{"tokens":[1,2]}"#.to_vec()));
        let refused =
            |body: &str| DetokeniseRequest::parse(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            refused(r#"{"tokens":[0,-1]}"#),
            "field `tokens[1]` is -1, expected 0 to 2147483647"
        );
        assert_eq!(
            refused(r#"{"tokens":[1.5]}"#),
            "field `tokens[0]` is a number, expected an integer"
        );
        assert_eq!(refused("{}"), "field `tokens` is missing");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = EmbeddingsRequest::parse(&bytes);
            let _ = TokeniseRequest::parse(&bytes);
            let _ = DetokeniseRequest::parse(&bytes);
        }
    }
}
