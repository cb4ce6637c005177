//! The rules of the newest hardfork without a chain: a state, and transactions in it at any time.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode, EvmState};
use revm::{Context, DatabaseCommit, ExecuteEvm, MainBuilder, MainContext};

const GAS_LIMIT: u64 = 1 << 40;

/// A state; clones go their own ways.
#[derive(Clone)]
pub(crate) struct State {
    db: CacheDB<EmptyDB>,
    pub(crate) time: u64,
}

/// What a transaction left.
pub(crate) struct Done {
    pub(crate) output: Bytes,
    pub(crate) created: Option<Address>,
    pub(crate) logs: Vec<Log>,
}

/// The bytes that a call reverted with; empty if it ran out of something.
pub(crate) struct Reverted(pub(crate) Bytes);

impl State {
    pub(crate) fn new(time: u64) -> Self {
        Self { db: CacheDB::default(), time }
    }

    /// Runs and keeps what it changes.
    pub(crate) fn send(
        &mut self,
        from: Address,
        to: TxKind,
        data: Bytes,
    ) -> Result<Done, Reverted> {
        let (result, changes) = self.run(from, to, data);
        self.db.commit(changes);
        done(result)
    }

    /// Runs and forgets what it changes.
    pub(crate) fn call(&self, to: Address, data: Bytes) -> Bytes {
        let (result, _) = self.run(Address::ZERO, TxKind::Call(to), data);
        done(result).map(|done| done.output).unwrap_or_default()
    }

    pub(crate) fn place(&mut self, at: Address, code: &[u8]) {
        let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
        self.db.insert_account_info(at, AccountInfo::from_bytecode(code));
    }

    pub(crate) fn store(&mut self, at: Address, slot: B256, value: U256) {
        let stored = self.db.insert_account_storage(at, slot.into(), value);
        stored.expect("an empty database does not fail");
    }

    /// Every word of an account's storage that is not zero.
    pub(crate) fn storage(&self, of: Address) -> BTreeMap<U256, U256> {
        let account = self.db.cache.accounts.get(&of);
        let words = account.into_iter().flat_map(|account| &account.storage);
        words.filter(|(_, value)| !value.is_zero()).map(|(slot, value)| (*slot, *value)).collect()
    }

    fn run(&self, caller: Address, kind: TxKind, data: Bytes) -> (ExecutionResult, EvmState) {
        let mut config = CfgEnv::new_with_spec(SpecId::OSAKA);
        config.disable_nonce_check = true;
        config.tx_gas_limit_cap = Some(u64::MAX);
        let block = BlockEnv {
            timestamp: U256::from(self.time),
            gas_limit: u64::MAX,
            basefee: 0,
            ..BlockEnv::default()
        };
        let mut evm = Context::mainnet()
            .with_ref_db(&self.db)
            .with_block(block)
            .with_cfg(config)
            .build_mainnet();
        let tx = TxEnv { caller, gas_limit: GAS_LIMIT, kind, data, ..TxEnv::default() };
        let outcome = evm.transact(tx).expect("nothing here breaks a rule for transactions");
        (outcome.result, outcome.state)
    }
}

fn done(result: ExecutionResult) -> Result<Done, Reverted> {
    match result {
        ExecutionResult::Success { logs, output, .. } => Ok(match output {
            Output::Call(output) => Done { output, created: None, logs },
            Output::Create(output, created) => Done { output, created, logs },
        }),
        ExecutionResult::Revert { output, .. } => Err(Reverted(output)),
        ExecutionResult::Halt { .. } => Err(Reverted(Bytes::new())),
    }
}
