use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::{Answer, Ask, Drained};
use crate::books::Books;
use crate::earnings::Earnings;
use crate::error::SettleError;
use crate::private;
use crate::settlement::Settler;
use crate::status::StatusSource;

/// How long an operator's program may take to ask.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const ASK_MAX_BYTES: u64 = 4_096;
/// Pause after the system gave no connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the operator's questions are answered from.
pub(crate) struct Desk {
    pub(crate) status: Arc<StatusSource>,
    pub(crate) settler: Arc<Settler>,
    pub(crate) books: Books,
    /// How long a drain waits for open exchanges.
    pub(crate) drain: Duration,
}

/// Listens until stopped or dropped.
pub(crate) struct AdminServer {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
}

impl AdminServer {
    pub(crate) fn start(socket: &Path, desk: Arc<Desk>) -> io::Result<Self> {
        let listener = private::socket(socket)?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(accept(listener, desk, stopped));
        Ok(Self { socket: socket.to_owned(), stop: Some(stop), accepting })
    }

    /// Ends every conversation; nobody holds anything of the pod when this returns.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, desk: Arc<Desk>, mut stopped: oneshot::Receiver<()>) {
    let mut conversations = JoinSet::new();
    loop {
        while conversations.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let desk = Arc::clone(&desk);
        conversations.spawn(async move {
            if let Err(error) = serve(stream, &desk).await {
                tracing::debug!(%error, "admin: conversation ended");
            }
        });
    }
    conversations.shutdown().await;
}

async fn serve(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = Vec::new();
    let mut reading = BufReader::new(reading.take(ASK_MAX_BYTES));
    let read = reading.read_until(b'\n', &mut line);
    tokio::time::timeout(ASKED_WITHIN, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match serde_json::from_slice(&line) {
        Ok(ask) => desk.answer(ask).await.unwrap_or_else(|error| failed(&error)),
        Err(error) => failed(&error),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    writing.write_all(&answer).await
}

fn failed(error: &dyn std::fmt::Display) -> Answer {
    Answer::Failed(error.to_string())
}

impl Desk {
    pub(crate) async fn answer(&self, ask: Ask) -> Result<Answer, SettleError> {
        Ok(match ask {
            Ask::Status => Answer::Status(self.status.all().await),
            Ask::Earnings => Answer::Earnings(self.earnings().await?),
            Ask::Settle { dry_run: true } => Answer::Planned(self.settler.planned().await?),
            Ask::Settle { dry_run: false } => Answer::Settled(self.settler.settle_now().await?),
            Ask::Collect => Answer::Collected(self.settler.collect().await?),
            Ask::Drain { resume } => Answer::Drained(self.drain(resume).await?),
        })
    }

    async fn earnings(&self) -> Result<Earnings, SettleError> {
        let mut earnings = Earnings::of(&self.settler.journal, &self.books);
        earnings.at_risk = Some(self.status.gate.reserves.at_risk());
        earnings.credit = Some(self.settler.credit().await?);
        Ok(earnings)
    }

    async fn drain(&self, resume: bool) -> Result<Drained, SettleError> {
        self.status.draining.store(!resume, Ordering::Release);
        let mut settled = Vec::new();
        if !resume {
            self.status.open.none(self.drain).await;
            settled = self.settler.settle_now().await?;
        }
        Ok(Drained { draining: !resume, open: self.status.open.now(), settled })
    }
}
