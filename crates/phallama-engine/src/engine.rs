use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::config::{ModelState, WorkerFacts};
use crate::connection::{Exchange, NoAnswer, post};
use crate::memory::Tenant;
use crate::slots::{Lease, SlotTable};
use crate::supervisor::{Supervisor, WorkerState};
use crate::{
    Account, ChatRequest, ChatStream, CompletionRequest, EngineConfig, EngineError, StartProgress,
    WorkerText,
};

/// One model behind one supervised worker. Clones share it; with the last one the worker is killed.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Arc<EngineConfig>,
    slots: Arc<SlotTable>,
    tenant: Arc<Tenant>,
    supervisor: Supervisor,
    draining: AtomicBool,
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
        let config = Arc::new(config);
        let slots = SlotTable::new(config.slots, config.queue_max);
        let tenant = Tenant::new(config.memory.clone(), Arc::clone(&slots));
        let (shared, sitting) = (Arc::clone(&config), Arc::clone(&tenant));
        let supervisor = Supervisor::start(shared, sitting, Arc::new(progress)).await?;
        let draining = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { config, slots, tenant, supervisor, draining })))
    }

    /// Answers a conversation. Waits for a free slot; dropping the future gives up the place.
    ///
    /// # Errors
    /// [`EngineError::QueueFull`], [`EngineError::WorkerRestarting`], [`EngineError::LoadFailed`],
    /// [`EngineError::NoMemory`], [`EngineError::Draining`],
    /// [`EngineError::PromptTooLong`], [`EngineError::WorkerRefused`], [`EngineError::Stalled`],
    /// [`EngineError::Truncated`].
    pub async fn chat(
        &self,
        request: ChatRequest,
        account: Account,
    ) -> Result<ChatStream, EngineError> {
        self.run("/v1/chat/completions", account, |lease, context| {
            request.worker_body(lease.slot(), lease.reuse_cache(), context)
        })
        .await
    }

    /// Continues a raw prompt, without chat template.
    ///
    /// # Errors
    /// As [`Engine::chat`].
    pub async fn complete(
        &self,
        request: CompletionRequest,
        account: Account,
    ) -> Result<ChatStream, EngineError> {
        self.run("/v1/completions", account, |lease, context| {
            request.worker_body(lease.slot(), lease.reuse_cache(), context)
        })
        .await
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

    /// Process id of the worker, if there is one that answers.
    pub fn worker_pid(&self) -> Option<u32> {
        match self.0.supervisor.state() {
            WorkerState::Ready(worker) => Some(worker.pid),
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

    async fn run(
        &self,
        path: &str,
        account: Account,
        body: impl FnOnce(&Lease, u32) -> Vec<u8>,
    ) -> Result<ChatStream, EngineError> {
        if self.0.draining.load(Ordering::SeqCst) {
            return Err(EngineError::Draining);
        }
        self.0.supervisor.state().pause()?;
        self.0.tenant.touch();
        // A model whose slot is taken is not unloaded; so the slot comes first.
        let lease = self.0.slots.acquire(account).await?;
        let worker = self.0.supervisor.ready().await?;
        let body = body(&lease, self.0.config.context_tokens);
        let stall_timeout = self.0.config.stall_timeout;
        let answer = tokio::time::timeout(stall_timeout, post(&worker.socket, path, body)).await;
        match answer {
            Ok(Ok(exchange)) if exchange.status == 200 => {
                Ok(ChatStream::new(exchange, lease, worker, stall_timeout))
            }
            Ok(Ok(exchange)) => Err(refusal(exchange, stall_timeout).await),
            Ok(Err(NoAnswer)) => Err(self.gone()),
            Err(_) => {
                worker.restart();
                Err(EngineError::Stalled { after: stall_timeout })
            }
        }
    }

    /// The worker ended before it began to answer, but its supervisor may not have noticed yet.
    fn gone(&self) -> EngineError {
        self.0.supervisor.state().pause().err().unwrap_or_else(|| {
            let backoff = self.0.config.backoff_min.as_millis();
            let retry_after_ms = u64::try_from(backoff).unwrap_or(u64::MAX).max(1);
            EngineError::WorkerRestarting { retry_after_ms }
        })
    }
}

/// What an answer other than 200 means.
async fn refusal(exchange: Exchange, timeout: Duration) -> EngineError {
    let status = exchange.status;
    let body = tokio::time::timeout(timeout, exchange.error_body()).await.unwrap_or_default();
    let parsed: Option<Value> = serde_json::from_slice(&body).ok();
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
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
    let message =
        message.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
    EngineError::WorkerRefused { status, message: WorkerText::new(message) }
}
