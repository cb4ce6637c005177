//! The rules of the newest hardfork without a chain: a state, and transactions in it at any time.

use alloy::primitives::{Address, Bytes, Log, TxKind, U256};
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, DatabaseCommit, ExecuteEvm, MainBuilder, MainContext};

const CALLER: Address = Address::repeat_byte(0xca);
const GAS_LIMIT: u64 = 1 << 40;

/// A state; clones go their own ways.
#[derive(Clone)]
pub(crate) struct State(CacheDB<EmptyDB>);

/// What a transaction or call left.
pub(crate) struct Done {
    pub(crate) output: Bytes,
    pub(crate) created: Option<Address>,
    pub(crate) logs: Vec<Log>,
}

/// The bytes that a call reverted with; empty if it ran out of something.
pub(crate) struct Reverted(pub(crate) Bytes);

impl State {
    pub(crate) fn new() -> Self {
        Self(CacheDB::default())
    }

    /// Runs and keeps what it changes.
    pub(crate) fn send(&mut self, to: TxKind, data: Bytes, time: u64) -> Result<Done, Reverted> {
        let (result, changes) = self.run(to, data, time);
        self.0.commit(changes);
        done(result)
    }

    /// Runs and forgets what it changes.
    pub(crate) fn call(&self, to: Address, data: Bytes, time: u64) -> Result<Bytes, Reverted> {
        let (result, _) = self.run(TxKind::Call(to), data, time);
        done(result).map(|done| done.output)
    }

    fn run(&self, kind: TxKind, data: Bytes, time: u64) -> (ExecutionResult, EvmState) {
        let mut config = CfgEnv::new_with_spec(SpecId::OSAKA);
        config.disable_nonce_check = true;
        config.tx_gas_limit_cap = Some(u64::MAX);
        let block = BlockEnv {
            timestamp: U256::from(time),
            gas_limit: u64::MAX,
            basefee: 0,
            ..BlockEnv::default()
        };
        let mut evm = Context::mainnet()
            .with_ref_db(&self.0)
            .with_block(block)
            .with_cfg(config)
            .build_mainnet();
        let tx = TxEnv { caller: CALLER, gas_limit: GAS_LIMIT, kind, data, ..TxEnv::default() };
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
