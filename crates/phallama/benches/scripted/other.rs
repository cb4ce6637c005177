//! This program in other processes: started again with a job.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::stack::{self, Failure};

/// Set for the other processes: names the file with the order, or is [`CHAIN`].
pub(crate) const JOB: &str = "PHALLAMA_BENCH_JOB";
/// Be the chain, which no pod computes.
const CHAIN: &str = "chain";
/// The line by which a load says that it is warm.
const BEGIN: &str = "begin";

/// A running load.
pub(crate) struct Load(Other);

impl Load {
    /// Starts one; `folder` takes the order.
    pub(crate) fn start(folder: &Path, order: &impl Serialize) -> Result<Self, Failure> {
        let file = folder.join("job.json");
        std::fs::write(&file, serde_json::to_vec(order)?)?;
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
    /// Starts one that is the chain.
    pub(super) fn chain() -> Result<Self, Failure> {
        Self::start(CHAIN)
    }

    fn start(job: impl AsRef<OsStr>) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(JOB, job)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no stdout")?).lines();
        Ok(Self { _process: process, said })
    }

    /// What it says next.
    pub(super) async fn line(&mut self) -> Result<String, Failure> {
        let line = self.said.next_line().await?;
        Ok(line.ok_or("the other process ended; what it said is above")?)
    }
}

/// The other process: is the chain for ever, or does with its order what `load` does, and says what
/// came of it.
pub(crate) async fn run<O: DeserializeOwned>(
    job: &OsStr,
    load: impl AsyncFnOnce(O) -> Result<String, Failure>,
) -> Result<(), Failure> {
    if job == CHAIN {
        say(&stack::serve_chain().await?);
        return std::future::pending().await;
    }
    let result = load(serde_json::from_slice(&std::fs::read(job)?)?).await?;
    say(&result);
    Ok(())
}

/// Says that the load is warm.
pub(crate) fn begin() {
    say(BEGIN);
}

/// A line for the process that measures.
#[expect(clippy::print_stdout, reason = "stdout is the way to the other process")]
fn say(line: &str) {
    println!("{line}");
}
