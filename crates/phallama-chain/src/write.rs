//! The contracts' functions, as a sender calls them.

use alloy::sol_types::{SolCall, SolEvent};
use phallama_protocol::eip712::settle_row;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signature;
use phallama_protocol::offers::Offer;

use crate::attestation::{KeyBinding, Pck, QuoteParts};
use crate::call::Credited;
use crate::contracts::{self, Escrow, PodRegistry, TestToken, compact};
use crate::convert::{saturating_u128, to_address, to_u24, to_u40, to_u96, to_u256};
use crate::error::ChainError;
use crate::record::{LockRow, ReceiptRow, Registration, RelayedClose, SettleRow};
use crate::sender::{Sender, Tx};

/// Packs rows as `settle` reads them and as the enclave signs them.
pub fn settle_rows_bytes(rows: &[SettleRow]) -> Vec<u8> {
    let packed = |row: &SettleRow| settle_row(row.cap, row.claimed, row.epoch, &row.voucher_sig);
    rows.iter().flat_map(packed).collect()
}

impl Sender {
    async fn registry<C: SolCall>(&self, what: &'static str, call: C) -> Result<Tx, ChainError> {
        self.call(what, self.chain.config().registry, call.abi_encode()).await
    }

    async fn escrow<C: SolCall>(&self, what: &'static str, call: C) -> Result<Tx, ChainError> {
        self.call(what, self.chain.config().escrow, call.abi_encode()).await
    }

    async fn token<C: SolCall>(&self, what: &'static str, call: C) -> Result<Tx, ChainError> {
        self.call(what, self.chain.config().token, call.abi_encode()).await
    }

    /// Registers a pod under this account.
    pub async fn register_pod(&self, registration: &Registration) -> Result<Tx, ChainError> {
        let call = PodRegistry::registerCall {
            salt: registration.salt.into(),
            url: registration.url.clone(),
            payout: to_address(registration.payout),
            offers: contracts::offers(&registration.offers),
        };
        self.registry("register", call).await
    }

    /// Changes a pod's URL.
    pub async fn update_url(&self, pod: PodId, url: &str) -> Result<Tx, ChainError> {
        let call = PodRegistry::updateUrlCall { podId: pod.0.into(), url: url.to_owned() };
        self.registry("updateUrl", call).await
    }

    /// Changes a pod's models and prices.
    pub async fn update_offers(&self, pod: PodId, offers: &[Offer]) -> Result<Tx, ChainError> {
        let offers = contracts::offers(offers);
        self.registry("updateOffers", PodRegistry::updateOffersCall { podId: pod.0.into(), offers })
            .await
    }

    /// Changes where a pod's earnings go.
    pub async fn update_payout(&self, pod: PodId, payout: Address) -> Result<Tx, ChainError> {
        let call =
            PodRegistry::updatePayoutCall { podId: pod.0.into(), payout: to_address(payout) };
        self.registry("updatePayout", call).await
    }

    /// Takes a pod off the list (`true`) or puts it back; its claims settle in either case.
    pub async fn set_retired(&self, pod: PodId, retired: bool) -> Result<Tx, ChainError> {
        let pod = pod.0.into();
        if retired {
            self.registry("retire", PodRegistry::retireCall { podId: pod }).await
        } else {
            self.registry("unretire", PodRegistry::unretireCall { podId: pod }).await
        }
    }

    /// Sets or renews a pod's key with a quote and the PCK certificate it was made under, in
    /// DER.
    pub async fn attest(
        &self,
        pod: PodId,
        binding: &KeyBinding,
        quote: &QuoteParts,
        leaf: &[u8],
    ) -> Result<Tx, ChainError> {
        let call = PodRegistry::attestCall {
            podId: pod.0.into(),
            binding: contracts::binding(binding),
            quote: contracts::quote(quote),
            leaf: leaf.to_vec().into(),
        };
        self.registry("attest", call).await
    }

