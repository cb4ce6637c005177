//! Batches: rows that are taken or skipped one by one.

use phallama_protocol::ids::{Address, PodId};

use super::{AMOUNT_MAX, EscrowModel, Event, Refusal};

/// One `Allocation`, by whoever its signature recovers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationRow {
    /// Who signed it for the pod of the call.
    pub user: Address,
    /// Cumulative amount to have been locked.
    pub total: u128,
    /// Generation of the channel.
    pub epoch: u32,
    /// The last second in which it may be locked.
    pub deadline_unix_s: u64,
}

/// A voucher and what is claimed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoucherRow {
    /// Who signed the voucher, naming the key that signed the batch.
    pub user: Address,
    /// Cumulative amount that the user allows.
    pub cap: u128,
    /// Cumulative amount that the enclave metered.
    pub claimed: u128,
    /// Generation of the channel.
    pub epoch: u32,
}

/// A voucher and a settlement, each by its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptClaim {
    /// The voucher, naming `identity`, and what the settlement claims.
    pub row: VoucherRow,
    /// The identity key that the row states.
    pub identity: Address,
    /// Who signed the settlement, for the channel of the voucher's signer.
    pub signer: Address,
}

/// What a batch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOutcome {
    /// What all rows together moved.
    pub amount: u128,
    /// One bit per row, lowest first: set when the row changed nothing.
    pub skipped: Vec<u8>,
}

impl EscrowModel {
    /// `lock(podId, LockRow[])`.
    ///
    /// # Errors
    /// [`Refusal::NoRows`].
    pub fn lock(&mut self, pod: PodId, rows: &[AllocationRow]) -> Result<BatchOutcome, Refusal> {
        if rows.is_empty() {
            return Err(Refusal::NoRows);
        }
        let moved: Vec<u128> = rows.iter().map(|row| self.lock_row(pod, row)).collect();
        let outcome = BatchOutcome::of(&moved);
        let (moved, skipped) = (outcome.amount, outcome.skipped.clone());
        self.events.push(Event::Locked { pod, moved, rows: rows.len(), skipped });
        Ok(outcome)
    }

    fn lock_row(&mut self, pod: PodId, row: &AllocationRow) -> u128 {
        let channel = self.channel(row.user, pod);
        let good = row.user != Address::ZERO
            && self.now_unix_s <= row.deadline_unix_s
            && row.total <= AMOUNT_MAX
            && row.epoch == channel.epoch
            && channel.exit_at_unix_s == 0
            && row.total > channel.locked;
        let Some(account) = self.accounts.get_mut(&row.user).filter(|_| good) else { return 0 };
        let difference = row.total - channel.locked;
        if difference > account.free {
            return 0;
        }
        account.free -= difference;
        self.channels.entry((pod, row.user)).or_default().locked = row.total;
        difference
    }

    /// `settle(podId, rows, enclaveSig)`; `identity` is who signed `Batch` over these rows. Rows
    /// come in whole ones only: anything else is refused before.
    ///
    /// # Errors
    /// [`Refusal::NoRows`], [`Refusal::IdentityNotAccepted`].
    pub fn settle(
        &mut self,
        pod: PodId,
        identity: Address,
        rows: &[VoucherRow],
    ) -> Result<BatchOutcome, Refusal> {
        if rows.is_empty() {
            return Err(Refusal::NoRows);
        }
        self.must_be_good(pod, identity)?;
        let paid: Vec<u128> = rows.iter().map(|row| self.claim(pod, row)).collect();
        Ok(self.settled(pod, &paid))
    }

    /// `settleReceipts(podId, ReceiptRow[])`.
    ///
    /// # Errors
    /// [`Refusal::NoRows`].
    pub fn settle_receipts(
        &mut self,
        pod: PodId,
        rows: &[ReceiptClaim],
    ) -> Result<BatchOutcome, Refusal> {
        if rows.is_empty() {
            return Err(Refusal::NoRows);
        }
        let paid: Vec<u128> = rows.iter().map(|row| self.claim_receipt(pod, row)).collect();
        Ok(self.settled(pod, &paid))
    }

    fn settled(&mut self, pod: PodId, paid: &[u128]) -> BatchOutcome {
        let outcome = BatchOutcome::of(paid);
        self.add_credit(pod, outcome.amount);
        let skipped = outcome.skipped.clone();
        self.events.push(Event::Settled { pod, paid: outcome.amount, rows: paid.len(), skipped });
        outcome
    }

    fn claim_receipt(&mut self, pod: PodId, claim: &ReceiptClaim) -> u128 {
        let ReceiptClaim { row, identity, signer } = claim;
        let good = *signer != Address::ZERO
            && signer == identity
            && self.now_unix_s <= self.key_good_until(pod, *identity);
        if good { self.claim(pod, row) } else { 0 }
    }

    /// Step 8: `min(claimed, cap, locked) − already claimed`.
    fn claim(&mut self, pod: PodId, row: &VoucherRow) -> u128 {
        if row.user == Address::ZERO {
            return 0;
        }
        let channel = self.channel(row.user, pod);
        let most = row.claimed.min(row.cap).min(channel.locked);
        if row.epoch != channel.epoch || most <= channel.claimed {
            return 0;
        }
        self.channels.entry((pod, row.user)).or_default().claimed = most;
        most - channel.claimed
    }
}

impl BatchOutcome {
    fn of(amounts: &[u128]) -> Self {
        let mut skipped = vec![0; amounts.len().div_ceil(8)];
        for (index, _) in amounts.iter().enumerate().filter(|(_, amount)| **amount == 0) {
            skipped[index / 8] |= 1 << (index % 8);
        }
        Self { amount: amounts.iter().sum(), skipped }
    }
}
