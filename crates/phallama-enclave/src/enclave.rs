//! The state of one boot: identity, epochs, models and channels.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use phallama_attest::{
    Binding, Evidence, EvidenceError, NONCE_ON_CHAIN, model_set_root, report_data,
};
use phallama_engine::{Engine, EngineConfig, EngineError, Load, Memory, ModelState, StartProgress};
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::eip712::Domain;
use phallama_protocol::ids::{Address, Digest32, RequestId};
use phallama_protocol::keys::Signer;
use phallama_protocol::link::{ModelStatus, Status, WorkerState};
use phallama_protocol::offers::{Offer, offers_hash};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::config::{Config, ConfigError, LoadConfig, ModelConfig};
use crate::epoch::{EpochRing, PodFacts};
use crate::ledger::Ledger;
use crate::platform::{Platform, PlatformError, file_sha256, measurement_of};
use crate::random::os_rng;

/// How long requests may run on after a signal to stop.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long a backend may be silent that says nothing while it computes a prompt.
const BACKEND_STALL_TIMEOUT: Duration = Duration::from_mins(2);

/// One boot of the enclave program. Everything in it dies with the process.
pub struct Enclave {
    identity: Signer,
    facts: PodFacts,
    binding: Binding,
    /// The quote with nonce 0, whose hash is in bundles and on chain. Platforms sign each quote
    /// anew, so another one would have another hash.
    quote: Vec<u8>,
    platform: Arc<Platform>,
    clock: Clock,
    epochs: Mutex<EpochRing>,
    block_seen: AtomicU64,
    models: Vec<Model>,
    ledger: Arc<Ledger>,
    body_max_bytes: usize,
    exchanges_max: u32,
    exchanges: Arc<Semaphore>,
    draining: AtomicBool,
}

/// One model that is served.
pub(crate) struct Model {
    pub(crate) offer: Offer,
    pub(crate) engine: Engine,
}

impl Model {
    fn status(&self) -> ModelStatus {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        ModelStatus {
            model: self.offer.model.clone(),
            state: match self.engine.state() {
                ModelState::Unloaded => WorkerState::Unloaded,
                ModelState::Loading => WorkerState::Starting,
                ModelState::Ready => WorkerState::Ready,
                ModelState::Restarting | ModelState::Stopped => WorkerState::Restarting,
            },
            build: self.engine.worker_facts().and_then(|facts| facts.build.clone()),
            in_flight: count(self.engine.in_flight()),
            queued: count(self.engine.queued()),
            restarts: self.engine.restarts(),
            needs_bytes: self.engine.needs_bytes(),
        }
    }
}

/// Why the enclave does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no evidence.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The evidence cannot be published.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A model does not start.
    #[error("model `{model}`: {source}")]
    Engine {
        /// The model.
        model: String,
        /// Why.
        source: EngineError,
    },
}

/// What is going on while the enclave starts.
#[derive(Clone, Debug)]
pub struct Starting {
    /// The model.
    pub model: String,
    /// How far it is.
    pub progress: StartProgress,
}

