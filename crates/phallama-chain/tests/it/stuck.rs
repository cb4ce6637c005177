//! Transactions that pay too little for the moment, or whose nonce somebody else used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_chain::{ChainError, SendPolicy, Sender, Tx};
use phallama_devchain::{Fault, FaultyRpc, Rule};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::node::number;
use crate::stage::{EAGER, PATIENT, SOMEBODY, STUBBORN, Stage, sending_key};

const GWEI: u64 = 1_000_000_000;

fn sending(sender: &Sender, wei: u128) -> JoinHandle<Result<Tx, ChainError>> {
    let sender = sender.clone();
    tokio::spawn(async move { sender.send_ether(SOMEBODY, wei).await })
}

fn waiting(stage: &Stage) -> Vec<Value> {
    let pending = stage.rpc("eth_getBlockByNumber", json!(["pending", true]));
    pending["transactions"].as_array().unwrap().clone()
}

async fn until_waiting(stage: &Stage, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let now = waiting(stage);
        if wanted(&now) {
            return now;
        }
        assert!(began.elapsed() < PATIENT, "in the pool after {PATIENT:?}: {now:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Blocks that the transaction whose turn it is cannot pay for, until it is as wanted.
async fn passed_over_until(stage: &Stage, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let first = until_waiting(stage, |txs| !txs.is_empty()).await.remove(0);
        if wanted(&first) {
            return first;
        }
        // Also for a replacement that is on its way: it offers an eighth more, or twice the base
        // fee and its tip, and never more than the ceiling.
        let pending = stage.rpc("eth_getBlockByNumber", json!(["pending", false]));
        let offered = fee(&first, "maxFeePerGas") + number(&pending["baseFeePerGas"]);
        let too_dear = (2 * offered).min(stage.config.fee_ceiling_gwei * GWEI + 1);
        stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([too_dear]));
        stage.mine(1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn fee(tx: &Value, field: &str) -> u64 {
    number(&tx[field])
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_at_its_nonce_by_one_that_pays_more() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let sender = chain.sender(&sending_key()).with_policy(EAGER);
    let process = sending(&sender, 17);
    let first = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    let (cap, tip) = (fee(&first, "maxFeePerGas"), fee(&first, "maxPriorityFeePerGas"));
    let second = passed_over_until(&stage, |tx| tx["hash"] != first["hash"]).await;
    assert_eq!(second["nonce"], first["nonce"]);
    assert!(fee(&second, "maxFeePerGas") >= cap + cap.div_ceil(8));
    assert!(fee(&second, "maxPriorityFeePerGas") >= tip + tip.div_ceil(8));
    // Gas becomes dearer than it offered at first.
    passed_over_until(&stage, |tx| fee(tx, "maxFeePerGas") > 2 * cap).await;
    stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([cap + 1]));
    stage.mine(1);
    let tx = process.await.unwrap().unwrap();
    assert_ne!(json!(alloy::primitives::B256::from(tx.hash)), first["hash"]);
    assert_eq!((stage.received(), stage.mined_nonce()), (17, 1));
}

#[tokio::test]
async fn a_pause_of_the_chain_makes_nothing_dearer() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let (replace_after, rebroadcast_after) = (Duration::ZERO, Duration::ZERO);
    let hurried = SendPolicy { replace_after, rebroadcast_after, ..EAGER };
    let sender = chain.sender(&sending_key()).with_policy(hurried);
    let process = sending(&sender, 41);
    let first = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    for _ in 0..20 {
        sender.tend().await.unwrap();
    }
    assert_eq!(waiting(&stage)[0]["hash"], first["hash"]);
    // One block that it was not in is reason for one replacement.
    stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([fee(&first, "maxFeePerGas") + 1]));
    stage.mine(1);
    for _ in 0..20 {
        sender.tend().await.unwrap();
    }
    let second = waiting(&stage).remove(0);
    assert_ne!(second["hash"], first["hash"]);
    let (before, after) =
        (fee(&first, "maxPriorityFeePerGas"), fee(&second, "maxPriorityFeePerGas"));
    assert_eq!(after, before + before.div_ceil(8));
    stage.mine(1);
    process.await.unwrap().unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (41, 1));
}

/// A node according to which everybody pays 40 gwei.
fn says_that_gas_is_dear(rpc: &FaultyRpc) {
    let dear = |_: &Value, mut history: Value| {
        for field in ["baseFeePerGas", "reward"] {
            for one in history[field].as_array_mut().unwrap() {
                *one =
                    if field == "reward" { json!(["0x9502f9000"]) } else { json!("0x9502f9000") };
            }
        }
        history
    };
    rpc.inject(Rule::method("eth_feeHistory", Fault::Rewrite(Arc::new(dear))));
}

