//! Transactions that wait for a block, where mining is not instant.

use alloy::consensus::TxEip1559;
use alloy::primitives::{Address, U256};
use phallama_devchain::{ChainOptions, DevChain, Mining, RpcError, dev_account};
use serde_json::{Value, json};

use crate::support::*;

fn waiting_chain() -> DevChain {
    DevChain::new(ChainOptions { mining: Mining::OnRequest, ..ChainOptions::default() })
}

fn to() -> Address {
    dev_account(5).0
}

#[test]
fn a_waiting_transaction_is_shown_without_a_block_and_counts_as_pending() {
    let chain = waiting_chain();
    let hash = send(&chain, &sign(0, tx(0, to(), []))).unwrap();
    let shown = get(&chain, "eth_getTransactionByHash", json!([hash]));
    assert_eq!(shown["blockHash"], Value::Null);
    assert_eq!(shown["from"], json!(dev_account(0).0));
    assert_eq!(get(&chain, "eth_getTransactionReceipt", json!([hash])), Value::Null);
    let count = |tag| get(&chain, "eth_getTransactionCount", json!([dev_account(0).0, tag]));
    assert_eq!((count("latest"), count("pending")), (json!("0x0"), json!("0x1")));
    let pending = block(&chain, "pending");
    assert_eq!(pending["number"], "0x1");
    assert_eq!(pending["hash"], Value::Null);
    assert_eq!(pending["transactions"], json!([hash]));
}

#[test]
fn a_block_takes_the_waiting_transactions_in_the_order_they_came() {
    let chain = waiting_chain();
    let counter_user = |index, nonce| send(&chain, &sign(index, tx(nonce, to(), []))).unwrap();
    let sent = [counter_user(0, 0), counter_user(1, 0), counter_user(0, 1)];
    get(&chain, "evm_mine", json!([]));
    assert_eq!(block(&chain, "latest")["transactions"], json!(sent));
    let receipt = |hash| get(&chain, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt(sent[2])["transactionIndex"], "0x2");
    assert_eq!(number(&receipt(sent[2])["cumulativeGasUsed"]), 63_000);
    assert_eq!(number(&receipt(sent[2])["gasUsed"]), 21_000);
    assert_eq!(number(&block(&chain, "latest")["gasUsed"]), 63_000);
}

