//! Transactions that wait for a block (only where mining is not instant).

use alloy_consensus::Transaction;
use revm::primitives::alloy_primitives::TxHash;
use revm::primitives::{Address, U256};

use crate::block::SignedTx;
use crate::error::RpcError;

/// Waiting transactions in the order they arrived. For every sender the nonces have no gap,
/// because a gap is refused on arrival.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<SignedTx>);

impl Pool {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SignedTx> {
        self.0.iter()
    }

    pub(crate) fn find(&self, hash: TxHash) -> Option<&SignedTx> {
        self.0.iter().find(|tx| *tx.tx_hash() == hash)
    }

    /// How many transactions of `sender` wait.
    pub(crate) fn count(&self, sender: Address) -> u64 {
        self.0.iter().filter(|tx| tx.signer() == sender).count() as u64
    }

    /// The most that the waiting transactions of `sender` before `nonce` can cost, in wei.
    pub(crate) fn promised(&self, sender: Address, nonce: u64) -> U256 {
        self.0
            .iter()
            .filter(|tx| tx.signer() == sender && tx.nonce() < nonce)
            .fold(U256::ZERO, |sum, tx| sum.saturating_add(max_cost(tx)))
    }

    /// Adds `tx`, in the place of a waiting one with the same nonce if there is one.
    pub(crate) fn insert(&mut self, tx: SignedTx) -> Result<(), RpcError> {
        let same_nonce =
            |other: &&mut SignedTx| other.signer() == tx.signer() && other.nonce() == tx.nonce();
        let Some(waiting) = self.0.iter_mut().find(same_nonce) else {
            self.0.push(tx);
            return Ok(());
        };
        let needed = waiting.max_fee_per_gas().saturating_mul(11).div_ceil(10);
        let got = tx.max_fee_per_gas();
        if got < needed {
            return Err(RpcError::ReplacementUnderpriced { got, needed });
        }
        *waiting = tx;
        Ok(())
    }

    /// Empties the pool.
    pub(crate) fn take(&mut self) -> Vec<SignedTx> {
        std::mem::take(&mut self.0)
    }

    /// Puts back what did not fit into a block.
    pub(crate) fn restore(&mut self, waiting: Vec<SignedTx>) {
        self.0 = waiting;
    }
}

/// Gas limit × max fee + value, in wei; the highest number if that overflows.
pub(crate) fn max_cost(tx: &SignedTx) -> U256 {
    U256::from(tx.gas_limit())
        .saturating_mul(U256::from(tx.max_fee_per_gas()))
        .saturating_add(tx.value())
}
