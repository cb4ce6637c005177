//! The load on a pod, in a process of its own: this program, started again with a job.

mod pacing;
mod requests;
mod streams;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use phallama_chain::ChainConfig;
use phallama_protocol::ids::Digest32;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub(crate) use self::pacing::Paced;
pub(crate) use self::requests::Served;
pub(crate) use self::streams::Streamed;
use crate::pod::FrontPod;
use crate::stack::{self, Failure};

/// Set for the other processes: names the file with the [`Order`], or is [`CHAIN`].
pub(crate) const JOB: &str = "PHALLAMA_FRONT_JOB";
/// Be the chain, which no pod computes.
pub(crate) const CHAIN: &str = "chain";
/// The line by which the load says that it is warm.
const BEGIN: &str = "begin";

/// What is to be done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    Requests { clients: u32, seconds: u64 },
    Pacing { rounds: u32 },
    Streams { count: u32, seconds: u64 },
}

/// A job, and the pod that it is for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    chain: ChainConfig,
    measurement: Digest32,
    url: String,
    folder: PathBuf,
    job: Job,
}

/// A running load.
pub(crate) struct Load(Other);

impl Load {
    pub(crate) fn start(pod: &FrontPod, job: Job) -> Result<Self, Failure> {
        let order = Order {
            chain: pod.chain().config().clone(),
            measurement: pod.measurement(),
            url: pod.url().to_owned(),
            folder: pod.folder().join("clients"),
            job,
        };
        let file = pod.folder().join("job.json");
        std::fs::write(&file, serde_json::to_vec(&order)?)?;
        Other::start(&file).map(Self)
    }

    /// Waits until the load says that it is warm.
    pub(crate) async fn wait_for_begin(&mut self) -> Result<(), Failure> {
        match self.0.line().await? {
            line if line == BEGIN => Ok(()),
            line => Err(format!("the load said `{line}`, expected `{BEGIN}`").into()),
        }
    }

    /// Waits for its result.
    pub(crate) async fn finish<T: DeserializeOwned>(mut self) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.0.line().await?)?)
    }
}

/// This program in another process. It is killed when this is dropped.
pub(crate) struct Other {
    _process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts it with what `PHALLAMA_FRONT_JOB` is to be.
    pub(crate) fn start(job: impl AsRef<OsStr>) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(JOB, job)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
        Ok(Self { _process: process, said })
    }

    /// What it says next.
    pub(crate) async fn line(&mut self) -> Result<String, Failure> {
        let line = self.said.next_line().await?;
        Ok(line.ok_or("the other process ended; what it said is above")?)
    }
}

/// The other process: does what it was started for.
pub(crate) async fn run(job: &OsStr) -> Result<(), Failure> {
    if job == CHAIN {
        say(&stack::serve_chain().await?);
        return std::future::pending().await;
    }
    let order: Order = serde_json::from_slice(&std::fs::read(job)?)?;
    let result = match order.job {
        Job::Requests { clients, seconds } => {
            serde_json::to_string(&requests::run(&order, clients, seconds).await?)?
        }
        Job::Pacing { rounds } => serde_json::to_string(&pacing::run(&order, rounds).await?)?,
        Job::Streams { count, seconds } => {
            serde_json::to_string(&streams::run(&order, count, seconds).await?)?
        }
    };
    say(&result);
    Ok(())
}

/// A line for the process that measures.
#[expect(clippy::print_stdout, reason = "stdout is the way to the other process")]
fn say(line: &str) {
    println!("{line}");
}
