//! One worker process from its command line to its end.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{fs, io};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::WorkerFacts;
use crate::connection::{get, is_healthy};
use crate::weights::check_weights;
use crate::{CompanionFile, EngineConfig, EngineError, Serves, StartProgress, weights_digest};

/// `sun_path` of Linux has 108 bytes, one of them for the final NUL.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// How long the program may take to name its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a ready worker may take to describe itself.
const FACTS_TIMEOUT: Duration = Duration::from_secs(20);
const HEALTH_EVERY: Duration = Duration::from_millis(50);
const STDERR_TAIL_BYTES: usize = 4096;

/// The worker gets these variables if we have them, and no others: its own (`LLAMA_ARG_…`) would
/// change what it does behind our back, and a library path would put other code into it.
const ENVIRONMENT: &[&str] = &["CUDA_VISIBLE_DEVICES", "TMPDIR"];

/// How often a computing thread looks whether the others are there, before it lets go of its core.
/// Many times a token, threads wait for one another; libgomp would have them look for milliseconds,
/// while the one that they wait for has no core to run on: docs/decisions/011-all-cores-compute.md
const SPIN_COUNT: &str = "1000";

/// Programs of util-linux that become the worker. They set what only unsafe code could set between
/// fork and exec: death with the parent, no new privileges, no core file with prompts in it.
const LAUNCHERS: &[(&str, &[&str])] = &[
    ("/usr/bin/setpriv", &["--pdeathsig", "KILL", "--no-new-privs", "--"]),
    ("/usr/bin/prlimit", &["--core=0:0", "--"]),
];

pub(crate) type Progress = Arc<dyn Fn(StartProgress) + Send + Sync>;

/// A worker that answers requests. Dropping it kills the process.
pub(crate) struct Worker {
    child: Child,
    socket: Socket,
    pid: u32,
    facts: Arc<WorkerFacts>,
}

/// Path of a socket; the file goes away with it.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // Absent when the worker never came to bind it.
        let _ = fs::remove_file(&self.0);
    }
}

/// A thread that only starts processes. The death signal of a child follows the *thread* that
/// started it, and threads of an async runtime may end long before the runtime does.
pub(crate) struct Spawner(mpsc::Sender<(Command, oneshot::Sender<io::Result<Child>>)>);

