//! llama-server's own endpoints, with the model's name beside the text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use phallama_client::{Client, Method};
use serde_json::json;

use super::{Received, Shared};
use crate::server::answer::proven;
use crate::server::api_error::{Api, ApiError};
use crate::server::caller::Caller;
use crate::server::field;
use crate::server::lookup::{self, Gathered};

pub(crate) async fn tokenize(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let passed = &["content", "add_special", "parse_special"];
    match of_body(&client, &caller, &body, Method::Tokenise, passed).await {
        Ok(found) => proven(json!({"tokens": found.tokens}), &found.end),
        Err(error) => error.respond(Api::OpenAi),
    }
}

pub(crate) async fn detokenize(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    match of_body(&client, &caller, &body, Method::Detokenise, &["tokens"]).await {
        Ok(found) => proven(json!({"content": found.text}), &found.end),
        Err(error) => error.respond(Api::OpenAi),
    }
}

async fn of_body(
    client: &Arc<Client>,
    caller: &Caller,
    body: &[u8],
    method: Method,
    passed: &[&str],
) -> Result<Gathered, ApiError> {
    let call = lookup::call(&field::object(body)?, method, passed)?;
    lookup::look_up(client, caller, call).await
}
