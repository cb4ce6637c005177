//! Keeps one worker running.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::worker::{Progress, Spawner, Worker};
use crate::{EngineConfig, EngineError};

/// A worker that ran this long did not fail because of how it was started.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(30);

/// Restart orders that may be waiting; one is enough, more say the same.
const ORDERS_MAX: usize = 16;

/// What the rest of the engine can know about the worker.
#[derive(Clone)]
pub(crate) enum WorkerState {
    Ready(ReadyWorker),
    Restarting { retry_at: Instant },
    Stopped,
}

/// A worker that takes requests.
#[derive(Clone)]
pub(crate) struct ReadyWorker {
    pub(crate) socket: PathBuf,
    pub(crate) pid: u32,
    generation: u64,
    orders: mpsc::Sender<u64>,
}

impl ReadyWorker {
    /// Has this worker killed and started again, unless that has happened already.
    pub(crate) fn restart(&self) {
        // A full channel holds the same order already.
        let _ = self.orders.try_send(self.generation);
    }
}

/// The task that owns the worker process. Dropping it kills the process.
pub(crate) struct Supervisor {
    state: watch::Receiver<WorkerState>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// Starts the first worker; an error here is final.
    pub(crate) async fn start(
        config: Arc<EngineConfig>,
        progress: Progress,
    ) -> Result<Self, EngineError> {
        let spawner = Spawner::start();
        let worker = Worker::launch(&config, &spawner, 0, progress).await?;
        let (send_order, orders) = mpsc::channel(ORDERS_MAX);
        let (publish, state) = watch::channel(WorkerState::Stopped);
        let (stop, stopped) = watch::channel(false);
        let keeper =
            Keeper { config, spawner, publish, send_order, orders, generation: 0, failures: 0 };
        keeper.publish_ready(&worker);
        let task = tokio::spawn(keeper.run(worker, stopped));
        Ok(Self { state, stop, task: Mutex::new(Some(task)) })
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.state.borrow().clone()
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

/// The state of the supervising task.
struct Keeper {
    config: Arc<EngineConfig>,
    spawner: Spawner,
    publish: watch::Sender<WorkerState>,
    send_order: mpsc::Sender<u64>,
    orders: mpsc::Receiver<u64>,
    generation: u64,
    failures: u32,
}

impl Keeper {
    async fn run(mut self, first: Worker, mut stopped: watch::Receiver<bool>) {
        let mut worker = Some(first);
        while let Some(mut current) = worker.take() {
            let up_since = Instant::now();
            let stop = tokio::select! {
                () = current.ended() => false,
                () = order_for(&mut self.orders, self.generation) => false,
                _ = stopped.wait_for(|stop| *stop) => true,
            };
            if stop {
                self.publish.send_replace(WorkerState::Stopped);
                current.kill().await;
                break;
            }
            self.announce_restart(up_since.elapsed());
            current.kill().await;
            worker = tokio::select! {
                worker = self.relaunch() => Some(worker),
                _ = stopped.wait_for(|stop| *stop) => None,
            };
        }
        self.publish.send_replace(WorkerState::Stopped);
    }

    /// Tries until a worker runs.
    async fn relaunch(&mut self) -> Worker {
        loop {
            tokio::time::sleep(self.backoff()).await;
            self.generation += 1;
            let quiet: Progress = Arc::new(|_| {});
            match Worker::launch(&self.config, &self.spawner, self.generation, quiet).await {
                Ok(worker) => {
                    tracing::info!(generation = self.generation, "the worker runs again");
                    self.publish_ready(&worker);
                    return worker;
                }
                Err(error) => {
                    tracing::warn!(%error, "the worker could not be restarted");
                    self.announce_restart(Duration::ZERO);
                }
            }
        }
    }

    fn announce_restart(&mut self, was_up: Duration) {
        self.failures = if was_up >= BACKOFF_RESET_AFTER { 1 } else { self.failures + 1 };
        let backoff = self.backoff();
        tracing::warn!(
            failures = self.failures,
            backoff_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
            "the worker ended and will be restarted"
        );
        let retry_at = Instant::now() + backoff;
        self.publish.send_replace(WorkerState::Restarting { retry_at });
    }

    fn backoff(&self) -> Duration {
        backoff(self.config.backoff_min, self.config.backoff_max, self.failures)
    }

    fn publish_ready(&self, worker: &Worker) {
        self.publish.send_replace(WorkerState::Ready(ReadyWorker {
            socket: worker.socket().to_owned(),
            pid: worker.pid(),
            generation: self.generation,
            orders: self.send_order.clone(),
        }));
    }
}

/// Returns at an order to restart the given generation; older orders are stale.
async fn order_for(orders: &mut mpsc::Receiver<u64>, generation: u64) {
    while let Some(ordered) = orders.recv().await {
        if ordered == generation {
            return;
        }
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
