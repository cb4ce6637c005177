//! `eth_call` and `eth_estimateGas`.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::TransactionRequest;
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction};
use revm::primitives::{Bytes, TxKind, U256};

use super::params::{Params, invalid};
use super::{Outcome, quantity, to_json};
use crate::block::BlockSlot;
use crate::error::RpcError;
use crate::evm::{self, Rules, RunError};
use crate::ledger::Ledger;
use crate::state::StateView;

pub(super) fn call(ledger: &Ledger, params: &Params) -> Outcome {
    let scene = Scene::new(ledger, params, BlockNumberOrTag::Latest)?;
    to_json(output(scene.run(scene.tx.gas_limit)?)?)
}

/// The lowest gas limit with which the call succeeds, exactly.
pub(super) fn estimate_gas(ledger: &Ledger, params: &Params) -> Outcome {
    let scene = Scene::new(ledger, params, BlockNumberOrTag::Pending)?;
    let allowance = scene.allowance(ledger)?;
    let first = match scene.run(allowance) {
        Ok(ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. })
        | Err(RpcError::IntrinsicGasTooLow { .. }) => {
            return Err(RpcError::GasAboveAllowance { allowance });
        }
        other => other?,
    };
    let gas = *first.gas();
    output(first)?;
    // Invariant of the search: `too_low` fails, `enough` succeeds.
    let mut too_low = gas.tx_gas_used() - 1;
    let mut enough = allowance;
    // Most calls need exactly what they spent before refunds, so that is the first guess, and
    // one less the second; the rest is bisection.
    let spent = gas.total_gas_spent().max(gas.floor_gas());
    let mut guesses = [spent, spent - 1].into_iter();
    while too_low + 1 < enough {
        let guess = guesses.next().unwrap_or(too_low + (enough - too_low) / 2);
        let guess = guess.clamp(too_low + 1, enough - 1);
        if scene.succeeds(guess)? {
            enough = guess;
        } else {
            too_low = guess;
        }
    }
    quantity(enough)
}

/// Where and how a call runs.
struct Scene<'a> {
    view: StateView<'a>,
    slot: BlockSlot,
    rules: Rules,
    tx: TxEnv,
}

impl<'a> Scene<'a> {
    fn new(
        ledger: &'a Ledger,
        params: &Params,
        default_block: BlockNumberOrTag,
    ) -> Result<Self, RpcError> {
        let request: TransactionRequest = params.required(0, "transaction")?;
        let block: BlockId = params.optional(1, "block")?.unwrap_or(default_block.into());
        if params
            .raw(2)
            .is_some_and(|overrides| overrides.as_object().is_none_or(|o| !o.is_empty()))
        {
            return Err(invalid("stateOverrides", "are not supported by this chain"));
        }
        let resolved = ledger.resolve_id(block)?;
        let pending = block == BlockId::Number(BlockNumberOrTag::Pending);
        let slot = if pending { ledger.next_slot() } else { resolved.slot() };
        let tx = call_env(request, ledger)?;
        Ok(Self {
            view: ledger.view(resolved.revision),
            slot,
            rules: ledger.rules.for_calls(tx.gas_price == 0),
            tx,
        })
    }

    fn run(&self, gas_limit: u64) -> Result<ExecutionResult, RpcError> {
        let tx = TxEnv { gas_limit, ..self.tx.clone() };
        match evm::run(self.view, &self.slot, &self.rules, tx) {
            Ok(outcome) => Ok(outcome.result),
            Err(RunError::Invalid(InvalidTransaction::GasPriceLessThanBasefee)) => {
                Err(RpcError::FeeBelowBase {
                    address: self.tx.caller,
                    got: self.tx.gas_price,
                    base_fee: self.slot.base_fee,
                })
            }
            Err(other) => Err(other.for_sender(self.tx.caller)),
        }
    }

    /// Whether this gas limit is enough; other reasons to fail were excluded before.
    fn succeeds(&self, gas_limit: u64) -> Result<bool, RpcError> {
        match self.run(gas_limit) {
            Ok(result) => Ok(result.is_success()),
            Err(RpcError::IntrinsicGasTooLow { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The highest gas limit that a real transaction could have.
    fn allowance(&self, ledger: &Ledger) -> Result<u64, RpcError> {
        let highest = self.tx.gas_limit.min(ledger.options.tx_gas_limit_cap);
        if self.tx.gas_price == 0 {
            return Ok(highest);
        }
        let address = self.tx.caller;
        let have = ledger
            .state
            .account(address, self.view.revision)
            .map_or(U256::ZERO, |info| info.balance);
        let left = have.checked_sub(self.tx.value).ok_or(RpcError::InsufficientFunds {
            address,
            have,
            want: self.tx.value,
        })?;
        let payable = left / U256::from(self.tx.gas_price);
        Ok(u64::try_from(payable).unwrap_or(u64::MAX).min(highest))
    }
}

/// The call as the EVM takes it. Without a price it is free; without a gas limit it may use a
/// whole block's.
fn call_env(request: TransactionRequest, ledger: &Ledger) -> Result<TxEnv, RpcError> {
    if request.blob_versioned_hashes.is_some_and(|hashes| !hashes.is_empty())
        || request.authorization_list.is_some_and(|list| !list.is_empty())
    {
        return Err(invalid("transaction", "blobs and authorizations are not supported"));
    }
    let chain_id = ledger.options.chain_id;
    if let Some(got) = request.chain_id
        && got != chain_id
    {
        return Err(RpcError::WrongChainId { got, expected: chain_id });
    }
    let data = request
        .input
        .try_into_unique_input()
        .map_err(|error| invalid("transaction", error.to_string()))?;
    let gas_price = request.gas_price.or(request.max_fee_per_gas).unwrap_or_default();
    // A tip without a cap is the form some wallets send; the call is free then.
    let tip = request.max_priority_fee_per_gas.filter(|_| request.max_fee_per_gas.is_some());
    let mut tx = TxEnv {
        tx_type: 0,
        caller: request.from.unwrap_or_default(),
        gas_limit: request.gas.unwrap_or(u64::MAX).min(ledger.options.block_gas_limit),
        gas_price,
        gas_priority_fee: tip,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: data.unwrap_or_default(),
        chain_id: Some(chain_id),
        access_list: request.access_list.unwrap_or_default(),
        ..TxEnv::default()
    };
    tx.derive_tx_type().map_err(|error| invalid("transaction", format!("{error:?}")))?;
    Ok(tx)
}

/// What a successful call returned.
fn output(result: ExecutionResult) -> Result<Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::Reverted { data: output }),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::Halted { reason }),
    }
}
