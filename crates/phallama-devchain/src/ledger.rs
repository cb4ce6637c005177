//! The chain itself: blocks, state, waiting transactions, and how a block is made.

use alloy_consensus::Transaction;
use alloy_eips::{BlockId, BlockNumberOrTag, Typed2718};
use revm::context::result::ExecutionResult;
use revm::primitives::alloy_primitives::TxHash;
use revm::primitives::{Address, B256, B256Map, U256};
use revm::state::AccountInfo;

use crate::accounts::dev_account;
use crate::block::{self, Block, BlockSlot, MinedTx, SignedTx};
use crate::clock::Clock;
use crate::error::RpcError;
use crate::evm::{self, Rules};
use crate::options::{ChainOptions, Mining};
use crate::pool::{Pool, max_cost};
use crate::rewind::Snapshot;
use crate::state::{State, StateView};

/// How far a nonce may be ahead of the sender's next one and still wait for its turn.
const NONCES_AHEAD_MAX: u64 = 64;

/// Everything that changes while a chain lives. One lock guards it.
pub(crate) struct Ledger {
    pub(crate) options: ChainOptions,
    pub(crate) rules: Rules,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    pub(crate) state: State,
    /// Block number = index; never empty.
    pub(crate) blocks: Vec<Block>,
    pub(crate) block_numbers: B256Map<u64>,
    /// Where a mined transaction is: block number, index in the block.
    pub(crate) tx_places: B256Map<(u64, usize)>,
    /// The newest revision; also that of the head.
    pub(crate) revision: u64,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) next_snapshot_id: u64,
    /// How often blocks were taken back. Blocks made after that differ from those before.
    pub(crate) branch: u64,
    /// What the next block's base fee was set to.
    pub(crate) base_fee_set: Option<u64>,
}

impl Ledger {
    pub(crate) fn new(options: ChainOptions) -> Self {
        let mut state = State::default();
        for index in 0..options.funded_accounts {
            let info = AccountInfo::from_balance(options.funded_balance_wei);
            state.set_account(dev_account(index).0, info, 0);
        }
        let clock = Clock::starting_at(options.genesis_unix_s);
        let slot = BlockSlot {
            number: 0,
            parent_hash: B256::ZERO,
            timestamp: options.genesis_unix_s.unwrap_or_else(|| clock.now_unix_s()),
            base_fee: options.base_fee_wei,
            gas_limit: options.block_gas_limit,
            randomness: block::randomness(B256::ZERO, 0, 0),
        };
        let genesis = Block::new(&slot, Vec::new(), 0);
        let rules =
            Rules::for_blocks(options.chain_id, options.tx_gas_limit_cap, options.p256_price);
        Self {
            rules,
            clock,
            pool: Pool::default(),
            state,
            block_numbers: std::iter::once((genesis.hash, 0)).collect(),
            blocks: vec![genesis],
            tx_places: B256Map::default(),
            revision: 0,
            snapshots: Vec::new(),
            next_snapshot_id: 0,
            branch: 0,
            base_fee_set: None,
            options,
        }
    }

    pub(crate) fn head(&self) -> &Block {
        self.blocks.last().expect("block 0 is never removed")
    }

    pub(crate) fn block_by_hash(&self, hash: B256) -> Option<&Block> {
        self.block_by_number(*self.block_numbers.get(&hash)?)
    }

