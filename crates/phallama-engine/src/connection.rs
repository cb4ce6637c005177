//! HTTP/1.1 to the worker: one connection for one request, so that closing it is how a request is
//! cancelled.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

use crate::address::Address;

/// Longest error answer that is read.
const ERROR_BODY_MAX_BYTES: usize = 64 * 1024;
/// Longest answer that comes in one piece: embeddings of as many inputs as are asked at once, or
/// the tokens of the longest text.
const WHOLE_BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Longest description of itself that is read; the model's chat template is in it.
const FACTS_MAX_BYTES: usize = 1 << 20;

/// Nobody listens at the address, or the connection ended before an answer began. Which of the two
/// a dying worker shows is chance.
pub(crate) struct NoAnswer;

/// An answer whose body is still to come. Dropping it closes the connection.
pub(crate) struct Exchange {
    pub(crate) status: u16,
    pub(crate) body: Incoming,
    _driver: Driver,
}

/// The task that moves bytes; it owns the socket.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exchange {
    /// The whole body of an error answer, as far as it can be had.
    pub(crate) async fn error_body(self) -> Bytes {
        self.collect(ERROR_BODY_MAX_BYTES).await.unwrap_or_default()
    }

    /// The whole body, unless the connection breaks or it is too long.
    pub(crate) async fn whole_body(self) -> Option<Bytes> {
        self.collect(WHOLE_BODY_MAX_BYTES).await
    }

    async fn collect(self, max_bytes: usize) -> Option<Bytes> {
        let limited = Limited::new(self.body, max_bytes);
        limited.collect().await.ok().map(http_body_util::Collected::to_bytes)
    }
}

/// Sends a JSON body.
pub(crate) async fn post(at: &Address, path: &str, body: Vec<u8>) -> Result<Exchange, NoAnswer> {
    send(at, Method::POST, path, Bytes::from(body)).await
}

/// Whether a GET of `path` is answered as it is by a worker that is well.
pub(crate) async fn is_healthy(at: &Address, path: &str) -> bool {
    let answer = send(at, Method::GET, path, Bytes::new()).await;
    answer.is_ok_and(|exchange| exchange.status == 200)
}

/// The body of a good answer to a GET.
pub(crate) async fn get(at: &Address, path: &str) -> Option<Bytes> {
    let exchange = send(at, Method::GET, path, Bytes::new()).await.ok()?;
    if exchange.status != 200 {
        return None;
    }
    let limited = Limited::new(exchange.body, FACTS_MAX_BYTES);
    limited.collect().await.ok().map(http_body_util::Collected::to_bytes)
}

async fn send(at: &Address, method: Method, path: &str, body: Bytes) -> Result<Exchange, NoAnswer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", at.host())
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("method, path and headers are constants");
    match at {
        Address::Unix(socket) => {
            over(UnixStream::connect(socket).await.map_err(|_| NoAnswer)?, request).await
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(|_| NoAnswer)?;
            // Without it, a small request could wait for the answer to the one before.
            let _ = stream.set_nodelay(true);
            over(stream, request).await
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Exchange, NoAnswer> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| NoAnswer)?;
    let driver = tokio::spawn(async move {
        // A connection that breaks shows at its other end, in `sender` or in the body.
        let _ = connection.await;
    });
    let driver = Driver(driver.abort_handle());
    let response = sender.send_request(request).await.map_err(|_| NoAnswer)?;
    let status = response.status().as_u16();
    Ok(Exchange { status, body: response.into_body(), _driver: driver })
}
