use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cores::computing_threads;
use crate::{Backend, Memory};

/// Who a request belongs to: the 20-byte address of the paying account. Prefix caches are never
/// shared between two of them.
pub type Account = [u8; 20];

/// A file beside the weights that the worker reads too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanionFile {
    /// The GGUF file.
    pub path: PathBuf,
    /// Its SHA-256; any other file is refused before the worker sees it.
    pub sha256: [u8; 32],
}

/// How a model for embeddings makes one vector of the vectors of all tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's.
    Cls,
    /// The last one's.
    Last,
}

impl Pooling {
    /// The worker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        }
    }
}

/// What a worker is for.
///
/// One or the other: llama-server takes any slot it likes for embeddings, so in a worker that also
/// answers they would leave one account's tokens in a slot that is known as another's. A model that
/// is to do both is offered twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// Chats and completions.
    Answers {
        /// The multimodal projector, for models that take images.
        projector: Option<CompanionFile>,
        /// A small model that guesses ahead, for speculative decoding.
        draft: Option<CompanionFile>,
    },
    /// Vectors.
    Embeddings {
        /// `None`: as the model's file says.
        pooling: Option<Pooling>,
    },
}

/// How one model is served by one supervised worker.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// What computes.
    pub backend: Backend,
    /// The program that is run: llama-server, or Ollama. Unused for a server that runs already.
    pub worker: PathBuf,
    /// The GGUF weight file.
    pub model_path: PathBuf,
    /// The name under which the model is offered.
    pub model_name: String,
    /// SHA-256 of the weight file; any other file is refused before the worker sees it.
    pub weights_sha256: [u8; 32],
    /// What the worker is for.
    pub serves: Serves,
    /// Context of one request in tokens, prompt and answer together.
    pub context_tokens: u32,
    /// How many requests are computed at once.
    pub slots: u32,
    /// How many more requests may wait for a slot before new ones get
    /// [`EngineError::QueueFull`](crate::EngineError::QueueFull). Half of them, rounded up, may be
    /// of one account.
    pub queue_max: usize,
    /// Computing threads of the worker; `None`: one for each core, and one less where there are
    /// many (`docs/decisions/011-all-cores-compute.md`).
    pub threads: Option<u32>,
    /// Directory of the worker's socket, or of Ollama's own files; created, and set to mode 0700.
    pub socket_dir: PathBuf,
    /// Further command-line arguments for tuning. Those that would override ours, log or open the
    /// worker to others are refused: [`check_extra_args`](crate::check_extra_args).
    pub extra_args: Vec<OsString>,
    /// How long a started worker may take until its model is loaded.
    pub start_timeout: Duration,
    /// How long a worker may tell nobody anything while requests run; one that is told nothing for
    /// ten times as long is lost, whatever others are told. While it computes a prompt,
    /// llama-server reports after every `batch_tokens`. Other backends say nothing until the
    /// first token: it has to be longer than they take for the longest prompt.
    pub stall_timeout: Duration,
    /// How often the worker is asked whether it is well, and how long it may take to say so. One
    /// that misses three in a row is replaced.
    pub probe_every: Duration,
    /// Tokens of a prompt that are computed at a time. More is faster for long prompts, and makes
    /// other answers wait longer.
    pub batch_tokens: u32,
    /// When the model is loaded.
    pub load: Load,
    /// How long it stays loaded without a request; `None`: until another model needs the memory.
    pub keep_alive: Option<Duration>,
    /// The memory that it shares with other models.
    pub memory: Memory,
    /// Wait before the first restart of a worker that ended; doubles with each failure.
    pub backoff_min: Duration,
    /// Longest wait between two restarts.
    pub backoff_max: Duration,
}

impl EngineConfig {
    /// Sane values for everything that has one: 2 slots of 4096 tokens, 32 waiting requests,
    /// 5 minutes to load, 30 seconds without a byte, restarts after 100 ms to 60 s; loaded at once,
    /// for good, without a limit on memory.
    pub fn new(
        worker: impl Into<PathBuf>,
        model_path: impl Into<PathBuf>,
        model_name: impl Into<String>,
        weights_sha256: [u8; 32],
        socket_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            backend: Backend::LlamaServer,
            worker: worker.into(),
            model_path: model_path.into(),
            model_name: model_name.into(),
            weights_sha256,
            serves: Serves::Answers { projector: None, draft: None },
            context_tokens: 4096,
            slots: 2,
            queue_max: 32,
            threads: None,
            socket_dir: socket_dir.into(),
            extra_args: Vec::new(),
            start_timeout: Duration::from_mins(5),
            stall_timeout: Duration::from_secs(30),
            probe_every: Duration::from_secs(5),
            batch_tokens: 128,
            load: Load::AtStart,
            keep_alive: None,
            memory: Memory::new(None),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_mins(1),
        }
    }

    /// Tokens that the worker's cache holds, all slots together.
    pub(crate) fn cache_tokens(&self) -> u64 {
        u64::from(self.context_tokens) * u64::from(self.slots.max(1))
    }

    /// The number of computing threads the worker is told to use.
    pub fn threads_resolved(&self) -> u32 {
        self.threads.unwrap_or_else(computing_threads)
    }
}

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// With the engine, which is not started until it answers.
    #[default]
    AtStart,
    /// When somebody asks it. The file is checked when the engine starts, and again then.
    OnRequest,
}

/// How the model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// Not in memory; the next request loads it.
    Unloaded,
    /// The file is checked and the worker loads it.
    Loading,
    /// The worker answers.
    Ready,
    /// The worker ended or could not be started, and is started again.
    Restarting,
    /// The engine was shut down.
    Stopped,
}

/// What a worker says of itself once it is ready. Absent is what it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerFacts {
    /// Build of llama-server.
    pub build: Option<String>,
    /// Requests that it computes at once.
    pub slots: Option<u32>,
    /// Context of one request, tokens.
    pub context_tokens: Option<u32>,
    /// Whether it takes images.
    pub images: bool,
    /// Whether it takes audio.
    pub audio: bool,
    /// Whether the model has a chat template.
    pub chat_template: bool,
    /// Whether the template has a place for tools, if the worker says.
    pub tools: Option<bool>,
    /// Whether it thinks, if the worker says.
    pub thinking: Option<bool>,
    /// Whether it can fill in text before a suffix, if the worker says.
    pub infill: Option<bool>,
}

impl WorkerFacts {
    /// Reads llama-server's `/props`.
    pub(crate) fn from_props(json: &[u8]) -> Self {
        let props: Value = serde_json::from_slice(json).unwrap_or_default();
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let yes = |name: &str| props["modalities"][name] == true;
        Self {
            build: props["build_info"].as_str().map(str::to_owned),
            slots: number(&props["total_slots"]),
            context_tokens: number(&props["default_generation_settings"]["n_ctx"]),
            images: yes("vision"),
            audio: yes("audio"),
            chat_template: props["chat_template"].as_str().is_some_and(|text| !text.is_empty()),
            tools: props["chat_template_caps"]["supports_tools"].as_bool(),
            thinking: None,
            infill: None,
        }
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
    /// The backend fetches the model.
    Pulling {
        /// Bytes that it has of the file that it fetches.
        done_bytes: u64,
        /// Size of that file; zero when it fetches none.
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
