//! An answer while it is being read, and when it is finished.
//!
//! A task reads the sealed answer at the pace of the network, whether or not the app takes it:
//! somebody who watches the connection learns nothing about how fast the app reads. After the
//! authenticated end the task goes on reading the padding for the same reason.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use phallama_protocol::events::Event;
use phallama_protocol::frames::{Message, OpenError, ResponseOpener};
use phallama_protocol::ids::{Amount, Digest32, PodId, RequestId};
use phallama_protocol::receipt::{Finish, SignedReceipt};
use phallama_protocol::refusal::{Code, PodError};
use reqwest::Response;
use tokio::sync::{mpsc, oneshot};

use crate::error::ClientError;
use crate::health::Visit;
use crate::ledger::Outcome;
use crate::observe::Watch;
use crate::pod_http::chain_of;
use crate::promise::{Promise, lost};
use crate::receipt::Agreed;
use crate::verify::VerifiedPod;

/// Most text and JSON of one answer, in bytes. The app may be slow, and all of it waits in memory:
/// this is 64 bytes for each of a million tokens.
const PLAIN_MAX_BYTES: u64 = 64 * 1_000_000;

/// What is told about a request whose app went away.
const CANCELLED: &str = "cancelled";

/// What happens during an answer, in order: `Started`, parts, `Finished`.
#[derive(Clone, Debug)]
pub enum AnswerEvent {
    /// The enclave has admitted the request.
    Started(Box<Started>),
    /// Text.
    Content(String),
    /// Text of the model's reasoning.
    Reasoning(String),
    /// JSON array of OpenAI tool call deltas.
    ToolCalls(String),
    /// JSON as in the `logprobs` of OpenAI's choice.
    Logprobs(String),
    /// A choice has ended for this reason; what follows belongs to the next one. The last one ends
    /// with `Finished`.
    NextChoice(Finish),
    /// The embedding of the next input.
    Embedding(Vec<f32>),
    /// The next token ids of a text.
    Tokens(Vec<u32>),
    /// How long the worker took, in milliseconds.
    Timings {
        /// For the prompt.
        prompt_ms: u32,
        /// For the completion.
        predicted_ms: u32,
    },
    /// The authenticated end, with an accepted receipt. Last.
    Finished(Box<FinishedAnswer>),
}

/// Who answers, and what was promised for it.
#[derive(Clone, Debug)]
pub struct Started {
    /// The verified pod.
    pub pod: Arc<VerifiedPod>,
    /// The request, as the receipt store knows it.
    pub request_id: RequestId,
    /// The model.
    pub model: String,
    /// The enclave's clock, set by its host: for display only.
    pub created_unix_s: u64,
    /// Most the answer can cost.
    pub reserve: Amount,
    /// The cap that was signed: most the pod may draw in total.
    pub voucher_cap: Amount,
    /// Total of the allocation that was attached, if there was one.
    pub allocation_total: Option<Amount>,
    /// Most tokens that were asked for.
    pub max_tokens: u32,
}

/// Tokens, as counted by the enclave and signed in the receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Tokens of the prompt that were in the account's cache.
    pub cached_tokens: u32,
}

/// Everything that is known about an answer once its receipt is accepted.
#[derive(Clone, Debug)]
pub struct FinishedAnswer {
    /// Who answered.
    pub pod_id: PodId,
    /// The request, as the receipt store knows it.
    pub request_id: RequestId,
    /// The accepted receipt.
    pub receipt: SignedReceipt,
    /// Its hash, which the settlement on chain names.
    pub receipt_hash: Digest32,
    /// Why the answer ended.
    pub finish: Finish,
    /// Tokens.
    pub usage: Usage,
    /// What this answer costs.
    pub cost: Amount,
    /// What all answers of this channel have cost.
    pub cumulative: Amount,
    /// Most this answer could have cost.
    pub reserve: Amount,
    /// The cap that was signed.
    pub voucher_cap: Amount,
    /// Milliseconds for the prompt; 0 when the pod did not say.
    pub prompt_ms: u32,
    /// Milliseconds for the completion; 0 when the pod did not say.
    pub predicted_ms: u32,
    /// Bytes of the sealed request.
    pub wire_bytes_up: u64,
    /// Bytes of the sealed answer up to its end; padding may follow, see [`Answer::drained`].
    pub wire_bytes_down: u64,
    /// Bytes of the JSON request.
    pub plain_bytes_up: u64,
    /// Bytes of text and JSON in the answer.
    pub plain_bytes_down: u64,
}

