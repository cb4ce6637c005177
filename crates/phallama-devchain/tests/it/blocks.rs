//! Blocks: how they follow one another and what can be asked about them.

use alloy::consensus::proofs::calculate_transaction_root;
use alloy::primitives::{B256, TxKind, U256, keccak256};
use alloy::rlp::Encodable;
use alloy::rpc::types::Block;
use phallama_devchain::{ChainOptions, DevChain, dev_account};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn a_new_chain_has_block_0_and_funded_accounts() {
    let chain = chain();
    assert_eq!(head(&chain), 0);
    let balance = |index| get(&chain, "eth_getBalance", json!([dev_account(index).0, "latest"]));
    assert_eq!(balance(0), json!("0x21e19e0c9bab2400000"));
    assert_eq!(balance(9), balance(0));
    assert_eq!(balance(10), json!("0x0"));
}

#[test]
fn every_transaction_gets_a_block_of_its_own() {
    let chain = chain();
    for nonce in 0..3 {
        let receipt = mined(&chain, &sign(0, tx(nonce, dev_account(1).0, [])));
        assert_eq!(number(&receipt["blockNumber"]), nonce + 1);
        assert_eq!(receipt["transactionIndex"], "0x0");
    }
    assert_eq!(head(&chain), 3);
}

#[test]
fn a_block_names_its_parent_and_hashes_to_its_hash() {
    let chain = chain();
    deploy(&chain, COUNTER);
    let parent: Block = serde_json::from_value(block(&chain, "0x0")).unwrap();
    let child: Block = serde_json::from_value(block(&chain, "latest")).unwrap();
    assert_eq!(child.header.parent_hash, parent.header.hash);
    let mut encoded = Vec::new();
    child.header.inner.encode(&mut encoded);
    assert_eq!(keccak256(encoded), child.header.hash);
}

#[test]
fn the_transactions_root_commits_to_the_transactions() {
    let chain = chain();
    deploy(&chain, COUNTER);
    let full = get(&chain, "eth_getBlockByNumber", json!(["latest", true]));
    let full: Block = serde_json::from_value(full).unwrap();
    let signed: Vec<_> = full.transactions.txns().map(|shown| shown.inner.inner()).collect();
    assert_eq!(signed.len(), 1);
    assert_eq!(calculate_transaction_root(&signed), full.header.transactions_root);
}

#[test]
fn block_1_has_the_base_fee_of_block_0_and_empty_blocks_lower_it_by_an_eighth() {
    let chain = chain();
    get(&chain, "anvil_mine", json!([3]));
    let base_fee =
        |number: u64| self::number(&block(&chain, json!(format!("{number:#x}")))["baseFeePerGas"]);
    assert_eq!(base_fee(0), 1_000_000_000);
    assert_eq!(base_fee(1), 1_000_000_000);
    assert_eq!(base_fee(2), 875_000_000);
    assert_eq!(base_fee(3), 765_625_000);
}

#[test]
fn timestamps_rise_from_the_genesis_time_of_the_options() {
    let options = ChainOptions { genesis_unix_s: Some(1_700_000_000), ..ChainOptions::default() };
    let chain = DevChain::new(options);
    assert_eq!(number(&block(&chain, "earliest")["timestamp"]), 1_700_000_000);
    get(&chain, "anvil_mine", json!([20]));
    let last = number(&block(&chain, "latest")["timestamp"]);
    // Twenty blocks at once: each is one second after the one before.
    assert!((1_700_000_020..1_700_000_060).contains(&last), "{last}");
}

#[test]
fn safe_and_finalized_stay_behind_the_head_by_the_depth_of_the_options() {
    let options =
        ChainOptions { safe_depth_blocks: 2, finalized_depth_blocks: 4, ..ChainOptions::default() };
    let chain = DevChain::new(options);
    let at = |tag: &str| number(&block(&chain, tag)["number"]);
    assert_eq!((at("safe"), at("finalized")), (0, 0));
    get(&chain, "anvil_mine", json!([6]));
    assert_eq!((at("latest"), at("safe"), at("finalized"), at("earliest")), (6, 4, 2, 0));
}

#[test]
fn by_default_safe_and_finalized_are_the_head() {
    let chain = chain();
    get(&chain, "anvil_mine", json!([2]));
    assert_eq!(block(&chain, "safe"), block(&chain, "latest"));
    assert_eq!(block(&chain, "finalized"), block(&chain, "latest"));
}

#[test]
fn a_block_is_found_by_its_hash_too() {
    let chain = chain();
    get(&chain, "evm_mine", json!([]));
    let latest = block(&chain, "latest");
    assert_eq!(get(&chain, "eth_getBlockByHash", json!([latest["hash"], false])), latest);
}

