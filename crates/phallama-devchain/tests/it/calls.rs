//! `eth_call`, `eth_estimateGas`, and state as of past blocks.

use alloy::consensus::TxEip1559;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, bytes};
use phallama_devchain::{ChainOptions, DevChain, RpcError, dev_account};
use serde_json::{Value, json};

use crate::support::*;

fn call(chain: &DevChain, to: Address, input: impl Into<Bytes>, block: Value) -> Value {
    get(chain, "eth_call", json!([{ "to": to, "input": input.into() }, block]))
}

fn estimate(chain: &DevChain, request: Value) -> u64 {
    number(&get(chain, "eth_estimateGas", json!([request])))
}

#[test]
fn a_call_returns_data_and_changes_nothing() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    for _ in 0..2 {
        assert_eq!(call(&chain, counter, [], json!("latest")), json!(word(1)));
    }
    assert_eq!(get(&chain, "eth_getStorageAt", json!([counter, "0x0", "latest"])), json!(word(0)));
}

#[test]
fn every_past_state_stays_readable() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    for nonce in 1..=3 {
        mined(&chain, &sign(0, tx(nonce, counter, [])));
    }
    let slot = |tag: &str| get(&chain, "eth_getStorageAt", json!([counter, "0x0", tag]));
    assert_eq!(["0x1", "0x2", "0x3", "0x4"].map(slot), [0, 1, 2, 3].map(|n| json!(word(n))));
    assert_eq!(call(&chain, counter, [], json!("0x2")), json!(word(2)));
    let count = |tag: &str| get(&chain, "eth_getTransactionCount", json!([dev_account(0).0, tag]));
    assert_eq!(["earliest", "0x1", "0x3", "latest"].map(count), ["0x0", "0x1", "0x3", "0x4"]);
    assert_eq!(get(&chain, "eth_getCode", json!([counter, "earliest"])), "0x");
    assert_eq!(get(&chain, "eth_getCode", json!([counter, "0x1"])), format!("0x{COUNTER}"));
}

#[test]
fn a_block_may_be_named_by_its_hash() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let hash = block(&chain, "latest")["hash"].clone();
    mined(&chain, &sign(0, tx(1, counter, [])));
    assert_eq!(call(&chain, counter, [], json!({ "blockHash": hash })), json!(word(1)));
    assert_eq!(call(&chain, counter, [], json!("latest")), json!(word(2)));
}

#[test]
fn a_call_at_a_block_that_does_not_exist_says_so() {
    let chain = chain();
    let error = chain.request("eth_call", json!([{ "to": Address::ZERO }, "0x5"])).unwrap_err();
    assert_eq!(error.to_string(), "block not found: 0x5, the head is block 0");
    assert_eq!(error.code(), -32001);
}

#[test]
fn a_revert_has_code_3_and_the_data_of_the_contract() {
    let chain = chain();
    let reverter = deploy(&chain, REVERTER);
    let data = bytes!("deadbeef01");
    for method in ["eth_call", "eth_estimateGas"] {
        let request = json!([{ "to": reverter, "input": data }]);
        let error = chain.request(method, request).unwrap_err();
        assert_eq!(error, RpcError::Reverted { data: data.clone() }, "{method}");
        assert_eq!(error.code(), 3);
        assert_eq!(error.data(), Some(json!("0xdeadbeef01")));
        assert_eq!(error.to_string(), "execution reverted");
    }
}

#[test]
fn an_invalid_instruction_and_spent_gas_are_told_apart_from_a_revert() {
    let chain = chain();
    let failing = |runtime| {
        let to = deploy(&chain, runtime);
        chain.request("eth_call", json!([{ "to": to }])).unwrap_err().to_string()
    };
    assert_eq!(failing(INVALID), "invalid opcode: INVALID");
    assert_eq!(failing(CIRCLE), "out of gas");
}

#[test]
fn a_call_at_latest_sees_the_newest_block_and_at_pending_the_next() {
    let chain = chain();
    let number = deploy(&chain, NUMBER);
    let clock = deploy(&chain, CLOCK);
    let newest = self::number(&block(&chain, "latest")["timestamp"]);
    assert_eq!(call(&chain, number, [], json!("latest")), json!(word(2)));
    assert_eq!(call(&chain, number, [], json!("pending")), json!(word(3)));
    assert_eq!(call(&chain, clock, [], json!("latest")), json!(word(newest)));
    get(&chain, "evm_setNextBlockTimestamp", json!([newest + 1000]));
    assert_eq!(call(&chain, clock, [], json!("pending")), json!(word(newest + 1000)));
}

#[test]
fn contracts_see_the_hashes_of_past_blocks() {
    let chain = chain();
    let hashes = deploy(&chain, BLOCK_HASH);
    get(&chain, "evm_mine", json!([]));
    let first = block(&chain, "0x1")["hash"].clone();
    assert_eq!(call(&chain, hashes, word(1), json!("latest")), first);
    assert_eq!(call(&chain, hashes, word(2), json!("latest")), json!(B256::ZERO));
}

#[test]
fn a_call_without_a_price_needs_no_ether() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let request = json!({ "from": Address::repeat_byte(9), "to": counter });
    assert_eq!(get(&chain, "eth_call", json!([request])), json!(word(1)));
}

