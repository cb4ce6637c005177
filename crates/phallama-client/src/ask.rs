//! Asking: choose a pod, promise the payment, seal, send, and begin to read.

use std::sync::Arc;
use std::time::Instant;

use phallama_protocol::frames::{ClientExchange, FrameClass, Message};
use phallama_protocol::ids::{Amount, PodId, RequestId};
use phallama_protocol::offers::Offer;
use phallama_protocol::rand_core::UnwrapErr;
use phallama_protocol::refusal::{Code, Refusal};
use phallama_protocol::request::{Method, RequestPlain, SealError, seal_request};
use serde_json::Value;

use crate::answer::{self, Answer, Begun, Reading};
use crate::client::{Client, now_unix_s};
use crate::config::Purse;
use crate::directory::Candidate;
use crate::error::{ClientError, PodFailure};
use crate::health::Visit;
use crate::keystore::random_bytes;
use crate::ledger::{Outcome, Repeated};
use crate::observe::Watch;
use crate::pod_http::{PodAddress, Posted};
use crate::promise::{Behind, Fate, Promise, lost};
use crate::question::{Question, SizedQuestion};
use crate::receipt::Agreed;
use crate::verify::VerifiedPod;

/// What an app may choose for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskOptions {
    /// Ask this pod and no other.
    pub pod: Option<PodId>,
    /// Frame class instead of the configured one.
    pub class: Option<FrameClass>,
    /// The request's id, for an app that may send it again: an id is charged once at most. A
    /// request whose answer was lost is sent again to the same pod only. A random one when absent.
    pub request_id: Option<RequestId>,
    /// What may be spent beside the user's own limits.
    pub purse: Option<Purse>,
}

/// Most caps that are signed for one request. Requests that begin together reach the enclave in any
/// order; one that it refuses, because its cap leaves out another that overtook it, is not in
/// flight until it is signed anew, and caps that are signed meanwhile leave it out.
const CAPS_MAX: u32 = 5;

/// One question for one pod.
#[derive(Clone, Copy)]
struct Asked<'a> {
    candidate: &'a Candidate,
    question: &'a Question,
    class: FrameClass,
    request_id: Option<RequestId>,
    purse: Option<Purse>,
}

/// What became of one attempt at one pod.
enum Attempt {
    /// The first part of the answer is here.
    Begun(Box<Begun>),
    /// The pod says that it does not know the key that the request was sealed to.
    /// Anybody could have said so; the promise is open.
    UnknownKey(Box<Promise>),
    /// The pod says that the channel is in another epoch, or stands at another amount.
    Behind(Option<Behind>, ClientError),
}

impl Client {
    /// Asks `model` for a chat completion; `body` is an OpenAI chat completion request.
    ///
    /// Returns when the first part of the answer is here. Until then other pods are tried when one
    /// fails; after that never.
    ///
    /// # Errors
    /// The pod's error when one pod was tried, [`ClientError::NoPod`] when several were, and
    /// errors that no pod can help with: [`ClientError::ModelUnknown`],
    /// [`ClientError::LimitExceeded`], [`ClientError::InvalidRequest`],
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn chat(&self, model: &str, body: Value) -> Result<Answer, ClientError> {
        self.ask(Method::Chat, model, body, AskOptions::default()).await
    }

