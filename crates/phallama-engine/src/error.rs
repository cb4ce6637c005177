use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::gguf::GgufError;
use crate::sse::SseError;

/// Text that the worker wrote about a request. It may quote the prompt, so it prints as its length;
/// [`WorkerText::reveal`] is for the person who sent the prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerText(String);

impl WorkerText {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the sender of the request, never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WorkerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes withheld]", self.0.len())
    }
}

impl fmt::Display for WorkerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whose fault an [`EngineError`] is, for one exit code, status and retry decision each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The configuration of the pod: weights, paths, worker program.
    Operator,
    /// The request itself; sending it again gives the same answer.
    Request,
    /// No capacity now; worth another try after the stated wait.
    Busy,
    /// The worker broke while computing; worth another try.
    Worker,
}

/// Why the engine could not start, take or finish a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The weight file cannot be read.
    #[error("cannot read the weight file {path}: {source}")]
    WeightsUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The weight file is not the one that was offered; the worker did not see it.
    #[error(
        "weight file {path} has SHA-256 {}, expected {}; it was not loaded. \
         Fetch the offered file again, or offer this digest",
        Hex(got),
        Hex(expected)
    )]
    WeightsMismatch {
        /// The file.
        path: PathBuf,
        /// Digest of the offer.
        expected: [u8; 32],
        /// Digest of the file.
        got: [u8; 32],
    },
    /// The weight file is the one that was offered, and no GGUF file that a worker may see.
    #[error("weight file {path} is refused {source}; it was not loaded")]
    WeightsRefused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<GgufError>,
    },
    /// An argument that is not the operator's to set.
    #[error(
        "worker argument `{argument}` is refused: it would override what keeps prompts private or \
         what the pod has promised; remove it"
    )]
    ExtraArgument {
        /// The argument.
        argument: String,
    },
    /// The directory of the socket cannot be made private.
    #[error("cannot use {path} as the worker's private socket directory: {source}")]
    SocketDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// UNIX socket paths are short.
    #[error(
        "socket path {path} has {got_bytes} bytes, at most {max_bytes} fit; choose a shorter socket_dir"
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        got_bytes: usize,
        /// What the system allows.
        max_bytes: usize,
    },
    /// The worker program cannot be run.
    #[error("cannot run the worker {path}: {source}")]
    WorkerNotRunnable {
        /// The program.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The worker ended while it loaded the model.
    #[error("the worker ended while loading the model ({status}); it wrote: {stderr_tail}")]
    WorkerExited {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote, before any request existed.
        stderr_tail: String,
    },
    /// The worker did not finish loading in time.
    #[error("the worker did not load the model within {} s; raise start_timeout", after.as_secs())]
    StartTimeout {
        /// How long it was given.
        after: Duration,
    },
    /// The worker does less than it was told to.
    #[error("the worker has {got} {what}, it was told to have {expected}; use another build of it")]
    WorkerFallsShort {
        /// Of what.
        what: &'static str,
        /// What it was told.
        expected: u32,
        /// What it says.
        got: u32,
    },
    /// The model would not fit the memory if it were alone.
    #[error(
        "the model needs about {} MiB with its cache, the memory budget is {} MiB; \
         raise the budget, or lower context_tokens or slots",
        needs_bytes >> 20,
        budget_bytes >> 20
    )]
    ModelTooLarge {
        /// Weights, cache and overhead.
        needs_bytes: u64,
        /// The budget.
        budget_bytes: u64,
    },
    /// The request was refused before the worker saw it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The prompt does not fit the context. Apps look for these words to know that they have to
    /// shorten a conversation: those of Anthropic's API, then those of OpenAI's.
    #[error(
        "the prompt is too long: {prompt_tokens} tokens, and the model's maximum context length is \
         {context_tokens} tokens"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Context of one request.
        context_tokens: u32,
    },
    /// Every slot is busy and the queue is full.
    #[error("{queued} requests are waiting already; try again in {retry_after_ms} ms")]
    QueueFull {
        /// Length of the queue.
        queued: usize,
        /// A fair guess of when a place will be free.
        retry_after_ms: u64,
    },
    /// The model is not loaded, and the models that are loaded are all busy.
    #[error(
        "there is no memory for this model while others answer: it needs about {} MiB, {} of {} \
         MiB are in use; try again in {retry_after_ms} ms",
        needs_bytes >> 20,
        used_bytes >> 20,
        budget_bytes >> 20
    )]
    NoMemory {
        /// Weights, cache and overhead.
        needs_bytes: u64,
        /// What the loaded models use.
        used_bytes: u64,
        /// The budget.
        budget_bytes: u64,
        /// A fair guess of when another one is idle.
        retry_after_ms: u64,
    },
    /// The account has its share of the queue already; others may still wait.
    #[error(
        "{queued} requests of this account are waiting already, its share of the queue; \
         try again in {retry_after_ms} ms"
    )]
    ShareFull {
        /// Requests of the account that wait.
        queued: usize,
        /// A fair guess of when a place will be free.
        retry_after_ms: u64,
    },
    /// The model is not served for what the request asks.
    #[error("{what}")]
    NotServed {
        /// What is missing, and what there is instead.
        what: &'static str,
    },
    /// A worker for embeddings whose model does not say how tokens become one vector.
    #[error(
        "the model makes no embeddings of whole texts: its file names no pooling; \
         set `pooling` to mean, cls or last"
    )]
    NoPooling,
    /// A field that what computes this model does not know.
    #[error(
        "field `{field}` is not known to {backend}, which computes this model; leave it out, or ask \
         another pod"
    )]
    FieldNotServed {
        /// The field.
        field: String,
        /// What computes.
        backend: &'static str,
    },
    /// The address of a backend that prompts may not go to.
    #[error("the backend's URL `{url}` is refused: {problem}")]
    BackendUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server does not have the model, or does not answer as one that has it.
    #[error("the server at {address} cannot serve `{model}`: {problem}")]
    BackendModel {
        /// Where it listens.
        address: SocketAddr,
        /// The model.
        model: String,
        /// What is missing.
        problem: String,
    },
    /// The server has other weights under the name of the model.
    #[error(
        "the server has the weights sha256-{} as `{model}`, and sha256-{} are offered; nothing was \
         sent to it. Have it load the offered weights, or offer these",
        Hex(got),
        Hex(expected)
    )]
    BackendWeights {
        /// The model.
        model: String,
        /// Digest of the offer.
        expected: [u8; 32],
        /// Digest of what the server has.
        got: [u8; 32],
    },
    /// The server still knows what one account has asked when another one asks.
    #[error(
        "{address} takes {cached_tokens} tokens of a prompt from its cache that another account has \
         sent: start it with OLLAMA_NUM_PARALLEL=1 and LLAMA_ARG_CACHE_RAM=0, or allow it with \
         `danger_share_cache`"
    )]
    CacheShared {
        /// Where it listens.
        address: SocketAddr,
        /// Tokens that were known.
        cached_tokens: u32,
    },
    /// The private folder of a backend cannot be made.
    #[error("cannot use {path} for the backend's own files: {source}")]
    BackendDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The worker ended and is being started again.
    #[error("the model worker is restarting; try again in {retry_after_ms} ms")]
    WorkerRestarting {
        /// When the next attempt starts.
        retry_after_ms: u64,
    },
    /// The model could not be loaded; the operator's log says why.
    #[error("the model could not be loaded; try again in {retry_after_ms} ms")]
    LoadFailed {
        /// When the next attempt may start.
        retry_after_ms: u64,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down and takes no new requests")]
    Draining,
    /// The worker went silent in the middle of this request; it is being restarted.
    #[error("the model worker sent nothing for {} ms and is being restarted", after.as_millis())]
    Stalled {
        /// How long it was silent.
        after: Duration,
    },
    /// The worker closed the connection before the answer was complete.
    #[error("the answer broke off after {completion_tokens} tokens")]
    Truncated {
        /// Tokens received.
        completion_tokens: u32,
    },
    /// The worker refused the request.
    #[error("the model worker refused the request with status {status}: {message}")]
    WorkerRefused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: WorkerText,
    },
    /// The worker reported an error in the middle of the answer.
    #[error("the model worker failed during the answer: {message}")]
    WorkerFailed {
        /// What it said.
        message: WorkerText,
    },
    /// The worker sent something that is not its protocol.
    #[error("the model worker sent {what}")]
    Protocol {
        /// What was wrong with it.
        what: &'static str,
    },
    /// The worker's event stream is malformed.
    #[error("the model worker sent a malformed event stream: {0}")]
    Sse(#[from] SseError),
}

