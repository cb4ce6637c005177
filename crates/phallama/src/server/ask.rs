//! The way of an app's request to a pod, and of its answer back as one telling.

use std::collections::VecDeque;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use phallama_client::{
    Answer, AnswerEvent, AskOptions, Client, ClientError, FinishedAnswer, ModelListing, Purse,
    Usage,
};
use phallama_protocol::receipt::Finish;
use serde_json::{Value, json};

use super::answer::Piece;
use super::api_error::ApiError;
use super::call::Call;
use super::caller::Caller;

/// The model that an app means, as the network has it.
pub(crate) async fn find(client: &Client, asked: &str) -> Result<ModelListing, ApiError> {
    let name = offered_name(client, asked).await?;
    let found = client.models().await?.into_iter().find(|listing| listing.model == name);
    found.ok_or_else(|| unknown(asked, Vec::new()))
}

/// The name by which the model is offered that an app means. Ollama's clients add `:latest` to one
/// without a tag. Each request asks for it, so it does not list the network.
pub(crate) async fn offered_name<'a>(client: &Client, asked: &'a str) -> Result<&'a str, ApiError> {
    for name in [Some(asked), asked.strip_suffix(":latest")].into_iter().flatten() {
        if client.offers(name).await? {
            return Ok(name);
        }
    }
    let available = client.models().await?;
    Err(unknown(asked, available.into_iter().map(|listing| listing.model).collect()))
}

fn unknown(asked: &str, available: Vec<String>) -> ApiError {
    ClientError::ModelUnknown { asked: asked.to_owned(), available }.into()
}

/// Puts a question to a pod.
async fn put(
    client: &Client,
    name: Option<&str>,
    purse: Option<Purse>,
    call: Call,
) -> Result<Answer, ApiError> {
    let model = offered_name(client, &call.model).await?;
    let (method, body) = (call.method, Value::Object(call.body));
    let options = AskOptions { purse, ..AskOptions::default() };
    let asked = match name {
        None => client.ask(method, model, body, options).await,
        Some(name) => client.ask_once(name, method, model, body, options).await,
    };
    match asked {
        Ok(answer) => Ok(answer),
        Err(error) => Err(told(client, &error).await),
    }
}

/// A failure with amounts in the token's unit.
async fn told(client: &Client, error: &ClientError) -> ApiError {
    ApiError::told(error, client.token().await.ok())
}

/// A part of a telling.
pub(crate) enum Told {
    Piece(Piece),
    /// A choice ended for this reason; what follows belongs to the next.
    NextChoice(Finish),
    Embedding(Vec<f32>),
    Tokens(Vec<u32>),
    /// The authenticated end.
    Ended(Ended),
}

/// The answers to an app's questions, told one after the other as the choices of one answer.
/// Nearly always it is one question.
pub(crate) struct Telling {
    client: Arc<Client>,
    name: Option<String>,
    purse: Option<Purse>,
    current: Answer,
    waiting: VecDeque<Call>,
    finished: Vec<FinishedAnswer>,
}

impl Telling {
    /// Puts the first question; the others follow when their turn comes. At least one.
    pub(crate) async fn begin(
        client: &Arc<Client>,
        caller: &Caller,
        calls: impl IntoIterator<Item = Call>,
    ) -> Result<Self, ApiError> {
        let (name, purse) = (caller.request_name()?, caller.purse(client).await?);
        let mut waiting: VecDeque<Call> = calls.into_iter().collect();
        let first = waiting.pop_front().expect("a request asks at least one question");
        let current = put(client, name.as_deref(), purse, first).await?;
        let (client, finished) = (Arc::clone(client), Vec::new());
        Ok(Self { client, name, purse, current, waiting, finished })
    }

    /// Who answers.
    pub(crate) fn pod(&self) -> String {
        self.current.pod_id().to_string()
    }

