//! Answers that an app gets in one piece: embeddings, tokens, the text of tokens.

use axum::Json;
use axum::response::{IntoResponse, Response};
use phallama_client::{Answer, AnswerEvent, ClientError, FinishedAnswer};
use serde_json::Value;

use super::answer::proof_headers;

/// All of such an answer.
pub(crate) struct Gathered {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
    pub(crate) finished: Box<FinishedAnswer>,
}

/// Reads an answer to its end.
pub(crate) async fn gather(mut answer: Answer) -> Result<Gathered, ClientError> {
    let (mut vectors, mut tokens, mut text) = (Vec::new(), Vec::new(), String::new());
    while let Some(event) = answer.next().await {
        match event? {
            AnswerEvent::Embedding(vector) => vectors.push(vector),
            AnswerEvent::Tokens(more) => tokens.extend(more),
            AnswerEvent::Content(more) => text.push_str(&more),
            AnswerEvent::Finished(finished) => {
                return Ok(Gathered { vectors, tokens, text, finished });
            }
            _ => {}
        }
    }
    let (pod, reason) = (answer.pod_id(), "it ended without its end".to_owned());
    Err(ClientError::Truncated { pod, frames: 0, reason })
}

/// The response with what proves it.
pub(crate) fn respond(body: Value, finished: &FinishedAnswer) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().extend(proof_headers(finished));
    response
}
