//! The local server: OpenAI and Ollama in, sealed requests out.
//!
//! It listens on loopback only and answers only requests whose `Host` names loopback and whose
//! `Origin`, if any, names loopback too: a web page elsewhere must not be able to spend the
//! user's money.

mod answer;
mod api_error;
mod ask;
mod call;
mod conversation;
mod cors;
mod endpoint;
mod field;
mod guard;
mod in_use;
mod lookup;
mod messages;
mod ollama;
mod openai;
mod page;
mod responses;
mod route;
mod unique;

use std::net::SocketAddr;
use std::sync::Arc;

use phallama_client::Client;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::error::CliError;

pub use self::page::Page;

/// The port of Ollama, which its clients expect.
pub const DEFAULT_PORT: u16 = 11434;
/// Tried when somebody (Ollama itself, usually) already listens on the default port.
pub const FALLBACK_PORT: u16 = 11535;

/// Binds the address; a taken default port falls back to [`FALLBACK_PORT`].
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, CliError> {
    if !listen.ip().is_loopback() {
        return Err(CliError::NotLoopback { listen });
    }
    let failed = |listen| move |source| CliError::Bind { listen, source };
    match TcpListener::bind(listen).await {
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse && listen.port() == DEFAULT_PORT =>
        {
            let fallback = SocketAddr::new(listen.ip(), FALLBACK_PORT);
            TcpListener::bind(fallback).await.map_err(failed(fallback))
        }
        other => other.map_err(failed(listen)),
    }
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, client: Arc<Client>) -> Result<(), CliError> {
    axum::serve(listener, route::router(client)).await.map_err(CliError::Server)
}

/// The same with the web page and its routes.
pub async fn serve_with_page(
    listener: TcpListener,
    client: Arc<Client>,
    page: Page,
) -> Result<(), CliError> {
    let router = route::router(client)
        .merge(page::router(Arc::new(page)))
        .layer(axum::middleware::from_fn(page::front));
    axum::serve(listener, router).await.map_err(CliError::Server)
}

/// The body that is sealed for a request of Ollama's `/api/chat`. `phallama run` asks as an app
/// does.
///
/// # Errors
/// [`CliError::Request`], naming the field at fault.
pub(crate) fn sealed_chat(request: &Value) -> Result<Map<String, Value>, CliError> {
    let refused = |error: api_error::ApiError| CliError::Request { reason: error.message };
    let asked = ollama::parse_chat(request.to_string().as_bytes()).map_err(refused)?;
    Ok(asked.question.map(|question| question.call.body).unwrap_or_default())
}
