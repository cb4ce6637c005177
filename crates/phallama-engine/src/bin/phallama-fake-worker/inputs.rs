//! Answers that come in one piece: vectors, tokens, texts.

use std::io;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::Shared;
use crate::http::{self, Request};

pub(crate) fn embeddings(
    shared: &Shared,
    stream: &UnixStream,
    request: &Request,
) -> io::Result<()> {
    if !shared.was_told("--embeddings") {
        let error = r#"{"error":{"message":"no embeddings","type":"not_supported_error"}}"#;
        return http::json_response(stream, 501, error);
    }
    if shared.was_told("--fake-unpooled") {
        return http::json_response(stream, 400, r#"{"error":{"message":"Pooling type 'none'"}}"#);
    }
    let body: Value = serde_json::from_slice(&request.body)?;
    let one = [body["input"].clone()];
    let inputs = body["input"].as_array().map_or(&one[..], Vec::as_slice);
    let data: Vec<Value> = inputs.iter().enumerate().map(vector).collect();
    let words: usize = inputs.iter().map(|input| size(input).0).sum();
    // Backwards: the order is in `index`.
    let data: Vec<Value> = data.into_iter().rev().collect();
    let answer = json!({ "data": data, "usage": { "prompt_tokens": words } });
    http::json_response(stream, 200, &answer.to_string())
}

fn vector((index, input): (usize, &Value)) -> Value {
    let (words, bytes) = size(input);
    json!({ "index": index, "embedding": [words, bytes, 1] })
}

/// Words and bytes of a text, or tokens of a list.
fn size(input: &Value) -> (usize, usize) {
    match (input.as_str(), input.as_array()) {
        (Some(text), _) => (text.split_whitespace().count(), text.len()),
        (_, tokens) => (tokens.map_or(0, Vec::len), 0),
    }
}

pub(crate) fn tokens(stream: &UnixStream, request: &Request) -> io::Result<()> {
    let body: Value = serde_json::from_slice(&request.body)?;
    let text = body["content"].as_str().unwrap_or_default();
    let tokens: Vec<usize> = text.split_whitespace().map(str::len).collect();
    http::json_response(stream, 200, &json!({ "tokens": tokens }).to_string())
}

pub(crate) fn text(stream: &UnixStream, request: &Request) -> io::Result<()> {
    let body: Value = serde_json::from_slice(&request.body)?;
    let tokens = body["tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let numbers: Vec<String> = tokens.iter().map(Value::to_string).collect();
    http::json_response(stream, 200, &json!({ "content": numbers.join(" ") }).to_string())
}
