//! Money into the account and back out of it: what is signed for it. Steps 1 and 9 of
//! `spec/billing.md`.

use phallama_chain::{Authorization, Channel, Credited, Permit, RelayedClose};
use phallama_protocol::closing::{CloseAnswer, CloseRequest};
use phallama_protocol::eip712::{Close, OpenAccount, StartExit, Withdraw, channel_id};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use phallama_protocol::token::{
    Permit as PermitMessage, ReceiveWithAuthorization, TokenDomain, deposit_nonce,
};

use crate::client::{Client, now_unix_s};
use crate::error::ClientError;
use crate::keystore::random_bytes;
use crate::pod_http::PodAddress;
use crate::relay::{Action, Opening, SignedAction};

/// How long a signature for somebody else to send counts, in seconds.
const SIGNED_LIFE_S: u64 = 86_400;

impl Client {
    /// The chain's side of the channel with a pod.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`] without an address, [`ClientError::ChainUnavailable`].
    pub async fn channel(&self, pod: PodId) -> Result<Channel, ClientError> {
        Ok(self.inner.chain.channel(self.account_key()?.user, pod).await?)
    }

    /// The account as a deposit by `owner` has to name it. While it is not open, the user key signs
    /// that `owner` may withdraw.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn credited(&self, owner: Address) -> Result<Credited, ClientError> {
        let user = self.account_key()?.user;
        if self.inner.chain.account(user).await?.owner.is_some() {
            return Ok(Credited::Open(user));
        }
        let opening = OpenAccount { user, owner };
        let open_sig = self.signer()?.sign(&opening.digest(&self.inner.chain.domain()));
        Ok(Credited::Opening { user, owner, open_sig })
    }

    /// The payer's permit for the escrow to take `amount`, good for a day.
    ///
    /// # Errors
    /// [`ClientError::TokenWithoutSignatures`], [`ClientError::ChainUnavailable`].
    pub async fn permit(&self, payer: &Signer, amount: Amount) -> Result<Permit, ClientError> {
        let (chain, domain) = (&self.inner.chain, self.token_domain().await?);
        let deadline_unix_s = now_unix_s().saturating_add(SIGNED_LIFE_S);
        let permit = PermitMessage {
            owner: payer.address(),
            spender: chain.config().escrow,
            value: amount,
            nonce: chain.permit_nonce(payer.address()).await?,
            deadline_unix_s,
        };
        let signature = payer.sign(&permit.digest(&domain));
        Ok(Permit { amount, deadline_unix_s, signature })
    }

    /// The payer's authorization for a deposit of `amount` into this account and no other, good for
    /// a day.
    ///
    /// # Errors
    /// [`ClientError::TokenWithoutSignatures`], [`ClientError::KeystoreLocked`],
    /// [`ClientError::ChainUnavailable`].
    pub async fn authorization(
        &self,
        payer: &Signer,
        amount: Amount,
    ) -> Result<Authorization, ClientError> {
        let (user, domain) = (self.account_key()?.user, self.token_domain().await?);
        let salt = random_bytes::<32>();
        let valid_before_unix_s = now_unix_s().saturating_add(SIGNED_LIFE_S);
        let payment = ReceiveWithAuthorization {
            from: payer.address(),
            to: self.inner.chain.config().escrow,
            value: amount,
            valid_after_unix_s: 0,
            valid_before_unix_s,
            nonce: deposit_nonce(user, &salt),
        };
        Ok(Authorization {
            from: payment.from,
            amount,
            valid_after_unix_s: payment.valid_after_unix_s,
            valid_before_unix_s,
            salt: Digest32(salt),
            signature: payer.sign(&payment.digest(&domain)),
        })
    }

    async fn token_domain(&self) -> Result<TokenDomain, ClientError> {
        let chain = &self.inner.chain;
        let token = chain.config().token;
        chain.token_domain().await?.ok_or(ClientError::TokenWithoutSignatures { token })
    }

    /// A deposit that anybody can send.
    ///
    /// # Errors
    /// As [`credited`](Self::credited) and [`authorization`](Self::authorization).
    pub async fn signed_deposit(
        &self,
        payer: &Signer,
        amount: Amount,
    ) -> Result<SignedAction, ClientError> {
        let (user, opening) = match self.credited(payer.address()).await? {
            Credited::Open(user) => (user, None),
            Credited::Opening { user, owner, open_sig: signature } => {
                (user, Some(Opening { owner, signature }))
            }
        };
        let authorization = self.authorization(payer, amount).await?;
        Ok(self.action(&Action::Deposit { user, opening, authorization }))
    }

    /// A withdrawal to the owner that anybody can send, good for a day.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn signed_withdrawal(&self, amount: Amount) -> Result<SignedAction, ClientError> {
        let (signer, chain) = (self.signer()?, &self.inner.chain);
        let user = signer.address();
        let nonce = chain.withdraw_nonce(user).await?;
        let deadline_unix_s = now_unix_s().saturating_add(SIGNED_LIFE_S);
        let digest = Withdraw { user, amount, nonce, deadline_unix_s }.digest(&chain.domain());
        let signature = signer.sign(&digest);
        Ok(self.action(&Action::Withdraw { user, amount, nonce, deadline_unix_s, signature }))
    }

    /// The start of an exit that anybody can send.
    ///
    /// # Errors
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn signed_exit(&self, pod: PodId) -> Result<SignedAction, ClientError> {
        let (signer, chain) = (self.signer()?, &self.inner.chain);
        let epoch = chain.channel(signer.address(), pod).await?.epoch;
        let signature = signer.sign(&StartExit { pod_id: pod, epoch }.digest(&chain.domain()));
        Ok(self.action(&Action::StartExit { pod, epoch, signature }))
    }

    /// Has the pod's enclave sign the end of the channel, holds its amount against the records, and
    /// signs it too. The enclave takes no further request in this epoch.
    ///
    /// # Errors
    /// [`ClientError::ClaimTooHigh`]: nothing was signed. [`ClientError::CloseRefused`]: with
    /// `queue_full` while requests are open, with `epoch_mismatch` when the enclave has not served
    /// the channel since its start. [`ClientError::PodMisbehaved`] for a signature of another key;
    /// [`ClientError::PodUnknown`], [`ClientError::PodUnreachable`],
    /// [`ClientError::KeystoreLocked`], [`ClientError::ChainUnavailable`].
    pub async fn close(&self, pod: PodId) -> Result<RelayedClose, ClientError> {
        let (signer, chain) = (self.signer()?, &self.inner.chain);
        let (user, domain) = (signer.address(), chain.domain());
        let record = chain.pod(pod).await?.ok_or(ClientError::PodUnknown(pod))?;
        let epoch = self.settled_channel(pod).await?.epoch;
        let exit_sig = signer.sign(&StartExit { pod_id: pod, epoch }.digest(&domain));
        let asked = CloseRequest { epoch, exit_sig };
        let answer = self.inner.http.close(&PodAddress::from(&record), &asked).await?;
        let CloseAnswer { cumulative, signature: enclave_sig } = answer;
        let signed_by = answer.identity(user, pod, epoch, &domain).ok();
        if signed_by.is_none() || signed_by != record.key.map(|key| key.identity) {
            let reason = "its answer to a close is not signed by its key on chain".to_owned();
            return Err(ClientError::PodMisbehaved { pod, reason });
        }
        self.hold_close(pod, epoch, cumulative).await?;
        let close = Close { channel: channel_id(user, pod), epoch, cumulative };
        let user_sig = signer.sign(&close.digest(&domain));
        Ok(RelayedClose { user, pod, epoch, cumulative, enclave_sig, user_sig })
    }

    /// The same as a file.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn signed_close(&self, pod: PodId) -> Result<SignedAction, ClientError> {
        Ok(self.action(&Action::Close { close: self.close(pod).await? }))
    }

    fn action(&self, action: &Action) -> SignedAction {
        SignedAction::new(&self.inner.chain, *action)
    }
}