    /// The same for a machine whose PCK certificate is remembered, for about half the gas.
    pub async fn attest_known(
        &self,
        pod: PodId,
        binding: &KeyBinding,
        quote: &QuoteParts,
        pck: &Pck,
    ) -> Result<Tx, ChainError> {
        let call = PodRegistry::attestKnownCall {
            podId: pod.0.into(),
            binding: contracts::binding(binding),
            quote: contracts::quote(quote),
            pck: contracts::pck(pck)?,
        };
        self.registry("attestKnown", call).await
    }

    /// Ends a pod's key, current or former, whose platform has fallen out since `quote` was
    /// attested. Anyone may.
    pub async fn invalidate(
        &self,
        pod: PodId,
        identity: Address,
        quote: &QuoteParts,
        pck: &Pck,
    ) -> Result<Tx, ChainError> {
        let call = PodRegistry::invalidateCall {
            podId: pod.0.into(),
            identity: identity.0.into(),
            quote: contracts::quote(quote),
            pck: contracts::pck(pck)?,
        };
        self.registry("invalidate", call).await
    }

    /// Says whether a pod may share a machine with pods whose operators say so too.
    pub async fn set_sharing(
        &self,
        pod: PodId,
        machine: Digest32,
        shared: bool,
    ) -> Result<Tx, ChainError> {
        let call =
            PodRegistry::setSharingCall { podId: pod.0.into(), machine: machine.0.into(), shared };
        self.registry("setSharing", call).await
    }

    /// Deposits for a user whose account is open, approving the token first where needed.
    pub async fn deposit(&self, user: Address, amount: Amount) -> Result<Tx, ChainError> {
        self.approve_and_deposit(&Credited::Open(user), amount).await
    }

    /// Opens a user's account for an owner and deposits.
    pub async fn open_and_deposit(
        &self,
        user: Address,
        owner: Address,
        open_sig: &Signature,
        amount: Amount,
    ) -> Result<Tx, ChainError> {
        let credited = Credited::Opening { user, owner, open_sig: *open_sig };
        self.approve_and_deposit(&credited, amount).await
    }

    async fn approve_and_deposit(&self, to: &Credited, amount: Amount) -> Result<Tx, ChainError> {
        if self.chain.allowance(self.address()).await? < amount {
            self.send_call(&self.chain.approve_call(amount)).await?;
        }
        self.send_call(&self.chain.deposit_call(to, amount)).await
    }

    /// Takes free money out; this account must be the owner.
    pub async fn withdraw(&self, user: Address, amount: Amount) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.withdraw_call(user, amount)).await
    }

    /// Locks allocations of many users for one pod; bad rows are skipped.
    pub async fn lock(&self, pod: PodId, rows: &[LockRow]) -> Result<Tx, ChainError> {
        let rows = rows.iter().map(lock_row).collect::<Result<_, _>>()?;
        self.escrow("lock", Escrow::lockCall { podId: pod.0.into(), rows }).await
    }

    /// Settles claims of many users with one enclave signature; bad rows are skipped.
    pub async fn settle(
        &self,
        pod: PodId,
        rows: &[SettleRow],
        enclave_sig: &Signature,
    ) -> Result<Tx, ChainError> {
        let call = Escrow::settleCall {
            podId: pod.0.into(),
            rows: settle_rows_bytes(rows).into(),
            signature: compact(enclave_sig),
        };
        self.escrow("settle", call).await
    }

    /// Settles claims that each carry their own settlement.
    pub async fn settle_receipts(&self, pod: PodId, rows: &[ReceiptRow]) -> Result<Tx, ChainError> {
        let rows = rows.iter().map(receipt_row).collect::<Result<_, _>>()?;
        self.escrow("settleReceipts", Escrow::settleReceiptsCall { podId: pod.0.into(), rows })
            .await
    }

    /// Starts the 48 hours after which everything unclaimed returns; this account must be the
    /// owner.
    pub async fn start_exit(&self, user: Address, pod: PodId) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.start_exit_call(user, pod)).await
    }

    /// The same for a user key that signed `StartExit`.
    pub async fn start_exit_for(
        &self,
        pod: PodId,
        epoch: u32,
        sig: &Signature,
    ) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.start_exit_for_call(pod, epoch, sig)?).await
    }

    /// Ends an exit whose time has come.
    pub async fn finish_exit(&self, user: Address, pod: PodId) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.finish_exit_call(user, pod)).await
    }

    /// Closes at once with the enclave's final amount; this account must be the owner.
    pub async fn close(
        &self,
        user: Address,
        pod: PodId,
        cumulative: Amount,
        enclave_sig: &Signature,
    ) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.close_call(user, pod, cumulative, enclave_sig)).await
    }

    /// The same for a user key that signed the same `Close` as the enclave.
    pub async fn close_for(&self, close: &RelayedClose) -> Result<Tx, ChainError> {
        self.send_call(&self.chain.close_for_call(close)?).await
    }

    /// Pays a pod's credit to its payout address.
    pub async fn collect(&self, pod: PodId) -> Result<Tx, ChainError> {
        self.escrow("collect", Escrow::collectCall { podId: pod.0.into() }).await
    }

    /// Mints the development token.
    pub async fn mint_test_token(&self, to: Address, amount: Amount) -> Result<Tx, ChainError> {
        let call = TestToken::mintCall { to: to_address(to), amount: to_u256(amount) };
        self.token("mint", call).await
    }
}

