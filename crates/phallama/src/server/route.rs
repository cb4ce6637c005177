//! The endpoints.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use phallama_client::{AskOptions, Client, ClientError, Method as Asked, ModelListing};
use serde_json::{Value, json};

use super::answer::{Shape, respond};
use super::api_error::{Api, ApiError};
use super::call::Call;
use super::guard::guard;
use super::openai::Envelope;
use super::{ollama, openai};
use crate::clock;

/// Larger than the largest bucket: what is too large is refused by name further on.
const BODY_MAX_BYTES: usize = 4 << 20;

/// The header with which an app names a request: all with the same name are one.
const NAME: &str = "idempotency-key";

type Shared = State<Arc<Client>>;

pub(crate) fn router(client: Arc<Client>) -> Router {
    Router::new()
        .route("/", get(|| async { "Ollama is running" }))
        .route("/api/version", get(version))
        .route("/api/tags", get(tags))
        .route("/api/show", post(show))
        .route("/api/chat", post(ollama_chat))
        .route("/api/generate", post(ollama_generate))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat_completions))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(guard))
        .with_state(client)
}

async fn unknown(method: Method, uri: Uri) -> Response {
    ApiError::no_route(&method, uri.path()).respond(Api::of(uri.path()))
}

async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

async fn tags(State(client): Shared) -> Response {
    match client.models().await {
        Ok(models) => {
            let models: Vec<Value> = models.iter().map(tag).collect();
            Json(json!({"models": models})).into_response()
        }
        Err(error) => ApiError::from(error).respond(Api::Ollama),
    }
}

fn tag(listing: &ModelListing) -> Value {
    json!({
        "name": listing.model, "model": listing.model,
        "modified_at": clock::rfc3339(listing.updated_at_unix_s),
        "size": 0, "digest": listing.weights_sha256.to_string().trim_start_matches("0x"),
        "details": details(),
    })
}

/// The network does not tell a model's family or quantisation; Ollama's clients want the fields.
fn details() -> Value {
    json!({
        "parent_model": "", "format": "gguf", "family": "", "families": [],
        "parameter_size": "", "quantization_level": "",
    })
}

async fn show(State(client): Shared, body: Bytes) -> Response {
    match shown(&client, &body).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => error.respond(Api::Ollama),
    }
}

async fn shown(client: &Client, body: &[u8]) -> Result<Value, ApiError> {
    let request = openai::object(body)?;
    let field = if request.contains_key("model") { "model" } else { "name" };
    let listing = find(client, &openai::text(&request, field)?).await?;
    Ok(json!({
        "modelfile": "", "parameters": "", "template": "", "details": details(),
        "model_info": {
            "general.architecture": "phallama",
            "phallama.context_length": listing.context_tokens,
            "phallama.max_output_tokens": listing.max_output_tokens,
            "phallama.pods": listing.pods,
        },
        "capabilities": ["completion"],
        "modified_at": clock::rfc3339(listing.updated_at_unix_s),
    }))
}

async fn find(client: &Client, asked: &str) -> Result<ModelListing, ApiError> {
    let models = client.models().await?;
    let found = models.iter().find(|listing| same_model(&listing.model, asked)).cloned();
    found.ok_or_else(|| {
        let available = models.into_iter().map(|listing| listing.model).collect();
        ClientError::ModelUnknown { asked: asked.to_owned(), available }.into()
    })
}

/// Ollama's clients add `:latest` to a name without a tag.
fn same_model(offered: &str, asked: &str) -> bool {
    offered == asked || asked.strip_suffix(":latest") == Some(offered)
}

async fn models(State(client): Shared) -> Response {
    match client.models().await {
        Ok(models) => {
            let entry = |l: &ModelListing| openai::model(&l.model, l.updated_at_unix_s);
            let data: Vec<Value> = models.iter().map(entry).collect();
            Json(json!({"object": "list", "data": data})).into_response()
        }
        Err(error) => ApiError::from(error).respond(Api::OpenAi),
    }
}

async fn model(State(client): Shared, Path(id): Path<String>) -> Response {
    match find(&client, &id).await {
        Ok(listing) => {
            Json(openai::model(&listing.model, listing.updated_at_unix_s)).into_response()
        }
        Err(error) => error.respond(Api::OpenAi),
    }
}

async fn chat_completions(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let call = match openai::parse_chat(&body) {
        Ok(call) => call,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let envelope = Envelope {
        id: format!("chatcmpl-{}", unique_id()),
        created_unix_s: clock::now_unix_s(),
        model: call.model.clone(),
    };
    let shape = Shape::OpenAi { envelope, include_usage: call.include_usage };
    ask(&client, call, shape, &headers).await
}

async fn ollama_chat(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match ollama::parse_chat(&body) {
        Ok(call) => {
            let line = line(&call.model, false);
            ask(&client, call, Shape::Ollama { line }, &headers).await
        }
        Err(error) => error.respond(Api::Ollama),
    }
}

async fn ollama_generate(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match ollama::parse_generate(&body) {
        Ok((model, Some(call))) => {
            ask(&client, call, Shape::Ollama { line: line(&model, true) }, &headers).await
        }
        Ok((model, None)) => match find(&client, &model).await {
            Ok(_) => Json(line(&model, true).loaded()).into_response(),
            Err(error) => error.respond(Api::Ollama),
        },
        Err(error) => error.respond(Api::Ollama),
    }
}

fn line(model: &str, generate: bool) -> ollama::Line {
    let created_at = clock::rfc3339(clock::now_unix_s());
    ollama::Line { model: model.to_owned(), created_at, generate }
}

async fn ask(client: &Client, call: Call, shape: Shape, headers: &HeaderMap) -> Response {
    let listing = match find(client, &call.model).await {
        Ok(listing) => listing,
        Err(error) => return error.respond(shape.api()),
    };
    let method = if call.completion { Asked::Completion } else { Asked::Chat };
    let (model, body, options) = (&listing.model, Value::Object(call.body), AskOptions::default());
    let asked = match headers.get(NAME).map(HeaderValue::to_str) {
        None => client.ask(method, model, body, options).await,
        Some(Ok(name)) => client.ask_once(name, method, model, body, options).await,
        Some(Err(_)) => {
            let error = ApiError::invalid(NAME, "`Idempotency-Key` must be visible ASCII.");
            return error.respond(shape.api());
        }
    };
    match asked {
        Ok(answer) => respond(answer, shape, call.stream).await,
        Err(error) => ApiError::told(&error, client.token().await.ok()).respond(shape.api()),
    }
}

/// Unique enough to tell answers apart in an app's log; it is no secret.
fn unique_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", since.as_nanos())
}