/// An answer. It is a stream of events; dropping it before its end cancels the request.
#[derive(Debug)]
pub struct Answer {
    pod_id: PodId,
    request_id: RequestId,
    events: mpsc::UnboundedReceiver<Result<AnswerEvent, ClientError>>,
    drained: oneshot::Receiver<Result<u64, ClientError>>,
}

impl Answer {
    /// An answer that is told again. What comes after its end stays with the first telling.
    pub(crate) fn told_again(
        pod_id: PodId,
        request_id: RequestId,
        events: mpsc::UnboundedReceiver<Result<AnswerEvent, ClientError>>,
    ) -> Self {
        let (_, drained) = oneshot::channel();
        Self { pod_id, request_id, events, drained }
    }

    /// Who answers.
    pub fn pod_id(&self) -> PodId {
        self.pod_id
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The next event; `None` after `Finished` or an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<AnswerEvent, ClientError>> {
        self.events.recv().await
    }

    /// Reads the answer to its end and returns the text of its `Content` events with the rest.
    ///
    /// # Errors
    /// The error that ended the answer.
    pub async fn text(&mut self) -> Result<(String, FinishedAnswer), ClientError> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                AnswerEvent::Content(part) => text.push_str(&part),
                AnswerEvent::Finished(finished) => return Ok((text, *finished)),
                _ => {}
            }
        }
        Err(self.stopped())
    }

    /// Waits for the padding after the end and returns all bytes of the sealed answer.
    ///
    /// The answer is complete and paid without it; this says whether its last bytes were as they
    /// should be too.
    ///
    /// # Errors
    /// [`ClientError::Truncated`], [`ClientError::Tampered`]; or when the answer itself failed.
    pub async fn drained(mut self) -> Result<u64, ClientError> {
        while let Some(event) = self.events.recv().await {
            event?;
        }
        match (&mut self.drained).await {
            Ok(drained) => drained,
            Err(_) => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> ClientError {
        let reason = "the answer was read to its end before".to_owned();
        ClientError::Truncated { pod: self.pod_id, frames: 0, reason }
    }
}

impl Stream for Answer {
    type Item = Result<AnswerEvent, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx)
    }
}

/// The sealed bytes of one answer, opened as they arrive.
#[derive(Debug)]
pub(crate) struct Reading {
    pod: PodId,
    body: Response,
    opener: ResponseOpener,
    ready: VecDeque<Message>,
    silence: Duration,
    over_at: Instant,
}

impl Reading {
    pub(crate) fn new(
        pod: PodId,
        body: Response,
        opener: ResponseOpener,
        silence: Duration,
        longest: Duration,
    ) -> Self {
        let over_at = Instant::now() + longest;
        Self { pod, body, opener, ready: VecDeque::new(), silence, over_at }
    }

    /// The next message; `None` when the body has ended where it may.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let patience = self.silence.min(self.over_at.saturating_duration_since(Instant::now()));
            let read = tokio::time::timeout(patience, self.body.chunk()).await;
            let read = read.map_err(|_| self.truncated(self.impatience(patience)))?;
            let Some(bytes) = read.map_err(|error| self.truncated(chain_of(&error)))? else {
                self.opener.finish().map_err(|error| self.refused(&error))?;
                return Ok(None);
            };
            let messages = self.opener.push(&bytes).map_err(|error| self.refused(&error))?;
            self.ready.extend(messages);
        }
    }

    fn impatience(&self, waited: Duration) -> String {
        if waited < self.silence {
            "the answer took longer than allowed".to_owned()
        } else {
            format!("nothing came for {} ms", waited.as_millis())
        }
    }

    fn truncated(&self, reason: String) -> ClientError {
        ClientError::Truncated { pod: self.pod, frames: self.opener.frames(), reason }
    }

    fn refused(&self, error: &OpenError) -> ClientError {
        match error {
            OpenError::Truncated(_) => self.truncated("the connection was closed".to_owned()),
            other => ClientError::Tampered { pod: self.pod, reason: other.to_string() },
        }
    }
}

/// An answer whose first part has arrived.
pub(crate) struct Begun {
    pub(crate) reading: Reading,
    pub(crate) first: Message,
    pub(crate) created_unix_s: u64,
    pub(crate) promise: Promise,
    pub(crate) agreed: Agreed,
}

