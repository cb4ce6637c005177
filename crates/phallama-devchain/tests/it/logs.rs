//! `eth_getLogs`.

use alloy::primitives::{Address, B256, U256};
use phallama_devchain::DevChain;
use serde_json::{Value, json};

use crate::support::*;

/// Two emitters; blocks 3, 4 and 5 hold one event each.
struct Scene {
    chain: DevChain,
    a: Address,
    b: Address,
}

fn scene() -> Scene {
    let chain = chain();
    let (a, b) = (deploy(&chain, EMITTER), deploy(&chain, EMITTER));
    for (nonce, (to, topics)) in [(a, [1, 10]), (b, [1, 20]), (a, [2, 10])].into_iter().enumerate()
    {
        let input = [word(topics[0]), word(topics[1]), word(nonce as u64)].concat();
        mined(&chain, &sign(0, tx(nonce as u64 + 2, to, input)));
    }
    Scene { chain, a, b }
}

impl Scene {
    /// The blocks of the logs that a filter finds.
    fn found(&self, filter: Value) -> Vec<u64> {
        let logs = get(&self.chain, "eth_getLogs", json!([filter]));
        logs.as_array().unwrap().iter().map(|log| number(&log["blockNumber"])).collect()
    }
}

fn topic(value: u64) -> B256 {
    U256::from(value).into()
}

#[test]
fn without_bounds_only_the_newest_block_is_searched() {
    assert_eq!(scene().found(json!({})), [5]);
}

#[test]
fn a_range_includes_both_ends_and_may_pass_the_head() {
    let scene = scene();
    assert_eq!(scene.found(json!({ "fromBlock": "0x3", "toBlock": "0x4" })), [3, 4]);
    assert_eq!(scene.found(json!({ "fromBlock": "earliest", "toBlock": "0x999" })), [3, 4, 5]);
    assert_eq!(scene.found(json!({ "fromBlock": "0x998", "toBlock": "0x999" })), [0_u64; 0]);
}

#[test]
fn one_address_or_several_can_be_asked_for() {
    let scene = scene();
    let found = |address: Value| scene.found(json!({ "fromBlock": "0x0", "address": address }));
    assert_eq!(found(json!(scene.a)), [3, 5]);
    assert_eq!(found(json!([scene.b])), [4]);
    assert_eq!(found(json!([scene.a, scene.b])), [3, 4, 5]);
    assert_eq!(found(json!(Address::ZERO)), [0_u64; 0]);
}

#[test]
fn topics_match_by_position_with_alternatives_and_wildcards() {
    let scene = scene();
    let found = |topics: Value| scene.found(json!({ "fromBlock": "0x0", "topics": topics }));
    assert_eq!(found(json!([topic(1)])), [3, 4]);
    assert_eq!(found(json!([null, topic(10)])), [3, 5]);
    assert_eq!(found(json!([[topic(1), topic(2)], topic(10)])), [3, 5]);
    assert_eq!(found(json!([null, [topic(10), topic(20)]])), [3, 4, 5]);
    assert_eq!(found(json!([topic(10)])), [0_u64; 0]);
    assert_eq!(found(json!([null, null, topic(1)])), [0_u64; 0]);
}

#[test]
fn a_block_hash_selects_one_block() {
    let scene = scene();
    let hash = block(&scene.chain, "0x4")["hash"].clone();
    assert_eq!(scene.found(json!({ "blockHash": hash })), [4]);
}

#[test]
fn an_unknown_block_hash_is_an_error() {
    let filter = json!([{ "blockHash": B256::repeat_byte(1) }]);
    let error = chain().request("eth_getLogs", filter).unwrap_err();
    assert_eq!(error.code(), -32001);
}

#[test]
fn a_range_that_ends_before_it_begins_is_an_error() {
    let filter = json!([{ "fromBlock": "0x5", "toBlock": "0x4" }]);
    let error = chain().request("eth_getLogs", filter).unwrap_err();
    assert_eq!(error.code(), -32602);
}

#[test]
fn a_log_says_where_it_was_made() {
    let scene = scene();
    let filter = json!([{ "fromBlock": "0x4", "toBlock": "0x4" }]);
    let log = get(&scene.chain, "eth_getLogs", filter)[0].clone();
    let block = block(&scene.chain, "0x4");
    assert_eq!(log["address"], json!(scene.b));
    assert_eq!(log["topics"], json!([topic(1), topic(20)]));
    assert_eq!(log["data"], json!(topic(1)));
    assert_eq!(log["blockHash"], block["hash"]);
    assert_eq!(log["transactionHash"], block["transactions"][0]);
    assert_eq!(log["logIndex"], "0x0");
    assert_eq!(log["removed"], false);
    let receipt = get(&scene.chain, "eth_getTransactionReceipt", json!([log["transactionHash"]]));
    assert_eq!(receipt["logs"], json!([log]));
    assert_eq!(receipt["logsBloom"], block["logsBloom"]);
}
