//! From a pod's answer to an app's response, streamed or whole.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use phallama_protocol::receipt::Finish;
use serde_json::Value;
use tokio::time::{Instant, interval_at};

use super::api_error::{Api, ApiError};
use super::ask::{Ended, Telling, Told};

/// How often a stream says that it is still there.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How an API writes an answer: a stream by the functions up to `failed`, in their order, or the
/// whole of it by the last.
pub(crate) trait Shape: Send + Sized + 'static {
    const API: Api;
    const CONTENT_TYPE: &'static str = "text/event-stream";
    /// What is sent to show that the connection is alive.
    const PING: Option<&'static str> = Some(": ping\n\n");

    /// Before the first part.
    fn opening(&mut self) -> Vec<Bytes>;

    fn piece(&mut self, piece: Piece) -> Vec<Bytes>;

    /// The end of a choice and the beginning of the next; only for APIs that can ask for several.
    fn next_choice(&mut self, ended: Finish) -> Vec<Bytes>;

    fn closing(&mut self, end: &Ended) -> Vec<Bytes>;

    /// Instead of an end.
    fn failed(&mut self, error: &ApiError) -> Vec<Bytes>;

    fn whole(self, choices: Vec<Choice>, end: &Ended) -> Value;
}

/// A part of a choice, or all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) content: String,
    pub(crate) thinking: String,
    /// OpenAI's deltas, or the calls themselves.
    pub(crate) tool_calls: Vec<Value>,
    /// OpenAI's entry for each token.
    pub(crate) logprobs: Vec<Value>,
}

/// One of the answers.
pub(crate) struct Choice {
    pub(crate) piece: Piece,
    pub(crate) finish: Finish,
}

impl Piece {
    fn add(&mut self, more: Self) {
        self.content.push_str(&more.content);
        self.thinking.push_str(&more.thinking);
        self.logprobs.extend(more.logprobs);
        merge_tool_calls(&mut self.tool_calls, more.tool_calls);
    }
}

/// Streamed tool calls come in parts that share an index; the arguments are to be joined.
fn merge_tool_calls(calls: &mut Vec<Value>, parts: Vec<Value>) {
    for mut part in parts {
        let index = part["index"].as_u64();
        match calls.iter_mut().find(|call| index.is_some() && call["index"].as_u64() == index) {
            Some(call) => {
                let more = part["function"]["arguments"].as_str().unwrap_or_default();
                let so_far = call["function"]["arguments"].as_str().unwrap_or_default();
                call["function"]["arguments"] = format!("{so_far}{more}").into();
            }
            None => {
                if part["function"]["arguments"].is_null() {
                    part["function"]["arguments"] = "".into();
                }
                calls.push(part);
            }
        }
    }
}

/// Writes an answer. The status line waits for the first part, so that every failure before it has
/// its own status.
pub(crate) async fn respond<S: Shape>(
    mut telling: Telling,
    mut shape: S,
    stream: bool,
) -> Response {
    if !stream {
        return match whole(&mut telling, shape).await {
            Ok(response) => response,
            Err(error) => error.respond(S::API),
        };
    }
    let first = match telling.next().await {
        Ok(first) => first,
        Err(error) => return error.respond(S::API),
    };
    let headers = stream_headers(&telling, S::CONTENT_TYPE);
    let opening = stream::iter(shape.opening().into_iter().map(Ok));
    let body = opening.chain(lines(beats::<S>(telling, first), shape));
    (headers, Body::from_stream(body)).into_response()
}

async fn whole<S: Shape>(telling: &mut Telling, shape: S) -> Result<Response, ApiError> {
    let (mut choices, mut piece) = (Vec::new(), Piece::default());
    loop {
        match telling.next().await? {
            Told::Piece(more) => piece.add(more),
            Told::NextChoice(finish) => {
                choices.push(Choice { piece: std::mem::take(&mut piece), finish });
            }
            Told::Ended(end) => {
                choices.push(Choice { piece, finish: end.finish() });
                return Ok(proven(shape.whole(choices, &end), &end));
            }
            Told::Embedding(_) | Told::Tokens(_) => {}
        }
    }
}

