//! One sealed exchange: the client's bytes to the enclave, the enclave's bytes to the client, and
//! the enclave's questions to the journal and the chain in between. Everything here is ciphertext.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use phallama_protocol::eip712::{Settlement, channel_id};
use phallama_protocol::ids::Address;
use phallama_protocol::keys;
use phallama_protocol::link::{Admit, Admitted, Claim, Denied, Frame, Kind, LinkError, Refused};
use phallama_protocol::refusal::{Code, Refusal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admission::Denial;
use crate::clock;
use crate::enclave::{LinkReader, LinkWriter, Links};
use crate::error::EnclaveError;
use crate::gate::{Admission, Gate};
use crate::journal::{Change, ChannelKey, Claim as JournalClaim, NotStored};
use crate::metrics::AbortedBy;

/// Pieces of an answer that wait for a slow client, most. One piece is a frame or a burst of them.
const PIECES_WAITING_MAX: usize = 16;
/// How long the enclave may take for the claim of a cancelled exchange.
const CLAIM_WITHIN: Duration = Duration::from_secs(30);
/// What a client is told when the enclave cannot be reached.
const RETRY_AFTER_MS: u32 = 2_000;

/// A part of an answer's body.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// To pass on; may be empty.
    pub bytes: Vec<u8>,
    /// Whether the answer is complete with it. A body that ends without such a piece is aborted.
    pub is_last: bool,
}

/// How an exchange begins for the client.
#[derive(Debug)]
pub enum Opening {
    /// The enclave answers; pieces follow.
    Answer(mpsc::Receiver<Piece>),
    /// Refused before the request was opened.
    Refused(Refusal),
}

/// What exchanges need.
pub struct Exchanges {
    /// The way to the enclave.
    pub links: Links,
    /// Decides about payments and stores claims.
    pub gate: Arc<Gate>,
    /// How long a client may not read before it counts as gone.
    pub write_timeout: Duration,
    /// Told after every stored claim.
    pub claim_stored: Arc<tokio::sync::Notify>,
    /// Counts exchanges.
    pub open: OpenCount,
}

/// How many exchanges are open. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct OpenCount(watch::Sender<usize>);

struct OpenExchange(OpenCount);

impl OpenCount {
    fn enter(&self) -> OpenExchange {
        self.0.send_modify(|open| *open = open.saturating_add(1));
        OpenExchange(self.clone())
    }