    /// The same for a completion; `body` is an OpenAI completion request.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn complete(&self, model: &str, body: Value) -> Result<Answer, ClientError> {
        self.ask(Method::Completion, model, body, AskOptions::default()).await
    }

    /// Any method, with options. The body is what `spec/wire.md` says of the method.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn ask(
        &self,
        method: Method,
        model: &str,
        body: Value,
        options: AskOptions,
    ) -> Result<Answer, ClientError> {
        self.ask_with_fate(method, model, body, options, &Fate::default()).await
    }

    /// The same; `fate` learns whether the request may have been charged without a receipt.
    pub(crate) async fn ask_with_fate(
        &self,
        method: Method,
        model: &str,
        body: Value,
        options: AskOptions,
        fate: &Fate,
    ) -> Result<Answer, ClientError> {
        let observer = self.inner.config.observer.clone();
        let watch = Watch::new(observer, method, model);
        let asked = self.ask_watched(method, model, body, options, fate, &watch).await;
        if let Err(error) = &asked {
            watch.ended(Err(error.class().code));
        }
        asked
    }

    async fn ask_watched(
        &self,
        method: Method,
        model: &str,
        body: Value,
        options: AskOptions,
        fate: &Fate,
        watch: &Watch,
    ) -> Result<Answer, ClientError> {
        self.signer()?;
        let question = Question::new(method, model, body)?;
        let class = options.class.unwrap_or_else(|| self.class_of(method));
        let (request_id, only) = self.request_of(&options).await?;
        let beginnings = self.inner.conversations.beginnings(model, &question);
        let mut draw = self.draw(model, &beginnings).await?;
        let mut failures = Vec::new();
        for candidate in draw.candidates() {
            if only.is_some_and(|only| only != candidate.record.pod_id) {
                continue;
            }
            let (pod, url) = (candidate.record.pod_id, candidate.record.url.clone());
            if only.is_none() && self.is_distrusted(pod) {
                failures.push(PodFailure { pod, url, error: distrusted(pod) });
                continue;
            }
            let (candidate, question, purse) = (&candidate, &question, options.purse);
            let asked = Asked { candidate, question, class, request_id, purse };
            let mut visit = self.inner.health.visit(pod, Instant::now());
            match Box::pin(self.ask_pod(asked, fate, &mut visit)).await {
                Ok(begun) => {
                    let (identity, now) = (begun.agreed.pod.key().identity, Instant::now());
                    self.inner.conversations.goes_on(&beginnings, pod, identity, now);
                    let mut watch = watch.clone();
                    watch.began();
                    return Ok(answer::start(*begun, visit, watch));
                }
                Err(error) if error.another_pod_may_help() => {
                    if !of_the_wallet(&error) {
                        self.remember_failure(&visit, &error).await;
                    }
                    // It may have been charged there: the id goes to no other pod.
                    if self.request_of(&options).await?.1 != only {
                        return Err(error);
                    }
                    failures.push(PodFailure { pod, url, error });
                }
                Err(error) => return Err(error),
            }
        }
        let named = |failure: &PodFailure| only.is_none_or(|only| only == failure.pod);
        failures.extend(std::mem::take(&mut draw.refused).into_iter().filter(named));
        Err(nobody(model, only, failures))
    }

    /// The request's id, and the one pod that it may be sent to, if there is one.
    async fn request_of(
        &self,
        options: &AskOptions,
    ) -> Result<(Option<RequestId>, Option<PodId>), ClientError> {
        let Some(id) = options.request_id else { return Ok((None, options.pod)) };
        let account = self.account_key()?;
        let lost_at = self.ledger(move |ledger| ledger.lost_at(&account, id)).await?;
        match (lost_at, options.pod) {
            (Some(before), Some(asked)) if before != asked => {
                let how = Repeated::Elsewhere(before);
                Err(ClientError::RequestRepeated { request_id: id, how })
            }
            (before, asked) => Ok((Some(id), before.or(asked))),
        }
    }

    /// The configured class; what comes in one piece has no timing to hide and comes as `bulk`,
    /// unless nothing is to be hidden at all.
    fn class_of(&self, method: Method) -> FrameClass {
        match (method, self.inner.config.class) {
            (Method::Chat | Method::Completion, class) => class,
            (_, FrameClass::Unpaced) => FrameClass::Unpaced,
            (_, _) => FrameClass::Bulk,
        }
    }

    /// One pod: at most one retry for a stale key, and [`CAPS_MAX`] caps.
    async fn ask_pod(
        &self,
        asked: Asked<'_>,
        fate: &Fate,
        visit: &mut Visit,
    ) -> Result<Box<Begun>, ClientError> {
        let Asked { candidate, question, class, request_id, purse } = asked;
        let mut pod = self.verified(&candidate.record).await?;
        // The same id on every attempt, so that no attempt can be charged beside another.
        let (is_named, mut request_id) =
            (request_id.is_some(), request_id.unwrap_or_else(|| RequestId(random_bytes())));
        let (mut key_may_be_stale, mut caps_left, mut before) = (true, CAPS_MAX, None);
        loop {
            // Terms are those of the verified record, which may be newer than the list.
            let offer = self.offer_of(&pod, &candidate.offer.model)?;
            let of = (request_id, purse);
            let promised = self.promise_sized(&pod, &offer, question, of, before).await;
            let (sized, mut promise) = match promised {
                // At new prices it is another request, beside which the first stays at risk.
                Err(ClientError::RequestRepeated { how: Repeated::Larger, .. })
                    if before.is_some() && !is_named =>
                {
                    (request_id, before) = (RequestId(random_bytes()), None);
                    continue;
                }
                promised => promised?,
            };
            promise.tells(fate);
            if before.is_some() {
                promise.repeats();
            }
            visit.sent(Instant::now());
            match self.attempt(&pod, offer, question.method, class, sized, promise).await? {
                Attempt::Begun(begun) => {
                    visit.began(Instant::now());
                    return Ok(begun);
                }
                Attempt::UnknownKey(first) if key_may_be_stale => {
                    (key_may_be_stale, before) = (false, Some(first.reserve()));
                    // Anybody could have said so: it may have been charged. The retry has the same
                    // id and takes the same money back.
                    first.finish(lost()).await?;
                    pod = self.with_fresh_bundle(&pod).await?;
                }
                Attempt::UnknownKey(second) => {
                    second.finish(lost()).await?;
                    return Err(unauthenticated(pod.record().pod_id, Code::UnknownKey, 0));
                }
                Attempt::Behind(behind, _) if caps_left > 1 => {
                    // Caps may overtake one another several times; another epoch is looked up once.
                    caps_left = if behind.is_some() { caps_left - 1 } else { 1 };
                    self.catch_up(pod.record().pod_id, behind).await?;
                }
                Attempt::Behind(_, error) => return Err(error),
            }
        }
    }

    /// Sizes the question for the pod's offer and promises its reserve. A question that leaves the
    /// number of tokens open is cut to what limits and balance allow, and to what was promised
    /// before.
    async fn promise_sized(
        &self,
        pod: &VerifiedPod,
        offer: &Offer,
        question: &Question,
        of: (RequestId, Option<Purse>),
        before: Option<Amount>,
    ) -> Result<(SizedQuestion, Promise), ClientError> {
        let mut sized = question.sized(offer)?;
        if let Some(before) = before.filter(|before| sized.reserve > *before) {
            sized = question.within(offer, before.value())?.unwrap_or(sized);
        }
        let refused = match self.promise(pod, &sized, of).await {
            Ok(promise) => return Ok((sized, promise)),
            Err(refused) => refused,
        };
        let Some(budget) = budget(&refused) else { return Err(refused) };
        match question.within(offer, budget)? {
            Some(smaller) => {
                let promise = self.promise(pod, &smaller, of).await?;
                Ok((smaller, promise))
            }
            None => Err(refused),
        }
    }

    async fn attempt(
        &self,
        pod: &Arc<VerifiedPod>,
        offer: Offer,
        method: Method,
        class: FrameClass,
        sized: SizedQuestion,
        promise: Promise,
    ) -> Result<Attempt, ClientError> {
        let salt = random_bytes();
        let plain_bytes_up = sized.body.len() as u64;
        let plain = RequestPlain {
            request_id: promise.request_id(),
            class,
            salt,
            payment: *promise.payment(),
            method,
            body: sized.body,
        };
        let (wire, exchange) = match seal(pod, &plain) {
            Ok(sealed) => sealed,
            Err(error) => {
                promise.finish(Outcome::NotCharged).await?;
                return Err(error);
            }
        };
        let agreed = Agreed {
            pod: Arc::clone(pod),
            offer,
            domain: self.inner.config.chain.domain(),
            max_tokens: sized.completion_tokens_max,
            salt,
            request_hash: exchange.request_hash(),
            wire_bytes_up: wire.len() as u64,
            plain_bytes_up,
        };
        let (pod_id, at) = (pod.record().pod_id, PodAddress::from(pod.record()));
        match self.inner.http.post_sealed(&at, wire).await {
            Ok(Posted::Sealed(body)) => {
                let (silence, longest) = (self.silence(class), self.inner.config.timeouts.answer);
                let reading = Reading::new(pod_id, body, exchange.opener(), silence, longest);
                begin(reading, promise, agreed).await
            }
            Ok(Posted::Refused(Refusal { code, retry_after_ms })) => {
                if code == Code::UnknownKey {
                    return Ok(Attempt::UnknownKey(Box::new(promise)));
                }
                promise.finish(lost()).await?;
                Err(unauthenticated(pod_id, code, retry_after_ms))
            }
            Ok(Posted::NotSent(error)) => {
                promise.finish(Outcome::NotCharged).await?;
                Err(error)
            }
            Err(error) => {
                promise.finish(lost()).await?;
                Err(error)
            }
        }
    }

    /// What the verified record asks for the model; it has to suit as the listed one did.
    fn offer_of(&self, pod: &VerifiedPod, model: &str) -> Result<Offer, ClientError> {
        let (record, config) = (pod.record(), &self.inner.config);
        let offer = record.offers.iter().find(|offer| offer.model == model);
        let gone = || unauthenticated(record.pod_id, Code::ModelNotFound, 0);
        let offer = offer.cloned().ok_or_else(gone)?;
        match config.pods.unsuitable(record, &offer, &config.trust, now_unix_s()) {
            None => Ok(offer),
            Some(why) => Err(ClientError::PodUnsuitable { pod: record.pod_id, why }),
        }
    }

    fn silence(&self, class: FrameClass) -> std::time::Duration {
        let timeouts = &self.inner.config.timeouts;
        if class.tick_ms().is_some() { timeouts.silence } else { timeouts.answer }
    }
}

