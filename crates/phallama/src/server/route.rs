//! Which endpoint answers where.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Router, middleware};
use http::HeaderName;
use http::header::CONTENT_TYPE;
use phallama_client::Client;

use super::cors::cors;
use super::endpoint::{Served, anthropic, llama_server, ollama, openai, other_method, unknown};
use super::unique::name_request;

/// Larger than the largest bucket: what is too large is refused by name further on.
const BODY_MAX_BYTES: usize = 4 << 20;

/// All endpoints below, with what they take and answer (OpenAPI 3.1).
const DESCRIPTION: &str = include_str!("../../../../docs/reference/openapi.json");

async fn description() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION)
}

fn table() -> Vec<(&'static str, MethodRouter<Served>)> {
    vec![
        ("/", get(ollama::root)),
        ("/openapi.json", get(description)),
        ("/api/version", get(ollama::version)),
        ("/api/status", get(ollama::status)),
        ("/api/tags", get(ollama::tags)),
        ("/api/ps", get(ollama::ps)),
        ("/api/show", post(ollama::show)),
        ("/api/pull", post(ollama::pull)),
        ("/api/chat", post(ollama::chat)),
        ("/api/generate", post(ollama::generate)),
        ("/api/embed", post(ollama::embed)),
        ("/api/embeddings", post(ollama::embeddings)),
        ("/api/create", post(ollama::no_store)),
        ("/api/push", post(ollama::no_store)),
        ("/api/copy", post(ollama::no_store)),
        ("/api/delete", delete(ollama::no_store)),
        ("/api/blobs/{digest}", post(ollama::no_store).head(ollama::no_store)),
        ("/v1/models", get(openai::models)),
        ("/v1/models/{*id}", get(openai::model)),
        ("/v1/chat/completions", post(openai::chat_completions)),
        ("/v1/completions", post(openai::completions)),
        ("/v1/embeddings", post(openai::embeddings)),
        ("/v1/responses", post(openai::responses)),
        ("/v1/messages", post(anthropic::messages)),
        ("/v1/messages/count_tokens", post(anthropic::count_tokens)),
        ("/tokenize", post(llama_server::tokenize)),
        ("/detokenize", post(llama_server::detokenize)),
    ]
}

pub(crate) fn router(client: Arc<Client>) -> Router {
    let routes = table().into_iter();
    routes
        .fold(Router::new(), |router, (path, endpoint)| router.route(path, endpoint))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(cors))
        .layer(middleware::from_fn(name_request))
        .with_state(Served { client, in_use: Arc::default() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_every_endpoint_and_no_other() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let described: BTreeSet<&str> =
            description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: Vec<String> =
            table().into_iter().map(|(path, _)| path.replace("{*", "{")).collect();
        assert_eq!(described, served.iter().map(String::as_str).collect());
    }
}