    /// The number now.
    pub fn now(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until none is open, at most `limit`; true when none is.
    pub async fn none(&self, limit: Duration) -> bool {
        let mut open = self.0.subscribe();
        let none = open.wait_for(|open| *open == 0);
        tokio::time::timeout(limit, none).await.is_ok()
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

type Questions = FuturesUnordered<BoxFuture<'static, Result<Answer, EnclaveError>>>;

/// What a question of the enclave leads to.
enum Answer {
    Admitted(Admission),
    Denied(Denial),
    Stored,
    NotStored,
}

impl Exchanges {
    /// Passes a request to the enclave and returns when it begins to answer. The exchange goes on
    /// in a task of its own, so that its claim is stored even when the client leaves.
    pub async fn start(self: &Arc<Self>, identity: Address, body: Vec<u8>) -> Opening {
        let (opening, opened) = oneshot::channel();
        let (pieces, body_pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let mut exchange = Exchange {
            of: Arc::clone(self),
            identity,
            pieces,
            opening: Some((opening, body_pieces)),
            admission: None,
            claiming: false,
            _open: self.open.enter(),
        };
        tokio::spawn(async move {
            if let Err(error) = exchange.run(body).await {
                exchange.of.gate.metrics.aborted(AbortedBy::Enclave);
                tracing::warn!(%error, "exchange: aborted");
            }
            exchange.refuse(Code::Internal, RETRY_AFTER_MS);
        });
        opened.await.unwrap_or(Opening::Refused(internal()))
    }
}

fn internal() -> Refusal {
    Refusal { code: Code::Internal, retry_after_ms: RETRY_AFTER_MS }
}

struct Exchange {
    of: Arc<Exchanges>,
    identity: Address,
    pieces: mpsc::Sender<Piece>,
    /// Until the client has been told how it begins.
    opening: Option<(oneshot::Sender<Opening>, mpsc::Receiver<Piece>)>,
    admission: Option<Admission>,
    /// A claim is on its way to the disk.
    claiming: bool,
    _open: OpenExchange,
}

/// Whether the exchange goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Goes,
    Complete,
    ClientGone,
}

impl Exchange {
    async fn run(&mut self, body: Vec<u8>) -> Result<(), EnclaveError> {
        let (mut from, mut to) = self.of.links.take().await?;
        // The enclave may refuse before it has read everything; what it said then counts.
        let sent = to.raw(Kind::Sealed, &body).await;
        drop(body);
        let mut questions = Questions::new();
        loop {
            let flow = tokio::select! {
                Some(answer) = questions.next() => self.answer(&mut to, answer?).await?,
                frame = from.next() => match frame? {
                    Some(frame) if frame.kind == Kind::Out => {
                        let is_last = from.take_done()?;
                        self.pass_on(frame.payload, is_last).await
                    }
                    Some(frame) => self.frame(frame, &mut questions).await?,
                    None => return sent.and(Err(EnclaveError::Closed(Kind::Done))),
                },
                () = client_gone(&self.pieces, self.opening.as_mut()) => Flow::ClientGone,
            };
            match flow {
                Flow::Goes => {}
                Flow::Complete => {
                    if sent.is_ok() {
                        self.of.links.keep((from, to));
                    }
                    return Ok(());
                }
                Flow::ClientGone => {
                    self.of.gate.metrics.aborted(AbortedBy::Client);
                    return self.cancel(&mut from, &mut to, questions).await;
                }
            }
        }
    }

    async fn frame(
        &mut self,
        frame: Frame,
        questions: &mut Questions,
    ) -> Result<Flow, EnclaveError> {
        match frame.kind {
            Kind::Admit => {
                let (gate, admit) = (Arc::clone(&self.of.gate), frame.control::<Admit>()?);
                questions.push(Box::pin(async move { Ok(admitted(&gate, &admit).await) }));
            }
            Kind::Claim => {
                let (of, claim) = (Arc::clone(&self.of), frame.control::<Claim>()?);
                let identity = self.identity;
                self.claiming = true;
                questions.push(Box::pin(async move { stored(&of, identity, claim).await }));
            }
            Kind::Refused => {
                let Refused { code, retry_after_ms } = frame.control()?;
                self.refuse(code, retry_after_ms);
                return Ok(Flow::Complete);
            }
            Kind::Done => {
                frame.empty(Kind::Done)?;
                return Ok(self.pass_on(Vec::new(), true).await);
            }
            got => return Err(LinkError::Unexpected { expected: Kind::Out, got }.into()),
        }
        Ok(Flow::Goes)
    }

    /// Hands a piece to the client. The first is there before the client is told that an answer
    /// follows, so that it leaves in one write with the response's head.
    async fn pass_on(&mut self, bytes: Vec<u8>, is_last: bool) -> Flow {
        let piece = Piece { bytes, is_last };
        let sent = self.pieces.send_timeout(piece, self.of.write_timeout).await;
        if let Some((opening, pieces)) = self.opening.take() {
            let _ = opening.send(Opening::Answer(pieces));
        }
        match sent {
            _ if is_last => Flow::Complete,
            Ok(()) => Flow::Goes,
            Err(_) => Flow::ClientGone,
        }
    }

    /// Tells the client that no answer follows, unless one has begun.
    fn refuse(&mut self, code: Code, retry_after_ms: u32) {
        let code = if code.in_refusal() { code } else { Code::Internal };
        if let Some((opening, _)) = self.opening.take() {
            let _ = opening.send(Opening::Refused(Refusal { code, retry_after_ms }));
        }
    }

    async fn answer(&mut self, to: &mut LinkWriter, answer: Answer) -> Result<Flow, EnclaveError> {
        self.claiming = false;
        match answer {
            Answer::Admitted(admission) => {
                to.control(&Admitted { cumulative: admission.cumulative }).await?;
                self.admission = Some(admission);
            }
            Answer::Denied(Denial { code, retry_after_ms, cumulative, message }) => {
                to.control(&Denied { code, retry_after_ms, cumulative, message }).await?;
            }
            Answer::Stored => to.raw(Kind::Stored, &[]).await?,
            Answer::NotStored => to.raw(Kind::NotStored, &[]).await?,
        }
        Ok(Flow::Goes)
    }

    /// The client has left: it pays for what it was given, so the claim is still taken.
    async fn cancel(
        &mut self,
        from: &mut LinkReader,
        to: &mut LinkWriter,
        mut questions: Questions,
    ) -> Result<(), EnclaveError> {
        // A claim that came before the client left is answered; no other question is.
        if self.claiming
            && let Some(answer) = questions.next().await
        {
            self.answer(to, answer?).await?;
        }
        drop(questions);
        to.close().await?;
        let rest = async {
            while let Some(frame) = from.next().await? {
                if frame.kind == Kind::Claim {
                    stored(&self.of, self.identity, frame.control()?).await?;
                }
            }
            Ok(())
        };
        let late = EnclaveError::Timeout { kind: Kind::Claim, waited_ms: CLAIM_WITHIN.as_millis() };
        tokio::time::timeout(CLAIM_WITHIN, rest).await.unwrap_or(Err(late))
    }
}

/// Returns when nobody waits for the opening or for pieces any more.
async fn client_gone(
    pieces: &mpsc::Sender<Piece>,
    opening: Option<&mut (oneshot::Sender<Opening>, mpsc::Receiver<Piece>)>,
) {
    match opening {
        Some((opening, _)) => opening.closed().await,
        None => pieces.closed().await,
    }
}

async fn admitted(gate: &Gate, admit: &Admit) -> Answer {
    match gate.admit(admit).await {
        Ok(admission) => Answer::Admitted(admission),
        Err(denial) => Answer::Denied(denial),
    }
}

/// Checks that the contract would take the claim, and stores it.
async fn stored(of: &Exchanges, identity: Address, claim: Claim) -> Result<Answer, EnclaveError> {
    let gate = &of.gate;
    let settlement = Settlement {
        channel: channel_id(claim.user, gate.pod),
        epoch: claim.epoch,
        seq: claim.seq,
        cumulative: claim.cumulative,
        receipt_hash: claim.receipt_hash,
    };
    let signer = keys::recover(&settlement.digest(&gate.domain), &claim.settlement_sig);
    let got = signer.unwrap_or(Address::ZERO);
    if got != identity {
        return Err(EnclaveError::ClaimSigner { got, expected: identity });
    }
    let settled = gate.view.last_channel(claim.user).map(|channel| channel.claimed);
    let key = ChannelKey { user: claim.user, epoch: claim.epoch };
    let change = Change::Claim(Box::new(JournalClaim {
        key,
        cap: claim.cap,
        voucher_sig: claim.voucher_sig,
        identity,
        seq: claim.seq,
        cumulative: claim.cumulative,
        receipt_hash: claim.receipt_hash,
        settlement_sig: claim.settlement_sig,
        prompt_tokens: claim.prompt_tokens,
        completion_tokens: claim.completion_tokens,
        settled: settled.unwrap_or_default(),
        at_unix_s: clock::now_unix_s(),
    }));
    let answer = match gate.journal.store(change).await {
        Ok(()) => {
            gate.reserves.charge(key.user, key.epoch, claim.cumulative);
            Answer::Stored
        }
        Err(NotStored::NotYet | NotStored::Stop) => Answer::NotStored,
    };
    of.claim_stored.notify_one();
    Ok(answer)
}

#[cfg(test)]
mod tests;
