//! One request, from its sealed bytes to the last padding frame.

use std::sync::Arc;
use std::time::Duration;

use phallama_protocol::frames::FrameSealer;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::link::{Admit, Admitted, Claim, Denied, Kind, Refused};
use phallama_protocol::receipt::{Finish, SignedReceipt};
use phallama_protocol::refusal::{Code, PodError};
use phallama_protocol::request::{OpenedRequest, Payment, RequestPlain};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::admission::{self, Job, refuse};
use crate::connection::{HostGone, HostReader, HostWriter};
use crate::enclave::{Enclave, TakenId};
use crate::generation::{Generated, generate};
use crate::ledger::{ChannelKey, ReserveError};
use crate::meter::{Claimed, Meter, Subject};
use crate::opening;
use crate::outbox::Outbox;
use crate::pacer::{OrClosed, Pacer};
use crate::random::os_rng;

/// How long the host may take to admit a payment or to store a claim.
const HOST_TIMEOUT: Duration = Duration::from_secs(30);
/// Advice when every place for an exchange is taken.
const CROWDED_RETRY_MS: u32 = 1_000;
/// Advice when the host could not store a claim.
const NOT_STORED_RETRY_MS: u32 = 5_000;

/// Answers one sealed request. Returns the connection, which may carry another.
///
/// # Errors
/// [`HostGone`]; then nothing was charged, unless the claim had been handed to the host before.
pub(crate) async fn serve(
    enclave: &Arc<Enclave>,
    sealed: Vec<u8>,
    mut reader: HostReader,
    mut writer: HostWriter,
) -> Result<(HostReader, HostWriter), HostGone> {
    let (_place, begun) = match open(enclave, &sealed) {
        Ok(opened) => opened,
        Err(refused) => {
            writer.control(&refused).await?;
            return Ok((reader, writer));
        }
    };
    drop(sealed);
    reader.expect_control_only();
    let Begun { plain, commitment, enc2, sealer } = begun;
    let admitted = admit(enclave, &plain, commitment, &mut reader, &mut writer).await?;
    let pacer = Pacer::new(plain.class, enc2, Outbox::new(sealer), writer);
    let mut exchange = Exchange { enclave, payment: plain.payment, pacer, reader };
    match admitted {
        OrClosed::ClientGone => exchange.pacer.abandon(),
        OrClosed::Done(Ok(admission)) => exchange.answer(admission).await?,
        OrClosed::Done(Err(error)) => exchange.pacer.outbox.fail(&error),
    }
    exchange.finish().await
}

/// A request that was opened, and the beginning of its answer.
struct Begun {
    plain: RequestPlain,
    commitment: Digest32,
    enc2: Vec<u8>,
    sealer: FrameSealer,
}

/// Opens a request, in a place for it.
fn open(enclave: &Arc<Enclave>, sealed: &[u8]) -> Result<(OwnedSemaphorePermit, Begun), Refused> {
    let refused = |code, retry_after_ms| Refused { code, retry_after_ms };
    if enclave.is_draining() {
        return Err(refused(Code::Draining, 0));
    }
    let place = enclave.enter().ok_or(refused(Code::QueueFull, CROWDED_RETRY_MS))?;
    let OpenedRequest { plain, exchange } = opening::open(enclave, sealed)?;
    let commitment = exchange.request_commitment();
    let (enc2, sealer) = exchange
        .respond(plain.class, &mut os_rng())
        .map_err(|_| refused(Code::MalformedRequest, 0))?;
    Ok((place, Begun { plain, commitment, enc2, sealer }))
}

/// A request that is computed and metered.
struct Admission {
    job: Job,
    meter: Meter,
    taken: TakenId,
}