#[test]
fn a_call_that_sends_more_than_its_sender_has_is_refused() {
    let request = json!({ "from": Address::repeat_byte(9), "to": Address::ZERO, "value": "0x1" });
    let error = chain().request("eth_call", json!([request])).unwrap_err();
    assert!(matches!(error, RpcError::InsufficientFunds { .. }), "{error:?}");
}

#[test]
fn a_call_from_a_contract_address_is_allowed() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let request = json!({ "from": counter, "to": counter });
    assert_eq!(get(&chain, "eth_call", json!([request])), json!(word(1)));
}

#[test]
fn state_overrides_are_refused_instead_of_ignored() {
    let chain = chain();
    let overrides = json!({ Address::ZERO.to_string(): { "balance": "0x1" } });
    let request = json!([{ "to": Address::ZERO }, "latest", overrides]);
    let error = chain.request("eth_call", request).unwrap_err();
    assert!(error.to_string().contains("stateOverrides"), "{error}");
    assert_eq!(get(&chain, "eth_call", json!([{ "to": Address::ZERO }, "latest", {}])), "0x");
}

#[test]
fn a_plain_transfer_is_estimated_at_21000() {
    let request = json!({ "from": dev_account(0).0, "to": dev_account(1).0, "value": "0x1" });
    assert_eq!(estimate(&chain(), request), 21_000);
}

#[test]
fn calldata_is_estimated_at_its_floor() {
    let request = json!({ "to": dev_account(1).0, "input": Bytes::from(vec![1; 100]) });
    // 100 non-zero bytes: 40 each by EIP-7623.
    assert_eq!(estimate(&chain(), request), 25_000);
}

/// The estimate must be enough, and one less must not.
fn check_estimate_is_exact(chain: &DevChain, to: impl Into<TxKind> + Copy, input: &Bytes) {
    let kind: TxKind = to.into();
    let request = json!({ "from": dev_account(0).0, "to": kind.to(), "input": input });
    let gas_limit = estimate(chain, request);
    for (gas_limit, status) in [(gas_limit, "0x1"), (gas_limit - 1, "0x0")] {
        let snapshot = get(chain, "evm_snapshot", json!([]));
        let sent = TxEip1559 { gas_limit, ..tx(nonce(chain, 0), kind, input.clone()) };
        match send(chain, &sign(0, sent)) {
            Ok(hash) => {
                let receipt = get(chain, "eth_getTransactionReceipt", json!([hash]));
                assert_eq!(receipt["status"], status, "gas limit {gas_limit}");
            }
            Err(error) => {
                assert!(matches!(error, RpcError::IntrinsicGasTooLow { .. }), "{error}");
                assert_eq!(status, "0x0");
            }
        }
        assert_eq!(get(chain, "evm_revert", json!([snapshot])), json!(true));
    }
}

#[test]
fn estimates_are_exact() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let emitter = deploy(&chain, EMITTER);
    let caller = deploy(&chain, CALLER);
    check_estimate_is_exact(&chain, counter, &Bytes::new());
    check_estimate_is_exact(&chain, emitter, &[word(1), word(2), word(3)].concat().into());
    check_estimate_is_exact(&chain, TxKind::Create, &init_code(COUNTER));
    let precompile = [word(2), word(7)].concat();
    check_estimate_is_exact(&chain, caller, &precompile.into());
}

#[test]
fn an_estimate_covers_gas_that_is_refunded_later() {
    let chain = chain();
    let storer = deploy(&chain, STORER);
    mined(&chain, &sign(0, tx(1, storer, word(5))));
    check_estimate_is_exact(&chain, storer, &word(0));
}

#[test]
fn an_estimate_without_end_says_that_no_gas_is_enough() {
    let chain = chain();
    let circle = deploy(&chain, CIRCLE);
    let error = chain.request("eth_estimateGas", json!([{ "to": circle }])).unwrap_err();
    assert_eq!(error, RpcError::GasAboveAllowance { allowance: 16_777_216 });
    assert_eq!(error.to_string(), "gas required exceeds allowance (16777216)");
}

#[test]
fn an_estimate_with_a_price_is_bounded_by_what_the_sender_can_pay() {
    let chain = chain();
    let poor = Address::repeat_byte(9);
    let price = U256::from(2 * GWEI);
    get(&chain, "anvil_setBalance", json!([poor, price * U256::from(20_999)]));
    let request = json!({ "from": poor, "to": Address::ZERO, "maxFeePerGas": price });
    let error = chain.request("eth_estimateGas", json!([request])).unwrap_err();
    assert_eq!(error, RpcError::GasAboveAllowance { allowance: 20_999 });
    get(&chain, "anvil_setBalance", json!([poor, price * U256::from(21_000)]));
    assert_eq!(estimate(&chain, request), 21_000);
}

#[test]
fn a_price_below_the_base_fee_is_refused_in_a_call() {
    let chain = DevChain::new(ChainOptions::default());
    let request = json!({ "from": dev_account(0).0, "to": Address::ZERO, "maxFeePerGas": "0x1" });
    let error = chain.request("eth_call", json!([request])).unwrap_err();
    assert!(matches!(error, RpcError::FeeBelowBase { got: 1, .. }), "{error:?}");
}
