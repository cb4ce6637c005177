//! Processes that a worker consists of: how they start, what they may inherit, how they end.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::EngineError;

const STDERR_TAIL_BYTES: usize = 4096;

/// The worker gets these variables if we have them, and no others: its own (`LLAMA_ARG_…`) would
/// change what it does behind our back, and a library path would put other code into it.
const ENVIRONMENT: &[&str] = &["CUDA_VISIBLE_DEVICES", "TMPDIR"];

/// How often a computing thread looks whether the others are there, before it lets go of its core.
/// Many times a token, threads wait for one another; libgomp would have them look for milliseconds,
/// while the one that they wait for has no core to run on: docs/decisions/011-all-cores-compute.md
const SPIN_COUNT: &str = "1000";

/// Where weights and caches lie: llama-server reads the weights into memory of its own, though by
/// itself it maps their file (the second is what versions before `--load-mode` know), and glibc
/// asks the system for pages of 2 MiB for what is large:
/// docs/decisions/015-weights-in-large-pages.md
const MEMORY: [(&str, &str); 3] = [
    ("LLAMA_ARG_LOAD_MODE", "none"),
    ("LLAMA_ARG_NO_MMAP", "1"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

/// Programs of util-linux become the worker. They set what only unsafe code could set between fork
/// and exec: death with the parent, no new privileges, no core file with prompts in it.
const PRLIMIT: &[&str] = &["--core=0:0", "--"];

/// A worker's process with all that it has started. Dropping it kills them.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    tail: StderrTail,
}

impl Process {
    /// Starts `program` by the line that `command` is.
    ///
    /// # Errors
    /// [`EngineError::WorkerNotRunnable`].
    pub(crate) async fn spawn(
        program: &Path,
        command: Command,
        spawner: &Spawner,
    ) -> Result<Self, EngineError> {
        let unrunnable =
            |source| EngineError::WorkerNotRunnable { path: program.to_owned(), source };
        // Otherwise a launcher would be the one to fail, with a message of its own.
        fs::metadata(program).map_err(unrunnable)?;
        let mut child = spawner.spawn(command).await.map_err(unrunnable)?;
        let pid = child.id().unwrap_or_default();
        let tail = StderrTail::collect(child.stderr.take().expect("stderr is piped"));
        Ok(Self { child, pid, tail })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the process has ended.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// What the ended process wrote last.
    pub(crate) async fn stderr_tail(&mut self) -> String {
        self.tail.text().await
    }

    /// Throws away what it has written and what it will write.
    pub(crate) fn discard_stderr(&self) {
        self.tail.discard();
    }

    /// Kills it and all that it has started, and reaps it.
    pub(crate) async fn kill(mut self) {
        self.kill_group();
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "cannot kill the worker");
        }
        // Reaped: the number may soon be another's.
        self.pid = 0;
    }

    fn kill_group(&self) {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // It fails when none of them is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
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

/// A directory that only we can enter.
///
/// # Errors
/// [`EngineError::SocketDir`].
pub(crate) fn private_dir(dir: &Path) -> Result<(), EngineError> {
    let unusable = |source| EngineError::SocketDir { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(unusable)
}

/// The line that becomes `program` with these arguments, and gets `death_signal` when we die.
pub(crate) fn command(
    program: &Path,
    death_signal: &str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Command {
    let mut line: Vec<OsString> = Vec::new();
    let setpriv = ["--pdeathsig", death_signal, "--no-new-privs", "--"];
    for (launcher, options) in [("/usr/bin/setpriv", &setpriv[..]), ("/usr/bin/prlimit", PRLIMIT)] {
        if Path::new(launcher).exists() {
            line.push(launcher.into());
            line.extend(options.iter().map(Into::into));
        }
    }
    line.push(program.into());
    line.extend(arguments);
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        // On an abort ggml would start a debugger on itself.
        .env("GGML_NO_BACKTRACE", "1")
        .env("GOMP_SPINCOUNT", SPIN_COUNT)
        .envs(MEMORY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C in our terminal is ours to handle: running requests are to be drained.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Keeps the end of what a worker writes until it is ready, then throws everything away.
struct StderrTail {
    kept: Arc<Mutex<Option<Vec<u8>>>>,
    reader: JoinHandle<()>,
}

impl StderrTail {
    fn collect(mut stderr: ChildStderr) -> Self {
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
