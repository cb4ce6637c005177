//! Where the proxy's answers come from.

use std::io;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use crate::chain::DevChain;

/// A chain in this process or a node behind plain HTTP.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Upstream {
    /// A development chain.
    Chain(DevChain),
    /// `host:port` of a node that answers `POST /`.
    Node(String),
}

impl Upstream {
    /// A node at an `http://` URL without a path.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn node(url: &str) -> io::Result<Self> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority {
            Some(authority) if !authority.is_empty() && !authority.contains('/') => {
                Ok(Self::Node(authority.to_owned()))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: not http://…"))),
        }
    }

    /// The answer to one request: `{"result": …}` or `{"error": …}`.
    pub(super) async fn ask(&self, method: &str, params: Value) -> io::Result<Value> {
        match self {
            Self::Chain(chain) => {
                let (chain, method) = (chain.clone(), method.to_owned());
                let answered = spawn_blocking(move || chain.request(&method, params)).await;
                Ok(match answered.map_err(io::Error::other)? {
                    Ok(result) => json!({ "result": result }),
                    Err(error) => json!({ "error": error.to_json() }),
                })
            }
            Self::Node(authority) => post(authority, method, &params).await,
        }
    }

    /// A result that is needed for a fault; `null` where there is none.
    pub(super) async fn result(&self, method: &str, params: Value) -> Value {
        match self.ask(method, params).await {
            Ok(mut answer) => answer["result"].take(),
            Err(_) => Value::Null,
        }
    }
}

async fn post(authority: &str, method: &str, params: &Value) -> io::Result<Value> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = hyper::Request::post("/")
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    serde_json::from_slice(&body).map_err(io::Error::other)
}
