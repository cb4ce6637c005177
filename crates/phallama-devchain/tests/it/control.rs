//! What only a development chain can do.

use alloy::primitives::{Address, U256};
use phallama_devchain::{ChainOptions, DevChain, Mining, RpcError, dev_account};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn evm_mine_makes_an_empty_block_at_the_given_time() {
    let chain = chain();
    let start = number(&block(&chain, "latest")["timestamp"]);
    assert_eq!(get(&chain, "evm_mine", json!([start + 500])), "0x0");
    assert_eq!(number(&block(&chain, "latest")["timestamp"]), start + 500);
    assert_eq!(block(&chain, "latest")["transactions"], json!([]));
}

#[test]
fn anvil_mine_makes_blocks_with_the_given_distance() {
    let chain = chain();
    get(&chain, "anvil_mine", json!(["0x3", 60]));
    assert_eq!(head(&chain), 3);
    let time = |tag: &str| number(&block(&chain, tag)["timestamp"]);
    assert_eq!(time("0x3") - time("0x2"), 60);
    assert_eq!(time("0x2") - time("0x1"), 60);
}

#[test]
fn anvil_mine_refuses_absurd_numbers_of_blocks() {
    let error = chain().request("anvil_mine", json!([100_001])).unwrap_err();
    assert_eq!(error.code(), -32602);
}

#[test]
fn the_clock_goes_on_from_a_timestamp_that_was_set() {
    let chain = chain();
    let later = number(&block(&chain, "latest")["timestamp"]) + 1_000_000;
    get(&chain, "evm_setNextBlockTimestamp", json!([format!("{later:#x}")]));
    get(&chain, "anvil_mine", json!([2]));
    assert_eq!(number(&block(&chain, "0x1")["timestamp"]), later);
    let next = number(&block(&chain, "0x2")["timestamp"]);
    assert!((later + 1..later + 60).contains(&next), "{next}");
}

#[test]
fn a_block_can_not_be_older_than_the_one_before() {
    let chain = chain();
    let previous = number(&block(&chain, "latest")["timestamp"]);
    let error = chain.request("evm_setNextBlockTimestamp", json!([previous])).unwrap_err();
    assert_eq!(error, RpcError::TimestampTooLow { got: previous, previous });
}

#[test]
fn times_after_the_year_9999_are_refused() {
    let chain = chain();
    for method in ["evm_setNextBlockTimestamp", "evm_increaseTime", "evm_mine"] {
        let error = chain.request(method, json!([u64::MAX])).unwrap_err();
        assert_eq!(error.code(), -32602, "{method}: {error}");
    }
    get(&chain, "evm_mine", json!([]));
    assert_eq!(head(&chain), 1);
}

#[test]
fn increasing_the_time_moves_the_next_block() {
    let chain = chain();
    let start = number(&block(&chain, "latest")["timestamp"]);
    assert_eq!(get(&chain, "evm_increaseTime", json!([3600])), json!(3600));
    assert_eq!(get(&chain, "evm_increaseTime", json!(["0x10"])), json!(3616));
    get(&chain, "evm_mine", json!([]));
    let moved = number(&block(&chain, "latest")["timestamp"]) - start;
    assert!((3616..3676).contains(&moved), "{moved}");
}

#[test]
fn a_revert_brings_back_state_blocks_and_time() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let slot = || get(&chain, "eth_getStorageAt", json!([counter, "0x0", "latest"]));
    let before = block(&chain, "latest");
    let snapshot = get(&chain, "evm_snapshot", json!([]));
    let undone = mined(&chain, &sign(0, tx(1, counter, [])));
    get(&chain, "evm_increaseTime", json!([1_000_000]));
    get(&chain, "evm_mine", json!([]));
    assert_eq!(slot(), json!(word(1)));

    assert_eq!(get(&chain, "evm_revert", json!([snapshot])), json!(true));
    assert_eq!(block(&chain, "latest"), before);
    assert_eq!(slot(), json!(word(0)));
    assert_eq!(nonce(&chain, 0), 1);
    for method in ["eth_getTransactionReceipt", "eth_getTransactionByHash"] {
        assert_eq!(get(&chain, method, json!([undone["transactionHash"]])), Value::Null);
    }
    let by_hash = get(&chain, "eth_getBlockByHash", json!([undone["blockHash"], false]));
    assert_eq!(by_hash, Value::Null);

    let again = mined(&chain, &sign(0, tx(1, counter, [])));
    assert_eq!(again["transactionHash"], undone["transactionHash"]);
    assert_eq!(again["gasUsed"], undone["gasUsed"]);
    let moved = number(&block(&chain, "latest")["timestamp"]) - number(&before["timestamp"]);
    assert!(moved < 60, "{moved}");
}

#[test]
fn a_revert_undoes_a_balance_that_was_set_without_a_block() {
    let chain = chain();
    let someone = Address::repeat_byte(5);
    let balance = || get(&chain, "eth_getBalance", json!([someone, "latest"]));
    get(&chain, "anvil_setBalance", json!([someone, "0x1"]));
    let snapshot = get(&chain, "evm_snapshot", json!([]));
    get(&chain, "anvil_setBalance", json!([someone, "0x2"]));
    assert_eq!(balance(), "0x2");
    get(&chain, "evm_revert", json!([snapshot]));
    assert_eq!(balance(), "0x1");
}

#[test]
fn a_snapshot_is_used_up_together_with_younger_ones() {
    let chain = chain();
    let [old, young] = [(), ()].map(|()| get(&chain, "evm_snapshot", json!([])));
    let revert = |id: &Value| get(&chain, "evm_revert", json!([id]));
    assert_eq!(revert(&old), json!(true));
    assert_eq!(revert(&old), json!(false));
    assert_eq!(revert(&young), json!(false));
    assert_eq!(revert(&json!("0x63")), json!(false));
}

#[test]
fn a_balance_that_was_set_can_be_spent() {
    let chain = chain();
    let poor = 77;
    let ether = U256::from(10).pow(U256::from(18));
    get(&chain, "anvil_setBalance", json!([dev_account(poor).0, ether]));
    assert_eq!(head(&chain), 0, "no block is made for it");
    assert_eq!(mined(&chain, &sign(poor, tx(0, dev_account(1).0, [])))["status"], "0x1");
}

#[test]
fn a_block_interval_makes_blocks_without_being_asked() {
    let mining = Mining::Every(std::time::Duration::from_millis(20));
    let chain = DevChain::new(ChainOptions { mining, ..ChainOptions::default() });
    let hash = send(&chain, &sign(0, tx(0, dev_account(1).0, []))).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let receipt = loop {
        let receipt = get(&chain, "eth_getTransactionReceipt", json!([hash]));
        if receipt != Value::Null {
            break receipt;
        }
        assert!(std::time::Instant::now() < deadline, "no block in 20 s");
        std::thread::yield_now();
    };
    assert_eq!(receipt["status"], "0x1");
}

#[test]
fn unknown_methods_and_wrong_params_are_told_apart() {
    let chain = chain();
    let unknown = chain.request("eth_coffee", json!([])).unwrap_err();
    assert_eq!(unknown.code(), -32601);
    assert!(unknown.to_string().contains("eth_coffee"), "{unknown}");
    for params in [json!([]), json!(["0x12"]), json!({ "address": Address::ZERO }), json!("0x")] {
        let error = chain.request("eth_getBalance", params).unwrap_err();
        assert_eq!(error.code(), -32602, "{error}");
    }
}