/// What an ERROR frame before HEAD means: the enclave refused before any work.
const NOT_CHARGED: Outcome = Outcome::NotCharged;

/// Reads up to the first part of the answer, its end, or a refusal.
async fn begin(
    mut reading: Reading,
    promise: Promise,
    agreed: Agreed,
) -> Result<Attempt, ClientError> {
    let pod = agreed.pod.record().pod_id;
    let mut created = None;
    loop {
        match reading.next().await {
            Ok(Some(Message::Head { created_unix_s, model_digest })) => {
                if model_digest != agreed.offer.weights_sha256 {
                    promise.finish(lost()).await?;
                    let expected = agreed.offer.weights_sha256;
                    let reason = format!("answers with weights {model_digest}, offered {expected}");
                    return Err(ClientError::PodMisbehaved { pod, reason });
                }
                created = Some(created_unix_s);
            }
            Ok(Some(Message::Error(error))) => {
                let epoch = promise.payment().epoch;
                let how = if created.is_some() { answer::failed(error.code) } else { NOT_CHARGED };
                promise.finish(how).await?;
                let refused = answer::refused(pod, &error);
                let behind = Behind { epoch, claimed: error.cumulative };
                return match error.code {
                    Code::CapTooLow => Ok(Attempt::Behind(Some(behind), refused)),
                    Code::EpochMismatch => Ok(Attempt::Behind(None, refused)),
                    _ => Err(refused),
                };
            }
            Ok(Some(first)) => {
                let created_unix_s = created.unwrap_or_default();
                let begun = Begun { reading, first, created_unix_s, promise, agreed };
                return Ok(Attempt::Begun(Box::new(begun)));
            }
            Ok(None) => unreachable!("the opener ends well only after END or ERROR"),
            Err(error) => {
                let error = answer::blamed(&reading, &promise, &agreed, 0, error).await;
                promise.finish(lost()).await?;
                return Err(error);
            }
        }
    }
}