impl Enclave {
    /// Draws the identity key, starts the workers and proves the identity to the platform.
    /// `progress` is told how far each model is.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: &Config,
        clock: Clock,
        progress: impl Fn(Starting) + Send + Sync + Clone + 'static,
    ) -> Result<Arc<Self>, StartError> {
        config.check()?;
        let platform = Arc::new(Platform::new(&config.tee)?);
        let identity = Signer::generate(&mut os_rng());
        let binding = binding(config, identity.address())?;
        // Workers first: what does not serve needs no evidence.
        let models = start_models(config, progress).await?;
        let now = clock.unix_s();
        let evidence = platform.evidence(&report_data(&binding, NONCE_ON_CHAIN), now)?;
        evidence.to_json()?;
        let facts = facts(config, &binding, &evidence)?;
        Ok(Arc::new(Self {
            identity,
            facts,
            binding,
            quote: evidence.quote,
            platform,
            clock,
            epochs: Mutex::new(EpochRing::new()),
            block_seen: AtomicU64::new(0),
            models,
            ledger: Arc::new(Ledger::default()),
            body_max_bytes: config.policy.body_max_bytes as usize,
            exchanges_max: config.policy.exchanges_max,
            exchanges: Arc::new(Semaphore::new(config.policy.exchanges_max as usize)),
            draining: AtomicBool::new(false),
        }))
    }

    /// The identity key of this boot.
    pub(crate) fn identity(&self) -> &Signer {
        &self.identity
    }

    /// Address of the identity key, which evidence and registry name.
    pub fn identity_address(&self) -> Address {
        self.identity.address()
    }

    /// What every key bundle of this boot has in common.
    pub fn facts(&self) -> &PodFacts {
        &self.facts
    }

    /// The domain of all signatures about money.
    pub(crate) fn domain(&self) -> Domain {
        Domain { chain_id: self.facts.chain_id, escrow: self.facts.escrow }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn body_max_bytes(&self) -> usize {
        self.body_max_bytes
    }

    pub(crate) fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.offer.model == name)
    }

    pub(crate) fn model_names(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.offer.model.as_str())
    }

    /// The newest block that the host has named.
    pub(crate) fn block_seen(&self) -> u64 {
        self.block_seen.load(Ordering::Relaxed)
    }

    /// Notes a block that the host names. It is the host's word, and only ever grows.
    pub(crate) fn see_block(&self, block: u64) {
        self.block_seen.fetch_max(block, Ordering::Relaxed);
    }

    /// The epochs, rotated to now: what is over is erased before anything else happens.
    pub(crate) fn epochs(&self) -> MutexGuard<'_, EpochRing> {
        let mut epochs = self.epochs.lock().expect("nothing panics while it holds the epochs");
        let now = self.clock.unix_s();
        epochs.rotate(now, self.block_seen(), &self.facts, &self.identity, &mut os_rng());
        epochs
    }

    /// The current key bundle: the same bytes for everyone.
    pub(crate) fn bundle(&self) -> Arc<SignedBundle> {
        self.epochs().bundle().expect("rotation leaves a current epoch")
    }

    /// Takes a user's request id until the guard is dropped, or for good once it is charged.
    /// `None`: it is taken.
    pub(crate) fn take_request_id(
        self: &Arc<Self>,
        user: Address,
        id: RequestId,
    ) -> Option<TakenId> {
        self.epochs().take_request_id(user, id).then(|| TakenId {
            enclave: Arc::clone(self),
            user,
            id,
            charged: false,
        })
    }

    /// Evidence as the JSON of spec/attestation.md: for a nonce that a verifier chose, or, for
    /// nonce 0, the quote of the start with today's collateral.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) async fn evidence(&self, nonce: [u8; 32]) -> Result<Vec<u8>, StartError> {
        let data = report_data(&self.binding, nonce);
        let (platform, now) = (Arc::clone(&self.platform), self.clock.unix_s());
        let mut evidence = tokio::task::spawn_blocking(move || platform.evidence(&data, now))
            .await
            .expect("a platform does not panic")?;
        if nonce == NONCE_ON_CHAIN {
            evidence.quote.clone_from(&self.quote);
        }
        Ok(evidence.to_json()?)
    }

    /// Room for one more exchange, until the permit is dropped.
    pub(crate) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.exchanges).try_acquire_owned().ok()
    }

    /// Erases epochs that are over, also when nobody asks for anything. The first epoch waits for
    /// somebody who asks, so that its bundle can name a block.
    pub(crate) fn erase_old_epochs(&self) {
        let started = {
            let epochs = self.epochs.lock().expect("nothing panics while it holds the epochs");
            epochs.bundle().is_some()
        };
        if started {
            drop(self.epochs());
        }
    }

    /// How the enclave is.
    pub(crate) fn status(&self) -> Status {
        let sum = |part: fn(&Engine) -> usize| {
            let total: usize = self.models.iter().map(|model| part(&model.engine)).sum();
            u32::try_from(total).unwrap_or(u32::MAX)
        };
        let models: Vec<ModelStatus> = self.models.iter().map(Model::status).collect();
        // One model that is down is told of below; the others are served.
        let serves = |model: &ModelStatus| model.state != WorkerState::Restarting;
        let ready = models.iter().any(serves);
        Status {
            identity: self.identity.address(),
            measurement: self.facts.measurement,
            in_flight: sum(Engine::in_flight),
            queued: sum(Engine::queued),
            slots: self.models.iter().map(|model| model.engine.config().slots).sum(),
            worker: if ready { WorkerState::Ready } else { WorkerState::Restarting },
            epoch_id: self.bundle().bundle().epoch_id,
            models,
        }
    }

    /// Whether new requests are refused because the program stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Refuses new requests, lets running ones end within [`DRAIN`], and ends the workers.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let idle = self.exchanges.acquire_many(self.exchanges_max);
        if tokio::time::timeout(DRAIN, idle).await.is_err() {
            tracing::warn!("exchanges were cut off by the shutdown");
        }
        for model in &self.models {
            model.engine.shutdown(Duration::ZERO).await;
        }
    }
}

