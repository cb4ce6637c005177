//! Transactions that wait for a block: because mining is not instant, because an earlier nonce is
//! missing, or because the base fee is above what they offer.

use std::collections::VecDeque;

use alloy_consensus::Transaction;
use revm::primitives::alloy_primitives::TxHash;
use revm::primitives::{Address, AddressMap, U256};

use crate::block::SignedTx;
use crate::error::RpcError;

/// Waiting transactions in the order they arrived, no two of a sender with the same nonce.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<SignedTx>);

impl Pool {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SignedTx> {
        self.0.iter()
    }

    pub(crate) fn find(&self, hash: TxHash) -> Option<&SignedTx> {
        self.0.iter().find(|tx| *tx.tx_hash() == hash)
    }

    fn position(&self, sender: Address, nonce: u64) -> Option<usize> {
        self.0.iter().position(|tx| tx.signer() == sender && tx.nonce() == nonce)
    }

    pub(crate) fn has(&self, sender: Address, nonce: u64) -> bool {
        self.position(sender, nonce).is_some()
    }

    /// The first nonce from `mined` on with which nothing of `sender` waits.
    pub(crate) fn next_nonce(&self, sender: Address, mined: u64) -> u64 {
        let mut next = mined;
        while self.has(sender, next) {
            next += 1;
        }
        next
    }

    /// The most that the waiting transactions of `sender` before `nonce` can cost, in wei.
    pub(crate) fn promised(&self, sender: Address, nonce: u64) -> U256 {
        self.0
            .iter()
            .filter(|tx| tx.signer() == sender && tx.nonce() < nonce)
            .fold(U256::ZERO, |sum, tx| sum.saturating_add(max_cost(tx)))
    }

    /// A transaction with the nonce of a waiting one must offer 10 % more, cap and tip both.
    pub(crate) fn check_replacement(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let Some(position) = self.position(tx.signer(), tx.nonce()) else { return Ok(()) };
        let waiting = &self.0[position];
        let offers = [
            ("max fee", tx.max_fee_per_gas(), waiting.max_fee_per_gas()),
            ("tip", tx.priority_fee_or_price(), waiting.priority_fee_or_price()),
        ];
        for (what, got, before) in offers {
            let needed = before.saturating_mul(11).div_ceil(10);
            if got < needed {
                return Err(RpcError::ReplacementUnderpriced { what, got, needed });
            }
        }
        Ok(())
    }

    /// Adds `tx`, in the place of a waiting one with the same nonce if there is one.
    pub(crate) fn insert(&mut self, tx: SignedTx) -> Result<(), RpcError> {
        self.check_replacement(&tx)?;
        match self.position(tx.signer(), tx.nonce()) {
            Some(position) => self.0[position] = tx,
            None => self.0.push(tx),
        }
        Ok(())
    }

    /// Forgets what waits with this nonce.
    pub(crate) fn remove(&mut self, sender: Address, nonce: u64) {
        self.0.retain(|tx| tx.signer() != sender || tx.nonce() != nonce);
    }

    /// Forgets a transaction; returns whether it waited.
    pub(crate) fn drop_one(&mut self, hash: TxHash) -> bool {
        let before = self.0.len();
        self.0.retain(|tx| *tx.tx_hash() != hash);
        self.0.len() < before
    }

    /// Empties the pool: in the order of arrival, but for every sender by nonce.
    pub(crate) fn take(&mut self) -> Vec<SignedTx> {
        let arrived = std::mem::take(&mut self.0);
        let turns: Vec<Address> = arrived.iter().map(SignedTx::signer).collect();
        let mut by_sender: AddressMap<VecDeque<SignedTx>> = AddressMap::default();
        for tx in arrived {
            by_sender.entry(tx.signer()).or_default().push_back(tx);
        }
        for queue in by_sender.values_mut() {
            queue.make_contiguous().sort_by_key(|tx| tx.nonce());
        }
        let next = |sender| by_sender.get_mut(&sender).and_then(VecDeque::pop_front);
        turns.into_iter().filter_map(next).collect()
    }

    /// Puts back what did not fit into a block, or was taken out of one, before what waits.
    pub(crate) fn restore(&mut self, mut waiting: Vec<SignedTx>) {
        waiting.append(&mut self.0);
        self.0 = waiting;
    }
}

/// Gas limit × max fee + value, in wei; the highest number if that overflows.
pub(crate) fn max_cost(tx: &SignedTx) -> U256 {
    U256::from(tx.gas_limit())
        .saturating_mul(U256::from(tx.max_fee_per_gas()))
        .saturating_add(tx.value())
}
