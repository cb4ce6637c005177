use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::config::{ModelState, Serves, WorkerFacts};
use crate::connection::{Exchange, NoAnswer, post};
use crate::forced_call::force_call;
use crate::generation::{Choices, Generation};
use crate::memory::Tenant;
use crate::salt::Salt;
use crate::slots::{Lease, Prefix, SlotTable};
use crate::supervisor::{ReadyWorker, Supervisor, WorkerState};
use crate::vectors::{read_text, read_tokens};
use crate::{
    Account, Backend, ChatRequest, ChatStream, CompletionRequest, DetokeniseRequest, Embeddings,
    EmbeddingsRequest, EngineConfig, EngineError, StartProgress, TokeniseRequest, WorkerText,
    ollama, openai,
};

/// Inputs that a worker for embeddings gets at once: few enough that an answer comes before it can
/// be taken for stalled.
const INPUTS_AT_ONCE: usize = 8;

/// One model behind one supervised worker. Clones share it; with the last one the worker is killed.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Arc<EngineConfig>,
    slots: Arc<SlotTable>,
    tenant: Arc<Tenant>,
    supervisor: Supervisor,
    /// Tokenising runs beside the slots, in the worker's threads for connections.
    tokenising: Semaphore,
    draining: AtomicBool,
    salt: Salt,
}

