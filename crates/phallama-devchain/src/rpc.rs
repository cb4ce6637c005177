//! The JSON-RPC methods: one file per subject, one small function per method.

mod account;
mod block;
mod call;
mod control;
mod envelope;
mod fee;
mod log;
mod node;
mod params;
mod transaction;

use revm::primitives::U256;
use revm::primitives::ruint::UintTryFrom;
use serde::Serialize;
use serde_json::Value;

use crate::chain::DevChain;
use crate::error::RpcError;
use crate::ledger::Ledger;

pub(crate) use envelope::answer_body;
use params::Params;

type Outcome = Result<Value, RpcError>;

/// A method, by what it needs of the chain.
enum Method {
    Fact(fn(&Ledger) -> Value),
    Read(fn(&Ledger, &Params) -> Outcome),
    Write(fn(&mut Ledger, &Params) -> Outcome),
}

/// Answers one request.
pub(crate) fn answer(chain: &DevChain, method: &str, params: Value) -> Outcome {
    let Some(found) = find(method) else {
        return Err(RpcError::MethodNotFound(method.to_owned()));
    };
    let params = Params::new(params)?;
    match found {
        Method::Fact(fact) => Ok(chain.read(fact)),
        Method::Read(method) => chain.read(|ledger| method(ledger, &params)),
        Method::Write(method) => chain.write(|ledger| method(ledger, &params)),
    }
}

fn find(method: &str) -> Option<Method> {
    use Method::{Fact, Read, Write};
    Some(match method {
        "web3_clientVersion" => Fact(node::client_version),
        "web3_sha3" => Read(node::sha3),
        "net_version" => Fact(node::network_version),
        "net_listening" => Fact(node::listening),
        "eth_chainId" => Read(node::chain_id),
        "eth_syncing" => Fact(node::syncing),
        "eth_accounts" => Fact(node::accounts),
        "eth_gasPrice" => Read(fee::gas_price),
        "eth_maxPriorityFeePerGas" => Read(fee::max_priority_fee_per_gas),
        "eth_feeHistory" => Read(fee::fee_history),
        "eth_getBalance" => Read(account::balance),
        "eth_getTransactionCount" => Read(account::transaction_count),
        "eth_getCode" => Read(account::code),
        "eth_getStorageAt" => Read(account::storage_at),
        "eth_call" => Read(call::call),
        "eth_estimateGas" => Read(call::estimate_gas),
        "eth_blockNumber" => Read(block::block_number),
        "eth_getBlockByNumber" => Read(block::by_number),
        "eth_getBlockByHash" => Read(block::by_hash),
        "eth_getBlockReceipts" => Read(block::receipts),
        "eth_getBlockTransactionCountByNumber" => Read(block::transaction_count_by_number),
        "eth_getBlockTransactionCountByHash" => Read(block::transaction_count_by_hash),
        "eth_getTransactionByHash" => Read(transaction::by_hash),
        "eth_getTransactionReceipt" => Read(transaction::receipt),
        "eth_sendRawTransaction" => Write(transaction::send_raw),
        "eth_getLogs" => Read(log::logs),
        "evm_mine" => Write(control::mine_one),
        "anvil_mine" | "hardhat_mine" => Write(control::mine_many),
        "evm_setAutomine" | "anvil_setAutomine" => Write(control::set_automine),
        "evm_increaseTime" | "anvil_increaseTime" => Write(control::increase_time),
        "evm_setNextBlockTimestamp" | "anvil_setNextBlockTimestamp" => {
            Write(control::set_next_block_timestamp)
        }
        "evm_setTime" | "anvil_setTime" => Write(control::set_time),
        "anvil_setNextBlockBaseFeePerGas" | "hardhat_setNextBlockBaseFeePerGas" => {
            Write(control::set_next_base_fee)
        }
        "phallama_setTagDepths" => Write(control::set_tag_depths),
        "anvil_dropTransaction" | "hardhat_dropTransaction" => Write(control::drop_transaction),
        "anvil_dropAllTransactions" => Write(control::drop_all_transactions),
        "anvil_rollback" => Write(control::roll_back),
        "anvil_reorg" => Write(control::reorganise),
        "evm_snapshot" | "anvil_snapshot" => Write(control::snapshot),
        "evm_revert" | "anvil_revert" => Write(control::revert),
        "anvil_setBalance" | "hardhat_setBalance" => Write(control::set_balance),
        _ => return None,
    })
}

/// A value as JSON.
fn to_json(value: impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(|error| RpcError::Internal(error.to_string()))
}

/// A number as JSON-RPC writes it: hex without leading zeros.
fn quantity<T>(value: T) -> Outcome
where
    U256: UintTryFrom<T>,
{
    to_json(U256::from(value))
}