    pub(crate) fn block_by_number(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    /// A mined transaction, its block and its index there.
    pub(crate) fn mined(&self, hash: TxHash) -> Option<(&Block, usize, &MinedTx)> {
        let (number, index) = *self.tx_places.get(&hash)?;
        let block = self.block_by_number(number)?;
        Some((block, index, block.transactions.get(index)?))
    }

    /// The mined block that a tag or number means; `pending` means the head.
    pub(crate) fn resolve(&self, block: BlockNumberOrTag) -> Option<&Block> {
        let head = self.head().header.number;
        self.block_by_number(match block {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => head,
            BlockNumberOrTag::Safe => head.saturating_sub(self.options.safe_depth_blocks),
            BlockNumberOrTag::Finalized => head.saturating_sub(self.options.finalized_depth_blocks),
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(number) => number,
        })
    }

    /// Like [`resolve`](Self::resolve), also by hash.
    pub(crate) fn resolve_id(&self, block: BlockId) -> Result<&Block, RpcError> {
        match block {
            BlockId::Number(number) => self.resolve(number),
            BlockId::Hash(hash) => self.block_by_hash(hash.block_hash),
        }
        .ok_or_else(|| RpcError::UnknownBlock { block, head: self.head().header.number })
    }

    /// The state after a block.
    pub(crate) fn view(&self, revision: u64) -> StateView<'_> {
        StateView { state: &self.state, revision, blocks: &self.blocks }
    }

    /// The environment of the next block, if it were made now.
    pub(crate) fn next_slot(&self) -> BlockSlot {
        let head = self.head();
        let number = head.header.number + 1;
        BlockSlot {
            number,
            parent_hash: head.hash,
            timestamp: self.clock.preview(head.header.timestamp),
            base_fee: self.next_base_fee(),
            gas_limit: self.options.block_gas_limit,
            randomness: block::randomness(head.hash, number, self.branch),
        }
    }

    /// What the next block's base fee will be, in wei per gas.
    pub(crate) fn next_base_fee(&self) -> u64 {
        self.base_fee_set.unwrap_or_else(|| self.head().next_base_fee())
    }

    fn mined_nonce(&self, sender: Address) -> u64 {
        self.state.account(sender, self.revision).map_or(0, |info| info.nonce)
    }

    /// The nonce that the sender's next transaction must have to leave no gap.
    pub(crate) fn next_nonce(&self, sender: Address) -> u64 {
        self.pool.next_nonce(sender, self.mined_nonce(sender))
    }

    /// Takes a transaction: into a block at once, or into the pool.
    pub(crate) fn submit(&mut self, tx: SignedTx) -> Result<TxHash, RpcError> {
        self.check(&tx)?;
        let (hash, sender, nonce) = (*tx.tx_hash(), tx.signer(), tx.nonce());
        if self.options.mining != Mining::Instant || nonce > self.mined_nonce(sender) {
            self.pool.insert(tx)?;
            return Ok(hash);
        }
        self.pool.check_replacement(&tx)?;
        let slot = self.next_slot();
        let revision = self.revision + 1;
        let result = self.execute(&tx, &slot, revision)?;
        self.append(&slot, vec![MinedTx::new(tx, result, &[])], revision);
        self.pool.remove(sender, nonce);
        // The gap before it may have been all that it waited for.
        if self.pool.has(sender, nonce + 1) {
            self.mine();
        }
        Ok(hash)
    }

    /// Makes a block of the waiting transactions that fit, in the order they arrived; one whose
    /// turn has not come (an earlier nonce is missing) or that offers too little waits on.
    pub(crate) fn mine(&mut self) {
        let slot = self.next_slot();
        let revision = self.revision + 1;
        let mut mined: Vec<MinedTx> = Vec::new();
        let mut gas_left = slot.gas_limit;
        let mut waiting: Vec<SignedTx> = Vec::new();
        for tx in self.pool.take() {
            if tx.gas_limit() > gas_left || tx.max_fee_per_gas() < u128::from(slot.base_fee) {
                waiting.push(tx);
                continue;
            }
            match self.execute(&tx, &slot, revision) {
                Ok(result) => {
                    let done = MinedTx::new(tx, result, &mined);
                    gas_left -= done.gas_used;
                    mined.push(done);
                }
                Err(RpcError::NonceTooHigh { .. }) => waiting.push(tx),
                // A transaction that became impossible (say its sender's ether is gone) leaves
                // the pool, as on every node.
                Err(_) => {}
            }
        }
        self.pool.restore(waiting);
        self.append(&slot, mined, revision);
    }

