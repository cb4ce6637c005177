//! From a pod's answer to an app's response, streamed or whole.

use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use phallama_client::{Answer, AnswerEvent, ClientError, FinishedAnswer};
use phallama_protocol::receipt::Finish;
use serde_json::{Value, json};

use super::api_error::{Api, ApiError};
use super::ollama::{Line, Piece};
use super::openai::{Envelope, finish_reason};

/// How an answer is written.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    OpenAi { envelope: Envelope, include_usage: bool },
    Ollama { line: Line },
}

impl Shape {
    pub(crate) fn api(&self) -> Api {
        match self {
            Self::OpenAi { .. } => Api::OpenAi,
            Self::Ollama { .. } => Api::Ollama,
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::OpenAi { .. } => "text/event-stream",
            Self::Ollama { .. } => "application/x-ndjson",
        }
    }

    fn encode(&self, value: &Value) -> Bytes {
        match self {
            Self::OpenAi { .. } => format!("data: {value}\n\n").into(),
            Self::Ollama { .. } => format!("{value}\n").into(),
        }
    }

    /// What OpenAI's clients see first of a choice: an empty delta that names the role.
    fn opening(&self, choice: usize) -> Option<Value> {
        match self {
            Self::OpenAi { envelope, .. } if !envelope.completion => {
                let delta = json!({"role": "assistant", "content": ""});
                Some(envelope.delta(choice, delta, Value::Null, None))
            }
            _ => None,
        }
    }

    fn piece(&self, choice: usize, piece: &Piece, logprobs: Value) -> Value {
        match self {
            Self::OpenAi { envelope, .. } => envelope.delta(choice, delta(piece), logprobs, None),
            Self::Ollama { line } => line.piece(piece, &logprobs),
        }
    }

    /// The end of a choice and the beginning of the next.
    fn between(&self, ended: usize, finish: Finish) -> Vec<Bytes> {
        let Self::OpenAi { envelope, .. } = self else { return Vec::new() };
        let end = envelope.delta(ended, json!({}), Value::Null, Some(finish_reason(finish)));
        let next = self.opening(ended + 1);
        [Some(end), next].iter().flatten().map(|value| self.encode(value)).collect()
    }

    fn closing(&self, choice: usize, answer: &FinishedAnswer, began: Instant) -> Vec<Bytes> {
        match self {
            Self::OpenAi { envelope, include_usage } => {
                let reason = finish_reason(answer.finish);
                let mut last = envelope.delta(choice, json!({}), Value::Null, Some(reason));
                last["phallama"] = proof(answer);
                let mut chunks = vec![self.encode(&last)];
                chunks.extend(include_usage.then(|| self.encode(&envelope.usage(answer))));
                chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
                chunks
            }
            Self::Ollama { line } => {
                let none = Value::Null;
                let mut last = line.last(&Piece::default(), &none, answer, elapsed_ns(began));
                last["phallama"] = proof(answer);
                vec![self.encode(&last)]
            }
        }
    }

    fn whole(&self, collected: Collected, answer: &FinishedAnswer, began: Instant) -> Value {
        match self {
            Self::OpenAi { envelope, .. } => {
                let choices = collected.ended.into_iter().chain([(collected.last, answer.finish)]);
                let told = choices
                    .map(|(choice, finish)| (choice.message(), choice.logprobs(), finish))
                    .collect();
                envelope.whole(told, answer)
            }
            Self::Ollama { line } => {
                let last = &collected.last;
                line.last(&last.piece, &last.logprobs(), answer, elapsed_ns(began))
            }
        }
    }
}

fn delta(piece: &Piece) -> Value {
    let mut delta = json!({});
    if !piece.content.is_empty() {
        delta["content"] = piece.content.as_str().into();
    }
    if !piece.thinking.is_empty() {
        delta["reasoning_content"] = piece.thinking.as_str().into();
    }
    if !piece.tool_calls.is_empty() {
        delta["tool_calls"] = piece.tool_calls.clone().into();
    }
    delta
}