impl EngineError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::WeightsUnreadable { .. }
            | Self::WeightsMismatch { .. }
            | Self::WeightsRefused { .. }
            | Self::ExtraArgument { .. }
            | Self::SocketDir { .. }
            | Self::SocketPathTooLong { .. }
            | Self::WorkerNotRunnable { .. }
            | Self::WorkerExited { .. }
            | Self::StartTimeout { .. }
            | Self::WorkerFallsShort { .. }
            | Self::ModelTooLarge { .. }
            | Self::NoPooling
            | Self::BackendUrl { .. }
            | Self::BackendModel { .. }
            | Self::BackendWeights { .. }
            | Self::CacheShared { .. }
            | Self::BackendDir { .. } => Fault::Operator,
            Self::Request(_)
            | Self::PromptTooLong { .. }
            | Self::NotServed { .. }
            | Self::FieldNotServed { .. } => Fault::Request,
            // A server that others use too may be busy with them.
            Self::WorkerRefused { status: 429 | 503, .. }
            | Self::QueueFull { .. }
            | Self::ShareFull { .. }
            | Self::NoMemory { .. }
            | Self::WorkerRestarting { .. }
            | Self::LoadFailed { .. }
            | Self::Draining => Fault::Busy,
            Self::WorkerRefused { status, .. } if *status < 500 => Fault::Request,
            Self::Stalled { .. }
            | Self::Truncated { .. }
            | Self::WorkerRefused { .. }
            | Self::WorkerFailed { .. }
            | Self::Protocol { .. }
            | Self::Sse(_) => Fault::Worker,
        }
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after_ms, .. }
            | Self::NoMemory { retry_after_ms, .. }
            | Self::LoadFailed { retry_after_ms }
            | Self::ShareFull { retry_after_ms, .. }
            | Self::WorkerRestarting { retry_after_ms } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

