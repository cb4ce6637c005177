//! The enclave program: started, watched, started again after it ended. Each start makes a new
//! identity.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use phallama_attest::{Evidence, NONCE_ON_CHAIN};
use phallama_protocol::bundle::{BundleExpectation, SignedBundle};
use phallama_protocol::ids::{Address, Digest32, PodId};
use phallama_protocol::link::{Status, WorkerState};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};

use super::EnclaveClient;
use crate::error::EnclaveError;
use crate::private;
use crate::progress::PodProgress;

/// Lines of the log that an error shows.
const LAST_LINES: usize = 12;
/// How often a starting enclave is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// An enclave that ran for this long starts again at once.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// How long an enclave without a host may take to end: there is nobody left that it could answer.
const STALE_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Tells whoever waits how far a pod is.
pub(crate) type Report = Arc<dyn Fn(PodProgress) + Send + Sync>;

/// How to start the enclave, and what it must say of itself.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The program, or a launcher.
    pub program: PathBuf,
    /// All arguments.
    pub args: Vec<String>,
    /// Where it listens.
    pub socket: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// How long a start may take.
    pub ready_within: Duration,
    /// How long it may take to end.
    pub stop_within: Duration,
    /// EIP-155 id of the chain.
    pub chain_id: u64,
    /// The registry.
    pub registry: Address,
    /// The escrow.
    pub escrow: Address,
    /// This pod.
    pub pod_id: PodId,
}

/// One start of the enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveInfo {
    /// Its identity key.
    pub identity: Address,
    /// Measurement of its program.
    pub measurement: Digest32,
    /// Root of the models it serves.
    pub model_set_root: Digest32,
    /// Digest of the policy it runs under.
    pub policy_digest: Digest32,
    /// The evidence for the chain.
    pub evidence: Arc<Evidence>,
}

/// How the enclave is.
#[derive(Clone, Debug)]
pub enum EnclaveState {
    /// It answers.
    Ready(Arc<EnclaveInfo>),
    /// It ended or starts again.
    Down,
}

/// Keeps the enclave program running until [`stop`](Self::stop) or until dropped.
pub struct EnclaveProcess {
    state: watch::Receiver<EnclaveState>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: tokio::task::JoinHandle<()>,
}

impl EnclaveProcess {
    /// Starts the program, waits until it is ready, and then keeps it running.
    ///
    /// # Errors
    /// [`EnclaveError`] of the first start; later ones are tried again.
    pub(crate) async fn start(spec: ProcessSpec, report: Report) -> Result<Self, EnclaveError> {
        let booted = boot(&spec, &report).await?;
        let ready = EnclaveState::Ready(Arc::new(booted.info.clone()));
        let (state, watched) = watch::channel(ready);
        let (stop, stopped) = oneshot::channel();
        let supervisor = Supervisor { spec, report, state };
        let supervisor = tokio::spawn(supervisor.run(booted, stopped));
        Ok(Self { state: watched, stop: Some(stop), supervisor })
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<EnclaveState> {
        self.state.clone()
    }

    /// Asks the program to end, and makes it end.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.supervisor).await;
    }
}

impl Drop for EnclaveProcess {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// A child that is asked to end when it is dropped, so that it can end its own children.
struct Running(Child);

impl Running {
    fn terminate(&self) {
        terminate(self.0.id().and_then(|id| i32::try_from(id).ok()));
    }

    async fn stop(&mut self, within: Duration) {
        self.terminate();
        if tokio::time::timeout(within, self.0.wait()).await.is_err() {
            tracing::warn!("enclave: did not end when asked, killed");
            let _ = self.0.kill().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
    }
}

struct Booted {
    running: Running,
    info: EnclaveInfo,
    since: Instant,
}

struct Supervisor {
    spec: ProcessSpec,
    report: Report,
    state: watch::Sender<EnclaveState>,
}

impl Supervisor {
    async fn run(self, mut booted: Booted, mut stop: oneshot::Receiver<()>) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let reason = tokio::select! {
                _ = &mut stop => return booted.running.stop(self.spec.stop_within).await,
                status = booted.running.0.wait() => match status {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                },
            };
            self.state.send_replace(EnclaveState::Down);
            if booted.since.elapsed() > STABLE_AFTER {
                backoff = BACKOFF_FIRST;
            }
            let again = self.start_again(reason, &mut backoff);
            tokio::select! {
                _ = &mut stop => return,
                next = again => booted = next,
            }
            let ready = EnclaveState::Ready(Arc::new(booted.info.clone()));
            self.state.send_replace(ready);
        }
    }

    async fn start_again(&self, mut reason: String, backoff: &mut Duration) -> Booted {
        loop {
            tracing::error!(reason, "enclave: ended, starting again");
            let in_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX);
            (self.report)(PodProgress::EnclaveRestarting { reason, in_ms });
            tokio::time::sleep(*backoff).await;
            *backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
            match boot(&self.spec, &self.report).await {
                Ok(booted) => return booted,
                Err(error) => reason = error.to_string(),
            }
        }
    }
}

async fn boot(spec: &ProcessSpec, report: &Report) -> Result<Booted, EnclaveError> {
    report(PodProgress::EnclaveStarting);
    let since = Instant::now();
    end_stale(spec).await;
    let (mut running, tail) = spawn(spec, report)?;
    let client = EnclaveClient::new(spec.socket.clone());
    let status = tokio::select! {
        status = until_ready(&client) => status,
        ended = running.0.wait() => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(EnclaveError::Exited {
                status,
                log: spec.log.clone(),
                last_lines: tail.finished().await,
            });
        }
        () = tokio::time::sleep(spec.ready_within) => {
            let (waited_s, log) = (spec.ready_within.as_secs(), spec.log.clone());
            return Err(EnclaveError::NotReady { waited_s, log });
        }
    };
    let info = info(spec, &client, &status).await?;
    let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let EnclaveInfo { identity, measurement, .. } = info;
    report(PodProgress::EnclaveReady { identity, measurement, took_ms });
    Ok(Booted { running, info, since })
}

