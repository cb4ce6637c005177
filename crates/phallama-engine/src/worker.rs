//! One worker process from its command line to its end.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use tokio::process::Command;

use crate::address::Address;
use crate::backend::Backend;
use crate::config::WorkerFacts;
use crate::connection::{get, is_healthy};
use crate::ollama::{self, OllamaServer};
use crate::openai;
use crate::process::{Process, Spawner, command, private_dir};
use crate::weights::{check_digest, check_weights};
use crate::{EngineConfig, EngineError, Serves, StartProgress};

/// `sun_path` of Linux has 108 bytes, one of them for the final NUL.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// How long the program may take to name its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a ready worker may take to describe itself.
const FACTS_TIMEOUT: Duration = Duration::from_secs(20);
const HEALTH_EVERY: Duration = Duration::from_millis(50);

pub(crate) type Progress = Arc<dyn Fn(StartProgress) + Send + Sync>;

/// A worker that answers requests. Dropping it kills its process, if it is ours.
pub(crate) struct Worker {
    process: Option<Process>,
    address: Address,
    _socket: Option<Socket>,
    facts: Arc<WorkerFacts>,
    kept: Option<Kept>,
}

/// The model that an Ollama was found to have.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) server: OllamaServer,
    pub(crate) model: String,
    /// SHA-256 of its manifest, hex.
    pub(crate) manifest_digest: String,
}

/// How to find out whether a worker is well.
#[derive(Clone)]
pub(crate) struct Probe {
    address: Address,
    path: &'static str,
    kept: Option<Kept>,
}

impl Probe {
    /// Whether it says so, and still has the model that was checked.
    pub(crate) async fn is_well(&self) -> bool {
        let has_model = async {
            match &self.kept {
                Some(kept) => ollama::recheck(kept).await,
                None => true,
            }
        };
        is_healthy(&self.address, self.path).await && has_model.await
    }
}

/// Path of a socket; the file goes away with it.
pub(crate) struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Absent when the worker never came to bind it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Worker {
    pub(crate) fn new(
        process: Option<Process>,
        address: Address,
        socket: Option<Socket>,
        facts: WorkerFacts,
        kept: Option<Kept>,
    ) -> Self {
        Self { process, address, _socket: socket, facts: Arc::new(facts), kept }
    }

    /// Brings up what computes, with the weights, which were checked before.
    pub(crate) async fn launch(
        config: &EngineConfig,
        spawner: &Spawner,
        generation: u64,
        progress: Progress,
    ) -> Result<Self, EngineError> {
        check_companions(config).await?;
        match &config.backend {
            Backend::LlamaServer => launch(config, spawner, generation, &progress).await,
            Backend::Ollama(backend) => ollama::launch(config, backend, spawner, &progress).await,
            Backend::OpenAi { address } => openai::launch(config, *address, &progress).await,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Of the process, if it is ours.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub(crate) fn facts(&self) -> Arc<WorkerFacts> {
        Arc::clone(&self.facts)
    }

    pub(crate) fn probe(&self, backend: &Backend) -> Probe {
        let (address, path) = (self.address.clone(), backend.health_path());
        Probe { address, path, kept: self.kept.clone() }
    }

    /// Returns when the process has ended, with how: a signal 9 that is not ours is mostly the
    /// system's, for want of memory.
    pub(crate) async fn ended(&mut self) -> String {
        let Some(process) = self.process.as_mut() else { return std::future::pending().await };
        match process.ended().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends the process and all that it has started. A server that is not ours is told that the
    /// model is not needed.
    pub(crate) async fn end(self) {
        match (self.process, self.kept) {
            (Some(process), _) => process.kill().await,
            (None, Some(kept)) => kept.server.unload(&kept.model).await,
            (None, None) => {}
        }
    }
}

/// Starts llama-server.
async fn launch(
    config: &EngineConfig,
    spawner: &Spawner,
    generation: u64,
    progress: &Progress,
) -> Result<Worker, EngineError> {
    let socket = private_socket(&config.socket_dir, generation)?;
    let address = Address::Unix(socket.0.clone());
    let line = arguments(config, &socket.0).into_iter().chain(config.extra_args.iter().cloned());
    let command = command(&config.worker, "KILL", line);
    let mut process = Process::spawn(&config.worker, command, spawner).await?;
    wait_ready(config, Some(&mut process), &address, progress).await?;
    process.discard_stderr();
    let facts = facts(config, &address).await?;
    progress(StartProgress::Ready);
    Ok(Worker::new(Some(process), address, Some(socket), facts, None))
}

/// Waits until the worker says that it is well.
///
/// # Errors
/// [`EngineError::WorkerExited`], [`EngineError::StartTimeout`].
pub(crate) async fn wait_ready(
    config: &EngineConfig,
    mut process: Option<&mut Process>,
    address: &Address,
    progress: &Progress,
) -> Result<(), EngineError> {
    let begun_at = Instant::now();
    let deadline = tokio::time::sleep(config.start_timeout);
    tokio::pin!(deadline);
    loop {
        let healthy = async {
            let healthy = is_healthy(address, config.backend.health_path()).await;
            if !healthy {
                tokio::time::sleep(HEALTH_EVERY).await;
            }
            healthy
        };
        let ended = async {
            match process.as_deref_mut() {
                Some(process) => process.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = ended => {
                let path = config.worker.clone();
                let status =
                    status.map_err(|source| EngineError::WorkerNotRunnable { path, source })?;
                let stderr_tail = match process {
                    Some(process) => process.stderr_tail().await,
                    None => String::new(),
                };
                return Err(EngineError::WorkerExited { status, stderr_tail });
            }
            () = &mut deadline => {
                return Err(EngineError::StartTimeout { after: config.start_timeout });
            }
            healthy = healthy => if healthy {
                return Ok(());
            },
        }
        let elapsed_ms = u64::try_from(begun_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        progress(StartProgress::Loading { elapsed_ms });
    }
}

/// What the program says of its version; `None` when it says nothing that is one.
///
/// # Errors
/// [`EngineError::WorkerNotRunnable`].
pub(crate) async fn version(worker: &Path) -> Result<Option<String>, EngineError> {
    let unrunnable = |source| EngineError::WorkerNotRunnable { path: worker.to_owned(), source };
    let mut command = Command::new(worker);
    command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output());
    let Ok(output) = output.await else { return Ok(None) };
    let output = output.map_err(unrunnable)?;
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("version: "));
    Ok(line.map(|line| line.chars().filter(|c| !c.is_control()).take(80).collect()))
}

/// Asks a worker that is ready what it is, and holds that against what it was told to be.
async fn facts(config: &EngineConfig, at: &Address) -> Result<WorkerFacts, EngineError> {
    let props = tokio::time::timeout(FACTS_TIMEOUT, get(at, "/props")).await.unwrap_or_default();
    let facts = WorkerFacts::from_props(&props.unwrap_or_default());
    for (what, expected, got) in [
        ("slots", config.slots.max(1), facts.slots),
        ("tokens of context", config.context_tokens, facts.context_tokens),
    ] {
        if let Some(got) = got
            && got < expected
        {
            return Err(EngineError::WorkerFallsShort { what, expected, got });
        }
    }
    Ok(facts)
}

/// The path of a socket that does not exist yet, in a directory that only we can enter.
fn private_socket(dir: &Path, generation: u64) -> Result<Socket, EngineError> {
    private_dir(dir)?;
    let path = dir.join(format!("worker-{}-{generation}.sock", std::process::id()));
    let got_bytes = path.as_os_str().as_bytes().len();
    if got_bytes > SOCKET_PATH_MAX_BYTES {
        let max_bytes = SOCKET_PATH_MAX_BYTES;
        return Err(EngineError::SocketPathTooLong { path, got_bytes, max_bytes });
    }
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::SocketDir { path: dir.to_owned(), source })
        }
        _ => Ok(Socket(path)),
    }
}