#[test]
fn unknown_blocks_transactions_and_receipts_are_null() {
    let chain = chain();
    let nothing = B256::repeat_byte(7);
    assert_eq!(block(&chain, "0x99"), Value::Null);
    assert_eq!(get(&chain, "eth_getBlockByHash", json!([nothing, false])), Value::Null);
    assert_eq!(get(&chain, "eth_getTransactionByHash", json!([nothing])), Value::Null);
    assert_eq!(get(&chain, "eth_getTransactionReceipt", json!([nothing])), Value::Null);
    assert_eq!(get(&chain, "eth_getBlockReceipts", json!(["0x99"])), Value::Null);
}

#[test]
fn block_receipts_are_the_receipts_of_its_transactions() {
    let chain = chain();
    let receipt = mined(&chain, &sign(0, tx(0, TxKind::Create, init_code(COUNTER))));
    assert_eq!(get(&chain, "eth_getBlockReceipts", json!(["latest"])), json!([receipt]));
    let count = get(&chain, "eth_getBlockTransactionCountByNumber", json!(["latest"]));
    assert_eq!(count, json!("0x1"));
    let count = get(&chain, "eth_getBlockTransactionCountByHash", json!([receipt["blockHash"]]));
    assert_eq!(count, json!("0x1"));
}

#[test]
fn a_transaction_is_shown_as_it_was_signed() {
    let chain = chain();
    let wanted =
        alloy::consensus::TxEip1559 { value: U256::from(5), ..tx(0, dev_account(1).0, [1, 2]) };
    let hash = send(&chain, &sign(0, wanted)).unwrap();
    let shown = get(&chain, "eth_getTransactionByHash", json!([hash]));
    assert_eq!(shown["from"], json!(dev_account(0).0));
    assert_eq!(shown["to"], json!(dev_account(1).0));
    assert_eq!(shown["value"], "0x5");
    assert_eq!(shown["input"], "0x0102");
    assert_eq!(shown["type"], "0x2");
    assert_eq!(shown["maxFeePerGas"], "0x4a817c800");
    assert_eq!(shown["gasPrice"], "0x77359400", "base fee plus tip");
    assert_eq!(shown["blockNumber"], "0x1");
}

#[test]
fn the_fee_history_has_base_fees_ratios_and_tips() {
    let chain = chain();
    mined(&chain, &sign(0, tx(0, dev_account(1).0, [])));
    let history = get(&chain, "eth_feeHistory", json!(["0x2", "latest", [10.0, 90.0]]));
    assert_eq!(history["oldestBlock"], "0x0");
    // 21,000 gas are 0.14 % of the target: the fee falls by almost an eighth.
    assert_eq!(history["baseFeePerGas"], json!(["0x3b9aca00", "0x3b9aca00", "0x342a1c58"]));
    assert_eq!(history["gasUsedRatio"], json!([0.0, 0.0007]));
    assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x3b9aca00", "0x3b9aca00"]]));
}

#[test]
fn the_fee_history_refuses_percentiles_that_do_not_rise() {
    let error = chain().request("eth_feeHistory", json!([1, "latest", [90, 10]])).unwrap_err();
    assert_eq!(error.code(), -32602);
}

#[test]
fn suggested_prices_pay_for_the_next_block() {
    let chain = chain();
    assert_eq!(get(&chain, "eth_gasPrice", json!([])), "0x77359400");
    assert_eq!(get(&chain, "eth_maxPriorityFeePerGas", json!([])), "0x3b9aca00");
}

#[test]
fn the_node_holds_no_keys_and_is_in_sync() {
    let chain = chain();
    assert_eq!(get(&chain, "eth_accounts", json!([])), json!([]));
    assert_eq!(get(&chain, "eth_syncing", json!([])), json!(false));
    assert_eq!(get(&chain, "eth_chainId", json!([])), "0x7a69");
    assert_eq!(get(&chain, "net_version", Value::Null), "31337");
    let version = get(&chain, "web3_clientVersion", json!([]));
    assert!(version.as_str().unwrap().starts_with("phallama-devchain/"), "{version}");
    let error = chain.request("eth_sendTransaction", json!([{}])).unwrap_err();
    assert_eq!(error.code(), -32601);
}

#[test]
fn development_accounts_are_distinct_and_their_keys_sign_for_their_addresses() {
    for index in 0..20 {
        assert_eq!(wallet(index).address(), dev_account(index).0);
        assert_ne!(dev_account(index), dev_account(index + 1));
    }
}
