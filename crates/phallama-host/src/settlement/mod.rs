//! Turning claims into the pod's credit: when, with which rows, and noting what the contract paid.
//!
//! Amounts are cumulative, so a transaction that was mined without our noticing, or is sent twice,
//! pays nothing twice: what is settled is read back from the contract, never assumed. It stays
//! provisional until it is read at the `safe` head ([`confirm`](Settler::confirm)): a block that is
//! replaced makes its rows unsettled again, and they are settled anew.

mod alarm;
mod collect;
mod due;
mod plan;
mod skipped;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use phallama_chain::{ChainError, Channel, Sender, Tx};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, watch};

use crate::admin::Planned;
use crate::books::{Books, Purpose};
use crate::clock;
use crate::enclave::{EnclaveClient, EnclaveState};
use crate::error::SettleError;
use crate::journal::{Change, ChannelKey, ChannelRecord, Journal};
use crate::locks::LockQueue;
use crate::metrics::Metrics;
use crate::money::total;
use crate::progress::PodProgress;
use crate::view::ChainView;

pub use due::Due;
pub use plan::{Plan, ROWS_MAX};
pub use skipped::SkipReason;

use alarm::Alarms;
use due::Waiting;
use skipped::Skipped;

/// How often the age of claims is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long claims gather before what they are worth is looked at, which takes all channels.
const GATHER: Duration = Duration::from_millis(200);
/// Pause after a settlement that failed or moved nothing.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a settlement waits for locks on their way.
const LOCK_WITHIN: Duration = Duration::from_secs(20);
/// Channels per call of the contract's view.
const CHANNELS_PER_CALL: usize = 500;

/// Who signed the rows of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsSignedBy {
    /// The running enclave, one signature for all rows (`settle`).
    Enclave,
    /// Enclaves of earlier starts, each row with its own signature (`settleReceipts`).
    Receipts,
}

/// One mined settlement transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// Which function was called.
    pub signed_by: RowsSignedBy,
    /// Rows sent.
    pub rows: usize,
    /// Rows that the contract passed over.
    pub skipped: usize,
    /// What came into the pod's credit.
    pub paid: Amount,
    /// Transaction hash.
    pub tx_hash: Digest32,
    /// Block it was mined in.
    pub block: u64,
    /// Gas of the whole transaction.
    pub gas_used: u64,
    /// Price paid per gas, in wei.
    #[serde(with = "crate::wei")]
    pub gas_price_wei: u128,
}

/// Settles for one pod. One settlement runs at a time.
pub struct Settler {
    /// The operator's account.
    pub sender: Sender,
    /// This pod.
    pub pod: PodId,
    /// The chain as last read.
    pub view: Arc<ChainView>,
    /// What users owe.
    pub journal: Arc<Journal>,
    /// The enclave that signs.
    pub enclave: EnclaveClient,
    /// Locks on their way: an answer served on credit is paid only once its lock is mined.
    pub locks: LockQueue,
    /// Which identity it has.
    pub state: watch::Receiver<EnclaveState>,
    /// When to settle.
    pub due: Due,
    /// Have the credit paid out when it has reached this much; never by itself when absent.
    pub collect_min: Option<Amount>,
    /// Wakes the loop: a claim was stored, a user is leaving, the chain is back.
    pub wake: Arc<Notify>,
    /// What transactions paid and cost.
    pub books: Books,
    /// Counts.
    pub metrics: Metrics,
    /// Tells the operator.
    pub report: Arc<dyn Fn(PodProgress) + Send + Sync>,
    /// What it remembers.
    pub memory: Memory,
}

/// What a [`Settler`] remembers between settlements.
#[derive(Default)]
pub struct Memory {
    /// Held while settling.
    turn: Mutex<()>,
    skipped: std::sync::Mutex<Skipped>,
    waiting: std::sync::Mutex<Waiting>,
    alarms: std::sync::Mutex<Alarms>,
}

fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settlements mined so far, and the first thing that went wrong.
#[derive(Default)]
struct Outcome {
    settled: Vec<Settlement>,
    failed: Option<SettleError>,
}