/// Checks a request, asks the host to admit its payment and reserves it in its channel.
async fn admit(
    enclave: &Arc<Enclave>,
    plain: &RequestPlain,
    commitment: Digest32,
    reader: &mut HostReader,
    writer: &mut HostWriter,
) -> Result<OrClosed<Result<Admission, PodError>>, HostGone> {
    let done = |result| Ok(OrClosed::Done(result));
    let job = match admission::check(enclave, plain) {
        Ok(job) => job,
        Err(error) => return done(Err(error)),
    };
    let payment = &plain.payment;
    let Some(taken) = enclave.take_request_id(payment.user, plain.request_id) else {
        let message = "this request id is in use or was charged already";
        return done(Err(refuse(Code::DuplicateRequest, message)));
    };
    let key = ChannelKey { user: payment.user, epoch: payment.epoch };
    let charged = enclave.ledger().charged(key);
    writer.control(&Admit::new(payment, job.reserve, charged)).await?;
    let known_by_host = match host_verdict(reader).await? {
        OrClosed::ClientGone => return Ok(OrClosed::ClientGone),
        OrClosed::Done(Err(denied)) => {
            return done(Err(denied_error(denied, enclave.ledger().charged(key))));
        }
        OrClosed::Done(Ok(admitted)) => admitted.cumulative,
    };
    let reserved = enclave.ledger().reserve(key, known_by_host, payment.cap, job.reserve);
    done(reserved.map_err(reserve_error).map(|reservation| {
        let subject = Subject {
            enclave: Arc::clone(enclave),
            key,
            offer: job.offer.clone(),
            request_commitment: commitment,
        };
        Admission { job, meter: Meter::new(subject, reservation), taken }
    }))
}

async fn host_verdict(
    reader: &mut HostReader,
) -> Result<OrClosed<Result<Admitted, Denied>>, HostGone> {
    let late = |_| HostGone::NotAnswering { asked: Kind::Admit, after: HOST_TIMEOUT };
    let Some(frame) = timeout(HOST_TIMEOUT, reader.next()).await.map_err(late)?? else {
        return Ok(OrClosed::ClientGone);
    };
    Ok(OrClosed::Done(match frame.kind {
        Kind::Denied => Err(frame.control::<Denied>()?),
        _ => Ok(frame.control::<Admitted>()?),
    }))
}

/// The host chooses the code and the advice. Its words are marked as its own, because the frame
/// that carries them is authenticated as the enclave's. Clients raise their records to the amount
/// in such a frame, so it is this enclave's own, `charged`, whatever the host names.
fn denied_error(denied: Denied, charged: Amount) -> PodError {
    let code = if denied.code.in_frame() { denied.code } else { Code::Internal };
    let words: String = denied.message.chars().filter(|c| !c.is_control()).collect();
    let message = format!("the pod's host says: {words}");
    PodError { code, cumulative: charged, message, ..denied.into() }
}

fn reserve_error(error: ReserveError) -> PodError {
    let (code, cumulative) = match error {
        ReserveError::CapTooLow { charged, .. } => (Code::CapTooLow, charged),
        ReserveError::Closed { charged } => (Code::EpochMismatch, charged),
        ReserveError::Full => (Code::QueueFull, Amount::ZERO),
    };
    PodError { cumulative, ..refuse(code, error.to_string()) }
}

/// Whether the host has stored a claim.
enum Verdict {
    Stored,
    NotStored,
}

/// An opened request on its way to its last frame.
struct Exchange<'a> {
    enclave: &'a Arc<Enclave>,
    payment: Payment,
    pacer: Pacer,
    reader: HostReader,
}

