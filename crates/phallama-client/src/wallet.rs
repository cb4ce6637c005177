//! What the user has, has promised and has paid.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use phallama_chain::{Account, Channel};
use phallama_protocol::ids::{Address, Amount, PodId, RequestId};

use crate::client::{Client, lock, now_unix_s};
use crate::config::SpendLimits;
use crate::dispute::Dispute;
use crate::error::ClientError;
use crate::ledger::Ledger;
use crate::promise::amount;
use crate::receipt::StoredReceipt;
use crate::spend::ChannelRecord;

/// Channels that are read at the same time.
const CHANNELS_AT_A_TIME: usize = 64;

/// Money of a user, in the smallest unit of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The user key's address.
    pub user: Address,
    /// Who may withdraw; `None` until the account is opened.
    pub owner: Option<Address>,
    /// Neither locked nor withdrawn.
    pub free: Amount,
    /// Part of `free` that pods may still lock with allocations already signed.
    pub promised: Amount,
    /// Every pod that this wallet has ever paid or promised something.
    pub channels: Vec<ChannelBalance>,
    /// Spent, and reserved by requests without a receipt, on this UTC day.
    pub spent_today: Amount,
    /// The user's own limits.
    pub limits: SpendLimits,
}

/// One pod's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBalance {
    /// The pod.
    pub pod: PodId,
    /// The chain's side.
    pub chain: Channel,
    /// What the pod may claim: receipts, and amounts accepted from lost answers.
    pub charged: Amount,
    /// Highest cap signed in this epoch: the most the pod can ever claim of it.
    pub voucher_cap: Amount,
    /// Part of `charged` without a receipt.
    pub unreceipted: Amount,
}

/// What counts against the user's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// The limits.
    pub limits: SpendLimits,
    /// Spent, and reserved by requests without a receipt, on this UTC day.
    pub today: Amount,
    /// The same of each pod's channel in its present epoch.
    pub pods: Vec<(PodId, Amount)>,
}

impl ChannelBalance {
    /// Locked and not charged: what an exit would bring back.
    pub fn left(&self) -> Amount {
        self.chain.locked.checked_sub(self.charged.max(self.chain.claimed)).unwrap_or_default()
    }
}

impl Client {
    /// Balance and channels, from the chain and the wallet's records. Needs no unlocked key.
    ///
    /// Channels are those that the records know, and those with `pods`.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`] without an address, [`ClientError::ChainUnavailable`],
    /// [`ClientError::Ledger`].
    pub async fn balance_with(&self, pods: &[PodId]) -> Result<Balance, ClientError> {
        let (account, now) = (self.account_key()?, now_unix_s());
        let known = self.ledger(move |ledger| ledger.channels(&account)).await?;
        let spent = self.ledger(move |ledger| ledger.spent_on_day(&account, now)).await?;
        let mut records: BTreeMap<PodId, ChannelRecord> =
            pods.iter().map(|pod| (*pod, ChannelRecord::default())).collect();
        records.extend(known);
        // The free balance is read last: a lock mined in between is then counted twice, never not
        // at all.
        let chain = self.channels(account.user, records.keys().copied()).await?;
        let Account { owner, free } = self.inner.chain.account(account.user).await?;
        let mut promised = 0_u128;
        let mut channels = Vec::with_capacity(records.len());
        for ((pod, record), chain) in records.into_iter().zip(chain) {
            let granted = record.granted(now);
            promised = promised.saturating_add(granted.saturating_sub(chain.locked.value()));
            let (charged, voucher_cap) = (amount(record.charged), amount(record.highest_cap));
            let unreceipted = amount(record.unreceipted);
            channels.push(ChannelBalance { pod, chain, charged, voucher_cap, unreceipted });
        }
        Ok(Balance {
            user: account.user,
            owner,
            free,
            promised: amount(promised),
            channels,
            spent_today: amount(spent),
            limits: self.limits(),
        })
    }

    /// The same with the channels that the records know.
    ///
    /// # Errors
    /// As [`balance_with`](Self::balance_with).
    pub async fn balance(&self) -> Result<Balance, ClientError> {
        self.balance_with(&[]).await
    }

    /// The user's channels with these pods, in their order. A page takes as long as one answer.
    async fn channels(
        &self,
        user: Address,
        pods: impl Iterator<Item = PodId>,
    ) -> Result<Vec<Channel>, ClientError> {
        let chain = &self.inner.chain;
        let reads = pods.map(|pod| chain.channel(user, pod));
        Ok(futures::stream::iter(reads).buffered(CHANNELS_AT_A_TIME).try_collect().await?)
    }

    /// The user's limits and what counts against them. Reads nothing but the records.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`] without an address, [`ClientError::Ledger`].
    pub async fn spending(&self) -> Result<Spending, ClientError> {
        let (account, now) = (self.account_key()?, now_unix_s());
        let today = self.ledger(move |ledger| ledger.spent_on_day(&account, now)).await?;
        let pods = self.ledger(move |ledger| ledger.used(&account)).await?;
        Ok(Spending {
            limits: self.limits(),
            today: amount(today),
            pods: pods.into_iter().map(|(pod, used)| (pod, amount(used))).collect(),
        })
    }

    /// Spent and reserved today (UTC) from a [`Purse`](crate::Purse), by its id.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`] without an address, [`ClientError::Ledger`].
    pub async fn spent_from(&self, purse: [u8; 32]) -> Result<Amount, ClientError> {
        let (account, now) = (self.account_key()?, now_unix_s());
        let spent = self.ledger(move |ledger| ledger.spent_from(&account, &purse, now)).await?;
        Ok(amount(spent))
    }

    /// What pods claimed that cannot be, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Ledger`].
    pub async fn disputes(&self) -> Result<Vec<Dispute>, ClientError> {
        self.ledger(Ledger::disputes).await
    }

    /// Removes every dispute about a pod, with its evidence; the pod may be asked again.
    ///
    /// # Errors
    /// [`ClientError::Ledger`].
    pub async fn forgive(&self, pod: PodId) -> Result<(), ClientError> {
        self.ledger(move |ledger| ledger.forgive(pod)).await?;
        lock(&self.inner.misbehaved).remove(&pod);
        Ok(())
    }

    /// The newest `most` receipts, newest first.
    ///
    /// # Errors
    /// [`ClientError::Ledger`].
    pub async fn receipts(&self, most: usize) -> Result<Vec<StoredReceipt>, ClientError> {
        self.ledger(move |ledger| ledger.receipts(most)).await
    }

    /// The receipt of one request.
    ///
    /// # Errors
    /// [`ClientError::Ledger`].
    pub async fn receipt(&self, id: RequestId) -> Result<Option<StoredReceipt>, ClientError> {
        self.ledger(move |ledger| ledger.receipt(id)).await
    }
}
