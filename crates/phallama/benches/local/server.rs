//! `phallama serve` in a process of its own, so that its memory and time can be read alone.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use phallama::context::USER_KEYSTORE;
use phallama::home::{ApprovedMeasurement, Home, NO_LIMIT};
use phallama_client::{Keystore, ScryptCost};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::load::LOCAL_USER;
use crate::note;
use crate::scripted::{ScriptedPod, process};
use crate::stack::{self, Failure, LOOPBACK, program};

/// How often memory is read.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Files that may be open more than before.
const FILES_MORE: u32 = 5;

/// A running local server. It is killed when this is dropped.
pub(crate) struct LocalServer {
    _process: Child,
    pid: u32,
    address: SocketAddr,
}

impl LocalServer {
    /// Starts it for [`LOCAL_USER`], who approves of the pod.
    pub(crate) async fn start(pod: &ScriptedPod) -> Result<Self, Failure> {
        let home = pod.folder().join("home");
        furnish(&home, pod)?;
        let mut process = Command::new(program("phallama")?)
            .args(["serve", "--listen", &LOOPBACK.to_string()])
            .env_clear()
            .env("PHALLAMA_HOME", &home)
            .env("PHALLAMA_PASSWORD_FILE", home.join("password"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = BufReader::new(process.stderr.take().ok_or("no stderr")?).lines();
        let address = loop {
            let line = said.next_line().await?.ok_or("`phallama serve` ended")?;
            if let Some(url) = line.strip_prefix("OpenAI  http://") {
                break url.trim_end_matches("/v1").parse()?;
            }
            note(&line);
        };
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                note(&line);
            }
        });
        let pid = process.id().ok_or("`phallama serve` ended")?;
        Ok(Self { _process: process, pid, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time so far.
    pub(crate) fn cpu_s(&self) -> Result<f64, Failure> {
        process::cpu_s(self.pid)
    }

    /// Resident memory.
    pub(crate) fn memory_kib(&self) -> Result<f64, Failure> {
        process::memory_kib(self.pid)
    }

    /// What `meanwhile` comes to, and the most resident memory until then.
    pub(crate) async fn watch<T>(
        &self,
        meanwhile: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, f64), Failure> {
        let mut meanwhile = std::pin::pin!(meanwhile);
        let mut peak = self.memory_kib()?;
        loop {
            tokio::select! {
                done = &mut meanwhile => return Ok((done?, peak)),
                () = sleep(WATCH_EVERY) => peak = peak.max(self.memory_kib()?),
            }
        }
    }

    /// Open files and sockets.
    pub(crate) fn files(&self) -> Result<u32, Failure> {
        Ok(u32::try_from(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())?)
    }

    /// The same, as soon as they are about as many as `before`, or when `patience` is over.
    pub(crate) async fn files_settled(
        &self,
        before: u32,
        patience: Duration,
    ) -> Result<u32, Failure> {
        let end = Instant::now() + patience;
        loop {
            let files = self.files()?;
            if files <= before + FILES_MORE || Instant::now() > end {
                return Ok(files);
            }
            sleep(WATCH_EVERY).await;
        }
    }
}

/// Makes the home as a user who has set everything up has it.
fn furnish(folder: &Path, pod: &ScriptedPod) -> Result<(), Failure> {
    let home = Home::at(folder);
    home.create()?;
    let password = "bench";
    fs::write(home.path("password"), password)?;
    let user = stack::user(LOCAL_USER);
    Keystore::import(&home.path(USER_KEYSTORE), &user, password, ScryptCost::LIGHT)?;
    let mut config = home.config()?;
    config.chain = Some(pod.chain().config().clone());
    config.trust.danger_accept_simulated_tee = true;
    let measurement = pod.measurement().to_string().trim_start_matches("0x").to_owned();
    let label = "this build".to_owned();
    config.trust.measurements.push(ApprovedMeasurement { label, measurement, policy: None });
    NO_LIMIT.clone_into(&mut config.limits.per_day);
    "unpaced".clone_into(&mut config.serve.class);
    home.write_config(&config)?;
    Ok(())
}