    /// The next part; nothing comes after the end or an error.
    pub(crate) async fn next(&mut self) -> Result<Told, ApiError> {
        while let Some(event) = self.current.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => return Err(told(&self.client, &error).await),
            };
            match event {
                AnswerEvent::Started(_) | AnswerEvent::Timings { .. } => {}
                AnswerEvent::NextChoice(finish) => return Ok(Told::NextChoice(finish)),
                AnswerEvent::Embedding(vector) => return Ok(Told::Embedding(vector)),
                AnswerEvent::Tokens(tokens) => return Ok(Told::Tokens(tokens)),
                AnswerEvent::Finished(finished) => return self.turn(*finished).await,
                AnswerEvent::Content(content) => {
                    return Ok(Told::Piece(Piece { content, ..Piece::default() }));
                }
                AnswerEvent::Reasoning(thinking) => {
                    return Ok(Told::Piece(Piece { thinking, ..Piece::default() }));
                }
                AnswerEvent::ToolCalls(calls) => {
                    let tool_calls = serde_json::from_str(&calls).unwrap_or_default();
                    return Ok(Told::Piece(Piece { tool_calls, ..Piece::default() }));
                }
                AnswerEvent::Logprobs(logprobs) => {
                    let read: Value = serde_json::from_str(&logprobs).unwrap_or_default();
                    let logprobs = read["content"].as_array().cloned().unwrap_or_default();
                    return Ok(Told::Piece(Piece { logprobs, ..Piece::default() }));
                }
            }
        }
        let (pod, reason) = (self.current.pod_id(), "it ended without its end".to_owned());
        Err(ClientError::Truncated { pod, frames: 0, reason }.into())
    }

    /// One answer has ended: the next question, or the end of all.
    async fn turn(&mut self, finished: FinishedAnswer) -> Result<Told, ApiError> {
        let finish = finished.finish;
        self.finished.push(finished);
        let Some(call) = self.waiting.pop_front() else {
            return Ok(Told::Ended(Ended { answers: std::mem::take(&mut self.finished) }));
        };
        let nth = self.finished.len();
        let name = self.name.as_ref().map(|name| format!("{name}#{nth}"));
        self.current = put(&self.client, name.as_deref(), self.purse, call).await?;
        Ok(Told::NextChoice(finish))
    }
}

/// What is known at the end: an accepted receipt for each question.
pub(crate) struct Ended {
    answers: Vec<FinishedAnswer>,
}

impl Ended {
    fn last(&self) -> &FinishedAnswer {
        self.answers.last().expect("a telling ends with an answer")
    }

    /// Why the last choice ended.
    pub(crate) fn finish(&self) -> Finish {
        self.last().finish
    }

    /// Tokens of all.
    pub(crate) fn usage(&self) -> Usage {
        let sum = |tokens: fn(&Usage) -> u32| {
            self.answers.iter().map(|answer| tokens(&answer.usage)).fold(0, u32::saturating_add)
        };
        Usage {
            prompt_tokens: sum(|usage| usage.prompt_tokens),
            completion_tokens: sum(|usage| usage.completion_tokens),
            cached_tokens: sum(|usage| usage.cached_tokens),
        }
    }

    /// Milliseconds of the worker for prompt and completion.
    pub(crate) fn worker_ms(&self) -> (u32, u32) {
        (self.last().prompt_ms, self.last().predicted_ms)
    }

    /// What an app may show about the answer: all of it stands in the signed receipt.
    pub(crate) fn proof(&self) -> Value {
        let last = self.last();
        let up: u64 = self.answers.iter().map(|answer| answer.wire_bytes_up).sum();
        let down: u64 = self.answers.iter().map(|answer| answer.wire_bytes_down).sum();
        json!({
            "pod": last.pod_id.to_string(), "receipt": self.receipts(), "cost": self.cost(),
            "allowed": last.voucher_cap, "cumulative": last.cumulative,
            "bytes_up": up, "bytes_down": down, "verified": true,
        })
    }

    /// The same in headers, for an answer in one piece.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-phallama-pod", self.last().pod_id.to_string()),
            ("x-phallama-receipt", self.receipts()),
            ("x-phallama-cost", self.cost()),
            ("x-phallama-verified", "true".to_owned()),
        ] {
            let value = HeaderValue::from_str(&value);
            headers.extend(value.ok().map(|value| (http::HeaderName::from_static(name), value)));
        }
        headers
    }

    /// Hashes of the receipts, several with commas.
    fn receipts(&self) -> String {
        let hashes: Vec<String> =
            self.answers.iter().map(|answer| answer.receipt_hash.to_string()).collect();
        hashes.join(", ")
    }

    fn cost(&self) -> String {
        let costs = self.answers.iter().map(|answer| answer.cost.value());
        costs.fold(0_u128, u128::saturating_add).to_string()
    }
}
