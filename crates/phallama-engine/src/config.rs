use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Who a request belongs to: the 20-byte address of the paying account. Prefix caches are never
/// shared between two of them.
pub type Account = [u8; 20];

/// How one model is served by one supervised worker.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The llama-server program.
    pub worker: PathBuf,
    /// The GGUF weight file.
    pub model_path: PathBuf,
    /// The name under which the model is offered.
    pub model_name: String,
    /// SHA-256 of the weight file; any other file is refused before the worker sees it.
    pub weights_sha256: [u8; 32],
    /// Context of one request in tokens, prompt and answer together.
    pub context_tokens: u32,
    /// How many requests are computed at once.
    pub slots: u32,
    /// How many more requests may wait for a slot before new ones get
    /// [`EngineError::QueueFull`](crate::EngineError::QueueFull).
    pub queue_max: usize,
    /// Computing threads of the worker; `None` leaves one core of this process to everything else.
    ///
    /// The threads wait for one another at every step, so one that is preempted stops them all. On
    /// two cores beside other busy processes, one thread made 44–89 tokens/s where two made 2–13,
    /// with or without `--poll 0`; on a quiet machine two make about 100–130. `--prio 2` among
    /// `extra_args` gave 145–177 under the same load, but it needs CAP_SYS_NICE and starves
    /// whatever else runs on those cores, this process included.
    pub threads: Option<u32>,
    /// Directory of the worker's socket; created, and set to mode 0700.
    pub socket_dir: PathBuf,
    /// Further command-line arguments for tuning. Those that would override ours, log or open the
    /// worker to others are refused: [`check_extra_args`](crate::check_extra_args).
    pub extra_args: Vec<OsString>,
    /// How long a started worker may take until its model is loaded.
    pub start_timeout: Duration,
    /// How long a running request may go without a byte from the worker.
    pub stall_timeout: Duration,
    /// Wait before the first restart of a worker that ended; doubles with each failure.
    pub backoff_min: Duration,
    /// Longest wait between two restarts.
    pub backoff_max: Duration,
}

impl EngineConfig {
    /// Sane values for everything that has one: 2 slots of 4096 tokens, 32 waiting requests,
    /// 5 minutes to load, 60 seconds without a byte, restarts after 100 ms to 60 s.
    pub fn new(
        worker: impl Into<PathBuf>,
        model_path: impl Into<PathBuf>,
        model_name: impl Into<String>,
        weights_sha256: [u8; 32],
        socket_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            worker: worker.into(),
            model_path: model_path.into(),
            model_name: model_name.into(),
            weights_sha256,
            context_tokens: 4096,
            slots: 2,
            queue_max: 32,
            threads: None,
            socket_dir: socket_dir.into(),
            extra_args: Vec::new(),
            start_timeout: Duration::from_mins(5),
            stall_timeout: Duration::from_mins(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_mins(1),
        }
    }

    /// The number of computing threads the worker is told to use.
    pub fn threads_resolved(&self) -> u32 {
        self.threads.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            u32::try_from(cores - 1).unwrap_or(u32::MAX).max(1)
        })
    }
}

/// What the engine is doing while it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartProgress {
    /// The weight file is being hashed.
    Hashing {
        /// Bytes hashed so far.
        done_bytes: u64,
        /// Size of the file.
        total_bytes: u64,
    },
    /// The worker process runs and loads the model.
    Loading {
        /// Milliseconds since it was spawned.
        elapsed_ms: u64,
    },
    /// The worker answers requests.
    Ready,
}
