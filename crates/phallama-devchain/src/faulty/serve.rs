//! The proxy's HTTP server.

use std::future::pending;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::hold::{Held, Moment};
use super::rule::{Action, Fault};
use super::upstream::Upstream;
use super::{Script, past};
use crate::http::BODY_MAX_BYTES;

/// Why a request gets no JSON.
enum NoAnswer {
    /// Its connection is closed.
    Closed(io::Error),
    /// An HTTP status.
    Status { code: u16, retry_after_s: Option<u64> },
}

impl NoAnswer {
    fn closed() -> Self {
        Self::Closed(io::Error::other("closed on request of the test"))
    }
}

/// Serves until it is dropped, with every connection.
pub(super) async fn serve(listener: TcpListener, upstream: Upstream, script: Arc<Script>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if script.refuses_connections() {
            continue;
        }
        tokio::spawn(connection(stream, upstream.clone(), Arc::clone(&script)));
    }
}

async fn connection(stream: TcpStream, upstream: Upstream, script: Arc<Script>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (upstream, script) = (upstream.clone(), Arc::clone(&script));
        async move { respond(request, &upstream, &script).await }
    });
    // An error is how a connection is closed on request.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection without a response.
async fn respond(
    request: Request<Incoming>,
    upstream: &Upstream,
    script: &Script,
) -> io::Result<Response<Full<Bytes>>> {
    let body = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let request: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
    let answer = match request {
        Value::Array(batch) => {
            let mut answers = Vec::new();
            for request in batch {
                match answer(request, upstream, script).await {
                    Ok(answer) => answers.push(answer),
                    Err(none) => return without_answer(none),
                }
            }
            Value::Array(answers)
        }
        request => match answer(request, upstream, script).await {
            Ok(answer) => answer,
            Err(none) => return without_answer(none),
        },
    };
    let body = Full::new(Bytes::from(answer.to_string()));
    let response = Response::builder().header(CONTENT_TYPE, "application/json").body(body);
    response.map_err(io::Error::other)
}

fn without_answer(none: NoAnswer) -> io::Result<Response<Full<Bytes>>> {
    match none {
        NoAnswer::Closed(error) => Err(error),
        NoAnswer::Status { code, retry_after_s } => {
            let mut response = Response::builder().status(code);
            if let Some(seconds) = retry_after_s {
                response = response.header(RETRY_AFTER, seconds);
            }
            response.body(Full::default()).map_err(io::Error::other)
        }
    }
}

async fn answer(
    mut request: Value,
    upstream: &Upstream,
    script: &Script,
) -> Result<Value, NoAnswer> {
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    let (id, params) = (request["id"].take(), request["params"].take());
    let mut answer = match script.arrive(&method, &params) {
        None => upstream.ask(&method, params).await.map_err(NoAnswer::Closed)?,
        Some(Action::Fail(fault)) => failing(fault, upstream, &method, params).await?,
        Some(Action::Hold(held)) => holding(held, upstream, &method, params).await?,
    };
    answer["jsonrpc"] = json!("2.0");
    answer["id"] = id;
    Ok(answer)
}

async fn failing(
    fault: Fault,
    upstream: &Upstream,
    method: &str,
    params: Value,
) -> Result<Value, NoAnswer> {
    match fault {
        Fault::Refuse => Err(NoAnswer::closed()),
        Fault::BlackHole => pending().await,
        Fault::Status { code, retry_after_s } => Err(NoAnswer::Status { code, retry_after_s }),
        Fault::Slow(by) => {
            tokio::time::sleep(by).await;
            upstream.ask(method, params).await.map_err(NoAnswer::Closed)
        }
        Fault::AsOf(newest) => {
            past::as_of(upstream, method, params, newest).await.map_err(NoAnswer::Closed)
        }
        Fault::Pruned { keep_blocks } => {
            past::pruned(upstream, method, params, keep_blocks).await.map_err(NoAnswer::Closed)
        }
        Fault::Answer(result) => Ok(json!({ "result": result })),
        Fault::Error { code, message } => {
            Ok(json!({ "error": { "code": code, "message": message } }))
        }
        Fault::Rewrite(change) => {
            let asked = upstream.ask(method, params.clone()).await;
            let mut answer = asked.map_err(NoAnswer::Closed)?;
            if let Some(result) = answer.get_mut("result") {
                *result = change(&params, result.take());
            }
            Ok(answer)
        }
        Fault::LoseAnswer => {
            upstream.ask(method, params).await.map_err(NoAnswer::Closed)?;
            Err(NoAnswer::closed())
        }
    }
}

async fn holding(
    held: Held,
    upstream: &Upstream,
    method: &str,
    params: Value,
) -> Result<Value, NoAnswer> {
    let before = held.moment == Moment::BeforeForwarding;
    if before && !held.stop(&params).await {
        return Err(NoAnswer::closed());
    }
    let answer = upstream.ask(method, params.clone()).await;
    if !before && !held.stop(&params).await {
        return Err(NoAnswer::closed());
    }
    answer.map_err(NoAnswer::Closed)
}