    /// Runs a transaction on the state of `revision` and writes the outcome there.
    fn execute(
        &mut self,
        tx: &SignedTx,
        slot: &BlockSlot,
        revision: u64,
    ) -> Result<ExecutionResult, RpcError> {
        let outcome = evm::run(self.view(revision), slot, &self.rules, evm::tx_env(tx))
            .map_err(|error| error.for_sender(tx.signer()))?;
        self.state.apply(outcome.state, revision);
        Ok(outcome.result)
    }

    fn append(&mut self, slot: &BlockSlot, transactions: Vec<MinedTx>, revision: u64) {
        self.clock.block_made(slot.timestamp);
        self.base_fee_set = None;
        for (index, mined) in transactions.iter().enumerate() {
            self.tx_places.insert(mined.hash(), (slot.number, index));
        }
        let block = Block::new(slot, transactions, revision);
        self.block_numbers.insert(block.hash, slot.number);
        self.blocks.push(block);
        self.revision = revision;
    }

    /// The rules that can be checked without running the transaction.
    fn check(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let hash = *tx.tx_hash();
        if self.mined(hash).is_some() || self.pool.find(hash).is_some() {
            return Err(RpcError::AlreadyKnown);
        }
        if tx.ty() > 2 {
            return Err(RpcError::UnsupportedType(tx.ty()));
        }
        if let Some(got) = tx.chain_id()
            && got != self.options.chain_id
        {
            return Err(RpcError::WrongChainId { got, expected: self.options.chain_id });
        }
        self.check_fees(tx)?;
        self.check_nonce(tx)?;
        self.check_funds(tx)
    }

    fn check_fees(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let limit = self.options.block_gas_limit;
        if tx.gas_limit() > limit {
            return Err(RpcError::ExceedsBlockGasLimit { got: tx.gas_limit(), limit });
        }
        let cap = self.options.tx_gas_limit_cap;
        if tx.gas_limit() > cap {
            return Err(RpcError::ExceedsGasCap { got: tx.gas_limit(), cap });
        }
        let got = tx.max_fee_per_gas();
        if let Some(tip) = tx.max_priority_fee_per_gas()
            && tip > got
        {
            return Err(RpcError::TipAboveCap { tip, cap: got });
        }
        let base_fee = self.next_base_fee();
        if got < u128::from(base_fee) {
            return Err(RpcError::FeeBelowBase { address: tx.signer(), got, base_fee });
        }
        evm::check_intrinsic_gas(&evm::tx_env(tx))
            .map_err(|invalid| RpcError::from_invalid(invalid, tx.signer()))
    }

    /// A nonce is right if it is the next one, that of a waiting transaction to replace, or one
    /// that can wait for the gap before it to close.
    fn check_nonce(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let address = tx.signer();
        let got = tx.nonce();
        let expected = self.next_nonce(address);
        if got > expected.saturating_add(NONCES_AHEAD_MAX) {
            return Err(RpcError::NonceTooHigh { address, got, expected });
        }
        if got < self.mined_nonce(address) {
            return Err(RpcError::NonceTooLow { address, got, expected });
        }
        Ok(())
    }

    fn check_funds(&self, tx: &SignedTx) -> Result<(), RpcError> {
        let address = tx.signer();
        let have = self
            .state
            .account(address, self.revision)
            .map_or(U256::ZERO, |info| info.balance)
            .saturating_sub(self.pool.promised(address, tx.nonce()));
        let want = max_cost(tx);
        if want > have {
            return Err(RpcError::InsufficientFunds { address, have, want });
        }
        Ok(())
    }

    /// Gives an account a balance, from the head on.
    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) {
        self.revision += 1;
        let mut info = self.state.account(address, self.revision).cloned().unwrap_or_default();
        info.balance = balance;
        self.state.set_account(address, info, self.revision);
        let revision = self.revision;
        self.blocks.last_mut().expect("block 0 is never removed").revision = revision;
    }
}