impl Outcome {
    /// False when nothing more can be sent now.
    fn take(&mut self, sent: Result<Settlement, SettleError>) -> bool {
        match sent {
            Ok(settlement) => self.settled.push(settlement),
            Err(error) => {
                let goes_on = matches!(&error, SettleError::Chain(ChainError::Reverted { .. }));
                self.failed.get_or_insert(error);
                return goes_on;
            }
        }
        true
    }
}

impl Settler {
    /// Settles whenever it is due, for ever.
    pub async fn run(&self) {
        loop {
            tokio::select! {
                () = self.wake.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if !self.is_due() && !self.key_ends_soon().await {
                continue;
            }
            let settled = self.settle_now().await;
            self.sound_alarms();
            match settled {
                Ok(settled) if !settled.is_empty() => self.collect_when_worth_it().await,
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, "settlement: failed, will be tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Settles everything that the contract would pay for, whatever its amount. What goes wrong
    /// with some rows holds up no others.
    ///
    /// # Errors
    /// [`SettleError`] of the first transaction that failed; what else was mined is settled and
    /// noted.
    pub async fn settle_now(&self) -> Result<Vec<Settlement>, SettleError> {
        let _turn = self.memory.turn.lock().await;
        // Claims have grown since, so a second transaction would be another one, and most of it
        // would pay nothing.
        self.sender.tend().await?;
        if self.sender.is_settling().await {
            return Err(SettleError::Waiting);
        }
        let (plan, channel_of) = self.plan().await?;
        let mut outcome = Outcome::default();
        let mut receipts = plan.receipts;
        for rows in plan.batch.chunks(ROWS_MAX) {
            let (sent, unsigned) = self.settle_batch(rows).await;
            receipts.extend(unsigned);
            if !sent.is_none_or(|sent| outcome.take(sent)) {
                receipts.clear();
                break;
            }
        }
        receipts.retain(|record| !self.holds(RowsSignedBy::Receipts, record, &channel_of));
        for rows in receipts.chunks(ROWS_MAX) {
            self.metrics.settlement_sent();
            let tx = self.sender.settle_receipts(self.pod, &plan::receipt_rows(rows)).await;
            if !outcome.take(self.sent(RowsSignedBy::Receipts, rows, tx).await) {
                break;
            }
        }
        if outcome.failed.is_none() {
            locked(&self.memory.waiting).settled();
        }
        outcome.failed.map_or(Ok(outcome.settled), Err)
    }

    /// What [`settle_now`](Self::settle_now) would send.
    ///
    /// # Errors
    /// [`SettleError::Chain`].
    pub async fn planned(&self) -> Result<Vec<Planned>, SettleError> {
        let unsettled = self.journal.unsettled();
        self.await_locks(&unsettled).await;
        let channels = self.read(&unsettled).await?;
        let channel_of = plan::by_key(&unsettled, &channels);
        let plan = self.sift(Plan::new(&unsettled, &channels, self.identity()), &channel_of);
        let planned = |signed_by, rows: &[ChannelRecord]| Planned {
            signed_by,
            rows: rows.len(),
            payable: total(rows.iter().map(|row| plan::payable(row, &channel_of[&row.key]))),
            transactions: rows.len().div_ceil(ROWS_MAX),
        };
        let both = [
            planned(RowsSignedBy::Enclave, &plan.batch),
            planned(RowsSignedBy::Receipts, &plan.receipts),
        ];
        Ok(both.into_iter().filter(|planned| planned.rows > 0).collect())
    }

    /// Reads the channels, notes what has been paid or ended without us, and sorts the rest.
    async fn plan(&self) -> Result<(Plan, HashMap<ChannelKey, Channel>), SettleError> {
        let unsettled = self.journal.unsettled();
        self.await_locks(&unsettled).await;
        let channels = self.read(&unsettled).await?;
        let plan = Plan::new(&unsettled, &channels, self.identity());
        for change in plan.news(clock::now_unix_s()) {
            self.note(change).await;
        }
        for (record, channel) in unsettled.iter().zip(&channels) {
            self.journal.compare(record.key.user, channel.claimed);
        }
        self.note_ended(&plan.ended).await?;
        locked(&self.memory.skipped).keep(&unsettled);
        let channel_of = plan::by_key(&unsettled, &channels);
        Ok((self.sift(plan, &channel_of), channel_of))
    }

    async fn read(&self, records: &[ChannelRecord]) -> Result<Vec<Channel>, SettleError> {
        let mut channels = Vec::with_capacity(records.len());
        for records in records.chunks(CHANNELS_PER_CALL) {
            let users: Vec<_> = records.iter().map(|record| record.key.user).collect();
            channels.extend(self.view.channels(&users).await?);
        }
        Ok(channels)
    }

    /// Leaves out what the contract has passed over and would pass over again. What it does not
    /// take under the running enclave's signature is sent with its own.
    fn sift(&self, mut plan: Plan, channel_of: &HashMap<ChannelKey, Channel>) -> Plan {
        let holds = |way, record: &ChannelRecord| self.holds(way, record, channel_of);
        let (again, batch): (Vec<_>, Vec<_>) =
            plan.batch.drain(..).partition(|record| holds(RowsSignedBy::Enclave, record));
        plan.receipts.extend(again);
        plan.receipts.retain(|record| !holds(RowsSignedBy::Receipts, record));
        Plan { batch, ..plan }
    }

    /// Whether the contract would pass a row over once more.
    fn holds(
        &self,
        way: RowsSignedBy,
        record: &ChannelRecord,
        channel_of: &HashMap<ChannelKey, Channel>,
    ) -> bool {
        let (skipped, now) = (locked(&self.memory.skipped), Instant::now());
        channel_of.get(&record.key).is_some_and(|it| skipped.holds(way, record, it, now))
    }

    /// Reads again, at the newest and at the `safe` head, what is noted as paid and not yet known
    /// to stay so; and which channels have ended for good.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn confirm(&self) -> Result<(), ChainError> {
        let at_unix_s = clock::now_unix_s();
        for records in self.journal.provisional().chunks(CHANNELS_PER_CALL) {
            let users: Vec<_> = records.iter().map(|record| record.key.user).collect();
            let newest = self.view.channels(&users).await?;
            let safe = self.view.safe_channels(&users).await?;
            for ((record, newest), safe) in records.iter().zip(newest).zip(safe) {
                let (key, claimed, safe_claimed) = (record.key, newest.claimed, safe.claimed);
                if safe.epoch > key.epoch {
                    self.note(Change::Closed(key)).await;
                } else if record.would_change(claimed, safe_claimed) {
                    self.note(Change::Read { key, claimed, safe_claimed, at_unix_s }).await;
                }
            }
        }
        let mut ended = self.journal.unsettled();
        ended.retain(|record| {
            self.view.last_channel(record.key.user).is_some_and(|it| it.epoch > record.key.epoch)
        });
        let ended: Vec<_> = ended.iter().map(|record| record.key).collect();
        self.note_ended(&ended).await
    }

    /// Notes which channels have moved on in blocks that stay.
    async fn note_ended(&self, ended: &[ChannelKey]) -> Result<(), ChainError> {
        for keys in ended.chunks(CHANNELS_PER_CALL) {
            let users: Vec<_> = keys.iter().map(|key| key.user).collect();
            let safe = self.view.safe_channels(&users).await?;
            for (key, _) in keys.iter().zip(safe).filter(|(key, safe)| safe.epoch > key.epoch) {
                self.note(Change::Closed(*key)).await;
            }
        }
        Ok(())
    }

    /// Notes what the chain says. It can be read again, so a journal that stores nothing keeps no
    /// claim from being settled.
    async fn note(&self, change: Change) {
        if let Err(error) = self.journal.store(change).await {
            tracing::warn!(%error, "settlement: could not be noted, will be read again");
        }
    }

    async fn await_locks(&self, unsettled: &[ChannelRecord]) {
        let waiting = unsettled.iter().filter_map(|record| self.locks.ticket(record.key.user));
        futures::future::join_all(waiting.map(|ticket| ticket.outcome(LOCK_WITHIN))).await;
    }

    fn identity(&self) -> Option<Address> {
        match &*self.state.borrow() {
            EnclaveState::Ready(info) => Some(info.identity),
            EnclaveState::Down => None,
        }
    }

    /// Settles rows under one signature of the running enclave. Rows that it does not stand for,
    /// because it was started again meanwhile, are returned; all of them when it does not sign or
    /// the contract refuses the batch. Each carries its own settlement, so nothing waits for an
    /// enclave.
    async fn settle_batch(
        &self,
        rows: &[ChannelRecord],
    ) -> (Option<Result<Settlement, SettleError>>, Vec<ChannelRecord>) {
        let signed = match self.enclave.sign_batch(plan::batch_rows(rows)).await {
            Ok(signed) => signed,
            Err(error) => {
                tracing::warn!(%error, "settlement: the enclave does not sign");
                return (None, rows.to_vec());
            }
        };
        let (accepted, mut unsigned) = plan::split_accepted(rows, &signed.accepted);
        if accepted.is_empty() {
            return (None, unsigned);
        }
        self.metrics.settlement_sent();
        let tx =
            self.sender.settle(self.pod, &plan::settle_rows(&accepted), &signed.signature).await;
        let refused = matches!(&tx, Err(ChainError::Reverted { .. }));
        let sent = self.sent(RowsSignedBy::Enclave, &accepted, tx).await;
        if refused {
            unsigned.extend(accepted);
        }
        (Some(sent), unsigned)
    }

    /// Notes what the contract now says of the rows, whether the transaction succeeded or not.
    async fn sent(
        &self,
        signed_by: RowsSignedBy,
        rows: &[ChannelRecord],
        tx: Result<Tx, ChainError>,
    ) -> Result<Settlement, SettleError> {
        let users: Vec<_> = rows.iter().map(|record| record.key.user).collect();
        let read = self.view.channels(&users).await;
        for (record, channel) in rows.iter().zip(read.as_deref().unwrap_or_default()) {
            let (key, claimed, at_unix_s) = (record.key, channel.claimed, clock::now_unix_s());
            self.note(Change::Settled { key, claimed, at_unix_s }).await;
        }
        let tx = tx.inspect_err(|_| self.metrics.settlement_failed())?;
        self.metrics.settlement_mined(tx.gas_used);
        let paid = Amount::new(tx.paid()).unwrap_or(Amount::MAX);
        self.books.note(Purpose::Settle, paid, &tx);
        let skipped = tx.skipped_rows();
        self.note_skipped(signed_by, &skipped, rows, &read?);
        let settlement = Settlement {
            signed_by,
            rows: rows.len(),
            skipped: skipped.len(),
            paid,
            tx_hash: Digest32(tx.hash),
            block: tx.block,
            gas_used: tx.gas_used,
            gas_price_wei: tx.effective_gas_price_wei,
        };
        tracing::info!(
            rows = settlement.rows,
            paid = %settlement.paid,
            gas = settlement.gas_used,
            "settlement: mined"
        );
        Ok(settlement)
    }

    fn note_skipped(
        &self,
        way: RowsSignedBy,
        skipped: &[usize],
        rows: &[ChannelRecord],
        channels: &[Channel],
    ) {
        let now = Instant::now();
        let mut reasons = HashSet::new();
        for &index in skipped {
            let Some((record, channel)) = rows.get(index).zip(channels.get(index)) else {
                continue;
            };
            let reason = locked(&self.memory.skipped).note(way, record, channel, now);
            reasons.insert(reason.to_string());
        }
        for reason in reasons {
            tracing::warn!(reason, "settlement: the contract passed rows over");
            let text = format!("the contract passed over rows of a settlement: {reason}");
            (self.report)(PodProgress::Remark(text));
        }
    }
}

#[cfg(test)]
mod tests;
