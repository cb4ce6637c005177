//! OpenAI's endpoints.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use phallama_client::ModelListing;
use serde_json::{Value, json};

use super::{Received, Shared, answer};
use crate::clock;
use crate::server::answer::proven;
use crate::server::api_error::{Api, ApiError};
use crate::server::ask::find;
use crate::server::caller::Caller;
use crate::server::lookup::look_up;
use crate::server::openai::{self, Asked, Chunks};
use crate::server::responses::{self, Written};
use crate::server::unique::unique_id;

/// A header of Anthropic's clients, who ask for models at the same address.
const ANTHROPIC: &str = "anthropic-version";

pub(crate) async fn models(State(client): Shared, headers: HeaderMap) -> Response {
    let is_anthropic = headers.contains_key(ANTHROPIC);
    match client.models().await {
        Ok(models) if is_anthropic => {
            let data: Vec<Value> = models.iter().map(anthropic_model).collect();
            let id = |listing: Option<&ModelListing>| listing.map(|listing| listing.model.clone());
            let (first, last) = (id(models.first()), id(models.last()));
            let list = json!({
                "data": data, "has_more": false, "first_id": first, "last_id": last,
            });
            Json(list).into_response()
        }
        Ok(models) => {
            let data: Vec<Value> = models.iter().map(model_of).collect();
            Json(json!({"object": "list", "data": data})).into_response()
        }
        Err(error) => ApiError::from(error).respond(api_of(&headers)),
    }
}

pub(crate) async fn model(
    State(client): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    match find(&client, &id).await {
        Ok(listing) if headers.contains_key(ANTHROPIC) => {
            Json(anthropic_model(&listing)).into_response()
        }
        Ok(listing) => Json(model_of(&listing)).into_response(),
        Err(error) => error.respond(api_of(&headers)),
    }
}

fn api_of(headers: &HeaderMap) -> Api {
    if headers.contains_key(ANTHROPIC) { Api::Anthropic } else { Api::OpenAi }
}

fn model_of(listing: &ModelListing) -> Value {
    json!({
        "id": listing.model, "object": "model", "created": listing.updated_at_unix_s,
        "owned_by": "phallama",
    })
}

fn anthropic_model(listing: &ModelListing) -> Value {
    json!({
        "id": listing.model, "type": "model", "display_name": listing.model,
        "created_at": clock::rfc3339(listing.updated_at_unix_s),
    })
}

pub(crate) async fn chat_completions(
    client: Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    completed(client, caller, openai::parse_chat(&body), "chatcmpl").await
}

pub(crate) async fn completions(
    client: Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    completed(client, caller, openai::parse_completion(&body), "cmpl").await
}

async fn completed(
    State(client): Shared,
    caller: Caller,
    asked: Result<Asked, ApiError>,
    kind: &'static str,
) -> Response {
    let Asked { model, calls, stream, include_usage } = match asked {
        Ok(asked) => asked,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let shape = Chunks {
        id: format!("{kind}-{}", unique_id()),
        created_unix_s: clock::now_unix_s(),
        model,
        completion: kind == "cmpl",
        include_usage: include_usage && stream,
        choice: 0,
    };
    answer(&client, &caller, calls, shape, stream).await
}

pub(crate) async fn responses(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let asked = match responses::parse(&body) {
        Ok(asked) => asked,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let (model, created) = (asked.call.model.clone(), clock::now_unix_s());
    let shape = Written::new(unique_id(), created, model, asked.repeated);
    answer(&client, &caller, [asked.call], shape, asked.stream).await
}

pub(crate) async fn embeddings(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let (call, base64) = match openai::parse_embeddings(&body) {
        Ok(parsed) => parsed,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let model = call.model.clone();
    match look_up(&client, &caller, call).await {
        Ok(found) => proven(openai::embeddings(&model, &found, base64), &found.end),
        Err(error) => error.respond(Api::OpenAi),
    }
}
