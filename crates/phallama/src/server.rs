//! The local server: OpenAI and Ollama in, sealed requests out.
//!
//! It listens on loopback only, unless others are allowed by name and have a token, and answers
//! only what its [`Guard`] lets in: a web page elsewhere must not be able to spend the user's
//! money.

mod answer;
mod api_error;
mod ask;
mod call;
mod caller;
mod conversation;
mod cors;
mod endpoint;
mod field;
mod guard;
mod in_use;
mod lookup;
mod messages;
mod metrics;
mod ollama;
mod openai;
mod page;
mod responses;
mod route;
mod unique;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use phallama_client::Client;
use phallama_host::http::{Server, ServerLimits};
use serde_json::{Map, Value};
use tokio::net::{TcpListener, UnixListener};

use crate::error::CliError;

pub(crate) use self::api_error::TOKEN_REFUSED;
pub use self::guard::Guard;
pub use self::metrics::Metrics;
pub use self::page::Page;

/// The port of Ollama, which its clients expect.
pub const DEFAULT_PORT: u16 = 11434;
/// Tried when somebody (Ollama itself, usually) already listens on the default port.
pub const FALLBACK_PORT: u16 = 11535;

/// Connections at once, most.
const CONNECTIONS_MAX: usize = 2_048;
/// How long an app may take over the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long an app may read nothing of its answer.
const WRITE_TIMEOUT: Duration = Duration::from_mins(2);

/// Binds the address; a taken default port falls back to [`FALLBACK_PORT`]. One that other machines
/// reach has to be allowed.
///
/// # Errors
/// [`CliError::NotLoopback`], [`CliError::Bind`].
pub async fn bind(listen: SocketAddr, remote_allowed: bool) -> Result<TcpListener, CliError> {
    if !listen.ip().is_loopback() && !remote_allowed {
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

/// Makes a UNIX socket that only its owner can open. One that a server left behind is replaced.
///
/// # Errors
/// [`CliError::SocketTaken`].
pub fn bind_socket(path: &Path) -> Result<UnixListener, CliError> {
    let failed = |source| CliError::SocketTaken { path: path.to_owned(), source };
    private_socket(path).map_err(failed)
}

fn private_socket(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::ErrorKind::AddrInUse.into());
    }
    // Made where nobody else can reach it, and moved when it is private: there is no moment at
    // which somebody could open it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let hidden = tempfile::tempdir_in(parent.unwrap_or(Path::new(".")))?;
    let made = hidden.path().join("socket");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}

/// Serves until the future is dropped, whoever the guard lets in.
pub async fn serve<L: Listener>(
    listener: L,
    client: Arc<Client>,
    page: Option<Page>,
    guard: Guard,
) {
    let mut router = route::router(client);
    if let Some(page) = page {
        router = router
            .merge(page::router(Arc::new(page)))
            .layer(axum::middleware::from_fn(page::front));
    }
    listen(listener, router, guard).await;
}

/// Serves the metrics of the local server, by its own name only.
pub async fn serve_metrics(
    listener: TcpListener,
    client: Arc<Client>,
    metrics: Metrics,
    guard: Guard,
) {
    listen(listener, metrics::router(metrics, client), guard).await;
}

async fn listen<L: Listener>(listener: L, router: axum::Router, guard: Guard) {
    let guarded = axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard);
    let limits = ServerLimits {
        connections_max: CONNECTIONS_MAX,
        header_timeout: HEADER_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        drain: Duration::ZERO,
    };
    Server::start(listener, router.layer(guarded), limits).run().await;
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
