//! What the user has, has promised and has paid.

use phallama_chain::{Account, Channel};
use phallama_protocol::eip712::{OpenAccount, StartExit};
use phallama_protocol::ids::{Address, Amount, PodId, RequestId};
use phallama_protocol::keys::Signature;

use crate::client::{Client, now_unix_s};
use crate::config::SpendLimits;
use crate::error::ClientError;
use crate::promise::amount;
use crate::receipt::StoredReceipt;

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

impl ChannelBalance {
    /// Locked and not charged: what an exit would bring back.
    pub fn left(&self) -> Amount {
        self.chain.locked.checked_sub(self.charged.max(self.chain.claimed)).unwrap_or_default()
    }
}

impl Client {
    /// Balance and channels, from the chain and the wallet's records.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`],
    /// [`ClientError::Ledger`].
    pub async fn balance(&self) -> Result<Balance, ClientError> {
        let (account, now) = (self.account_key()?, now_unix_s());
        let records = self.ledger(move |ledger| ledger.channels(&account)).await?;
        let spent = self.ledger(move |ledger| ledger.spent_on_day(&account, now)).await?;
        let mut channels = Vec::with_capacity(records.len());
        let mut promised = 0_u128;
        for (pod, record) in records {
            let chain = self.inner.chain.channel(account.user, pod).await?;
            let granted = record.granted(now);
            promised = promised.saturating_add(granted.saturating_sub(chain.locked.value()));
            channels.push(ChannelBalance {
                pod,
                chain,
                charged: amount(record.charged),
                voucher_cap: amount(record.highest_cap),
                unreceipted: amount(record.unreceipted),
            });
        }
        let Account { owner, free } = self.inner.chain.account(account.user).await?;
        Ok(Balance {
            user: account.user,
            owner,
            free,
            promised: amount(promised),
            channels,
            spent_today: amount(spent),
            limits: self.inner.config.limits,
        })
    }

    /// The user key's word that `owner` may withdraw; `openAndDeposit` takes it once.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`].
    pub fn open_account_signature(&self, owner: Address) -> Result<Signature, ClientError> {
        let signer = self.signer()?;
        let open = OpenAccount { user: signer.address(), owner };
        Ok(signer.sign(&open.digest(&self.inner.config.chain.domain())))
    }

    /// The user key's word that the channel with `pod` may exit: its epoch and the signature, for
    /// `startExitFor`.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn start_exit_signature(&self, pod: PodId) -> Result<(u32, Signature), ClientError> {
        let signer = self.signer()?;
        let epoch = self.inner.chain.channel(signer.address(), pod).await?.epoch;
        let exit = StartExit { pod_id: pod, epoch };
        Ok((epoch, signer.sign(&exit.digest(&self.inner.config.chain.domain()))))
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