fn elapsed_ns(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What an app may show about an answer: all of it stands in the signed receipt.
fn proof(answer: &FinishedAnswer) -> Value {
    json!({
        "pod": answer.pod_id.to_string(),
        "receipt": answer.receipt_hash.to_string(),
        "cost": answer.cost,
        "allowed": answer.voucher_cap,
        "cumulative": answer.cumulative,
        "bytes_up": answer.wire_bytes_up,
        "bytes_down": answer.wire_bytes_down,
        "verified": true,
    })
}

/// The whole of an answer, gathered.
#[derive(Default)]
struct Collected {
    /// The choices before the last, with why they ended.
    ended: Vec<(Choice, Finish)>,
    last: Choice,
}

#[derive(Default)]
struct Choice {
    piece: Piece,
    logprobs: Vec<Value>,
}

impl Collected {
    fn end_choice(&mut self, finish: Finish) {
        self.ended.push((std::mem::take(&mut self.last), finish));
    }
}

impl Choice {
    fn add(&mut self, piece: Piece, logprobs: Value) {
        self.piece.content.push_str(&piece.content);
        self.piece.thinking.push_str(&piece.thinking);
        merge_tool_calls(&mut self.piece.tool_calls, piece.tool_calls);
        if let Value::Array(tokens) = &logprobs["content"] {
            self.logprobs.extend(tokens.iter().cloned());
        }
    }

    fn logprobs(&self) -> Value {
        if self.logprobs.is_empty() { Value::Null } else { json!({"content": self.logprobs}) }
    }

    fn message(&self) -> Value {
        let mut message = delta(&self.piece);
        message["role"] = "assistant".into();
        if message.get("content").is_none() {
            let empty = self.piece.tool_calls.is_empty();
            message["content"] = if empty { "".into() } else { Value::Null };
        }
        message
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

/// One event as a piece with its logprobs; `None` for events that apps do not see.
fn visible(event: AnswerEvent) -> Option<(Piece, Value)> {
    let text = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
    match event {
        AnswerEvent::Content(content) => Some((Piece { content, ..Piece::default() }, Value::Null)),
        AnswerEvent::Reasoning(thinking) => {
            Some((Piece { thinking, ..Piece::default() }, Value::Null))
        }
        AnswerEvent::ToolCalls(calls) => match text(calls) {
            Value::Array(tool_calls) => {
                Some((Piece { tool_calls, ..Piece::default() }, Value::Null))
            }
            _ => None,
        },
        AnswerEvent::Logprobs(logprobs) => Some((Piece::default(), text(logprobs))),
        AnswerEvent::Started(_)
        | AnswerEvent::NextChoice(_)
        | AnswerEvent::Embedding(_)
        | AnswerEvent::Tokens(_)
        | AnswerEvent::Timings { .. }
        | AnswerEvent::Finished(_) => None,
    }
}

/// Writes an answer. The status line waits for the first visible event, so that every failure
/// before it has its own status.
pub(crate) async fn respond(mut answer: Answer, shape: Shape, stream: bool) -> Response {
    let began = Instant::now();
    if !stream {
        return match whole(&mut answer, &shape, began).await {
            Ok(response) => response,
            Err(error) => ApiError::from(error).respond(shape.api()),
        };
    }
    let first = loop {
        match answer.next().await {
            Some(Ok(AnswerEvent::Started(_) | AnswerEvent::Timings { .. })) => {}
            Some(Err(error)) => return ApiError::from(error).respond(shape.api()),
            other => break other,
        }
    };
    let headers = stream_headers(&answer, &shape);
    let opening = shape.opening(0).map(|value| Ok(shape.encode(&value)));
    let rest = stream::iter(first).chain(answer);
    let body = stream::iter(opening).chain(lines(rest, shape, began));
    (headers, Body::from_stream(body)).into_response()
}

fn stream_headers(answer: &Answer, shape: &Shape) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shape.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-phallama-verified", HeaderValue::from_static("true"));
    let pod = HeaderValue::from_str(&answer.pod_id().to_string());
    headers.extend(pod.ok().map(|pod| (http::HeaderName::from_static("x-phallama-pod"), pod)));
    headers
}

/// A body's error: hyper then aborts the connection, which clients notice, unlike a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer did not end properly")]
pub(crate) struct Aborted;

fn lines(
    events: impl Stream<Item = Result<AnswerEvent, ClientError>>,
    shape: Shape,
    began: Instant,
) -> impl Stream<Item = Result<Bytes, Aborted>> {
    let (mut ended, mut choice) = (false, 0);
    events.map(Some).chain(stream::iter([None])).flat_map(move |event| {
        let (lines, aborted) = match event {
            Some(Ok(AnswerEvent::Finished(answer))) => {
                ended = true;
                (shape.closing(choice, &answer, began), false)
            }
            Some(Ok(AnswerEvent::NextChoice(finish))) => {
                choice += 1;
                (shape.between(choice - 1, finish), false)
            }
            Some(Ok(event)) => {
                let encode =
                    |(piece, logprobs)| shape.encode(&shape.piece(choice, &piece, logprobs));
                (visible(event).map(encode).into_iter().collect(), false)
            }
            Some(Err(error)) => {
                ended = true;
                (vec![shape.encode(&ApiError::from(error).body(shape.api()))], true)
            }
            None => (Vec::new(), !ended),
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

async fn whole(
    answer: &mut Answer,
    shape: &Shape,
    began: Instant,
) -> Result<Response, ClientError> {
    let mut collected = Collected::default();
    while let Some(event) = answer.next().await {
        match event? {
            AnswerEvent::Finished(finished) => {
                let body = shape.whole(collected, &finished, began);
                return Ok(super::lookup::respond(body, &finished));
            }
            AnswerEvent::NextChoice(finish) => collected.end_choice(finish),
            event => {
                if let Some((piece, logprobs)) = visible(event) {
                    collected.last.add(piece, logprobs);
                }
            }
        }
    }
    let (pod, reason) = (answer.pod_id(), "it ended without its end".to_owned());
    Err(ClientError::Truncated { pod, frames: 0, reason })
}

/// What a whole answer says about itself in headers.
pub(crate) fn proof_headers(answer: &FinishedAnswer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-phallama-pod", answer.pod_id.to_string()),
        ("x-phallama-receipt", answer.receipt_hash.to_string()),
        ("x-phallama-cost", answer.cost.to_string()),
        ("x-phallama-verified", "true".to_owned()),
    ] {
        let value = HeaderValue::from_str(&value);
        headers.extend(value.ok().map(|value| (http::HeaderName::from_static(name), value)));
    }
    headers
}