/// Why a request body is refused. `field` is a path such as `messages[2].role`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON.
    #[error("the request is not valid JSON at line {line}, column {column}")]
    InvalidJson {
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// Nested too deeply to be parsed safely.
    #[error("the request nests JSON deeper than {max} levels")]
    TooDeep {
        /// Levels allowed.
        max: usize,
    },
    /// A key that comes twice in one object.
    #[error("field `{field}` comes twice in one object")]
    DuplicateField {
        /// The key, cut to 64 characters.
        field: String,
    },
    /// A part of the request nested too deeply for what it is.
    #[error("field `{field}` is nested {got} levels deep, at most {max} are allowed")]
    NestedTooDeep {
        /// The field.
        field: String,
        /// Its depth.
        got: usize,
        /// Levels allowed.
        max: usize,
    },
    /// A regular expression that the worker cannot follow.
    #[error("field `{field}` cannot be used, at byte {at}: {problem}")]
    Pattern {
        /// The field.
        field: String,
        /// Where, from 0.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("fields `{field}` and `{other}` cannot be set together")]
    Conflict {
        /// One of them.
        field: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Not a field that this engine accepts.
    #[error("field `{field}` is not supported")]
    UnknownField {
        /// The field, cut to 64 characters.
        field: String,
    },
    /// A required field is absent.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A value of the wrong JSON type.
    #[error("field `{field}` is {got}, expected {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// JSON type it has.
        got: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number outside its range.
    #[error("field `{field}` is {got}, expected {min} to {max}")]
    OutOfRange {
        /// The field.
        field: String,
        /// Its value.
        got: f64,
        /// Smallest allowed.
        min: f64,
        /// Largest allowed.
        max: f64,
    },
    /// Too many entries.
    #[error("field `{field}` has {got} entries, at most {max} are allowed")]
    TooMany {
        /// The field.
        field: String,
        /// Entries.
        got: usize,
        /// Entries allowed.
        max: usize,
    },
    /// Too long a text or document.
    #[error("field `{field}` has {got_bytes} bytes, at most {max_bytes} are allowed")]
    TooLong {
        /// The field.
        field: String,
        /// Its size.
        got_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Nothing in it.
    #[error("field `{field}` is empty")]
    Empty {
        /// The field.
        field: String,
    },
    /// A word or kind that is not among those accepted.
    #[error("field `{field}` is `{got}`, expected {expected}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value, cut to 64 characters.
        got: String,
        /// What is accepted.
        expected: &'static str,
    },
}

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