/// Arguments of llama-server.
fn arguments(config: &EngineConfig, socket: &Path) -> Vec<OsString> {
    let slots = config.slots.max(1);
    let mut line: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);
    option("--host", socket.into());
    option("--model", config.model_path.clone().into());
    option("--alias", config.model_name.clone().into());
    option("--parallel", slots.to_string().into());
    option("--ctx-size", config.cache_tokens().to_string().into());
    option("--threads", config.threads_resolved().to_string().into());
    // A smaller batch: other answers and the progress report wait less for a long prompt.
    option("--batch-size", config.batch_tokens.max(1).to_string().into());
    for (name, value) in [
        // No prefix of one account is ever looked for in another's slot.
        ("--slot-prompt-similarity", "0"),
        ("--cache-ram", "0"),
        ("--ctx-checkpoints", "0"),
        // A ping would hide that the worker computes nothing.
        ("--sse-ping-interval", "-1"),
        // Errors only; they are read while the model loads and thrown away afterwards.
        ("--log-verbosity", "1"),
    ] {
        option(name, value.into());
    }
    let switches = "--no-kv-unified --no-cache-idle-slots --no-context-shift --jinja --offline \
                    --no-ui --no-slots";
    line.extend(switches.split_whitespace().map(Into::into));
    line.extend(purpose(config));
    line
}

/// Arguments that follow from what the worker is for.
fn purpose(config: &EngineConfig) -> Vec<OsString> {
    let mut line: Vec<OsString> = Vec::new();
    match &config.serves {
        Serves::Answers { projector, draft } => {
            match projector {
                Some(file) => line.extend(["--mmproj".into(), file.path.clone().into()]),
                None => line.push("--no-mmproj".into()),
            }
            if let Some(file) = draft {
                line.extend(["--model-draft".into(), file.path.clone().into()]);
            }
        }
        Serves::Embeddings { pooling } => {
            // Most of these models must see a whole text in one batch.
            let batch = (config.context_tokens.next_multiple_of(256) + 256).to_string();
            line.extend(["--embeddings".into(), "--no-mmproj".into()]);
            line.extend(["--batch-size".into(), batch.clone().into()]);
            line.extend(["--ubatch-size".into(), batch.into()]);
            if let Some(pooling) = pooling {
                line.extend(["--pooling".into(), pooling.as_str().into()]);
            }
        }
    }
    line
}

/// Checks the files that the worker reads beside the weights. A projector is held to its digest
/// alone: it is no model, and what a model must have it has not.
async fn check_companions(config: &EngineConfig) -> Result<(), EngineError> {
    let Serves::Answers { projector, draft } = &config.serves else { return Ok(()) };
    if let Some(file) = draft {
        check_weights(&file.path, file.sha256, |_, _| {}).await?;
    }
    match projector {
        Some(file) => check_digest(&file.path, file.sha256, |_, _| {}).await,
        None => Ok(()),
    }
}