/// The only place that seals: it takes a pod that was verified.
fn seal(pod: &VerifiedPod, plain: &RequestPlain) -> Result<(Vec<u8>, ClientExchange), ClientError> {
    let mut rng = UnwrapErr(getrandom::SysRng);
    seal_request(pod.bundle(), plain, &mut rng).map_err(|error| match error {
        SealError::BodyTooLarge { .. } => {
            ClientError::InvalidRequest { reason: error.to_string(), field: None }
        }
        SealError::ClassNotServed(_) | SealError::Crypto => {
            ClientError::PodMisbehaved { pod: pod.record().pod_id, reason: error.to_string() }
        }
    })
}

/// What a request may reserve at most, after `refused` said that it wanted too much.
fn budget(refused: &ClientError) -> Option<u128> {
    match refused {
        ClientError::BalanceTooLow { needs, available, reserve, .. } => {
            reserve.value().checked_sub(needs.value().checked_sub(available.value())?)
        }
        ClientError::LimitExceeded { allowed, spent, .. } => {
            allowed.value().checked_sub(spent.value())
        }
        _ => None,
    }
}

fn distrusted(pod: PodId) -> ClientError {
    let reason = "it claimed more than it can have earned; it is asked only when it is named";
    ClientError::PodMisbehaved { pod, reason: reason.to_owned() }
}

fn unauthenticated(pod: PodId, code: Code, retry_after_ms: u32) -> ClientError {
    ClientError::PodRefused {
        pod,
        code,
        message: String::new(),
        retry_after_ms: (retry_after_ms > 0).then_some(retry_after_ms),
        authenticated: false,
    }
}

/// Whether the error is about the user's own money or wishes and not about the pod.
fn of_the_wallet(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::BalanceTooLow { .. }
            | ClientError::LimitExceeded { .. }
            | ClientError::ChannelExiting { .. }
            | ClientError::PodUnsuitable { .. }
    )
}

/// The one error for a request that nobody answered.
fn nobody(model: &str, only: Option<PodId>, mut failures: Vec<PodFailure>) -> ClientError {
    let is_tried =
        |failure: &PodFailure| !matches!(failure.error, ClientError::PodUnsuitable { .. });
    let tried = failures.iter().filter(|failure| is_tried(failure)).count();
    let too_low = |failure: &PodFailure| of_the_wallet(&failure.error);
    match (failures.len(), only) {
        (0, Some(pod)) => ClientError::PodUnknown(pod),
        (1, Some(_)) => failures.remove(0).error,
        // Those that were tried come first.
        _ if tried == 1 => failures.remove(0).error,
        _ if tried > 0 && failures.iter().take(tried).all(too_low) => failures.remove(0).error,
        _ => ClientError::NoPod { model: model.to_owned(), refused: failures },
    }
}
