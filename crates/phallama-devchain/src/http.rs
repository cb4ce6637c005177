//! The chain as a JSON-RPC server over HTTP, for `cast`, wallets and other processes.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::chain::DevChain;
use crate::rpc;

/// The longest request body that is read, in bytes; longer ones are answered with status 413.
pub const BODY_MAX_BYTES: usize = 4 << 20;

/// Answers JSON-RPC requests (`POST /`, single or batch) that arrive at `listener`, until the
/// future is dropped.
///
/// Whoever can connect controls the chain, so bind to a loopback address.
///
/// # Errors
///
/// When the listener fails for good.
pub async fn serve(chain: DevChain, listener: TcpListener) -> io::Result<()> {
    let router = Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(chain);
    axum::serve(listener, router).await
}

/// Runs the EVM on a thread for blocking work, so that a long call delays no other connection.
async fn answer(State(chain): State<DevChain>, body: Bytes) -> Response {
    match spawn_blocking(move || rpc::answer_body(&chain, &body)).await {
        Ok(Some(answer)) => {
            ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
        }
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
