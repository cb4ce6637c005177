//! Ollama's endpoints.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use phallama_client::{Client, ModelListing};
use serde_json::{Map, Value, json};

use super::{Received, Served, Shared, answer};
use crate::clock;
use crate::server::answer::proven;
use crate::server::api_error::{Api, ApiError};
use crate::server::ask::{find, offered_name};
use crate::server::caller::Caller;
use crate::server::field;
use crate::server::lookup::look_up;
use crate::server::ollama::{self, Asked, Lines, Question, nanoseconds_since, network};

pub(crate) async fn root() -> &'static str {
    "Ollama is running"
}

pub(crate) async fn version() -> Json<Value> {
    // By the second field `phallama status` tells its own server from Ollama.
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({"version": version, "phallama": version}))
}

/// Ollama's own cloud is meant, which is not used.
pub(crate) async fn status() -> Json<Value> {
    Json(json!({"cloud": {"disabled": true, "source": "config"}}))
}

pub(crate) async fn tags(State(client): Shared) -> Response {
    match client.models().await {
        Ok(models) => {
            let models: Vec<Value> = models.iter().map(network::tag).collect();
            Json(json!({"models": models})).into_response()
        }
        Err(error) => ApiError::from(error).respond(Api::Ollama),
    }
}

pub(crate) async fn ps(State(served): State<Served>) -> Response {
    match served.client.models().await {
        Ok(models) => {
            let entry = |(name, until): (String, u64)| {
                let listing = models.iter().find(|listing| listing.model == name)?;
                Some(network::running(listing, until))
            };
            let in_use = served.in_use.list(clock::now_unix_s());
            let running: Vec<Value> = in_use.into_iter().filter_map(entry).collect();
            Json(json!({"models": running})).into_response()
        }
        Err(error) => ApiError::from(error).respond(Api::Ollama),
    }
}

pub(crate) async fn show(State(client): Shared, Received(body): Received) -> Response {
    let named = match field::object(&body) {
        Ok(request) => named(&client, &request).await,
        Err(error) => Err(error),
    };
    match named {
        Ok(listing) => Json(network::shown(&listing)).into_response(),
        Err(error) => error.respond(Api::Ollama),
    }
}

/// The model of a request that may have the older field.
async fn named(client: &Client, request: &Map<String, Value>) -> Result<ModelListing, ApiError> {
    let field = if request.contains_key("model") { "model" } else { "name" };
    find(client, &field::text(request, field)?).await
}

pub(crate) async fn pull(State(client): Shared, Received(body): Received) -> Response {
    let asked = match field::object(&body) {
        Ok(request) => match named(&client, &request).await {
            Ok(listing) => field::flag(&request, "stream", true).map(|stream| (listing, stream)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match asked {
        Ok((listing, true)) => {
            let lines = Body::from_stream(network::pulled(client, listing));
            ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
        }
        Ok((listing, false)) => match network::verify_one(&client, &listing).await {
            Ok(()) => Json(json!({"status": "success"})).into_response(),
            Err(error) => ApiError::from(error).respond(Api::Ollama),
        },
        Err(error) => error.respond(Api::Ollama),
    }
}

/// What changes a store of models, which this machine does not have.
pub(crate) async fn no_store() -> Response {
    let why = "models are the network's: pods serve them, and nothing is stored here";
    ApiError::not_here(why).respond(Api::Ollama)
}

pub(crate) async fn chat(
    served: State<Served>,
    caller: Caller,
    Received(body): Received,
) -> Response {
    asked(served, caller, ollama::parse_chat(&body), false).await
}

pub(crate) async fn generate(
    served: State<Served>,
    caller: Caller,
    Received(body): Received,
) -> Response {
    asked(served, caller, ollama::parse_generate(&body), true).await
}

async fn asked(
    State(served): State<Served>,
    caller: Caller,
    asked: Result<Asked, ApiError>,
    generate: bool,
) -> Response {
    let Asked { model, keep_alive, question } = match asked {
        Ok(asked) => asked,
        Err(error) => return error.respond(Api::Ollama),
    };
    let offered = match offered_name(&served.client, &model).await {
        Ok(name) => name,
        Err(error) => return error.respond(Api::Ollama),
    };
    let now_unix_s = clock::now_unix_s();
    served.in_use.keep(offered, keep_alive, now_unix_s);
    let mut shape = Lines {
        model,
        created_at: clock::rfc3339(now_unix_s),
        generate,
        began: Instant::now(),
        history: None,
        told: String::new(),
    };
    let Some(Question { call, stream, history }) = question else {
        return Json(shape.loaded(keep_alive.is_over())).into_response();
    };
    shape.history = history;
    answer(&served.client, &caller, [call], shape, stream).await
}

pub(crate) async fn embed(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let began = Instant::now();
    let (model, call) = match ollama::parse_embed(&body) {
        Ok(parsed) => parsed,
        Err(error) => return error.respond(Api::Ollama),
    };
    let told = |found: Option<_>| ollama::embeddings(&model, found, nanoseconds_since(began));
    let Some(call) = call else { return Json(told(None)).into_response() };
    match look_up(&client, &caller, call).await {
        Ok(found) => proven(told(Some(&found)), &found.end),
        Err(error) => error.respond(Api::Ollama),
    }
}

pub(crate) async fn embeddings(
    State(client): Shared,
    caller: Caller,
    Received(body): Received,
) -> Response {
    let found = match ollama::parse_embeddings(&body) {
        Ok(call) => look_up(&client, &caller, call).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => proven(json!({"embedding": found.vectors.first()}), &found.end),
        Err(error) => error.respond(Api::Ollama),
    }
}
