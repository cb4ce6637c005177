//! Whether an opened request may be computed: everything that can be said before the host is asked
//! (spec/wire.md, enclave step 4).

use phallama_engine::{
    ChatRequest, ChatStream, CompletionRequest, DetokeniseRequest, EmbeddingsRequest, Engine,
    EngineError, RequestError, TokeniseRequest,
};
use phallama_protocol::demand::Demand;
use phallama_protocol::events::Event;
use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::keys::recover;
use phallama_protocol::offers::Offer;
use phallama_protocol::refusal::{Code, PodError};
use phallama_protocol::request::{Method, Payment, RequestPlain};
use serde::Deserialize;

use crate::enclave::{Enclave, Model};

/// A request that is valid and whose voucher is genuine.
pub(crate) struct Job {
    pub(crate) engine: Engine,
    pub(crate) offer: Offer,
    pub(crate) work: Work,
    /// The most it can cost.
    pub(crate) reserve: Amount,
}

/// What the worker is asked.
pub(crate) enum Work {
    /// An answer that comes token by token.
    Stream(Generation),
    /// An answer that comes in one piece.
    Whole(Lookup),
}

/// What is generated.
pub(crate) enum Generation {
    Chat(ChatRequest),
    Completion(CompletionRequest),
}

/// What is looked up.
pub(crate) enum Lookup {
    Embeddings(EmbeddingsRequest),
    Tokens(TokeniseRequest),
    Text(DetokeniseRequest),
}

/// An answer that came in one piece, and the tokens that count for it.
pub(crate) struct Found {
    pub(crate) events: Vec<Event>,
    pub(crate) prompt_tokens: u32,
}

/// What admission must know of a body; the engine checks the rest.
#[derive(Deserialize)]
struct Outline {
    model: String,
}

/// An ERROR without advice and amount.
pub(crate) fn refuse(code: Code, message: impl Into<String>) -> PodError {
    PodError { code, retry_after_ms: 0, cumulative: Amount::ZERO, message: message.into() }
}

/// Checks class, terms, voucher, allocation, model and body, in this order.
///
/// # Errors
/// The ERROR to answer with.
pub(crate) fn check(enclave: &Enclave, plain: &RequestPlain) -> Result<Job, PodError> {
    let facts = enclave.facts();
    if !facts.classes.contains(&plain.class) {
        let message = format!("this pod does not answer in class {:?}", plain.class);
        return Err(refuse(Code::InvalidRequest, message));
    }
    if plain.payment.terms_hash != facts.offers_hash {
        let message = format!("the pod's terms are {}; read its offers again", facts.offers_hash);
        return Err(refuse(Code::TermsMismatch, message));
    }
    check_signatures(enclave, &plain.payment)?;
    let limit = enclave.body_max_bytes();
    if plain.body.len() > limit {
        let message = format!("the body has {} bytes, at most {limit}", plain.body.len());
        return Err(refuse(Code::InvalidRequest, message));
    }
    check_body(enclave, plain)
}

fn check_signatures(enclave: &Enclave, payment: &Payment) -> Result<(), PodError> {
    let pod_id = enclave.facts().pod_id;
    let domain = enclave.domain();
    let voucher = payment.voucher(pod_id, enclave.identity().address()).digest(&domain);
    if recover(&voucher, &payment.voucher_sig) != Ok(payment.user) {
        let message = "the voucher is not signed by the paying account for this pod's key, epoch \
                       and cap";
        return Err(refuse(Code::BadVoucher, message));
    }
    let grant = payment.allocation.as_ref().zip(payment.allocation(pod_id));
    if let Some((grant, allocation)) = grant
        && recover(&allocation.digest(&domain), &grant.signature) != Ok(payment.user)
    {
        let message = "the allocation is not signed by the paying account for this pod and terms";
        return Err(refuse(Code::BadVoucher, message));
    }
    Ok(())
}

