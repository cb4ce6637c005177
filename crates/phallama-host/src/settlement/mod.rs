//! Turning claims into the pod's credit: when, with which rows, and noting what the contract paid.
//!
//! Amounts are cumulative, so a transaction that was mined without our noticing, or is sent twice,
//! pays nothing twice: what is settled is read back from the contract, never assumed.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use phallama_chain::{ChainError, Sender, Tx};
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::refusal::Code;
use tokio::sync::{Mutex, Notify, watch};

use crate::clock;
use crate::enclave::{EnclaveClient, EnclaveState};
use crate::error::{EnclaveError, SettleError};
use crate::journal::{Change, ChannelRecord, Condition, Journal};
use crate::locks::LockQueue;
use crate::view::ChainView;

pub use plan::{Due, Plan, ROWS_MAX};

/// How often the age of claims is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a settlement that failed or moved nothing.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a settlement waits for locks on their way.
const LOCK_WITHIN: Duration = Duration::from_secs(20);
/// Channels per call of the contract's view.
const CHANNELS_PER_CALL: usize = 500;

/// Who signed the rows of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsSignedBy {
    /// The running enclave, one signature for all rows (`settle`).
    Enclave,
    /// Enclaves of earlier starts, each row with its own signature (`settleReceipts`).
    Receipts,
}

/// One mined settlement transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which function was called.
    pub signed_by: RowsSignedBy,
    /// Rows sent.
    pub rows: usize,
    /// What came into the pod's credit.
    pub paid: Amount,
    /// Transaction hash.
    pub tx_hash: [u8; 32],
    /// Block it was mined in.
    pub block: u64,
    /// Gas of the whole transaction.
    pub gas_used: u64,
    /// Price paid per gas, in wei.
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
    /// Wakes the loop: a claim was stored, or a user is leaving.
    pub wake: Arc<Notify>,
    /// Held while settling.
    pub turn: Mutex<()>,
}

impl Settler {
    /// Settles whenever it is due, for ever.
    pub async fn run(&self) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if !self.is_due() {
                continue;
            }
            match self.settle_now().await {
                Ok(settled) if !settled.is_empty() => {}
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%error, "settlement: failed, will be tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn is_due(&self) -> bool {
        let unsettled = self.journal.unsettled();
        if self.journal.condition() == Condition::Stopped {
            // What is known is in memory only.
            return !unsettled.is_empty();
        }
        let leaving = |user| self.view.last_channel(user).is_some_and(|c| c.exit_at_unix_s != 0);
        self.due.is_due(&unsettled, clock::now_unix_s(), leaving)
    }

    /// Settles everything that the contract would pay for, whatever its amount.
    ///
    /// # Errors
    /// [`SettleError`] of the first transaction that failed; what came before it is settled and
    /// noted.
    pub async fn settle_now(&self) -> Result<Vec<Settlement>, SettleError> {
        let _turn = self.turn.lock().await;
        let plan = self.plan().await?;
        let mut settled = Vec::new();
        let mut receipts = plan.receipts;
        for rows in plan.batch.chunks(ROWS_MAX) {
            let (batch, unsigned) = self.settle_batch(rows).await?;
            settled.extend(batch);
            receipts.extend(unsigned);
        }
        for rows in receipts.chunks(ROWS_MAX) {
            let tx = self.sender.settle_receipts(self.pod, &plan::receipt_rows(rows)).await;
            settled.push(self.sent(RowsSignedBy::Receipts, rows, tx).await?);
        }
        Ok(settled)
    }

    /// Reads the channels, notes what has been paid or ended without us, and sorts the rest.
    async fn plan(&self) -> Result<Plan, SettleError> {
        let unsettled = self.journal.unsettled();
        let users: Vec<_> = unsettled.iter().map(|record| record.key.user).collect();
        self.await_locks(&users).await;
        let mut channels = Vec::with_capacity(users.len());
        for users in users.chunks(CHANNELS_PER_CALL) {
            channels.extend(self.view.channels(users).await?);
        }
        let plan = Plan::new(&unsettled, &channels, self.identity());
        for change in plan.news(clock::now_unix_s()) {
            self.note(change).await;
        }
        for (record, channel) in unsettled.iter().zip(&channels) {
            self.journal.compare(record.key.user, channel.claimed);
        }
        Ok(plan)
    }

    /// Notes what the chain says. It can be read again, so a journal that stores nothing keeps no
    /// claim from being settled.
    async fn note(&self, change: Change) {
        if let Err(error) = self.journal.store(change).await {
            tracing::warn!(%error, "settlement: could not be noted, will be read again");
        }
    }

    async fn await_locks(&self, users: &[Address]) {
        let waiting = users.iter().filter_map(|&user| self.locks.ticket(user));
        futures::future::join_all(waiting.map(|ticket| ticket.outcome(LOCK_WITHIN))).await;
    }

    fn identity(&self) -> Option<Address> {
        match &*self.state.borrow() {
            EnclaveState::Ready(info) => Some(info.identity),
            EnclaveState::Down => None,
        }
    }

    /// Settles rows under one signature of the running enclave. Rows that it does not stand for,
    /// because it was started again meanwhile, are returned.
    async fn settle_batch(
        &self,
        rows: &[ChannelRecord],
    ) -> Result<(Option<Settlement>, Vec<ChannelRecord>), SettleError> {
        let signed = match self.enclave.sign_batch(plan::batch_rows(rows)).await {
            Ok(signed) => signed,
            Err(EnclaveError::Unreachable(_) | EnclaveError::Refused(Code::MalformedRequest)) => {
                return Ok((None, rows.to_vec()));
            }
            Err(error) => return Err(error.into()),
        };
        let (accepted, unsigned) = plan::split_accepted(rows, &signed.accepted);
        if accepted.is_empty() {
            return Ok((None, unsigned));
        }
        let tx =
            self.sender.settle(self.pod, &plan::settle_rows(&accepted), &signed.signature).await;
        let settled = self.sent(RowsSignedBy::Enclave, &accepted, tx).await?;
        Ok((Some(settled), unsigned))
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
        let tx = tx?;
        read?;
        let settlement = Settlement {
            signed_by,
            rows: rows.len(),
            paid: Amount::new(tx.paid()).unwrap_or(Amount::MAX),
            tx_hash: tx.hash,
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
}

#[cfg(test)]
mod tests;
