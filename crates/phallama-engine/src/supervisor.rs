//! Keeps one worker running, or at hand.
//!
//! A model is in one of these states; every one but the last is left by itself or by a request.
//!
//! ```text
//!              a request                          ready
//! Unloaded ───────────────► Loading ───────────────────────────► Ready
//!     ▲   ▲                  ▲    │ fails                        │  │
//!     │   │ on request       │    ▼                              │  │ ends, hangs,
//!     │   └────────────── Restarting ◄──────────────────────────┼──┘ talks nonsense
//!     │        backoff over, at start: Loading                   │
//!     └──────────────────────────────────────────────────────────┘ idle, or another needs memory
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::backend::Backend;
use crate::config::{Load, ModelState, WorkerFacts};
use crate::memory::{Seat, Tenant};
use crate::process::Spawner;
use crate::signs::Signs;
use crate::weights::{check_digest, check_weights};
use crate::worker::{Probe, Progress, Worker, version};
use crate::{EngineConfig, EngineError, StartProgress};

/// A worker that ran this long did not fail because of how it was started.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(30);
/// How long a model that found no memory does not look for any.
const MEMORY_PAUSE: Duration = Duration::from_secs(1);
/// Orders that may be waiting.
const ORDERS_MAX: usize = 16;
/// A worker that so many times in a row did not say that it is well hangs.
const PROBES_MISSED_MAX: u32 = 3;

/// What the rest of the engine can know about the worker.
#[derive(Clone)]
pub(crate) enum WorkerState {
    Unloaded,
    Loading,
    Ready(ReadyWorker),
    /// It may be gone in a moment, or stay.
    Leaving,
    Restarting {
        retry_at: Instant,
        pause: Pause,
    },
    Stopped,
}

/// Why there is no worker for a while.
#[derive(Clone, Copy)]
pub(crate) enum Pause {
    /// It ended.
    Ended,
    /// It could not be started; the log says why.
    Failed,
    /// Others need the memory: what it needs, what they use, what there is.
    NoMemory { needs_bytes: u64, used_bytes: u64, budget_bytes: u64 },
}

/// A worker that takes requests.
#[derive(Clone)]
pub(crate) struct ReadyWorker {
    pub(crate) address: Address,
    /// Of the process, if it is ours.
    pub(crate) pid: Option<u32>,
    pub(crate) facts: Arc<WorkerFacts>,
    /// What requests have heard of it.
    pub(crate) signs: Arc<Signs>,
    generation: u64,
    orders: mpsc::Sender<Order>,
}

enum Order {
    /// Somebody asks the model.
    Load,
    /// Kill the worker of this generation and start another.
    Restart(u64),
}

impl ReadyWorker {
    /// Has this worker killed and started again, unless that has happened already.
    pub(crate) fn restart(&self) {
        // A full channel is full of such orders, or of some that are stale.
        let _ = self.orders.try_send(Order::Restart(self.generation));
    }
}

/// The task that owns the worker process. Dropping it kills the process.
pub(crate) struct Supervisor {
    state: watch::Receiver<WorkerState>,
    orders: mpsc::Sender<Order>,
    restarts: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// Checks the weights and, unless it is to wait for a request, starts the first worker. An
    /// error here is final.
    pub(crate) async fn start(
        config: Arc<EngineConfig>,
        tenant: Arc<Tenant>,
        progress: Progress,
    ) -> Result<Self, EngineError> {
        let (send_order, orders) = mpsc::channel(ORDERS_MAX);
        let (publish, state) = watch::channel(WorkerState::Unloaded);
        let (restarted, restarts) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let mut keeper = Keeper {
            loads_itself: config.load == Load::AtStart,
            spawner: Spawner::start(),
            config,
            tenant,
            publish,
            restarted,
            send_order: send_order.clone(),
            orders,
            current: None,
            generation: 0,
            failures: 0,
        };
        keeper.first(progress).await?;
        let task = Mutex::new(Some(tokio::spawn(keeper.run(stopped))));
        Ok(Self { state, orders: send_order, restarts, stop, task })
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.state.borrow().clone()
    }

    /// Workers that had to be replaced.
    pub(crate) fn restarts(&self) -> u64 {
        *self.restarts.borrow()
    }

    /// The worker, which is loaded if it is not there. The caller must hold a slot.
    ///
    /// # Errors
    /// What [`WorkerState::pause`] says; [`EngineError::Draining`].
    pub(crate) async fn ready(&self) -> Result<ReadyWorker, EngineError> {
        let mut state = self.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                WorkerState::Ready(worker) => return Ok(worker),
                WorkerState::Unloaded => {
                    // It fails when the supervisor has gone; then the state says so.
                    let _ = self.orders.send(Order::Load).await;
                }
                WorkerState::Loading | WorkerState::Leaving => {}
                paused => paused.pause()?,
            }
            if state.changed().await.is_err() {
                return Err(EngineError::Draining);
            }
        }
    }

    /// Kills the worker and returns when it is gone.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().expect("holders do not panic").take();
        if let Some(task) = task {
            task.await.expect("the supervisor does not panic");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().expect("holders do not panic").take() {
            task.abort();
        }
    }
}