impl Exchange<'_> {
    /// Computes, hands out, charges.
    async fn answer(&mut self, admission: Admission) -> Result<(), HostGone> {
        let Admission { job, meter, taken } = admission;
        self.pacer.outbox.begin(meter, self.enclave.clock().unix_s());
        let user = self.payment.user;
        match generate(job, user, &mut self.pacer, &mut self.reader).await? {
            Generated::Failed(error) => {
                self.pacer.outbox.fail(&error);
                Ok(())
            }
            Generated::ClientGone => self.cancelled(taken).await,
            Generated::Finished(finish) => match self.pacer.drain(&mut self.reader).await? {
                OrClosed::ClientGone => self.cancelled(taken).await,
                OrClosed::Done(()) => self.settle(finish, taken).await,
            },
        }
    }

    /// The whole answer is in frames: claims its cost and ends it once the host has stored the
    /// claim (spec/billing.md, step 6).
    async fn settle(&mut self, finish: Finish, taken: TakenId) -> Result<(), HostGone> {
        let progress = self.pacer.outbox.progress();
        let meter = self.meter();
        let claimed = self.pacer.during(meter.claim(&progress, finish)).await?;
        let Claimed { mut charge, receipt } = claimed;
        let claim = self.payment_claim(&receipt);
        self.pacer.claim(&claim).await?;
        charge.hand_over();
        match self.claim_verdict().await {
            Ok(Verdict::Stored) => {}
            Ok(Verdict::NotStored) => {
                charge.take_back();
                self.pacer.outbox.fail(&not_stored());
                return Ok(());
            }
            Err(gone) => {
                taken.keep();
                return Err(gone);
            }
        }
        drop(charge);
        taken.keep();
        tracing::debug!(cost = %receipt.receipt.cost, ?finish, "answer complete");
        self.pacer.outbox.end(&receipt.encode());
        Ok(())
    }

    /// What the host says of a claim that was handed to it.
    async fn claim_verdict(&mut self) -> Result<Verdict, HostGone> {
        let answer = timeout(HOST_TIMEOUT, self.reader.next());
        let late = |_| HostGone::NotAnswering { asked: Kind::Claim, after: HOST_TIMEOUT };
        match self.pacer.during(answer).await?.map_err(late)?? {
            Some(frame) if frame.kind == Kind::NotStored => {
                frame.empty(Kind::NotStored)?;
                Ok(Verdict::NotStored)
            }
            Some(frame) => {
                frame.empty(Kind::Stored)?;
                Ok(Verdict::Stored)
            }
            // The client left before the last frame; the host stores the claim all the same.
            None => Ok(Verdict::Stored),
        }
    }

    /// The client left: charges what was handed out, if anything was. The host has closed its
    /// sending half, so that it takes the claim is all it can say.
    async fn cancelled(&mut self, taken: TakenId) -> Result<(), HostGone> {
        let progress = self.pacer.handed_out();
        let meter = self.meter();
        if progress.data_frames > 0 {
            let Claimed { mut charge, receipt } = meter.claim(&progress, Finish::Cancelled).await;
            let claim = self.payment_claim(&receipt);
            self.pacer.writer().control(&claim).await?;
            charge.hand_over();
            taken.keep();
            tracing::debug!(cost = %receipt.receipt.cost, "answer cancelled by the client");
        }
        self.pacer.abandon();
        Ok(())
    }

    /// Sends what is left, up to the rung.
    async fn finish(mut self) -> Result<(HostReader, HostWriter), HostGone> {
        self.pacer.finish(&mut self.reader).await?;
        self.reader.expect_request();
        Ok((self.reader, self.pacer.into_writer()))
    }

    fn meter(&mut self) -> Meter {
        self.pacer.outbox.take_meter().expect("an answer that has begun has its meter")
    }

    fn payment_claim(&self, signed: &SignedReceipt) -> Claim {
        let Payment { user, epoch, cap, voucher_sig, .. } = self.payment;
        Claim {
            user,
            epoch,
            cap,
            voucher_sig,
            seq: signed.receipt.seq,
            cumulative: signed.receipt.cumulative,
            receipt_hash: signed.receipt.hash(),
            settlement_sig: signed.signature,
            prompt_tokens: signed.receipt.prompt_tokens,
            completion_tokens: signed.receipt.completion_tokens,
        }
    }
}

fn not_stored() -> PodError {
    PodError {
        retry_after_ms: NOT_STORED_RETRY_MS,
        ..refuse(Code::PaymentsPaused, "the pod could not store your payment; nothing was charged")
    }
}
