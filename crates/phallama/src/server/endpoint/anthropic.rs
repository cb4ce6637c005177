//! Anthropic's endpoints. `anthropic-version`, `anthropic-beta` and `x-api-key` may be sent and say
//! nothing here.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::{Received, Shared, answer};
use crate::server::answer::proven;
use crate::server::api_error::Api;
use crate::server::caller::Caller;
use crate::server::lookup::look_up;
use crate::server::messages::{self, Written};
use crate::server::unique::unique_id;

pub(crate) async fn messages(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let asked = match messages::parse(&body) {
        Ok(asked) => asked,
        Err(error) => return error.respond(Api::Anthropic),
    };
    let shape = Written::new(format!("msg_{}", unique_id()), asked.call.model.clone());
    answer(&client, &caller, [asked.call], shape, asked.stream).await
}

pub(crate) async fn count_tokens(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let found = match messages::parse_count(&body) {
        Ok(call) => look_up(&client, &caller, call).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => proven(json!({"input_tokens": found.tokens.len()}), &found.end),
        Err(error) => error.respond(Api::Anthropic),
    }
}