#[test]
fn logs_are_numbered_through_a_block() {
    let chain = chain();
    let emitter = deploy(&chain, EMITTER);
    get(&chain, "evm_setAutomine", json!([false]));
    for nonce in 1..4 {
        send(&chain, &sign(0, tx(nonce, emitter, []))).unwrap();
    }
    get(&chain, "evm_mine", json!([]));
    let logs = get(&chain, "eth_getLogs", json!([{}]));
    let numbers: Vec<_> = logs.as_array().unwrap().iter().map(|l| number(&l["logIndex"])).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn turning_automine_on_mines_what_waits() {
    let chain = waiting_chain();
    send(&chain, &sign(0, tx(0, to(), []))).unwrap();
    get(&chain, "evm_setAutomine", json!([true]));
    assert_eq!(head(&chain), 1);
    mined(&chain, &sign(0, tx(1, to(), [])));
    assert_eq!(head(&chain), 2);
}

#[test]
fn what_does_not_fit_into_a_block_waits_for_the_next() {
    let chain = chain();
    let circle = deploy(&chain, CIRCLE);
    get(&chain, "evm_setAutomine", json!([false]));
    // Each burns 16 of the 30 million gas of a block. The third is small, but its turn comes
    // after the second.
    let thick = |nonce| TxEip1559 { gas_limit: 16_000_000, ..tx(nonce, circle, []) };
    let sent = [thick(1), thick(2), tx(3, to(), [])].map(|tx| send(&chain, &sign(0, tx)).unwrap());
    let mine = || {
        get(&chain, "evm_mine", json!([]));
        block(&chain, "latest")["transactions"].clone()
    };
    assert_eq!(mine(), json!([sent[0]]));
    assert_eq!(mine(), json!([sent[1], sent[2]]));
    assert_eq!(mine(), json!([]));
}

#[test]
fn replacing_a_waiting_transaction_needs_ten_percent_more_of_cap_and_tip() {
    let chain = waiting_chain();
    let offer = |cap: u128, tip: u128| {
        let (max_fee_per_gas, max_priority_fee_per_gas) = (cap * GWEI, tip * GWEI);
        let offer = TxEip1559 { max_fee_per_gas, max_priority_fee_per_gas, ..tx(0, to(), []) };
        send(&chain, &sign(0, offer))
    };
    let first = offer(20, 10).unwrap();
    let needed = 22 * GWEI;
    let error = offer(21, 11).unwrap_err();
    let expected = RpcError::ReplacementUnderpriced { what: "max fee", got: 21 * GWEI, needed };
    assert_eq!(error, expected);
    assert!(error.to_string().starts_with("replacement transaction underpriced"), "{error}");
    let needed = 11 * GWEI;
    let error = offer(22, 10).unwrap_err();
    let expected = RpcError::ReplacementUnderpriced { what: "tip", got: 10 * GWEI, needed };
    assert_eq!(error, expected);
    let second = offer(22, 11).unwrap();
    get(&chain, "evm_mine", json!([]));
    assert_eq!(block(&chain, "latest")["transactions"], json!([second]));
    assert_eq!(get(&chain, "eth_getTransactionByHash", json!([first])), Value::Null);
}

#[test]
fn the_same_waiting_transaction_is_already_known() {
    let chain = waiting_chain();
    let raw = sign(0, tx(0, to(), []));
    send(&chain, &raw).unwrap();
    assert_eq!(send(&chain, &raw).unwrap_err(), RpcError::AlreadyKnown);
}

#[test]
fn a_gap_after_waiting_transactions_waits_to_be_closed() {
    let chain = waiting_chain();
    let mine = || {
        get(&chain, "evm_mine", json!([]));
        block(&chain, "latest")["transactions"].clone()
    };
    let [first, third] = [0, 2].map(|nonce| send(&chain, &sign(0, tx(nonce, to(), []))).unwrap());
    assert_eq!(nonce(&chain, 0), 1);
    assert_eq!(mine(), json!([first]));
    assert_eq!(mine(), json!([]));
    let second = send(&chain, &sign(0, tx(1, to(), []))).unwrap();
    assert_eq!(nonce(&chain, 0), 3);
    assert_eq!(mine(), json!([second, third]));
}

#[test]
fn a_transaction_waits_while_the_base_fee_is_above_its_cap() {
    let chain = waiting_chain();
    let cheap = TxEip1559 { max_fee_per_gas: 2 * GWEI, ..tx(0, to(), []) };
    let hash = send(&chain, &sign(0, cheap)).unwrap();
    get(&chain, "anvil_setNextBlockBaseFeePerGas", json!(["2000000001"]));
    get(&chain, "evm_mine", json!([]));
    assert_eq!(number(&block(&chain, "latest")["baseFeePerGas"]), 2_000_000_001);
    assert_eq!(block(&chain, "latest")["transactions"], json!([]));
    // An empty block lowers it by an eighth.
    get(&chain, "evm_mine", json!([]));
    assert_eq!(block(&chain, "latest")["transactions"], json!([hash]));
}

#[test]
fn a_waiting_transaction_can_be_dropped() {
    let chain = waiting_chain();
    let hash = send(&chain, &sign(0, tx(0, to(), []))).unwrap();
    assert_eq!(get(&chain, "anvil_dropTransaction", json!([hash])), json!(hash));
    assert_eq!(get(&chain, "anvil_dropTransaction", json!([hash])), Value::Null);
    assert_eq!(get(&chain, "eth_getTransactionByHash", json!([hash])), Value::Null);
    get(&chain, "evm_mine", json!([]));
    assert_eq!(nonce(&chain, 0), 0);
}

#[test]
fn ether_promised_to_waiting_transactions_can_not_be_promised_again() {
    let chain = waiting_chain();
    let ether = U256::from(10).pow(U256::from(18));
    let big = TxEip1559 { value: ether * U256::from(6000), ..tx(0, to(), []) };
    send(&chain, &sign(0, big.clone())).unwrap();
    let error = send(&chain, &sign(0, TxEip1559 { nonce: 1, ..big })).unwrap_err();
    assert!(matches!(error, RpcError::InsufficientFunds { .. }), "{error:?}");
}

#[test]
fn a_transaction_that_became_impossible_leaves_the_pool() {
    let chain = waiting_chain();
    let hash = send(&chain, &sign(0, tx(0, to(), []))).unwrap();
    get(&chain, "anvil_setBalance", json!([dev_account(0).0, "0x0"]));
    get(&chain, "evm_mine", json!([]));
    assert_eq!(block(&chain, "latest")["transactions"], json!([]));
    assert_eq!(get(&chain, "eth_getTransactionByHash", json!([hash])), Value::Null);
    assert_eq!(nonce(&chain, 0), 0);
}
