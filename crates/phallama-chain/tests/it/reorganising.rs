//! Reorganisations of 1, 2, 12 and 64 blocks, and hours without a block.

use std::time::Duration;

use phallama_chain::{Account, Advance, BlockTag, ChainError, HeadTrail, SendPolicy};
use serde_json::json;

use crate::stage::{PATIENT, SOMEBODY, STUBBORN, Stage, sender, sending_key};

const DEPTHS: [u64; 4] = [1, 2, 12, 64];

#[tokio::test]
async fn what_was_taken_out_of_the_chain_is_noticed_and_takes_effect_once() {
    for depth in DEPTHS {
        // Lost by the chain, or waiting in its pool again.
        for is_waiting in [false, true] {
            let stage = Stage::new(2).await;
            let chain = stage.chain().await;
            let mut trail = HeadTrail::new(128);
            trail.advance(&chain).await.unwrap();
            let (kept, nonce) = (stage.head(), stage.mined_nonce());
            let sender = sender(&chain);
            let tx = sender.send_ether(SOMEBODY, 7).await.unwrap();
            stage.mine(depth - 1);
            trail.advance(&chain).await.unwrap();

            stage.rpc("anvil_reorg", json!([depth, [], is_waiting]));
            assert_eq!(stage.received(), 0);
            match trail.advance(&chain).await.unwrap() {
                Advance::Reorganised { head, lost, common } => {
                    assert_eq!((head.number, lost.number), (kept + depth, kept + depth));
                    assert_eq!(common.unwrap().number, kept);
                }
                other => panic!("depth {depth}: expected a reorganisation, got {other:?}"),
            }
            sender.tend().await.unwrap();
            stage.mine(1);
            let left = sender.finish(PATIENT).await.unwrap();
            assert_eq!((left.waiting, left.mined), (0, 1), "depth {depth}");
            assert_eq!((stage.received(), stage.mined_nonce()), (7, nonce + 1), "depth {depth}");
            let again = stage.rpc("eth_getTransactionReceipt", json!([hex(&tx.hash)]));
            assert_ne!(again["blockHash"], json!(hex(&tx.block_hash)));
        }
    }
}

#[tokio::test]
async fn a_call_made_again_after_a_reorganisation_is_the_one_that_was_taken_out() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let sender = sender(&chain);
    let first = sender.send_ether(SOMEBODY, 7).await.unwrap();
    stage.rpc("anvil_reorg", json!([1]));
    let again = sender.send_ether(SOMEBODY, 7).await.unwrap();
    assert_eq!(again.hash, first.hash);
    assert_eq!((stage.received(), stage.mined_nonce()), (7, 1));
    // Once more, while it is in the chain, is another one.
    sender.send_ether(SOMEBODY, 7).await.unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (14, 2));
}

fn hex(bytes: &[u8; 32]) -> String {
    alloy::primitives::hex::encode_prefixed(bytes)
}

#[tokio::test]
async fn a_trail_with_missed_blocks_finds_the_last_common_one() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let mut trail = HeadTrail::new(16);
    let mut seen = Vec::new();
    for _ in 0..10 {
        stage.mine(3);
        let advanced = trail.advance(&chain).await.unwrap();
        assert!(matches!(advanced, Advance::Extended(_)), "{advanced:?}");
        seen.push(*trail.last().unwrap());
    }
    assert_eq!(trail.advance(&chain).await.unwrap(), Advance::Same);
    // Heads at distance 3: of 10 blocks back, the newest seen one that is left is the sixth.
    stage.rpc("anvil_reorg", json!([10]));
    let advanced = trail.advance(&chain).await.unwrap();
    let head = chain.head(BlockTag::Latest).await.unwrap();
    let expected = Advance::Reorganised { head, lost: seen[9], common: Some(seen[5]) };
    assert_eq!(advanced, expected);
    stage.rpc("anvil_reorg", json!([stage.head()]));
    let advanced = trail.advance(&chain).await.unwrap();
    assert!(matches!(advanced, Advance::Reorganised { common: None, .. }), "{advanced:?}");
}

#[tokio::test]
async fn an_endpoint_a_block_behind_is_no_reorganisation() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let mut trail = HeadTrail::new(16);
    for _ in 0..3 {
        stage.mine(1);
        trail.advance(&chain).await.unwrap();
    }
    let behind = phallama_devchain::Fault::AsOf(stage.head() - 1);
    let stale = stage.rpcs[0].inject(phallama_devchain::Rule::every(behind));
    let advanced = trail.advance(&chain).await.unwrap();
    assert!(matches!(advanced, Advance::Behind(_)), "{advanced:?}");
    stage.rpcs[0].withdraw(stale);
    assert_eq!(trail.advance(&chain).await.unwrap(), Advance::Same);
    stage.mine(1);
    let advanced = trail.advance(&chain).await.unwrap();
    assert!(matches!(advanced, Advance::Extended(_)), "{advanced:?}");
}

#[tokio::test]
async fn accounts_are_read_at_the_safe_block() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let user = stage.user.address();
    // 100 blocks ago nothing was deployed, and nobody had anything.
    assert_eq!(chain.account_at(user, BlockTag::Safe).await.unwrap(), Account::default());
    stage.mine(100);
    let (safe, latest) =
        (chain.at(BlockTag::Safe).await.unwrap(), chain.at(BlockTag::Latest).await.unwrap());
    assert_eq!(latest.head().number - safe.head().number, 100);
    assert_eq!(
        safe.account(user).await.unwrap(),
        chain.account_at(user, BlockTag::Latest).await.unwrap()
    );
}

#[tokio::test]
async fn a_transaction_outlasts_two_hours_without_a_block() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.automine(false);
    let hasty = SendPolicy { mined_within: Duration::from_millis(300), ..STUBBORN };
    let sender = chain.sender(&sending_key()).with_policy(hasty);
    let error = sender.send_ether(SOMEBODY, 11).await.unwrap_err();
    assert!(matches!(error, ChainError::NotMined { .. }), "{error}");
    // Asked again meanwhile, it is the same transaction.
    sender.send_ether(SOMEBODY, 11).await.unwrap_err();
    let head = chain.head(BlockTag::Latest).await.unwrap();
    stage.rpc("evm_setTime", json!([head.timestamp_unix_s + 7_200]));
    stage.mine(1);
    let left = sender.finish(PATIENT).await.unwrap();
    assert_eq!((left.waiting, left.mined), (0, 1));
    assert_eq!((stage.received(), stage.mined_nonce()), (11, 1));
    let now = chain.head(BlockTag::Latest).await.unwrap();
    assert!(now.timestamp_unix_s >= head.timestamp_unix_s + 7_200);
}