#[tokio::test]
async fn one_endpoint_of_two_does_not_set_the_price() {
    for liar in 0..2 {
        let stage = Stage::new(2).await;
        let chain = stage.chain().await;
        says_that_gas_is_dear(&stage.rpcs[liar]);
        stage.automine(false);
        let process = sending(&chain.sender(&sending_key()), 43);
        let tx = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
        assert!(fee(&tx, "maxFeePerGas") < 5 * GWEI, "{tx}");
        assert!(fee(&tx, "maxPriorityFeePerGas") < 2 * GWEI, "{tx}");
        stage.mine(1);
        process.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_only_endpoint_cannot_drive_the_tip_to_the_ceiling() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    says_that_gas_is_dear(&stage.rpcs[0]);
    stage.automine(false);
    let process = sending(&chain.sender(&sending_key()), 43);
    let tx = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    let ceiling = stage.config.fee_ceiling_gwei * GWEI;
    assert_eq!(fee(&tx, "maxPriorityFeePerGas"), ceiling / 20);
    stage.mine(1);
    process.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_ceiling_is_never_passed_and_the_transaction_waits_under_it() {
    let mut stage = Stage::new(1).await;
    stage.config.fee_ceiling_gwei = 3;
    let chain = stage.chain().await;
    stage.automine(false);
    let sender = chain.sender(&sending_key()).with_policy(EAGER);
    let process = sending(&sender, 19);
    let offers = |txs: &[Value]| txs.first().map_or(0, |tx| fee(tx, "maxFeePerGas"));
    until_waiting(&stage, |txs| !txs.is_empty()).await;
    let most = passed_over_until(&stage, |tx| fee(tx, "maxFeePerGas") > 3 * GWEI * 8 / 9).await;
    assert!(fee(&most, "maxFeePerGas") <= 3 * GWEI);
    for _ in 0..3 {
        stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([4 * GWEI]));
        stage.mine(1);
        sender.tend().await.unwrap();
        assert!(offers(&waiting(&stage)) <= 3 * GWEI);
    }
    // What is new is not even sent.
    match chain.sender(&crate::world::signer(4)).send_ether(SOMEBODY, 1).await {
        Err(ChainError::FeeAboveCeiling { needed_wei, ceiling_wei, .. }) => {
            assert!(needed_wei > ceiling_wei && ceiling_wei == 3 * GWEI);
        }
        other => panic!("expected a fee above the ceiling, got {other:?}"),
    }
    stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([GWEI]));
    stage.mine(1);
    process.await.unwrap().unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (19, 1));
}

#[tokio::test]
async fn transactions_behind_a_stuck_one_follow_in_order() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let sender = chain.sender(&sending_key()).with_policy(EAGER);
    let processes: Vec<_> = [1, 2, 4].map(|wei| sending(&sender, wei)).into();
    let txs = until_waiting(&stage, |txs| txs.len() == 3).await;
    let cap = fee(&txs[0], "maxFeePerGas");
    passed_over_until(&stage, |tx| fee(tx, "maxFeePerGas") > 2 * cap).await;
    stage.rpc("anvil_setNextBlockBaseFeePerGas", json!([cap]));
    stage.automine(true);
    for process in processes {
        process.await.unwrap().unwrap();
    }
    assert_eq!((stage.received(), stage.mined_nonce()), (7, 3));
}

#[tokio::test]
async fn a_transaction_that_the_pool_dropped_is_broadcast_again() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let sender = chain.sender(&sending_key()).with_policy(STUBBORN);
    let process = sending(&sender, 23);
    let first = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    stage.rpc("anvil_dropTransaction", json!([first["hash"]]));
    let again = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    assert_eq!(again["hash"], first["hash"]);
    stage.mine(1);
    process.await.unwrap().unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (23, 1));
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_noticed() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let quiet = SendPolicy { rebroadcast_after: PATIENT, ..STUBBORN };
    let sender = chain.sender(&sending_key()).with_policy(quiet);
    let process = sending(&sender, 29);
    let first = until_waiting(&stage, |txs| !txs.is_empty()).await.remove(0);
    stage.rpc("anvil_dropTransaction", json!([first["hash"]]));
    let twin = chain.sender(&sending_key()).with_policy(quiet);
    let other = sending(&twin, 31);
    until_waiting(&stage, |txs| !txs.is_empty()).await;
    stage.mine(1);
    other.await.unwrap().unwrap();
    let error = process.await.unwrap().unwrap_err();
    assert!(matches!(error, ChainError::NonceTaken { what: "transfer", .. }), "{error}");
    assert_eq!((stage.received(), stage.mined_nonce()), (31, 1));
    // It goes on after that.
    stage.automine(true);
    sender.send_ether(SOMEBODY, 29).await.unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (60, 2));
}

#[tokio::test]
async fn the_same_call_at_the_same_time_is_one_transaction() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let sender = chain.sender(&sending_key()).with_policy(STUBBORN);
    let twice = [37, 37].map(|wei| sending(&sender, wei));
    until_waiting(&stage, |txs| !txs.is_empty()).await;
    stage.automine(true);
    let mut hashes = Vec::new();
    for process in twice {
        hashes.push(process.await.unwrap().unwrap().hash);
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!((stage.received(), stage.mined_nonce()), (37, 1));
}
