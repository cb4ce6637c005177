//! Follows the chain: tells the enclave about new blocks, and the settler about users who leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use phallama_chain::{Advance, ChainError};
use tokio::sync::watch;

use crate::enclave::{EnclaveClient, EnclaveState};
use crate::journal::Journal;
use crate::reserves::Reserves;
use crate::settlement::Settler;
use crate::view::ChainView;

/// Channels per call of the contract's view.
const CHANNELS_PER_CALL: usize = 500;
/// What nothing has covered for this long counts as lost, and no longer as at risk: within this
/// time, accounts that take credit and do not pay cost no more than the total limit.
pub(crate) const WRITE_OFF_AFTER: Duration = Duration::from_hours(24);

/// Follows the chain for one pod.
pub(crate) struct Watcher {
    pub(crate) view: Arc<ChainView>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) reserves: Reserves,
    pub(crate) enclave: EnclaveClient,
    pub(crate) settler: Arc<Settler>,
    pub(crate) poll: Duration,
    /// What was read last is to be read again.
    pub(crate) stale: AtomicBool,
}

impl Watcher {
    /// Polls, for ever.
    pub(crate) async fn run(&self, mut state: watch::Receiver<EnclaveState>) {
        let mut told = 0;
        let mut failing = false;
        loop {
            let looked = self.look().await;
            match &looked {
                Err(error) if !failing => tracing::warn!(%error, "chain: does not answer"),
                Ok(()) if failing => {
                    tracing::info!("chain: answers again");
                    self.settler.wake.notify_one();
                }
                _ => {}
            }
            failing = looked.is_err();
            let block = self.view.block();
            if state.has_changed().unwrap_or(false) {
                // An enclave that was started again has seen no block.
                state.mark_unchanged();
                told = 0;
            }
            // An enclave that is starting is told at the next look.
            if block != told && self.enclave.head(block).await.is_ok() {
                told = block;
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn look(&self) -> Result<(), ChainError> {
        if !matches!(self.view.advance().await?, Advance::Same | Advance::Behind(_)) {
            self.stale.store(true, Ordering::Release);
        }
        if self.stale.load(Ordering::Acquire) {
            self.refresh().await?;
            self.stale.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Looks after what was sent, and reads what the newest block can have changed: what was paid
    /// is confirmed or has fallen back, what is locked for good is no longer at risk, and who
    /// leaves is settled with.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) async fn refresh(&self) -> Result<(), ChainError> {
        // A transaction that waits is looked after whoever is behind; nothing else depends on it.
        if let Err(error) = self.settler.sender.tend().await {
            tracing::debug!(%error, "chain: what was sent is looked after later");
        }
        self.settler.confirm().await?;
        if self.settler.due.token_price_wei.is_some() {
            self.view.read_gas_price().await?;
        }
        for users in self.journal.users_with_unsettled().chunks(CHANNELS_PER_CALL) {
            let channels = self.view.channels(users).await?;
            if channels.iter().any(|channel| channel.exit_at_unix_s != 0) {
                self.settler.wake.notify_one();
            }
        }
        self.reserves.write_off(Instant::now(), WRITE_OFF_AFTER);
        for users in self.reserves.users().chunks(CHANNELS_PER_CALL) {
            let channels = self.view.channels(users).await?;
            let safe = self.view.safe_channels(users).await?;
            for ((user, channel), safe) in users.iter().zip(&channels).zip(safe) {
                self.reserves.see(*user, channel, safe.locked);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