fn terminate(pid: Option<i32>) {
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended meanwhile; then there is nobody to ask.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Ends an enclave that a killed host left behind at our socket: it would keep the machine busy.
/// That no other host uses the directory is known from the journal's lock.
async fn end_stale(spec: &ProcessSpec) {
    let Ok(stale) = UnixStream::connect(&spec.socket).await else { return };
    tracing::warn!("enclave: ending one that an earlier host left behind");
    let pid = stale.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw);
    drop(stale);
    for signal in [Signal::TERM, Signal::KILL] {
        // It may have ended meanwhile; then there is nobody to tell.
        let _ = pid.map(|pid| kill_process(pid, signal));
        let ended = async {
            while UnixStream::connect(&spec.socket).await.is_ok() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        if tokio::time::timeout(STALE_ENDS_WITHIN, ended).await.is_ok() {
            return;
        }
    }
    tracing::warn!("enclave: the earlier one does not end");
}

async fn until_ready(client: &EnclaveClient) -> Status {
    loop {
        if let Ok(status) = client.status().await
            && status.worker == WorkerState::Ready
        {
            return status;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What the enclave says of itself, checked for what would be an operator's mistake. Clients do not
/// rely on it: they verify the quote.
async fn info(
    spec: &ProcessSpec,
    client: &EnclaveClient,
    status: &Status,
) -> Result<EnclaveInfo, EnclaveError> {
    let bundle = SignedBundle::decode(&client.bundle().await?)?;
    bundle.check_expectation(&BundleExpectation {
        chain_id: spec.chain_id,
        registry: spec.registry,
        escrow: spec.escrow,
        pod_id: spec.pod_id,
        identity: status.identity,
    })?;
    let json = client.evidence(NONCE_ON_CHAIN).await?;
    let evidence = Evidence::from_json(&json)?;
    let bundle = bundle.bundle();
    Ok(EnclaveInfo {
        identity: status.identity,
        measurement: bundle.measurement,
        model_set_root: bundle.model_set_root,
        policy_digest: bundle.policy_digest,
        evidence: Arc::new(evidence),
    })
}

/// The last lines of a program's output, and the tasks that read it.
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl Tail {
    /// The last lines, when the program has ended.
    async fn finished(self) -> String {
        for reader in self.readers {
            let _ = reader.await;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}

fn spawn(spec: &ProcessSpec, report: &Report) -> Result<(Running, Tail), EnclaveError> {
    let failed = |source| EnclaveError::Spawn { program: spec.program.clone(), source };
    match std::fs::remove_file(&spec.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let log = Arc::new(Mutex::new(private::empty_file(&spec.log).map_err(failed)?));
    let mut child = Command::new(&spec.program)
        .args(&spec.args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut tail = Tail { lines: Arc::default(), readers: Vec::new() };
    if let Some(out) = child.stdout.take() {
        tail.readers.push(tokio::spawn(copy(out, log.clone(), tail.lines.clone(), report.clone())));
    }
    if let Some(err) = child.stderr.take() {
        tail.readers.push(tokio::spawn(copy(err, log, tail.lines.clone(), report.clone())));
    }
    Ok((Running(child), tail))
}

async fn copy(
    output: impl AsyncRead + Unpin,
    log: Arc<Mutex<File>>,
    lines: Arc<Mutex<VecDeque<String>>>,
    report: Report,
) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        // A full disk must not stop the enclave; the line is still reported.
        let _ = writeln!(log.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        let mut last = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
        drop(last);
        report(PodProgress::EnclaveLog(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(folder: &std::path::Path, script: &str) -> ProcessSpec {
        ProcessSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            socket: folder.join("enclave.sock"),
            log: folder.join("enclave.log"),
            ready_within: Duration::from_millis(300),
            stop_within: Duration::from_secs(5),
            chain_id: 1,
            registry: Address([1; 20]),
            escrow: Address([2; 20]),
            pod_id: PodId([3; 32]),
        }
    }

    fn quiet() -> Report {
        Arc::new(|_| {})
    }

    #[tokio::test]
    async fn program_that_ends_is_an_error_with_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), "echo loading; echo 'bad weights' >&2; exit 3");
        let Err(error) = EnclaveProcess::start(spec, quiet()).await else {
            panic!("it cannot have started")
        };
        let EnclaveError::Exited { status, last_lines, .. } = &error else { panic!("{error}") };
        assert!(status.contains('3'), "{status}");
        assert!(
            last_lines.contains("bad weights") && last_lines.contains("loading"),
            "{last_lines}"
        );
        let log = std::fs::read_to_string(folder.path().join("enclave.log")).unwrap();
        assert!(log.contains("bad weights"), "{log}");
    }

    #[tokio::test]
    async fn program_that_never_answers_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), "exec sleep 60");
        let Err(error) = EnclaveProcess::start(spec, quiet()).await else {
            panic!("it cannot have started")
        };
        assert!(matches!(error, EnclaveError::NotReady { .. }), "{error}");
    }

    #[tokio::test]
    async fn missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ProcessSpec { program: "/no/such/program".into(), ..spec(folder.path(), "") };
        let Err(error) = EnclaveProcess::start(spec, quiet()).await else {
            panic!("it cannot have started")
        };
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