/// The response with what proves it.
pub(crate) fn proven(body: Value, end: &Ended) -> Response {
    (end.headers(), Json(body)).into_response()
}

fn stream_headers(telling: &Telling, content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-phallama-verified", HeaderValue::from_static("true"));
    let pod = HeaderValue::from_str(&telling.pod());
    headers.extend(pod.ok().map(|pod| (http::HeaderName::from_static("x-phallama-pod"), pod)));
    headers
}

/// What makes a stream go on.
enum Beat {
    Part(Result<Told, ApiError>),
    Ping,
    Over,
}

/// All parts, and a sign of life while there are none.
fn beats<S: Shape>(telling: Telling, first: Told) -> impl Stream<Item = Beat> {
    let parts = stream::unfold((Some(telling), Some(first)), |(telling, first)| async {
        let mut telling = telling?;
        let part = match first {
            Some(first) => Ok(first),
            None => telling.next().await,
        };
        let is_last = matches!(part, Ok(Told::Ended(_)) | Err(_));
        Some((Beat::Part(part), ((!is_last).then_some(telling), None)))
    });
    let pings = S::PING.map(|_| interval_at(Instant::now() + PING_EVERY, PING_EVERY));
    let pings = stream::unfold(pings, |interval| async {
        let mut interval = interval?;
        interval.tick().await;
        Some((Beat::Ping, Some(interval)))
    });
    stream::select(parts.chain(stream::iter([Beat::Over])), pings)
        .take_while(|beat| std::future::ready(!matches!(beat, Beat::Over)))
}

/// A body's error: hyper then aborts the connection, which clients notice, unlike a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer did not end properly")]
pub(crate) struct Aborted;

fn lines<S: Shape>(
    beats: impl Stream<Item = Beat>,
    mut shape: S,
) -> impl Stream<Item = Result<Bytes, Aborted>> {
    beats.flat_map(move |beat| {
        let mut aborted = false;
        let lines = match beat {
            Beat::Part(Ok(Told::Piece(piece))) => shape.piece(piece),
            Beat::Part(Ok(Told::NextChoice(finish))) => shape.next_choice(finish),
            Beat::Part(Ok(Told::Ended(end))) => shape.closing(&end),
            Beat::Part(Ok(Told::Embedding(_) | Told::Tokens(_))) | Beat::Over => Vec::new(),
            Beat::Part(Err(error)) => {
                aborted = true;
                shape.failed(&error)
            }
            Beat::Ping => {
                S::PING.map(|ping| Bytes::from_static(ping.as_bytes())).into_iter().collect()
            }
        };
        stream::iter(lines.into_iter().map(Ok)).chain(abort(aborted))
    })
}

/// Ends a body with an error. It gives way once before: hyper then writes out what it holds, the
/// error object among it, which it would drop otherwise.
fn abort(aborted: bool) -> impl Stream<Item = Result<Bytes, Aborted>> {
    stream::iter(aborted.then_some(())).then(|()| async {
        tokio::task::yield_now().await;
        Err(Aborted)
    })
}

/// An event of a stream whose events have names, as the events of OpenAI's responses and of
/// Anthropic's messages do.
pub(crate) fn named_event(data: &Value) -> Bytes {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_a_tool_call_are_joined_by_their_index() {
        let part = |index: u32, name: Option<&str>, arguments: &str| json!({"index": index, "function": {"name": name, "arguments": arguments}});
        let mut piece = Piece::default();
        for part in [part(0, Some("f"), "{\"a\""), part(0, None, ":1}"), part(1, Some("g"), "{}")] {
            piece.add(Piece { tool_calls: vec![part], ..Piece::default() });
        }
        let called: Vec<_> = piece.tool_calls.iter().map(|call| &call["function"]).collect();
        let expected = [
            json!({"name": "f", "arguments": "{\"a\":1}"}),
            json!({"name": "g", "arguments": "{}"}),
        ];
        assert_eq!(called, expected.iter().collect::<Vec<_>>());
    }
}