fn lock_row(row: &LockRow) -> Result<Escrow::LockRow, ChainError> {
    Ok(Escrow::LockRow {
        total: to_u96(row.total),
        termsHash: row.terms_hash.0.into(),
        epoch: to_u24(row.epoch, "lock")?,
        deadline: to_u40(row.deadline_unix_s, "lock")?,
        signature: compact(&row.signature),
    })
}

fn receipt_row(row: &ReceiptRow) -> Result<Escrow::ReceiptRow, ChainError> {
    Ok(Escrow::ReceiptRow {
        identity: to_address(row.identity),
        cap: to_u96(row.cap),
        cumulative: to_u96(row.cumulative),
        epoch: to_u24(row.epoch, "settleReceipts")?,
        seq: row.seq,
        receiptHash: row.receipt_hash.0.into(),
        voucher: compact(&row.voucher_sig),
        settlement: compact(&row.settlement_sig),
    })
}

impl Sender {
    /// Whether a `settle` or `settleReceipts` was sent that is in no block, as the last look at
    /// the outbox found it.
    pub async fn is_settling(&self) -> bool {
        self.account.state.lock().await.is_waiting_for(&["settle", "settleReceipts"])
    }
}

impl Tx {
    /// What a `settle`, `settleReceipts` or `close` paid into the pod's credit, in smallest units.
    pub fn paid(&self) -> u128 {
        let settled = self.events::<Escrow::Settled>().map(|event| event.paid);
        let closed = self.events::<Escrow::Closed>().map(|event| event.paid);
        settled.chain(closed).map(saturating_u128).fold(0, u128::saturating_add)
    }

    /// What a `collect` paid out, in smallest units.
    pub fn collected(&self) -> u128 {
        let collected = self.events::<Escrow::Collected>().map(|event| event.amount);
        collected.map(saturating_u128).fold(0, u128::saturating_add)
    }

    /// What a `lock` reserved for the pod, in smallest units.
    pub fn locked(&self) -> u128 {
        let moved = self.events::<Escrow::Locked>().map(|event| event.moved);
        moved.map(saturating_u128).fold(0, u128::saturating_add)
    }

    /// Indices of the rows that a `lock`, `settle` or `settleReceipts` skipped.
    pub fn skipped_rows(&self) -> Vec<usize> {
        let locked = self.events::<Escrow::Locked>().map(|event| event.skipped);
        let settled = self.events::<Escrow::Settled>().map(|event| event.skipped);
        locked.chain(settled).flat_map(|bitmap| set_bits(&bitmap)).collect()
    }

    fn events<E: SolEvent>(&self) -> impl Iterator<Item = E> {
        self.logs.iter().filter_map(|log| E::decode_log(&log.inner).ok().map(|event| event.data))
    }
}

/// Row i is bit `i % 8` of byte `i / 8`.
fn set_bits(bitmap: &[u8]) -> Vec<usize> {
    let is_set = |i: &usize| bitmap[i / 8] & (1 << (i % 8)) != 0;
    (0..bitmap.len() * 8).filter(is_set).collect()
}