impl Engine {
    /// Checks the weights, starts the worker and waits until the model is loaded, unless that is
    /// left to [a request](crate::Load::OnRequest). Must be called inside a tokio runtime with I/O
    /// and time.
    ///
    /// # Errors
    /// Those of [`Fault::Operator`](crate::Fault::Operator).
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        Self::start_with_progress(config, |_| {}).await
    }

    /// Like [`Engine::start`], and reports how far it is.
    ///
    /// # Errors
    /// Those of [`Fault::Operator`](crate::Fault::Operator).
    pub async fn start_with_progress(
        config: EngineConfig,
        progress: impl Fn(StartProgress) + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        crate::check_extra_args(&config.extra_args)?;
        config.backend.check()?;
        let config = Arc::new(in_turn(config));
        let slots = SlotTable::new(config.slots, config.queue_max);
        let tenant = Tenant::new(config.memory.clone(), Arc::clone(&slots));
        let (shared, sitting) = (Arc::clone(&config), Arc::clone(&tenant));
        let supervisor = Supervisor::start(shared, sitting, Arc::new(progress)).await?;
        let (tokenising, draining) = (Semaphore::new(1), AtomicBool::new(false));
        let salt = Salt::new();
        let inner = Inner { config, slots, tenant, supervisor, tokenising, draining, salt };
        let engine = Self(Arc::new(inner));
        engine.check_pooling().await?;
        Ok(engine)
    }

    /// Whether a worker for embeddings makes one vector of a text, found out by asking the one that
    /// is loaded at the start.
    async fn check_pooling(&self) -> Result<(), EngineError> {
        let is_for_vectors = matches!(self.0.config.serves, Serves::Embeddings { .. });
        if !is_for_vectors || self.state() != ModelState::Ready {
            return Ok(());
        }
        match self.vectors(&[json!("a")]).await {
            Ok(_) => Ok(()),
            Err(EngineError::WorkerRefused { status: 400, .. }) => Err(EngineError::NoPooling),
            Err(error) => Err(error),
        }
    }

    /// Answers a conversation. Waits for a free slot; dropping the future gives up the place.
    ///
    /// # Errors
    /// [`EngineError::QueueFull`], [`EngineError::ShareFull`], [`EngineError::WorkerRestarting`],
    /// [`EngineError::LoadFailed`], [`EngineError::NoMemory`], [`EngineError::Draining`],
    /// [`EngineError::NotServed`], [`EngineError::PromptTooLong`],
    /// [`EngineError::WorkerRefused`], [`EngineError::Stalled`], [`EngineError::Truncated`].
    pub async fn chat(
        &self,
        mut request: ChatRequest,
        account: Account,
    ) -> Result<ChatStream, EngineError> {
        self.check_generation(request.generation())?;
        let prefix = request.generation().prefix();
        self.run(account, prefix, |lease, facts| {
            if facts.tools == Some(false) || self.must_force(request.generation()) {
                force_call(request.generation_mut())?;
            }
            self.choices(request.into_generation(), account, lease, facts)
        })
        .await
    }

    /// Continues a raw prompt, without chat template, or fills in what is between it and a suffix.
    ///
    /// # Errors
    /// As [`Engine::chat`].
    pub async fn complete(
        &self,
        request: CompletionRequest,
        account: Account,
    ) -> Result<ChatStream, EngineError> {
        self.check_generation(request.generation())?;
        let prefix = request.generation().prefix();
        self.run(account, prefix, |lease, facts| {
            self.choices(request.into_generation(), account, lease, facts)
        })
        .await
    }

    /// Makes a vector of each input. Waits for its turn like [`Engine::chat`].
    ///
    /// # Errors
    /// As [`Engine::chat`].
    pub async fn embed(
        &self,
        request: EmbeddingsRequest,
        account: Account,
    ) -> Result<Embeddings, EngineError> {
        if !matches!(self.0.config.serves, Serves::Embeddings { .. }) {
            let what = "this model is offered for answers, and its worker was not started for \
                        embeddings; ask for a model that is offered for them";
            return Err(EngineError::NotServed { what });
        }
        self.check_open()?;
        let _turn = self.0.slots.acquire(account, Prefix::new()).await?;
        let mut all = Embeddings { vectors: Vec::new(), prompt_tokens: 0 };
        for inputs in request.inputs.chunks(INPUTS_AT_ONCE) {
            all.append(self.vectors(inputs).await?);
        }
        if let Some(dimensions) = request.dimensions {
            all.cut(dimensions)?;
        }
        Ok(all)
    }

    /// The tokens of a text. Needs no slot; one text at a time.
    ///
    /// # Errors
    /// [`EngineError::WorkerRestarting`], [`EngineError::Draining`],
    /// [`EngineError::WorkerRefused`], [`EngineError::Stalled`], [`EngineError::Truncated`].
    pub async fn tokenise(&self, request: &TokeniseRequest) -> Result<Vec<u32>, EngineError> {
        read_tokens(&self.beside_the_slots("/tokenize", request.body()).await?)
    }

    /// The text of tokens. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Engine::tokenise`].
    pub async fn detokenise(&self, request: &DetokeniseRequest) -> Result<String, EngineError> {
        read_text(&self.beside_the_slots("/detokenize", request.body()).await?)
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    /// Requests being computed.
    pub fn in_flight(&self) -> usize {
        self.0.slots.in_flight()
    }

    /// Requests waiting for a slot.
    pub fn queued(&self) -> usize {
        self.0.slots.queued()
    }

    /// Process id of the worker, if there is one that answers and it is ours.
    pub fn worker_pid(&self) -> Option<u32> {
        match self.0.supervisor.state() {
            WorkerState::Ready(worker) => worker.pid,
            _ => None,
        }
    }

    /// What the worker says of itself, if there is one that answers.
    pub fn worker_facts(&self) -> Option<Arc<WorkerFacts>> {
        match self.0.supervisor.state() {
            WorkerState::Ready(worker) => Some(worker.facts),
            _ => None,
        }
    }

    /// How the model is.
    pub fn state(&self) -> ModelState {
        self.0.supervisor.state().model_state()
    }

    /// How often there was no worker for a while, because it ended or did not start.
    pub fn restarts(&self) -> u64 {
        self.0.supervisor.restarts()
    }

    /// What the worker is taken to use when it is loaded, bytes.
    pub fn needs_bytes(&self) -> u64 {
        self.0.tenant.needs()
    }

    /// Takes no new requests, lets those accepted run for at most `drain`, then ends the worker.
    pub async fn shutdown(&self, drain: Duration) {
        self.0.draining.store(true, Ordering::SeqCst);
        if tokio::time::timeout(drain, self.0.slots.idle()).await.is_err() {
            tracing::warn!(in_flight = self.in_flight(), "requests were cut off by the shutdown");
        }
        self.0.supervisor.stop().await;
    }

    fn check_open(&self) -> Result<(), EngineError> {
        if self.0.draining.load(Ordering::SeqCst) {
            return Err(EngineError::Draining);
        }
        self.0.supervisor.state().pause()?;
        self.0.tenant.touch();
        Ok(())
    }

    /// Ollama does not know calls that are required or forbidden.
    fn must_force(&self, asked: &Generation) -> bool {
        let choice = asked.fields.get("tool_choice");
        matches!(self.0.config.backend, Backend::Ollama(_))
            && choice.is_some_and(|word| word != "auto")
    }

    /// The bodies for what computes: the accepted fields in its words, and those that are ours.
    fn choices(
        &self,
        asked: Generation,
        account: Account,
        lease: &Lease,
        facts: &WorkerFacts,
    ) -> Result<Choices, EngineError> {
        let config = &self.0.config;
        match &config.backend {
            Backend::LlamaServer => {
                let (slot, reuse_cache) = (lease.slot(), lease.reuse_cache());
                Ok(asked.for_worker(slot, reuse_cache, config.context_tokens))
            }
            Backend::Ollama(backend) => {
                ollama::generation_body(asked, &ollama::Target::of(config, backend), facts)
            }
            Backend::OpenAi { .. } => {
                openai::generation_body(asked, config, &self.0.salt.of(account))
            }
        }
    }

    /// The vectors of so few inputs that they are asked for at once.
    async fn vectors(&self, inputs: &[Value]) -> Result<Embeddings, EngineError> {
        let (config, count) = (&self.0.config, inputs.len());
        let (path, body) = match &config.backend {
            Backend::LlamaServer => {
                ("/v1/embeddings", json!({ "input": inputs, "encoding_format": "float" }))
            }
            Backend::OpenAi { .. } => {
                ("/v1/embeddings", openai::embeddings_body(&config.model_name, inputs))
            }
            Backend::Ollama(backend) => {
                let target = ollama::Target::of(config, backend);
                let body = ollama::embeddings_body(&target, inputs)?.to_string();
                let answer = self.whole("/api/embed", body.into_bytes()).await?;
                return Embeddings::read_ollama(&answer, count);
            }
        };
        Embeddings::read(&self.whole(path, body.to_string().into_bytes()).await?, count)
    }

    /// Overwrites what another account has left in an Ollama, which would reuse it.
    async fn wash(&self, lease: &Lease) -> Result<(), EngineError> {
        match &self.0.config.backend {
            Backend::Ollama(backend) if !backend.danger_share_cache && !lease.reuse_cache() => {
                let target = ollama::Target::of(&self.0.config, backend);
                let body = ollama::wash_body(&target).to_string().into_bytes();
                self.whole("/api/generate", body).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What this model is not served for, before anything waits for it.
    fn check_generation(&self, asked: &Generation) -> Result<(), EngineError> {
        let not_served = |what| Err(EngineError::NotServed { what });
        let context_tokens = self.0.config.context_tokens;
        match &self.0.config.serves {
            Serves::Embeddings { .. } => {
                return not_served("this model is offered for embeddings, not for answers");
            }
            Serves::Answers { projector: None, .. } if asked.images > 0 => {
                return not_served("this model takes no images as its pod runs it");
            }
            Serves::Answers { .. } => {}
        }
        match asked.prompt_tokens.and_then(|tokens| u32::try_from(tokens).ok()) {
            Some(prompt_tokens) if prompt_tokens >= context_tokens => {
                Err(EngineError::PromptTooLong { prompt_tokens, context_tokens })
            }
            _ => Ok(()),
        }
    }

    async fn run(
        &self,
        account: Account,
        prefix: Prefix,
        choices: impl FnOnce(&Lease, &WorkerFacts) -> Result<Choices, EngineError>,
    ) -> Result<ChatStream, EngineError> {
        self.check_open()?;
        // A model whose slot is taken is not unloaded; so the slot comes first.
        let lease = self.0.slots.acquire(account, prefix).await?;
        let worker = self.0.supervisor.ready().await?;
        let mut choices = choices(&lease, &worker.facts)?;
        self.wash(&lease).await?;
        let path = choices.path();
        let body = choices.next_body().expect("a request has at least one choice");
        let stall_timeout = self.0.config.stall_timeout;
        let begun = begin(worker.clone(), path, body, stall_timeout).await;
        let exchange = begun.map_err(|error| self.unless_gone(error))?;
        let tells_cache = self.0.config.backend.tells_own_cache();
        Ok(ChatStream::new(exchange, choices, lease, worker, stall_timeout, tells_cache))
    }

    async fn beside_the_slots(
        &self,
        path: &'static str,
        body: Vec<u8>,
    ) -> Result<Bytes, EngineError> {
        if self.0.config.backend != Backend::LlamaServer {
            let what = "what computes this model has no way to turn text into tokens or back; \
                        ask another pod";
            return Err(EngineError::NotServed { what });
        }
        self.check_open()?;
        let _turn = self.0.tokenising.acquire().await.expect("it is never closed");
        self.whole(path, body).await
    }

    /// An answer that comes in one piece.
    async fn whole(&self, path: &'static str, body: Vec<u8>) -> Result<Bytes, EngineError> {
        let (worker, after) = (self.0.supervisor.ready().await?, self.0.config.stall_timeout);
        let begun = begin(worker.clone(), path, body, after).await;
        let exchange = begun.map_err(|error| self.unless_gone(error))?;
        match tokio::time::timeout(after, exchange.whole_body()).await {
            Ok(body) => body.ok_or(EngineError::Truncated { completion_tokens: 0 }),
            Err(_) => {
                worker.restart();
                Err(EngineError::Stalled { after })
            }
        }
    }

    /// The worker ended before it began to answer, but its supervisor may not have noticed yet.
    fn unless_gone(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Truncated { .. } => {
                self.0.supervisor.state().pause().err().unwrap_or_else(|| {
                    let backoff = self.0.config.backoff_min.as_millis();
                    let retry_after_ms = u64::try_from(backoff).unwrap_or(u64::MAX).max(1);
                    EngineError::WorkerRestarting { retry_after_ms }
                })
            }
            other => other,
        }
    }
}

/// A worker for embeddings has one slot, and an Ollama that is to keep accounts apart. In one
/// batch llama-server cuts texts to the length of the shortest and takes the mean of the last
/// piece alone: what one account asks would change what another gets.
fn in_turn(config: EngineConfig) -> EngineConfig {
    let for_vectors = matches!(config.serves, Serves::Embeddings { .. });
    let kept_apart = match &config.backend {
        Backend::Ollama(backend) => !backend.danger_share_cache,
        Backend::LlamaServer | Backend::OpenAi { .. } => false,
    };
    if for_vectors || kept_apart { EngineConfig { slots: 1, ..config } } else { config }
}

/// Asks the worker and waits until it begins to answer. One that goes away instead is
/// [`EngineError::Truncated`].
pub(crate) async fn begin(
    worker: ReadyWorker,
    path: &'static str,
    body: Vec<u8>,
    stall_timeout: Duration,
) -> Result<Exchange, EngineError> {
    let answer = worker.signs.within(stall_timeout, post(&worker.address, path, body)).await;
    match answer {
        Some(Ok(exchange)) if exchange.status == 200 => Ok(exchange),
        Some(Ok(exchange)) => Err(refusal(exchange, stall_timeout).await),
        Some(Err(NoAnswer)) => Err(EngineError::Truncated { completion_tokens: 0 }),
        None => {
            worker.restart();
            Err(EngineError::Stalled { after: stall_timeout })
        }
    }
}

/// What an answer other than 200 means.
async fn refusal(exchange: Exchange, timeout: Duration) -> EngineError {
    let status = exchange.status;
    let body = tokio::time::timeout(timeout, exchange.error_body()).await.unwrap_or_default();
    let parsed: Option<Value> = serde_json::from_slice(&body).ok().map(unwrapped);
    let error = parsed.as_ref().and_then(|value| value.get("error"));
    let number = |name: &str| {
        let value = error?.get(name)?.as_u64()?;
        u32::try_from(value).ok()
    };
    if let (Some(prompt_tokens), Some(context_tokens)) =
        (number("n_prompt_tokens"), number("n_ctx"))
    {
        return EngineError::PromptTooLong { prompt_tokens, context_tokens };
    }
    let kind = error.and_then(|error| error.get("type")).and_then(Value::as_str);
    if kind == Some("not_supported_error") {
        let what = "this model cannot do that: the worker says that its file lacks what is needed \
                    (to fill in text between a prompt and a suffix, the tokens that mark them)";
        return EngineError::NotServed { what };
    }
    let message = error.and_then(|error| error.get("message").unwrap_or(error).as_str());
    if let Some((prompt_tokens, context_tokens)) = message.and_then(too_large) {
        return EngineError::PromptTooLong { prompt_tokens, context_tokens };
    }
    let message =
        message.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    EngineError::WorkerRefused { status, message: WorkerText::new(message) }
}

/// Ollama passes on the error of its own llama-server as text.
fn unwrapped(answer: Value) -> Value {
    let inner = answer.get("error").and_then(Value::as_str).and_then(|text| {
        serde_json::from_str(text).ok().filter(|inner: &Value| inner.get("error").is_some())
    });
    inner.unwrap_or(answer)
}

/// What a worker for embeddings says, as its own fault, of a text that is longer than its context,
/// which is its batch too.
fn too_large(message: &str) -> Option<(u32, u32)> {
    let (tokens, rest) = message.strip_prefix("input (")?.split_once(" tokens) is too large")?;
    let (_, batch) = rest.rsplit_once("batch size: ")?;
    Some((tokens.parse().ok()?, batch.strip_suffix(')')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_within_an_error_is_found() {
        let inner = json!({ "error": { "n_ctx": 1, "n_prompt_tokens": 2 } });
        assert_eq!(unwrapped(json!({ "error": inner.to_string() })), inner);
        for other in [json!({ "error": "no" }), json!({ "error": "[1]" }), json!([1])] {
            assert_eq!(unwrapped(other.clone()), other);
        }
    }

    #[test]
    fn a_text_longer_than_the_batch_is_too_long() {
        let message = "input (701 tokens) is too large to process. increase the physical batch size \
                       (current batch size: 512)";
        assert_eq!(too_large(message), Some((701, 512)));
        for other in
            ["", "input (x tokens) is too large (current batch size: 1)", "input (1 tokens)"]
        {
            assert_eq!(too_large(other), None, "{other}");
        }
    }
}