impl WorkerState {
    /// Why a request cannot even wait for the worker.
    ///
    /// # Errors
    /// [`EngineError::WorkerRestarting`], [`EngineError::LoadFailed`], [`EngineError::NoMemory`],
    /// [`EngineError::Draining`].
    pub(crate) fn pause(&self) -> Result<(), EngineError> {
        let Self::Restarting { retry_at, pause } = self else {
            return match self {
                Self::Stopped => Err(EngineError::Draining),
                _ => Ok(()),
            };
        };
        let wait = retry_at.saturating_duration_since(Instant::now());
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Err(match *pause {
            Pause::Ended => EngineError::WorkerRestarting { retry_after_ms },
            Pause::Failed => EngineError::LoadFailed { retry_after_ms },
            Pause::NoMemory { needs_bytes, used_bytes, budget_bytes } => {
                EngineError::NoMemory { needs_bytes, used_bytes, budget_bytes, retry_after_ms }
            }
        })
    }

    pub(crate) fn model_state(&self) -> ModelState {
        match self {
            Self::Unloaded => ModelState::Unloaded,
            Self::Loading => ModelState::Loading,
            Self::Ready(_) | Self::Leaving => ModelState::Ready,
            Self::Restarting { .. } => ModelState::Restarting,
            Self::Stopped => ModelState::Stopped,
        }
    }
}

/// The state of the supervising task.
struct Keeper {
    config: Arc<EngineConfig>,
    tenant: Arc<Tenant>,
    spawner: Spawner,
    publish: watch::Sender<WorkerState>,
    restarted: watch::Sender<u64>,
    send_order: mpsc::Sender<Order>,
    orders: mpsc::Receiver<Order>,
    current: Option<Loaded>,
    /// Whether a worker is started again without being asked for.
    loads_itself: bool,
    generation: u64,
    failures: u32,
}

/// A running worker with the memory that it takes.
struct Loaded {
    worker: Worker,
    since: Instant,
    seat: Seat,
}

/// Why a worker is given up.
enum End {
    Failed,
    Unneeded,
}

impl Keeper {
    async fn first(&mut self, progress: Progress) -> Result<(), EngineError> {
        self.check(Arc::clone(&progress)).await?;
        let is_llama_server = self.config.backend == Backend::LlamaServer;
        if is_llama_server && let Some(build) = version(&self.config.worker).await? {
            tracing::info!(build, model = self.config.model_name, "the worker program is there");
        }
        if self.loads_itself {
            let loaded = self.launch(progress).await?;
            self.take(loaded);
        }
        Ok(())
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.step() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        self.publish.send_replace(WorkerState::Stopped);
        if let Some(loaded) = self.current.take() {
            loaded.worker.end().await;
        }
    }

    /// From one state of the picture to the next.
    async fn step(&mut self) {
        match self.end().await {
            Some(End::Failed) => self.replace().await,
            Some(End::Unneeded) => self.leave().await,
            None => self.bring_up().await,
        }
    }

    /// Waits until the current worker is to be given up; `None` without one.
    async fn end(&mut self) -> Option<End> {
        let Loaded { worker, .. } = self.current.as_mut()?;
        let probe = worker.probe(&self.config.backend);
        Some(tokio::select! {
            status = worker.ended() => {
                tracing::warn!(model = self.config.model_name, status, "the worker ended");
                End::Failed
            }
            () = restart_ordered(&mut self.orders, self.generation) => End::Failed,
            () = hangs(&probe, self.config.probe_every) => End::Failed,
            () = self.tenant.must_leave() => End::Unneeded,
            () = unused(&self.tenant, self.config.keep_alive) => End::Unneeded,
        })
    }

    /// Kills a worker that failed.
    async fn replace(&mut self) {
        let Some(Loaded { worker, since, seat }) = self.current.take() else { return };
        if since.elapsed() >= BACKOFF_RESET_AFTER {
            self.failures = 0;
        }
        let backoff = self.failed(Pause::Ended);
        worker.end().await;
        drop(seat);
        tokio::time::sleep(backoff).await;
    }

    /// Ends a worker that nobody needs, unless somebody does by now.
    async fn leave(&mut self) {
        let Some(loaded) = self.current.take() else { return };
        self.publish.send_replace(WorkerState::Leaving);
        if !self.tenant.may_leave() {
            self.tenant.answered();
            self.publish_ready(&loaded.worker);
            self.current = Some(loaded);
            return;
        }
        let Loaded { worker, seat, .. } = loaded;
        worker.end().await;
        drop(seat);
        tracing::info!(model = self.config.model_name, "the model was unloaded");
        self.loads_itself = false;
    }