impl Spawner {
    pub(crate) fn start() -> Self {
        let (sender, jobs) = mpsc::channel::<(Command, oneshot::Sender<io::Result<Child>>)>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("worker-parent".to_owned())
            .spawn(move || {
                let _in_runtime = runtime.enter();
                for (mut command, reply) in jobs {
                    // Nobody waits any more: the child is killed by being dropped.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("the system can start one more thread");
        Self(sender)
    }

    async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, spawned) = oneshot::channel();
        self.0.send((command, reply)).expect("the thread lives as long as its sender");
        spawned.await.expect("the thread answers every job")
    }
}

impl Worker {
    /// Starts the process and waits until it has loaded the weights, which were checked before.
    pub(crate) async fn launch(
        config: &EngineConfig,
        spawner: &Spawner,
        generation: u64,
        progress: Progress,
    ) -> Result<Self, EngineError> {
        check_companions(config).await?;
        let socket = private_socket(&config.socket_dir, generation)?;
        let command = command(config, &socket.0);
        let unrunnable =
            |source| EngineError::WorkerNotRunnable { path: config.worker.clone(), source };
        // Otherwise a launcher would be the one to fail, with a message of its own.
        fs::metadata(&config.worker).map_err(unrunnable)?;
        let mut child = spawner.spawn(command).await.map_err(unrunnable)?;
        let pid = child.id().unwrap_or_default();
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut tail = StderrTail::collect(stderr);
        let mut worker = Self { child, socket, pid, facts: Arc::default() };
        worker.wait_ready(config, &mut tail, &progress).await?;
        tail.discard();
        worker.facts = Arc::new(facts(config, &worker.socket.0).await?);
        progress(StartProgress::Ready);
        Ok(worker)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket.0
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn facts(&self) -> Arc<WorkerFacts> {
        Arc::clone(&self.facts)
    }

    /// Returns when the process has ended, with how: a signal 9 that is not ours is mostly the
    /// system's, for want of memory.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Kills the process and reaps it.
    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "cannot kill the worker");
        }
    }

    async fn wait_ready(
        &mut self,
        config: &EngineConfig,
        tail: &mut StderrTail,
        progress: &Progress,
    ) -> Result<(), EngineError> {
        let spawned_at = Instant::now();
        let deadline = tokio::time::sleep(config.start_timeout);
        tokio::pin!(deadline);
        loop {
            let healthy = async {
                let healthy = is_healthy(&self.socket.0).await;
                if !healthy {
                    tokio::time::sleep(HEALTH_EVERY).await;
                }
                healthy
            };
            tokio::select! {
                status = self.child.wait() => {
                    let status = status.map_err(|source| EngineError::WorkerNotRunnable {
                        path: config.worker.clone(),
                        source,
                    })?;
                    let stderr_tail = tail.text().await;
                    return Err(EngineError::WorkerExited { status, stderr_tail });
                }
                () = &mut deadline => {
                    return Err(EngineError::StartTimeout { after: config.start_timeout });
                }
                healthy = healthy => if healthy {
                    return Ok(());
                },
            }
            let elapsed_ms = u64::try_from(spawned_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            progress(StartProgress::Loading { elapsed_ms });
        }
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
async fn facts(config: &EngineConfig, socket: &Path) -> Result<WorkerFacts, EngineError> {
    let props =
        tokio::time::timeout(FACTS_TIMEOUT, get(socket, "/props")).await.unwrap_or_default();
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
    let unusable = |source| EngineError::SocketDir { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    let path = dir.join(format!("worker-{}-{generation}.sock", std::process::id()));
    let got_bytes = path.as_os_str().as_bytes().len();
    if got_bytes > SOCKET_PATH_MAX_BYTES {
        let max_bytes = SOCKET_PATH_MAX_BYTES;
        return Err(EngineError::SocketPathTooLong { path, got_bytes, max_bytes });
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(error)),
        _ => Ok(Socket(path)),
    }
}

fn command(config: &EngineConfig, socket: &Path) -> Command {
    let mut line: Vec<OsString> = Vec::new();
    for (program, arguments) in LAUNCHERS.iter().filter(|(program, _)| Path::new(program).exists())
    {
        line.push(program.into());
        line.extend(arguments.iter().map(Into::into));
    }
    line.push(config.worker.clone().into());
    line.extend(arguments(config, socket));
    line.extend(config.extra_args.iter().cloned());
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        // On an abort ggml would start a debugger on itself.
        .env("GGML_NO_BACKTRACE", "1")
        .env("GOMP_SPINCOUNT", SPIN_COUNT)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in our terminal is ours to handle: running requests are to be drained.
        .process_group(0)
        .kill_on_drop(true);
    command
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
    let Some(CompanionFile { path, sha256: expected }) = projector.clone() else { return Ok(()) };
    let digest = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || weights_digest(&path, |_, _| {}))
    };
    match digest.await.expect("hashing a file does not panic") {
        Ok(got) if got == expected => Ok(()),
        Ok(got) => Err(EngineError::WeightsMismatch { path, expected, got }),
        Err(source) => Err(EngineError::WeightsUnreadable { path, source }),
    }
}

/// Keeps the end of what a worker writes until it is ready, then throws everything away.
struct StderrTail {
    kept: Arc<Mutex<Option<Vec<u8>>>>,
    reader: JoinHandle<()>,
}

impl StderrTail {
    fn collect(mut stderr: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                if let Some(kept) = shared.lock().expect("holders do not panic").as_mut() {
                    kept.extend_from_slice(&buffer[..read]);
                    let excess = kept.len().saturating_sub(STDERR_TAIL_BYTES);
                    kept.drain(..excess);
                }
            }
        });
        Self { kept, reader }
    }

    /// What the ended worker wrote last.
    async fn text(&mut self) -> String {
        // A process that the worker started may keep the pipe open; then what came so far counts.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.reader).await;
        let kept = self.kept.lock().expect("holders do not panic");
        String::from_utf8_lossy(kept.as_deref().unwrap_or_default()).trim().to_owned()
    }

    fn discard(&self) {
        *self.kept.lock().expect("holders do not panic") = None;
    }
}
