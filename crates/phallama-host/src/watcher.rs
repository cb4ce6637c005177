//! Follows the chain: tells the enclave about new blocks, and the settler about users who leave.

use std::sync::Arc;
use std::time::Duration;

use phallama_chain::ChainError;
use tokio::sync::{Notify, watch};

use crate::enclave::{EnclaveClient, EnclaveState};
use crate::journal::Journal;
use crate::view::ChainView;

/// Channels per call of the contract's view.
const CHANNELS_PER_CALL: usize = 500;

/// Follows the chain for one pod.
pub(crate) struct Watcher {
    pub(crate) view: Arc<ChainView>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) enclave: EnclaveClient,
    pub(crate) wake_settler: Arc<Notify>,
    pub(crate) poll: Duration,
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
                Ok(()) if failing => tracing::info!("chain: answers again"),
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
        if !self.view.advance().await? {
            return Ok(());
        }
        for users in self.journal.users_with_unsettled().chunks(CHANNELS_PER_CALL) {
            let channels = self.view.channels(users).await?;
            if channels.iter().any(|channel| channel.exit_at_unix_s != 0) {
                self.wake_settler.notify_one();
            }
        }
        Ok(())
    }
}
