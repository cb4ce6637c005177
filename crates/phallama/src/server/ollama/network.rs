//! The network's models as Ollama shows the models of a machine: `tags`, `show`, `ps`, `pull`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use phallama_client::{Client, ClientError, ModelListing};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::server::api_error::{Api, ApiError};

/// One entry of `/api/tags`.
pub(crate) fn tag(listing: &ModelListing) -> Value {
    json!({
        "name": listing.model, "model": listing.model,
        "modified_at": clock::rfc3339(listing.updated_at_unix_s),
        "size": 0, "digest": digest(listing), "details": details(),
    })
}

/// Of weights and name, as Ollama's is of a manifest: clients take all names with one digest for
/// one model, and the same weights may be offered for answers and for embeddings.
fn digest(listing: &ModelListing) -> String {
    let offer = Sha256::new().chain_update(listing.weights_sha256.0).chain_update(&listing.model);
    hex::encode(offer.finalize())
}

/// The network does not tell a model's family or quantisation; Ollama's clients want the fields.
fn details() -> Value {
    json!({
        "parent_model": "", "format": "gguf", "family": "", "families": [],
        "parameter_size": "", "quantization_level": "",
    })
}

/// The answer of `/api/show`. Clients that read the Modelfile want to see what the model is from.
pub(crate) fn shown(listing: &ModelListing) -> Value {
    let modelfile = format!("FROM {}\n", listing.model);
    json!({
        "modelfile": modelfile, "parameters": "", "template": "", "details": details(),
        "model_info": {
            "general.architecture": "phallama",
            "phallama.context_length": listing.context_tokens,
            "phallama.max_output_tokens": listing.max_output_tokens,
            "phallama.pods": listing.pods,
            "phallama.weights_sha256": hex::encode(listing.weights_sha256.0),
        },
        "capabilities": capabilities(listing),
        "modified_at": clock::rfc3339(listing.updated_at_unix_s),
    })
}

/// An offer of embeddings has no use for output; what else a model can do, its offer does not say.
fn capabilities(listing: &ModelListing) -> &'static [&'static str] {
    if listing.max_output_tokens <= 1 { &["embedding"] } else { &["completion", "tools"] }
}

/// One entry of `/api/ps`.
pub(crate) fn running(listing: &ModelListing, until_unix_s: u64) -> Value {
    json!({
        "name": listing.model, "model": listing.model, "size": 0, "digest": digest(listing),
        "details": details(), "expires_at": clock::rfc3339(until_unix_s), "size_vram": 0,
        "context_length": listing.context_tokens,
    })
}

/// Lines of `/api/pull`. Nothing is to be fetched; what can be done beforehand is to verify a pod
/// that offers the model.
pub(crate) fn pulled(
    client: Arc<Client>,
    listing: ModelListing,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let first = ["pulling manifest", "verifying pods"].map(|status| json!({"status": status}));
    let last = stream::once(async move {
        match verify_one(&client, &listing).await {
            Ok(()) => json!({"status": "success"}),
            Err(error) => ApiError::from(error).body(Api::Ollama),
        }
    });
    stream::iter(first).chain(last).map(|line| Ok(Bytes::from(format!("{line}\n"))))
}

/// Verifies the pods that offer a model until one passes.
///
/// # Errors
/// That of the last one.
pub(crate) async fn verify_one(client: &Client, listing: &ModelListing) -> Result<(), ClientError> {
    let mut refused = None;
    for pod in &listing.pods {
        match client.verify(*pod).await {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    let unknown =
        || ClientError::ModelUnknown { asked: listing.model.clone(), available: Vec::new() };
    Err(refused.unwrap_or_else(unknown))
}