/// Hands the rest of an answer to a task and returns the app's end of it.
pub(crate) fn start(begun: Begun, mut visit: Visit, watch: Watch) -> Answer {
    let (events, app) = mpsc::unbounded_channel();
    let (drained_at, drained) = oneshot::channel();
    let pod_id = begun.agreed.pod.record().pod_id;
    let request_id = begun.promise.request_id();
    tokio::spawn(async move {
        match Box::pin(relay(begun, &events, &mut visit, &watch)).await {
            // Read on before the app's end of the channel closes, whether or not it still listens.
            Ok(mut reading) => {
                drop((events, visit));
                let drained = drain(&mut reading).await;
                if let Err(error) = &drained {
                    tracing::warn!(%error, "the padding after an answer was not as it should be");
                }
                let _ = drained_at.send(drained);
            }
            Err(error) => {
                // Whoever asks again after the error finds the pod at rest.
                drop(visit);
                let _ = events.send(Err(error));
            }
        }
    });
    Answer { pod_id, request_id, events: app, drained }
}

type App = mpsc::UnboundedSender<Result<AnswerEvent, ClientError>>;

/// Passes an answer on up to its authenticated end; what remains to be read is padding.
async fn relay(
    begun: Begun,
    app: &App,
    visit: &mut Visit,
    watch: &Watch,
) -> Result<Reading, ClientError> {
    let told = Box::pin(passed_on(begun, app)).await;
    match &told {
        Ok((_, usage, cost)) => {
            visit.finished(usage.completion_tokens, Instant::now());
            watch.ended(Ok((*usage, *cost)));
        }
        // An app that goes away is no fault of the pod.
        Err(_) if app.is_closed() => watch.ended(Err(CANCELLED)),
        Err(error) => {
            visit.failed(Instant::now());
            watch.ended(Err(error.class().code));
        }
    }
    told.map(|(reading, ..)| reading)
}

/// The same, with tokens and cost of the answer.
async fn passed_on(begun: Begun, app: &App) -> Result<(Reading, Usage, Amount), ClientError> {
    let Begun { mut reading, first, created_unix_s, promise, agreed } = begun;
    let _ =
        app.send(Ok(AnswerEvent::Started(Box::new(started(&promise, &agreed, created_unix_s)))));
    let mut tally = Tally::default();
    let mut message = first;
    loop {
        match message {
            Message::Event(event) => {
                let event = tally.count(event);
                if tally.plain_bytes > PLAIN_MAX_BYTES {
                    promise.finish(lost()).await?;
                    let reason = format!("an answer of more than {PLAIN_MAX_BYTES} bytes");
                    return Err(ClientError::PodMisbehaved { pod: reading.pod, reason });
                }
                let _ = app.send(Ok(event));
            }
            Message::End(receipt) => {
                let finished = settle(&reading, promise, agreed, receipt, &tally).await?;
                let (usage, cost) = (finished.usage, finished.cost);
                let _ = app.send(Ok(AnswerEvent::Finished(Box::new(finished))));
                return Ok((reading, usage, cost));
            }
            Message::Error(error) => {
                promise.finish(failed(error.code)).await?;
                return Err(refused(agreed.pod.record().pod_id, &error));
            }
            Message::Interim(receipt) => {
                if let Err(error) =
                    agreed.check_interim(&promise, tally.plain_bytes, &receipt).await
                {
                    promise.finish(lost()).await?;
                    return Err(error);
                }
            }
            Message::Head { .. } => {}
        }
        message = tokio::select! {
            next = reading.next() => match next {
                Ok(Some(next)) => next,
                Ok(None) => unreachable!("the opener ends well only after END or ERROR"),
                Err(error) => {
                    let error = blamed(&reading, &promise, &agreed, tally.plain_bytes, error).await;
                    promise.finish(lost()).await?;
                    return Err(error);
                }
            },
            () = app.closed() => {
                promise.finish(lost()).await?;
                return Err(reading.truncated("the app went away".to_owned()));
            }
        };
    }
}

/// An answer that broke off: when a receipt of the enclave's own did it, that is what is wrong, and
/// it is kept as evidence.
pub(crate) async fn blamed(
    reading: &Reading,
    promise: &Promise,
    agreed: &Agreed,
    delivered_bytes: u64,
    error: ClientError,
) -> ClientError {
    let Some(receipt) = reading.opener.mismatched_receipt() else { return error };
    let refused = agreed.check_final(promise, &reading.opener, delivered_bytes, receipt).await;
    refused.err().unwrap_or(error)
}

