//! A wallet, a few hand-made contracts, and short words for common requests.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy::eips::Encodable2718;
use alloy::eips::eip2930::AccessList;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy::signers::Signature;
use alloy::signers::local::PrivateKeySigner;
use phallama_devchain::{ChainOptions, DevChain, RpcError, dev_account};
use serde_json::{Value, json};

pub(crate) const CHAIN_ID: u64 = 31_337;
pub(crate) const GWEI: u128 = 1_000_000_000;

/// Adds 1 to slot 0 and returns the sum.
pub(crate) const COUNTER: &str = "5f54600101805f555f5260205ff3";
/// Reverts with its calldata.
pub(crate) const REVERTER: &str = "365f5f37365ffd";
/// Logs the third calldata word with the first two as topics.
pub(crate) const EMITTER: &str = "6040355f526020355f3560205fa200";
/// Writes its first calldata word to slot 0.
pub(crate) const STORER: &str = "5f355f5500";
/// Returns the block's timestamp.
pub(crate) const CLOCK: &str = "425f5260205ff3";
/// Returns the block's number.
pub(crate) const NUMBER: &str = "435f5260205ff3";
/// Returns the hash of the block whose number is the first calldata word.
pub(crate) const BLOCK_HASH: &str = "5f35405f5260205ff3";
/// Calls the address in the first calldata word with the rest of the calldata; returns the first
/// returned word and whether the call succeeded.
pub(crate) const CALLER: &str = "602036038060205f375f6020915f5f355afa60205260405ff3";
/// Jumps in a circle until the gas is gone.
pub(crate) const CIRCLE: &str = "5b5f56";
/// The designated invalid instruction.
pub(crate) const INVALID: &str = "fe";

/// A chain with default options.
pub(crate) fn chain() -> DevChain {
    DevChain::new(ChainOptions::default())
}

/// The wallet of a development account.
pub(crate) fn wallet(index: u32) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&dev_account(index).1.into()).unwrap()
}

/// Init code that deploys `runtime` (hex, at most 255 bytes).
pub(crate) fn init_code(runtime: &str) -> Bytes {
    let runtime = hex::decode(runtime).unwrap();
    let length = u8::try_from(runtime.len()).unwrap();
    [&[0x60, length, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3], runtime.as_slice()].concat().into()
}

/// A fee-market transaction with generous fees; tests change what they are about.
pub(crate) fn tx(nonce: u64, to: impl Into<TxKind>, input: impl Into<Bytes>) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: to.into(),
        value: U256::ZERO,
        access_list: AccessList::default(),
        input: input.into(),
    }
}

/// A legacy transaction of the same kind.
pub(crate) fn legacy(nonce: u64, to: impl Into<TxKind>, input: impl Into<Bytes>) -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: 20 * GWEI,
        gas_limit: 1_000_000,
        to: to.into(),
        value: U256::ZERO,
        input: input.into(),
    }
}

/// Signs with the key of development account `index`; returns the network encoding.
pub(crate) fn sign<T>(index: u32, mut tx: T) -> Bytes
where
    T: SignableTransaction<Signature>,
    TxEnvelope: From<alloy::consensus::Signed<T>>,
{
    let signature = wallet(index).sign_transaction_sync(&mut tx).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// Sends a raw transaction; returns its hash.
pub(crate) fn send(chain: &DevChain, raw: &Bytes) -> Result<B256, RpcError> {
    let hash = chain.request("eth_sendRawTransaction", json!([raw]))?;
    Ok(serde_json::from_value(hash).unwrap())
}

/// Sends a raw transaction that must be mined at once; returns its receipt.
pub(crate) fn mined(chain: &DevChain, raw: &Bytes) -> Value {
    let hash = send(chain, raw).unwrap();
    let receipt = get(chain, "eth_getTransactionReceipt", json!([hash]));
    assert_ne!(receipt, Value::Null, "the transaction was taken but not mined");
    receipt
}

/// Deploys a contract from account 0; returns its address.
pub(crate) fn deploy(chain: &DevChain, runtime: &str) -> Address {
    let nonce = nonce(chain, 0);
    let receipt = mined(chain, &sign(0, tx(nonce, TxKind::Create, init_code(runtime))));
    assert_eq!(receipt["status"], "0x1");
    serde_json::from_value(receipt["contractAddress"].clone()).unwrap()
}

/// A request that must succeed.
pub(crate) fn get(chain: &DevChain, method: &str, params: Value) -> Value {
    chain
        .request(method, params.clone())
        .unwrap_or_else(|error| panic!("{method} {params}: {error}"))
}

/// A number that a request returns.
pub(crate) fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not a hex number"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// The number of the newest block.
pub(crate) fn head(chain: &DevChain) -> u64 {
    number(&get(chain, "eth_blockNumber", json!([])))
}

/// The next nonce of development account `index`.
pub(crate) fn nonce(chain: &DevChain, index: u32) -> u64 {
    number(&get(chain, "eth_getTransactionCount", json!([dev_account(index).0, "pending"])))
}

/// A block by tag or number.
pub(crate) fn block(chain: &DevChain, tag: impl serde::Serialize) -> Value {
    get(chain, "eth_getBlockByNumber", json!([tag, false]))
}

/// A 32-byte word.
pub(crate) fn word(value: u64) -> Bytes {
    B256::from(U256::from(value)).into()
}
