//! Running one transaction or one call in the EVM.

use std::sync::LazyLock;

use alloy_consensus::Transaction;
use alloy_eips::Typed2718;
use revm::context::result::{EVMError, InvalidTransaction, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::handler::EthPrecompiles;
use revm::handler::validation::validate_initial_tx_gas;
use revm::precompile::{Precompiles, secp256r1};
use revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, U256};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use crate::block::{BlockSlot, SignedTx};
use crate::error::RpcError;
use crate::options::P256Price;
use crate::state::StateView;

/// The rules of the chain: the newest hardfork that is live on Ethereum.
const SPEC: SpecId = SpecId::OSAKA;

/// Osaka's precompiles with P-256 at the price of OP-stack chains.
static OP_STACK_PRECOMPILES: LazyLock<Precompiles> = LazyLock::new(|| {
    let mut precompiles = Precompiles::osaka().clone();
    precompiles.extend([secp256r1::P256VERIFY]);
    precompiles
});

/// The rules a transaction runs under.
pub(crate) struct Rules {
    pub(crate) config: CfgEnv,
    pub(crate) p256_price: P256Price,
}

impl Rules {
    /// The rules for transactions in blocks.
    pub(crate) fn for_blocks(chain_id: u64, tx_gas_limit_cap: u64, p256_price: P256Price) -> Self {
        let mut config = CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id);
        config.tx_gas_limit_cap = Some(tx_gas_limit_cap);
        Self { config, p256_price }
    }

    /// The same rules for calls and estimates: any sender (contracts too), no nonce, no cap on the
    /// gas limit, and no base fee to meet where the call names no price.
    pub(crate) fn for_calls(&self, free_of_charge: bool) -> Self {
        let mut config = self.config.clone();
        config.disable_nonce_check = true;
        config.disable_eip3607 = true;
        config.disable_base_fee = free_of_charge;
        config.tx_gas_limit_cap = Some(u64::MAX);
        Self { config, p256_price: self.p256_price }
    }
}

/// Runs `tx` on the state of `view` in the block `slot`. Nothing is written.
pub(crate) fn run(
    view: StateView<'_>,
    slot: &BlockSlot,
    rules: &Rules,
    tx: TxEnv,
) -> Result<ResultAndState, RunError> {
    let mut evm = Context::mainnet()
        .with_db(view)
        .with_block(block_env(slot))
        .with_cfg(rules.config.clone())
        .build_mainnet();
    if rules.p256_price == P256Price::OpStack {
        evm.precompiles = EthPrecompiles { precompiles: &OP_STACK_PRECOMPILES, spec: SPEC };
    }
    evm.transact(tx).map_err(|error| match error {
        EVMError::Transaction(invalid) => RunError::Invalid(invalid),
        other => RunError::Broken(format!("{other:?}")),
    })
}

/// Why a transaction did not run at all.
#[derive(Debug)]
pub(crate) enum RunError {
    /// It breaks a rule.
    Invalid(InvalidTransaction),
    /// The environment does.
    Broken(String),
}

impl RunError {
    pub(crate) fn for_sender(self, sender: Address) -> RpcError {
        match self {
            Self::Invalid(invalid) => RpcError::from_invalid(invalid, sender),
            Self::Broken(problem) => RpcError::Internal(problem),
        }
    }
}

fn block_env(slot: &BlockSlot) -> BlockEnv {
    let mut env = BlockEnv {
        number: U256::from(slot.number),
        beneficiary: Address::ZERO,
        timestamp: U256::from(slot.timestamp),
        gas_limit: slot.gas_limit,
        basefee: slot.base_fee,
        prevrandao: Some(slot.randomness),
        ..BlockEnv::default()
    };
    env.set_blob_excess_gas_and_price(0, BLOB_BASE_FEE_UPDATE_FRACTION_PRAGUE);
    env
}

/// A signed transaction as the EVM takes it.
pub(crate) fn tx_env(tx: &SignedTx) -> TxEnv {
    TxEnv {
        tx_type: tx.ty(),
        caller: tx.signer(),
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

/// Whether the gas limit pays for the transaction's bytes, before any code runs.
pub(crate) fn check_intrinsic_gas(tx: &TxEnv) -> Result<(), InvalidTransaction> {
    validate_initial_tx_gas(tx, SPEC, false, false, u64::MAX, None).map(|_| ())
}