    /// Starts a worker, at once or when somebody asks.
    async fn bring_up(&mut self) {
        if !self.loads_itself {
            self.publish.send_replace(WorkerState::Unloaded);
            load_ordered(&mut self.orders).await;
        }
        self.publish.send_replace(WorkerState::Loading);
        self.generation += 1;
        match self.check_and_launch().await {
            Ok(loaded) => {
                tracing::info!(
                    model = self.config.model_name,
                    generation = self.generation,
                    "the model is loaded"
                );
                self.take(loaded);
            }
            Err(error) => {
                tracing::warn!(model = self.config.model_name, %error, "the model is not loaded");
                let pause = match error {
                    EngineError::NoMemory { needs_bytes, used_bytes, budget_bytes, .. } => {
                        let pause = Pause::NoMemory { needs_bytes, used_bytes, budget_bytes };
                        self.pause(MEMORY_PAUSE, pause);
                        MEMORY_PAUSE
                    }
                    _ => self.failed(Pause::Failed),
                };
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// The weights are checked before every start, because the file may be another by now.
    async fn check_and_launch(&self) -> Result<Loaded, EngineError> {
        let quiet: Progress = Arc::new(|_| {});
        self.check(Arc::clone(&quiet)).await?;
        self.launch(quiet).await
    }

    /// Takes memory for weights that were checked, and starts a worker with them.
    async fn launch(&self, progress: Progress) -> Result<Loaded, EngineError> {
        let seat = self.tenant.enter().await?;
        let worker = Worker::launch(&self.config, &self.spawner, self.generation, progress).await?;
        Ok(Loaded { worker, since: Instant::now(), seat })
    }

    /// Checks the weights, and whether they can fit.
    async fn check(&self, progress: Progress) -> Result<(), EngineError> {
        let config = &self.config;
        let (path, expected) = (&config.model_path, config.weights_sha256);
        let report = move |done_bytes, total_bytes| {
            progress(StartProgress::Hashing { done_bytes, total_bytes });
        };
        if matches!(config.backend, Backend::OpenAi { .. }) {
            // It may be of any format, and the server may be one that reads it.
            return check_digest(path, expected, report).await;
        }
        let weights = check_weights(path, expected, report).await?;
        if u64::from(config.context_tokens) > weights.model.context_tokens {
            tracing::warn!(
                model = config.model_name,
                offered = config.context_tokens,
                trained = weights.model.context_tokens,
                "the model is offered with a longer context than it was made for"
            );
        }
        if !config.backend.is_supervised() {
            // The memory of a server that is not ours is not ours to budget.
            return Ok(());
        }
        self.tenant.measure(&weights.model, weights.file_bytes, config.cache_tokens())
    }

    fn take(&mut self, loaded: Loaded) {
        self.publish_ready(&loaded.worker);
        self.current = Some(loaded);
    }

    /// Counts a failure, and says how long there will be no worker.
    fn failed(&mut self, pause: Pause) -> Duration {
        self.failures += 1;
        self.restarted.send_modify(|restarts| *restarts += 1);
        let backoff = backoff(self.config.backoff_min, self.config.backoff_max, self.failures);
        tracing::warn!(
            model = self.config.model_name,
            failures = self.failures,
            backoff_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
            "there is no worker for a while"
        );
        self.pause(backoff, pause);
        backoff
    }

    fn pause(&self, wait: Duration, pause: Pause) {
        let retry_at = Instant::now() + wait;
        self.publish.send_replace(WorkerState::Restarting { retry_at, pause });
    }

    fn publish_ready(&self, worker: &Worker) {
        self.publish.send_replace(WorkerState::Ready(ReadyWorker {
            address: worker.address().clone(),
            pid: worker.pid(),
            facts: worker.facts(),
            signs: Arc::default(),
            generation: self.generation,
            orders: self.send_order.clone(),
        }));
    }
}

/// Returns at an order to restart the given generation; other orders are stale.
async fn restart_ordered(orders: &mut mpsc::Receiver<Order>, generation: u64) {
    while let Some(order) = orders.recv().await {
        if matches!(order, Order::Restart(ordered) if ordered == generation) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Returns when somebody asks the model.
async fn load_ordered(orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        if matches!(order, Order::Load) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Returns when the worker has not said that it is well for too long.
async fn hangs(worker: &Probe, probe_every: Duration) {
    let mut missed = 0;
    while missed < PROBES_MISSED_MAX {
        tokio::time::sleep(probe_every).await;
        let probe = tokio::time::timeout(probe_every, worker.is_well());
        missed = if probe.await == Ok(true) { 0 } else { missed + 1 };
    }
    tracing::warn!("the worker does not say that it is well");
}

async fn unused(tenant: &Tenant, keep_alive: Option<Duration>) {
    match keep_alive {
        Some(keep_alive) => tenant.unused_for(keep_alive).await,
        None => std::future::pending().await,
    }
}

/// `min` after the first failure, twice as long after each further one, never above `max`.
fn backoff(min: Duration, max: Duration, failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    min.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_its_minimum_to_its_maximum() {
        let (min, max) = (Duration::from_millis(100), Duration::from_mins(1));
        let ms = |failures| backoff(min, max, failures).as_millis();
        assert_eq!([1, 2, 3, 10, 11, 500].map(ms), [100, 200, 400, 51_200, 60_000, 60_000]);
    }
}