/// A request id in use. Dropping it gives the id back, unless the request was charged.
pub(crate) struct TakenId {
    enclave: Arc<Enclave>,
    user: Address,
    id: RequestId,
    charged: bool,
}

impl TakenId {
    /// The request was charged: its id stays taken.
    pub(crate) fn keep(mut self) {
        self.charged = true;
    }
}

impl Drop for TakenId {
    fn drop(&mut self) {
        if !self.charged {
            self.enclave.epochs().release_request_id(self.user, self.id);
        }
    }
}

fn binding(config: &Config, identity: Address) -> Result<Binding, StartError> {
    let models: Vec<(&str, [u8; 32])> =
        config.models.iter().map(|model| (model.model.as_str(), model.weights_sha256.0)).collect();
    let worker = &config.worker;
    let mut args = config.policy_args();
    let worker_sha256 = match &worker.backend {
        // It runs already: what it is, only the machine's own measurement can say.
        Some(backend) if !backend.has_program() => [0; 32],
        _ => file_sha256(&worker.path)?,
    };
    let backend = worker.backend.as_ref();
    if let Some(path) = backend.and_then(|backend| backend.second_program(&worker.path)) {
        args.push(format!("backend llama-server {}", Digest32(file_sha256(&path)?)));
    }
    Ok(Binding {
        chain_id: config.chain_id,
        registry: config.registry.0,
        pod_id: config.pod_id.0,
        identity: identity.0,
        model_set_root: model_set_root(&models)
            .expect("a checked configuration has valid and distinct model names"),
        policy_digest: config.policy.digest(worker_sha256, &args).0,
    })
}

fn facts(config: &Config, binding: &Binding, evidence: &Evidence) -> Result<PodFacts, StartError> {
    Ok(PodFacts {
        chain_id: config.chain_id,
        registry: config.registry,
        escrow: config.escrow,
        pod_id: config.pod_id,
        evidence_hash: Digest32(evidence.hash()),
        measurement: measurement_of(&evidence.quote)?,
        model_set_root: Digest32(binding.model_set_root),
        offers_hash: offers_hash(&config.offers()),
        policy_digest: Digest32(binding.policy_digest),
        classes: config.policy.frame_classes(),
    })
}

async fn start_models(
    config: &Config,
    progress: impl Fn(Starting) + Send + Sync + Clone + 'static,
) -> Result<Vec<Model>, StartError> {
    let memory = match config.worker.memory_budget_bytes {
        Some(bytes) => Memory::new(Some(bytes)),
        None => Memory::of_this_machine(),
    };
    let mut models = Vec::new();
    for (index, model) in config.models.iter().enumerate() {
        let socket_dir = config.worker.socket_dir.join(index.to_string());
        let name = model.model.clone();
        let progress = progress.clone();
        let engine_config =
            EngineConfig { memory: memory.clone(), ..engine_config(config, model, &socket_dir) };
        let engine = Engine::start_with_progress(engine_config, move |step| {
            progress(Starting { model: name.clone(), progress: step });
        })
        .await
        .map_err(|source| StartError::Engine { model: model.model.clone(), source })?;
        models.push(Model { offer: model.offer(), engine });
    }
    Ok(models)
}

fn engine_config(config: &Config, model: &ModelConfig, socket_dir: &Path) -> EngineConfig {
    let worker = &config.worker;
    let defaults = EngineConfig::new(
        &worker.path,
        &model.model_path,
        &model.model,
        model.weights_sha256.0,
        socket_dir,
    );
    let seconds = |chosen: Option<u64>, default| chosen.map_or(default, Duration::from_secs);
    let backend = worker.backend.as_ref().map(|backend| {
        backend.backend().expect("a checked configuration has a backend on this machine")
    });
    let backend = backend.unwrap_or_default();
    let stall_timeout =
        if backend.is_over_tcp() { BACKEND_STALL_TIMEOUT } else { defaults.stall_timeout };
    EngineConfig {
        backend,
        serves: model.serves(),
        context_tokens: model.context_tokens,
        slots: worker.slots,
        queue_max: worker.queue_max,
        threads: worker.threads,
        extra_args: worker.args.iter().map(Into::into).collect(),
        start_timeout: seconds(worker.start_timeout_s, defaults.start_timeout),
        stall_timeout: seconds(worker.stall_timeout_s, stall_timeout),
        batch_tokens: worker.batch_tokens.unwrap_or(defaults.batch_tokens),
        load: match model.load {
            LoadConfig::Start => Load::AtStart,
            LoadConfig::Request => Load::OnRequest,
        },
        keep_alive: model.keep_alive_s.map(Duration::from_secs),
        ..defaults
    }
}
