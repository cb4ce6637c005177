//! The endpoints.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};
use phallama_client::{Answer, AskOptions, Client, ClientError, Method, ModelListing};
use serde_json::{Value, json};

use super::answer::{Shape, respond};
use super::api_error::{Api, ApiError};
use super::call::Call;
use super::guard::guard;
use super::lookup::Gathered;
use super::ollama::Asked;
use super::openai::Envelope;
use super::{lookup, ollama, openai};
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
        .route("/api/embed", post(ollama_embed))
        .route("/api/embeddings", post(ollama_embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(completions))
        .route("/v1/embeddings", post(embeddings))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(guard))
        .with_state(client)
}

async fn unknown(method: http::Method, uri: Uri) -> Response {
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
        "capabilities": ["completion", "tools"],
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
    openai_answer(&client, &headers, openai::parse_chat(&body)).await
}

async fn completions(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    openai_answer(&client, &headers, openai::parse_completion(&body)).await
}

async fn openai_answer(
    client: &Client,
    headers: &HeaderMap,
    call: Result<Call, ApiError>,
) -> Response {
    let call = match call {
        Ok(call) => call,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let completion = call.method == Method::Completion;
    let kind = if completion { "cmpl" } else { "chatcmpl" };
    let envelope = Envelope {
        id: format!("{kind}-{}", unique_id()),
        created_unix_s: clock::now_unix_s(),
        model: call.model.clone(),
        completion,
    };
    let shape = Shape::OpenAi { envelope, include_usage: call.include_usage };
    ask(client, headers, call, shape).await
}

async fn ollama_chat(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    ollama_answer(&client, &headers, ollama::parse_chat(&body), false).await
}

async fn ollama_generate(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    ollama_answer(&client, &headers, ollama::parse_generate(&body), true).await
}

async fn ollama_answer(
    client: &Client,
    headers: &HeaderMap,
    asked: Result<Asked, ApiError>,
    generate: bool,
) -> Response {
    match asked {
        Ok(Asked::Answer(call)) => {
            let line = line(&call.model, generate);
            ask(client, headers, call, Shape::Ollama { line }).await
        }
        Ok(Asked::Loaded { model, unload }) => match find(client, &model).await {
            Ok(_) => Json(line(&model, generate).loaded(unload)).into_response(),
            Err(error) => error.respond(Api::Ollama),
        },
        Err(error) => error.respond(Api::Ollama),
    }
}

fn line(model: &str, generate: bool) -> ollama::Line {
    let created_at = clock::rfc3339(clock::now_unix_s());
    ollama::Line { model: model.to_owned(), created_at, generate }
}

async fn embeddings(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let (call, base64) = match openai::parse_embeddings(&body) {
        Ok(parsed) => parsed,
        Err(error) => return error.respond(Api::OpenAi),
    };
    let model = call.model.clone();
    match look_up(&client, &headers, call).await {
        Ok(found) => lookup::respond(openai::embeddings(&model, &found, base64), &found.finished),
        Err(error) => error.respond(Api::OpenAi),
    }
}

async fn ollama_embed(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let began = Instant::now();
    let elapsed_ns = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    match ollama::parse_embed(&body) {
        Ok((model, Some(call))) => match look_up(&client, &headers, call).await {
            Ok(found) => {
                let body = ollama::embeddings(&model, Some(&found), elapsed_ns());
                lookup::respond(body, &found.finished)
            }
            Err(error) => error.respond(Api::Ollama),
        },
        Ok((model, None)) => Json(ollama::embeddings(&model, None, elapsed_ns())).into_response(),
        Err(error) => error.respond(Api::Ollama),
    }
}

async fn ollama_embeddings(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let found = match ollama::parse_embeddings(&body) {
        Ok(call) => look_up(&client, &headers, call).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            let body = json!({"embedding": found.vectors.first()});
            lookup::respond(body, &found.finished)
        }
        Err(error) => error.respond(Api::Ollama),
    }
}

/// llama-server's own endpoint, with the model's name beside the text.
async fn tokenize(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let passed = &["content", "add_special", "parse_special"];
    match of_body(&client, &headers, &body, Method::Tokenise, passed).await {
        Ok(found) => lookup::respond(json!({"tokens": found.tokens}), &found.finished),
        Err(error) => error.respond(Api::OpenAi),
    }
}

async fn detokenize(State(client): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match of_body(&client, &headers, &body, Method::Detokenise, &["tokens"]).await {
        Ok(found) => lookup::respond(json!({"content": found.text}), &found.finished),
        Err(error) => error.respond(Api::OpenAi),
    }
}

async fn of_body(
    client: &Client,
    headers: &HeaderMap,
    body: &[u8],
    method: Method,
    passed: &[&str],
) -> Result<Gathered, ApiError> {
    look_up(client, headers, openai::lookup(&openai::object(body)?, method, passed)?).await
}

async fn look_up(client: &Client, headers: &HeaderMap, call: Call) -> Result<Gathered, ApiError> {
    let asked = put(client, headers, call).await?;
    Ok(lookup::gather(asked).await?)
}

async fn ask(client: &Client, headers: &HeaderMap, call: Call, shape: Shape) -> Response {
    let stream = call.stream;
    match put(client, headers, call).await {
        Ok(answer) => respond(answer, shape, stream).await,
        Err(error) => error.respond(shape.api()),
    }
}

/// Puts the question to a pod.
async fn put(client: &Client, headers: &HeaderMap, call: Call) -> Result<Answer, ApiError> {
    let listing = find(client, &call.model).await?;
    let (method, model, body) = (call.method, &listing.model, Value::Object(call.body));
    let options = AskOptions::default();
    let asked = match headers.get(NAME).map(HeaderValue::to_str) {
        None => client.ask(method, model, body, options).await,
        Some(Ok(name)) => client.ask_once(name, method, model, body, options).await,
        Some(Err(_)) => {
            return Err(ApiError::invalid(NAME, "`Idempotency-Key` must be visible ASCII."));
        }
    };
    match asked {
        Ok(answer) => Ok(answer),
        Err(error) => Err(ApiError::told(&error, client.token().await.ok())),
    }
}

/// Unique enough to tell answers apart in an app's log; it is no secret.
fn unique_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", since.as_nanos())
}