fn check_body(enclave: &Enclave, plain: &RequestPlain) -> Result<Job, PodError> {
    let invalid = |error: &dyn std::fmt::Display| refuse(Code::InvalidRequest, error.to_string());
    let work = Work::parse(plain.method, &plain.body).map_err(|error| invalid(&error))?;
    let outline: Outline = serde_json::from_slice(&plain.body)
        .map_err(|_| invalid(&"field `model` is missing or not a string"))?;
    let Some(Model { offer, engine }) = enclave.model(&outline.model) else {
        let names: Vec<&str> = enclave.model_names().collect();
        let message = format!("this pod offers {}", names.join(", "));
        return Err(refuse(Code::ModelNotFound, message));
    };
    if let Work::Stream(generation) = &work {
        let max_tokens = generation
            .max_tokens()
            .ok_or_else(|| invalid(&"field `max_tokens` is missing; it bounds what you pay"))?;
        if max_tokens > offer.max_output_tokens {
            let max = offer.max_output_tokens;
            return Err(invalid(&format!("`max_tokens` is {max_tokens}, the offer ends at {max}")));
        }
    }
    let demand = Demand::of(plain.method, &plain.body).map_err(|error| invalid(&error))?;
    let reserve = offer.reserve(&demand).map_err(|error| invalid(&error))?;
    Ok(Job { engine: engine.clone(), offer: offer.clone(), work, reserve })
}

impl Work {
    fn parse(method: Method, body: &[u8]) -> Result<Self, RequestError> {
        Ok(match method {
            Method::Chat => Self::Stream(Generation::Chat(ChatRequest::parse(body)?)),
            Method::Completion => {
                Self::Stream(Generation::Completion(CompletionRequest::parse(body)?))
            }
            Method::Embeddings => Self::Whole(Lookup::Embeddings(EmbeddingsRequest::parse(body)?)),
            Method::Tokenise => Self::Whole(Lookup::Tokens(TokeniseRequest::parse(body)?)),
            Method::Detokenise => Self::Whole(Lookup::Text(DetokeniseRequest::parse(body)?)),
        })
    }
}

impl Generation {
    fn max_tokens(&self) -> Option<u32> {
        match self {
            Self::Chat(request) => request.max_tokens(),
            Self::Completion(request) => request.max_tokens(),
        }
    }

    /// Starts computing for `user`, whose prefix cache no other account shares.
    pub(crate) async fn start(
        self,
        engine: &Engine,
        user: Address,
    ) -> Result<ChatStream, EngineError> {
        match self {
            Self::Chat(request) => engine.chat(request, user.0).await,
            Self::Completion(request) => engine.complete(request, user.0).await,
        }
    }
}

impl Lookup {
    /// Computes for `user`.
    pub(crate) async fn run(self, engine: &Engine, user: Address) -> Result<Found, EngineError> {
        let counted = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        Ok(match self {
            Self::Embeddings(request) => {
                let made = engine.embed(request, user.0).await?;
                let bits = |vector: Vec<f32>| vector.into_iter().map(f32::to_bits).collect();
                let events = made.vectors.into_iter().map(|v| Event::Embedding(bits(v))).collect();
                Found { events, prompt_tokens: made.prompt_tokens }
            }
            Self::Tokens(request) => {
                let tokens = engine.tokenise(&request).await?;
                let prompt_tokens = counted(tokens.len());
                Found { events: vec![Event::Tokens(tokens)], prompt_tokens }
            }
            Self::Text(request) => {
                let prompt_tokens = counted(request.count());
                let text = engine.detokenise(&request).await?;
                Found { events: vec![Event::Content(text)], prompt_tokens }
            }
        })
    }
}

/// What the client is told about a failure of the engine.
pub(crate) fn engine_error(error: &EngineError) -> PodError {
    let retry_after_ms = error.retry_after_ms().unwrap_or(0);
    let code = match error {
        EngineError::PromptTooLong { .. } => Code::PromptTooLong,
        EngineError::QueueFull { .. } | EngineError::NoMemory { .. } => Code::QueueFull,
        EngineError::ShareFull { .. } => Code::TooManyRequests,
        EngineError::NotServed { .. } | EngineError::FieldNotServed { .. } => Code::NotSupported,
        EngineError::WorkerRestarting { .. }
        | EngineError::LoadFailed { .. }
        | EngineError::Draining => Code::WorkerRestarting,
        other if other.fault() == phallama_engine::Fault::Request => Code::InvalidRequest,
        _ => Code::WorkerFailed,
    };
    let message = match error {
        // The client may read what the worker says about its own request; logs may not.
        EngineError::WorkerRefused { message, .. } | EngineError::WorkerFailed { message } => {
            format!("the model worker says: {}", message.reveal())
        }
        other => other.to_string(),
    };
    PodError {
        code,
        retry_after_ms: u32::try_from(retry_after_ms).unwrap_or(u32::MAX),
        cumulative: Amount::ZERO,
        message,
    }
}
