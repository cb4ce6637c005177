//! The local server as other commands find it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::context::{Context, listening};
use crate::error::CliError;
use crate::server::{DEFAULT_PORT, FALLBACK_PORT, TOKEN_REFUSED};

/// Loopback answers at once, or not at all.
const WITHIN: Duration = Duration::from_secs(2);

/// Who listens where the local server would.
pub(super) enum Found {
    /// Our server.
    Phallama { address: SocketAddr, version: String },
    /// Our server, which says no more than that to whom has no token.
    Guarded { address: SocketAddr },
    /// Somebody else, Ollama perhaps.
    Others { address: SocketAddr },
    /// Nobody.
    Free { address: SocketAddr },
}

/// The configured listening address.
pub(super) fn listen(context: &Context) -> Result<SocketAddr, CliError> {
    listening(&context.config.serve.listen)
}

/// Looks at the configured address, and where a taken default port makes the server go.
pub(super) async fn find(context: &Context) -> Result<Found, CliError> {
    let address = listen(context)?;
    let first = at(address).await;
    if matches!(first, Found::Others { .. }) && address.port() == DEFAULT_PORT {
        return Ok(match at(SocketAddr::new(address.ip(), FALLBACK_PORT)).await {
            Found::Others { .. } => first,
            second => second,
        });
    }
    Ok(first)
}

async fn at(address: SocketAddr) -> Found {
    let connected = tokio::time::timeout(WITHIN, tokio::net::TcpStream::connect(address)).await;
    if !matches!(connected, Ok(Ok(_))) {
        return Found::Free { address };
    }
    let answer = version(address).await.unwrap_or_default();
    match answer["phallama"].as_str() {
        Some(version) => Found::Phallama { address, version: version.to_owned() },
        None if answer["code"] == TOKEN_REFUSED => Found::Guarded { address },
        None => Found::Others { address },
    }
}

/// Ollama has the same endpoint, without our fields.
async fn version(address: SocketAddr) -> Option<Value> {
    let http = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().ok()?;
    let asked = http.get(format!("http://{address}/api/version")).send().await.ok()?;
    asked.json().await.ok()
}

/// What the system says about a taken address.
pub(super) fn in_use() -> std::io::Error {
    std::io::ErrorKind::AddrInUse.into()
}
