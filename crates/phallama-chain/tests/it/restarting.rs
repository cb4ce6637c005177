//! A process that dies with a transaction under way, at every step of it.

use std::path::Path;

use phallama_chain::{Chain, Sender};
use phallama_devchain::{Fault, Hold, Moment, Rule};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::stage::{PATIENT, SOMEBODY, STUBBORN, Stage, sending_key};

fn open(chain: &Chain, path: &Path) -> Sender {
    chain.durable_sender(&sending_key(), path).unwrap().with_policy(STUBBORN)
}

/// Sends 13 wei in a task that can be killed.
fn sending(chain: &Chain, path: &Path) -> JoinHandle<()> {
    let sender = open(chain, path);
    tokio::spawn(async move {
        sender.send_ether(SOMEBODY, 13).await.unwrap();
    })
}

async fn killed(process: JoinHandle<()>) {
    process.abort();
    assert!(process.await.unwrap_err().is_cancelled());
}

/// Kills the process when `method` is at `moment`, then starts another one that finishes.
async fn dies(method: &str, moment: Moment) {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.json");
    let mut hold: Hold = stage.rpcs[0].hold(method, moment);
    let process = sending(&chain, &path);
    hold.arrived().await;
    killed(process).await;
    hold.cut();
    finishes(&stage, &path).await;
}

/// A new process asks for the same: the effect is there once.
async fn finishes(stage: &Stage, path: &Path) {
    let chain = stage.chain().await;
    let sender = open(&chain, path);
    let left = sender.finish(PATIENT).await.unwrap();
    assert_eq!(left.waiting, 0);
    if stage.received() == 0 {
        // It died before anything was recorded.
        assert_eq!(left.mined, 0);
        sender.send_ether(SOMEBODY, 13).await.unwrap();
    }
    assert_eq!((stage.received(), stage.mined_nonce()), (13, 1));
}

#[tokio::test]
async fn before_anything_is_recorded() {
    dies("eth_estimateGas", Moment::BeforeForwarding).await;
    dies("eth_getTransactionCount", Moment::BeforeAnswering).await;
}

#[tokio::test]
async fn recorded_and_not_sent() {
    dies("eth_sendRawTransaction", Moment::BeforeForwarding).await;
}

#[tokio::test]
async fn sent_and_not_answered() {
    dies("eth_sendRawTransaction", Moment::BeforeAnswering).await;
}

#[tokio::test]
async fn mined_and_not_seen() {
    dies("eth_getTransactionReceipt", Moment::BeforeForwarding).await;
    dies("eth_getTransactionReceipt", Moment::BeforeAnswering).await;
}

#[tokio::test]
async fn what_waits_in_a_pool_and_what_a_pool_forgot_is_finished() {
    for is_forgotten in [false, true] {
        let stage = Stage::new(1).await;
        let chain = stage.chain().await;
        stage.automine(false);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.json");
        let process = sending(&chain, &path);
        let pending = json!([sending_key().address(), "pending"]);
        while stage.rpc("eth_getTransactionCount", pending.clone()) == json!("0x0") {
            tokio::task::yield_now().await;
        }
        killed(process).await;
        if is_forgotten {
            stage.rpc("anvil_dropAllTransactions", json!([]));
        }
        // The new process wants the same once more, while the first one is still under way.
        let sender = open(&chain, &path);
        assert_eq!(sender.tend().await.unwrap().waiting, 1);
        let again = {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send_ether(SOMEBODY, 13).await })
        };
        stage.automine(true);
        again.await.unwrap().unwrap();
        assert_eq!((stage.received(), stage.mined_nonce()), (13, 1));
    }
}

#[tokio::test]
async fn a_reorganisation_while_nobody_ran_is_made_good() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.json");
    sending(&chain, &path).await.unwrap();
    stage.rpc("anvil_reorg", json!([1]));
    assert_eq!(stage.received(), 0);
    finishes(&stage, &path).await;
}

#[tokio::test]
async fn what_the_sequencer_cannot_take_back_is_forgotten() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.json");
    let sender = open(&chain, &path);
    sender.send_ether(SOMEBODY, 1).await.unwrap();
    assert_eq!(sender.tend().await.unwrap().mined, 1);
    stage.mine(99);
    assert_eq!(sender.tend().await.unwrap().mined, 1);
    stage.mine(1);
    assert_eq!(sender.tend().await.unwrap().mined, 0);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_no_second_transaction() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let sender = chain.sender(&sending_key()).with_policy(STUBBORN);
    stage.rpcs[0].inject(Rule::method("eth_sendRawTransaction", Fault::LoseAnswer).times(1));
    sender.send_ether(SOMEBODY, 13).await.unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (13, 1));
}
