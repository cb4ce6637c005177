//! Answers that an app gets in one piece: embeddings, tokens, the text of tokens.

use std::sync::Arc;

use phallama_client::{Client, Method};
use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::ask::{Ended, Telling, Told};
use super::call::Call;
use super::caller::Caller;
use super::field;

/// All of such an answer.
pub(crate) struct Gathered {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
    pub(crate) end: Ended,
}

/// A request for such an answer, with the fields that are passed on.
pub(crate) fn call(
    request: &Map<String, Value>,
    method: Method,
    passed: &[&str],
) -> Result<Call, ApiError> {
    let mut body = Map::new();
    field::copy(request, passed, &mut body);
    Ok(Call { model: field::text(request, "model")?, method, body })
}

/// Asks, and reads the answer to its end.
pub(crate) async fn look_up(
    client: &Arc<Client>,
    caller: &Caller,
    call: Call,
) -> Result<Gathered, ApiError> {
    let mut telling = Telling::begin(client, caller, [call]).await?;
    let (mut vectors, mut tokens, mut text) = (Vec::new(), Vec::new(), String::new());
    loop {
        match telling.next().await? {
            Told::Embedding(vector) => vectors.push(vector),
            Told::Tokens(more) => tokens.extend(more),
            Told::Piece(piece) => text.push_str(&piece.content),
            Told::Ended(end) => return Ok(Gathered { vectors, tokens, text, end }),
            Told::NextChoice(_) => {}
        }
    }
}