/// Holds the receipt to what was agreed, and writes it down before anybody hears of it.
async fn settle(
    reading: &Reading,
    promise: Promise,
    agreed: Agreed,
    receipt: SignedReceipt,
    tally: &Tally,
) -> Result<FinishedAnswer, ClientError> {
    let delivered = tally.plain_bytes;
    let stored = match agreed.check_final(&promise, &reading.opener, delivered, &receipt).await {
        Ok(stored) => stored,
        Err(error) => {
            promise.finish(lost()).await?;
            return Err(error);
        }
    };
    let signed = receipt.receipt.clone();
    let finished = FinishedAnswer {
        pod_id: signed.pod_id,
        request_id: promise.request_id(),
        receipt_hash: signed.hash(),
        finish: signed.finish,
        usage: Usage {
            prompt_tokens: signed.prompt_tokens,
            completion_tokens: signed.completion_tokens,
            cached_tokens: signed.cached_tokens,
        },
        cost: signed.cost,
        cumulative: signed.cumulative,
        reserve: promise.reserve(),
        voucher_cap: promise.payment().cap,
        prompt_ms: tally.prompt_ms,
        predicted_ms: tally.predicted_ms,
        wire_bytes_up: agreed.wire_bytes_up,
        wire_bytes_down: reading.opener.wire_bytes(),
        plain_bytes_up: agreed.plain_bytes_up,
        plain_bytes_down: tally.plain_bytes,
        receipt,
    };
    let (cumulative, cost) = (finished.cumulative.value(), finished.cost.value());
    promise.finish(Outcome::Settled { cumulative, cost, receipt: Box::new(stored) }).await?;
    Ok(finished)
}

async fn drain(reading: &mut Reading) -> Result<u64, ClientError> {
    while reading.next().await?.is_some() {}
    Ok(reading.opener.wire_bytes())
}

fn started(promise: &Promise, agreed: &Agreed, created_unix_s: u64) -> Started {
    Started {
        pod: Arc::clone(&agreed.pod),
        request_id: promise.request_id(),
        model: agreed.offer.model.clone(),
        created_unix_s,
        reserve: promise.reserve(),
        voucher_cap: promise.payment().cap,
        allocation_total: promise.payment().allocation.map(|grant| grant.total),
        max_tokens: agreed.max_tokens,
    }
}

/// What an ERROR frame after HEAD means: the enclave takes nothing, but when payments are paused
/// the host has seen a claim that it says it could not store.
pub(crate) fn failed(code: Code) -> Outcome {
    if code == Code::PaymentsPaused { lost() } else { Outcome::NotCharged }
}

/// An ERROR frame as the client's error.
pub(crate) fn refused(pod: PodId, error: &PodError) -> ClientError {
    ClientError::PodRefused {
        pod,
        code: error.code,
        message: error.message.clone(),
        retry_after_ms: (error.retry_after_ms > 0).then_some(error.retry_after_ms),
        authenticated: true,
    }
}

/// What is counted on the way.
#[derive(Debug, Default)]
struct Tally {
    plain_bytes: u64,
    prompt_ms: u32,
    predicted_ms: u32,
}

impl Tally {
    fn count(&mut self, event: Event) -> AnswerEvent {
        match event {
            Event::Content(text) => AnswerEvent::Content(self.text(text)),
            Event::Reasoning(text) => AnswerEvent::Reasoning(self.text(text)),
            Event::ToolCalls(json) => AnswerEvent::ToolCalls(self.text(json)),
            Event::Logprobs(json) => AnswerEvent::Logprobs(self.text(json)),
            Event::NextChoice(finish) => AnswerEvent::NextChoice(finish),
            Event::Embedding(bits) => {
                self.words(&bits);
                AnswerEvent::Embedding(bits.into_iter().map(f32::from_bits).collect())
            }
            Event::Tokens(tokens) => {
                self.words(&tokens);
                AnswerEvent::Tokens(tokens)
            }
            Event::Timings { prompt_ms, predicted_ms } => {
                (self.prompt_ms, self.predicted_ms) = (prompt_ms, predicted_ms);
                AnswerEvent::Timings { prompt_ms, predicted_ms }
            }
        }
    }

    fn words(&mut self, words: &[u32]) {
        self.plain_bytes = self.plain_bytes.saturating_add(4 * words.len() as u64);
    }

    fn text(&mut self, text: String) -> String {
        self.plain_bytes = self.plain_bytes.saturating_add(text.len() as u64);
        text
    }
}
