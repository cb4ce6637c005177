//! Having the pod's credit paid out.

use phallama_protocol::ids::{Amount, Digest32};

use super::Settler;
use crate::admin::Collected;
use crate::books::Purpose;
use crate::error::SettleError;

impl Settler {
    /// What the escrow owes the pod.
    ///
    /// # Errors
    /// [`SettleError::Chain`].
    pub async fn credit(&self) -> Result<Amount, SettleError> {
        Ok(self.view.chain().credit(self.pod).await?)
    }

    /// Has the credit paid to the payout address; `None` when there is none.
    ///
    /// # Errors
    /// [`SettleError::Chain`].
    pub async fn collect(&self) -> Result<Option<Collected>, SettleError> {
        let _turn = self.memory.turn.lock().await;
        self.collect_from(Amount::from(1)).await
    }

    /// Collects what the operator wants collected by itself.
    pub(super) async fn collect_when_worth_it(&self) {
        let Some(least) = self.collect_min else { return };
        let _turn = self.memory.turn.lock().await;
        if let Err(error) = self.collect_from(least.max(Amount::from(1))).await {
            tracing::warn!(%error, "collect: failed, will be tried after the next settlement");
        }
    }

    /// Collects a credit of at least `least`.
    async fn collect_from(&self, least: Amount) -> Result<Option<Collected>, SettleError> {
        if self.credit().await? < least {
            return Ok(None);
        }
        let tx = self.sender.collect(self.pod).await?;
        // Others can settle for this pod too: the credit may have grown since it was read.
        let amount = Amount::new(tx.collected()).unwrap_or(Amount::MAX);
        self.books.note(Purpose::Collect, amount, &tx);
        tracing::info!(%amount, gas = tx.gas_used, "collect: mined");
        Ok(Some(Collected { amount, tx_hash: Digest32(tx.hash), gas_used: tx.gas_used }))
    }
}
