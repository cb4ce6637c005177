//! Blocks and the transactions in them, as they are kept.

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::{Recovered, Transaction};
use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, TxEnvelope, TxReceipt};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use revm::context::result::ExecutionResult;
use revm::primitives::alloy_primitives::{Bloom, TxHash};
use revm::primitives::{Address, B256, keccak256};

/// A signed transaction and its signer.
pub(crate) type SignedTx = Recovered<TxEnvelope>;

/// The environment a block is made in: what is known before its transactions run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSlot {
    pub(crate) number: u64,
    pub(crate) parent_hash: B256,
    pub(crate) timestamp: u64,
    pub(crate) base_fee: u64,
    pub(crate) gas_limit: u64,
    /// What `PREVRANDAO` returns, see [`randomness`].
    pub(crate) randomness: B256,
}

/// Different in every block and on every branch, the same in every run.
pub(crate) fn randomness(parent_hash: B256, number: u64, branch: u64) -> B256 {
    keccak256([parent_hash.as_slice(), &number.to_be_bytes(), &branch.to_be_bytes()].concat())
}

/// A mined transaction with its receipt.
#[derive(Debug)]
pub(crate) struct MinedTx {
    pub(crate) tx: SignedTx,
    pub(crate) receipt: ReceiptEnvelope,
    pub(crate) gas_used: u64,
    pub(crate) contract_address: Option<Address>,
    /// How many logs the block has before this transaction's first.
    pub(crate) first_log_index: u64,
}

impl MinedTx {
    /// Joins a transaction and its outcome; `before` are the block's earlier transactions.
    pub(crate) fn new(tx: SignedTx, result: ExecutionResult, before: &[Self]) -> Self {
        let gas_used = result.tx_gas_used();
        let cumulative = before.last().map_or(0, |last| last.receipt.cumulative_gas_used());
        let first_log_index =
            before.last().map_or(0, |last| last.first_log_index + last.receipt.logs().len() as u64);
        // A failed creation has no address, a successful one that of the new contract.
        let contract_address = result.created_address();
        let status = Eip658Value::Eip658(result.is_success());
        let logs = if result.is_success() { result.into_logs() } else { Vec::new() };
        let receipt = Receipt { status, cumulative_gas_used: cumulative + gas_used, logs };
        let receipt = ReceiptEnvelope::from_typed(tx.tx_type(), receipt);
        Self { tx, receipt, gas_used, contract_address, first_log_index }
    }

    pub(crate) fn hash(&self) -> TxHash {
        *self.tx.tx_hash()
    }

    /// What the sender paid per gas in a block with this base fee, in wei.
    pub(crate) fn effective_gas_price(&self, base_fee: u64) -> u128 {
        self.tx.effective_gas_price(Some(base_fee))
    }

    /// What the block's beneficiary got per gas, in wei.
    pub(crate) fn tip(&self, base_fee: u64) -> u128 {
        self.effective_gas_price(base_fee).saturating_sub(u128::from(base_fee))
    }
}

/// A block of the chain.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) hash: B256,
    pub(crate) header: Header,
    pub(crate) transactions: Vec<MinedTx>,
    /// The state after this block.
    pub(crate) revision: u64,
}

impl Block {
    pub(crate) fn new(slot: &BlockSlot, transactions: Vec<MinedTx>, revision: u64) -> Self {
        let header = header(slot, &transactions);
        Self { hash: header.hash_slow(), header, transactions, revision }
    }

    pub(crate) fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.expect("every block of this chain has a base fee")
    }

    /// Base fee of the block after this one (EIP-1559). Block 1 keeps that of block 0.
    pub(crate) fn next_base_fee(&self) -> u64 {
        if self.header.number == 0 {
            return self.base_fee();
        }
        calc_next_block_base_fee(
            self.header.gas_used,
            self.header.gas_limit,
            self.base_fee(),
            BaseFeeParams::ethereum(),
        )
    }

    /// The environment this block was made in.
    pub(crate) fn slot(&self) -> BlockSlot {
        BlockSlot {
            number: self.header.number,
            parent_hash: self.header.parent_hash,
            timestamp: self.header.timestamp,
            base_fee: self.base_fee(),
            gas_limit: self.header.gas_limit,
            randomness: self.header.mix_hash,
        }
    }
}

/// The header; `state_root` stays zero because there is no state trie.
pub(crate) fn header(slot: &BlockSlot, transactions: &[MinedTx]) -> Header {
    let signed: Vec<&TxEnvelope> = transactions.iter().map(|mined| mined.tx.inner()).collect();
    let receipts: Vec<&ReceiptEnvelope> = transactions.iter().map(|mined| &mined.receipt).collect();
    let mut logs_bloom = Bloom::ZERO;
    for receipt in &receipts {
        logs_bloom |= receipt.bloom();
    }
    Header {
        parent_hash: slot.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: calculate_transaction_root(&signed),
        receipts_root: calculate_receipt_root(&receipts),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        logs_bloom,
        number: slot.number,
        gas_limit: slot.gas_limit,
        gas_used: receipts.last().map_or(0, TxReceipt::cumulative_gas_used),
        timestamp: slot.timestamp,
        mix_hash: slot.randomness,
        base_fee_per_gas: Some(slot.base_fee),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
