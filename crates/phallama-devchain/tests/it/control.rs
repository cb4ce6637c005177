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
fn a_reorganisation_has_the_same_height_and_other_blocks() {
    for depth in [1, 2, 12, 64] {
        let chain = chain();
        let counter = deploy(&chain, COUNTER);
        get(&chain, "anvil_mine", json!([depth - 1]));
        let kept = block(&chain, "latest");
        let sent = mined(&chain, &sign(0, tx(1, counter, [])));
        get(&chain, "anvil_mine", json!([depth - 1]));
        let (before, height) = (block(&chain, "latest"), head(&chain));

        get(&chain, "anvil_reorg", json!([depth]));
        assert_eq!(head(&chain), height);
        let fork = block(&chain, json!(format!("{:#x}", height - depth + 1)));
        assert_eq!(fork["parentHash"], kept["hash"]);
        assert_ne!(fork["hash"], sent["blockHash"]);
        assert_ne!(block(&chain, "latest")["hash"], before["hash"]);
        let gone = get(&chain, "eth_getBlockByHash", json!([sent["blockHash"], false]));
        assert_eq!(gone, Value::Null);
        let slot = get(&chain, "eth_getStorageAt", json!([counter, "0x0", "latest"]));
        assert_eq!((slot, nonce(&chain, 0)), (json!(word(0)), 1));
        let by_hash = json!([counter, "0x0", { "blockHash": sent["blockHash"] }]);
        assert!(chain.request("eth_getStorageAt", by_hash).is_err());
    }
}

#[test]
fn transactions_of_a_reorganisation_can_wait_again() {
    let chain = chain();
    let counter = deploy(&chain, COUNTER);
    let sent = [1, 2].map(|nonce| mined(&chain, &sign(0, tx(nonce, counter, []))));
    get(&chain, "anvil_reorg", json!([2, [], true]));
    for receipt in &sent {
        let hash = json!([receipt["transactionHash"]]);
        assert_eq!(get(&chain, "eth_getTransactionReceipt", hash.clone()), Value::Null);
        let waiting = get(&chain, "eth_getTransactionByHash", hash);
        assert_eq!(waiting["blockHash"], Value::Null);
        assert_eq!(waiting["hash"], receipt["transactionHash"]);
    }
    get(&chain, "evm_mine", json!([]));
    let hashes: Vec<_> = sent.iter().map(|receipt| &receipt["transactionHash"]).collect();
    assert_eq!(block(&chain, "latest")["transactions"], json!(hashes));
}

#[test]
fn blocks_after_a_revert_differ_from_those_before() {
    let chain = chain();
    let time = number(&block(&chain, "latest")["timestamp"]) + 100;
    let snapshot = get(&chain, "evm_snapshot", json!([]));
    get(&chain, "evm_mine", json!([time]));
    let before = block(&chain, "latest")["hash"].clone();
    get(&chain, "evm_revert", json!([snapshot]));
    get(&chain, "evm_mine", json!([time]));
    assert_ne!(block(&chain, "latest")["hash"], before);
}

#[test]
fn a_roll_back_shortens_the_chain_and_never_below_block_0() {
    let chain = chain();
    get(&chain, "anvil_mine", json!([5]));
    let second = block(&chain, "0x2");
    get(&chain, "anvil_rollback", json!([3]));
    assert_eq!(block(&chain, "latest"), second);
    assert_eq!(chain.request("anvil_rollback", json!([3])).unwrap_err().code(), -32602);
    get(&chain, "anvil_rollback", json!([2]));
    assert_eq!(head(&chain), 0);
}

#[test]
fn tags_follow_the_head_at_the_distance_that_was_set() {
    let chain = chain();
    get(&chain, "anvil_mine", json!([10]));
    assert_eq!(block(&chain, "safe")["number"], "0xa");
    get(&chain, "phallama_setTagDepths", json!([3, 7]));
    assert_eq!(block(&chain, "safe")["number"], "0x7");
    assert_eq!(block(&chain, "finalized")["number"], "0x3");
}

#[test]
fn the_clock_can_be_set_without_a_block() {
    let chain = chain();
    let hours_later = number(&block(&chain, "latest")["timestamp"]) + 7_200;
    get(&chain, "evm_setTime", json!([hours_later]));
    assert_eq!(head(&chain), 0);
    get(&chain, "evm_mine", json!([]));
    let time = number(&block(&chain, "latest")["timestamp"]);
    assert!((hours_later..hours_later + 60).contains(&time), "{time}");
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
