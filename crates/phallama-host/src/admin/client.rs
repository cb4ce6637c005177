use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Answer, Ask};

/// A drain waits, a settlement is mined.
const ANSWERED_WITHIN: Duration = Duration::from_mins(10);
/// A pod with a million channels answers with less.
const ANSWER_MAX_BYTES: u64 = 1 << 30;

/// No pod answers, or it cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens.
    #[error("no pod runs here: nothing listens at {}", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection broke.
    #[error("the pod at {} does not answer: {source}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is none; another version listens.
    #[error("the pod at {} speaks another version: {reason}", socket.display())]
    Malformed {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The pod tried and failed.
    #[error("the pod could not do it: {0}")]
    Failed(String),
}

/// Asks the running pod of a socket.
///
/// # Errors
/// [`AdminError`].
pub async fn ask(socket: &Path, ask: Ask) -> Result<Answer, AdminError> {
    let here = || socket.to_owned();
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error) => return Err(AdminError::NotRunning { socket: here() }),
        Err(source) => return Err(AdminError::Broken { socket: here(), source }),
    };
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    let line = tokio::time::timeout(ANSWERED_WITHIN, exchange(stream, ask)).await;
    let line = line
        .unwrap_or_else(late)
        .map_err(|source| AdminError::Broken { socket: here(), source })?;
    match serde_json::from_slice(&line) {
        Ok(Answer::Failed(reason)) => Err(AdminError::Failed(reason)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(AdminError::Malformed { socket: here(), reason: error.to_string() }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn exchange(mut stream: UnixStream, ask: Ask) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&ask)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(ANSWER_MAX_BYTES).read_until(b'\n', &mut answer).await?;
    Ok(answer)
}
