//! Endpoints that are down, busy, slow, stale, of another chain, lying or pruned: with one, two and
//! three of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_chain::{BlockTag, Chain, ChainError, Disagreement, SendPolicy, Tx};
use phallama_devchain::{Fault, Rule};
use serde_json::{Value, json};

use crate::node::number;
use crate::stage::{DEPOSIT, PATIENT, SOMEBODY, STUBBORN, Stage, sender, sending_key};
use crate::world::amount;

async fn reads(stage: &Stage, chain: &Chain) {
    let account = chain.account(stage.user.address()).await.unwrap();
    assert_eq!(account.free, amount(DEPOSIT));
}

async fn does_not_read(stage: &Stage, chain: &Chain) -> ChainError {
    chain.account(stage.user.address()).await.unwrap_err()
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_passed_over_and_comes_back() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let down = stage.rpcs[0].inject(Rule::every(Fault::Refuse));
    assert_eq!(chain.token_meta().await.unwrap().decimals, 6);
    // What decides about money needs the second opinion.
    let error = does_not_read(&stage, &chain).await;
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&stage.rpcs[0].url()), "{error}");
    assert!(chain.complaints()[0].1.as_deref().unwrap().starts_with("failed"));
    assert_eq!(chain.complaints()[1], (stage.rpcs[1].url(), None));
    stage.rpcs[0].withdraw(down);
    reads(&stage, &chain).await;
}

#[tokio::test]
async fn of_three_endpoints_one_may_fail() {
    for fault in [
        Fault::Refuse,
        Fault::Status { code: 503, retry_after_s: None },
        Fault::AsOf(0),
        Fault::chain_id(5),
    ] {
        let stage = Stage::new(3).await;
        let chain = stage.chain().await;
        stage.mine(20);
        stage.rpcs[0].inject(Rule::every(fault));
        reads(&stage, &chain).await;
        sender(&chain).send_ether(SOMEBODY, 5).await.unwrap();
        assert_eq!(stage.received(), 5);
    }
}

#[tokio::test]
async fn the_only_endpoint_being_down_is_said() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    stage.rpcs[0].inject(Rule::every(Fault::Refuse));
    let error = does_not_read(&stage, &chain).await;
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
    stage.rpcs[0].heal();
    reads(&stage, &chain).await;
}

#[tokio::test]
async fn an_endpoint_that_asked_to_be_left_alone_is() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let busy = Fault::Status { code: 429, retry_after_s: Some(3_600) };
    stage.rpcs[0].inject(Rule::every(busy).times(1));
    chain.token_meta().await.unwrap();
    let before = stage.rpcs[0].arrivals("eth_call");
    for _ in 0..3 {
        chain.token_meta().await.unwrap();
    }
    assert_eq!(stage.rpcs[0].arrivals("eth_call"), before);
    let complaint = chain.complaints()[0].1.clone().unwrap();
    assert!(complaint.starts_with("asked not to be called"), "{complaint}");
    let error = does_not_read(&stage, &chain).await;
    assert!(error.to_string().contains("asked not to be called"), "{error}");
}

#[tokio::test]
async fn a_stale_endpoint_is_not_believed() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let old = stage.head();
    stage.mine(3);
    let stale = stage.rpcs[0].inject(Rule::every(Fault::AsOf(old)));
    // A few blocks behind is normal: both are asked at the block that both have.
    assert_eq!(chain.head(BlockTag::Latest).await.unwrap().number, old);
    reads(&stage, &chain).await;
    stage.mine(10);
    match chain.head(BlockTag::Latest).await {
        Err(ChainError::HeadsApart { ahead, behind }) => {
            assert_eq!(ahead, (stage.rpcs[1].url(), old + 13));
            assert_eq!(behind, (stage.rpcs[0].url(), old));
        }
        other => panic!("expected heads apart, got {other:?}"),
    }
    // The rest is asked of the one that is ahead, first in the configuration or not.
    stage.rpc("anvil_setBalance", json!([SOMEBODY, "0x9"]));
    stage.mine(1);
    assert_eq!(chain.ether_balance(SOMEBODY).await.unwrap(), 9);
    stage.rpcs[0].withdraw(stale);
    assert_eq!(chain.head(BlockTag::Latest).await.unwrap().number, old + 14);
    reads(&stage, &chain).await;
}

#[tokio::test]
async fn an_endpoint_that_claims_to_be_far_ahead_does_not_outvote_two() {
    let stage = Stage::new(3).await;
    let chain = stage.chain().await;
    let ahead = |_: &serde_json::Value, mut block: serde_json::Value| {
        block["number"] = json!("0xffffff");
        block
    };
    let fault = Fault::Rewrite(Arc::new(ahead));
    stage.rpcs[0].inject(Rule::method("eth_getBlockByNumber", fault));
    assert_eq!(chain.head(BlockTag::Latest).await.unwrap().number, stage.head());
    reads(&stage, &chain).await;
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_put_aside() {
    let stage = Stage::new(2).await;
    stage.rpcs[0].inject(Rule::method("eth_chainId", Fault::chain_id(5)));
    let before = stage.rpcs[0].arrivals("eth_getBlockByNumber");
    let chain = stage.chain().await;
    assert_eq!(chain.token_meta().await.unwrap().decimals, 6);
    assert_eq!(chain.complaints()[0].1.as_deref(), Some("serves chain 5"));
    let error = does_not_read(&stage, &chain).await;
    let expected = format!("the endpoint {} serves chain 5, expected", stage.rpcs[0].url());
    assert!(error.to_string().contains(&expected), "{error}");
    assert_eq!(stage.rpcs[0].arrivals("eth_getBlockByNumber"), before);
}

#[tokio::test]
async fn two_endpoints_that_disagree_about_money_are_both_named() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let selector = Stage::selector("account(address)");
    let rich = |_: &serde_json::Value, answer: serde_json::Value| {
        let answer = answer.as_str().unwrap();
        json!(format!("{}ffffff", &answer[..answer.len() - 6]))
    };
    let lie = Rule::call(stage.config.escrow.0, selector, Fault::Rewrite(Arc::new(rich)));
    stage.rpcs[1].inject(lie);
    match does_not_read(&stage, &chain).await {
        ChainError::Disagreement(disagreement) => {
            let Disagreement { what, block, first, second } = *disagreement;
            assert_eq!((what, block), ("account", stage.head()));
            assert_eq!((first.0, second.0), (stage.rpcs[0].url(), stage.rpcs[1].url()));
            assert!(second.1.ends_with("ffffff") && !first.1.ends_with("ffffff"));
        }
        other => panic!("expected a disagreement, got {other}"),
    }
}

#[tokio::test]
async fn the_word_of_a_single_endpoint_is_taken() {
    let stage = Stage::new(1).await;
    let chain = stage.chain().await;
    let selector = Stage::selector("account(address)");
    let rich = |_: &serde_json::Value, answer: serde_json::Value| {
        let answer = answer.as_str().unwrap();
        json!(format!("{}ffffff", &answer[..answer.len() - 6]))
    };
    let lie = Rule::call(stage.config.escrow.0, selector, Fault::Rewrite(Arc::new(rich)));
    stage.rpcs[0].inject(lie);
    let account = chain.account(stage.user.address()).await.unwrap();
    assert_eq!(account.free, amount(0xff_ffff));
}

#[tokio::test]
async fn state_that_is_pruned_is_asked_of_another_endpoint() {
    let stage = Stage::new(3).await;
    let chain = stage.chain().await;
    let at = chain.at(BlockTag::Latest).await.unwrap();
    stage.mine(5);
    let pruned = || Rule::every(Fault::Pruned { keep_blocks: 2 });
    stage.rpcs[0].inject(pruned());
    assert_eq!(at.account(stage.user.address()).await.unwrap().free, amount(DEPOSIT));
    stage.rpcs[1].inject(pruned());
    match at.account(stage.user.address()).await {
        Err(ChainError::BlockGone { what: "account", number, .. }) => {
            assert_eq!(number, at.head().number);
        }
        other => panic!("expected a missing block, got {other:?}"),
    }
    // The newest block's state is there.
    reads(&stage, &chain).await;
}

#[tokio::test]
async fn a_receipt_that_only_one_endpoint_shows_is_not_believed() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.rpcs[1].inject(Rule::method("eth_getTransactionReceipt", Fault::Answer(json!(null))));
    let hasty = SendPolicy { mined_within: Duration::from_millis(300), ..STUBBORN };
    let sender = chain.sender(&sending_key()).with_policy(hasty);
    let error = sender.send_ether(SOMEBODY, 3).await.unwrap_err();
    assert!(matches!(error, ChainError::NotMined { .. }), "{error}");
    stage.rpcs[1].heal();
    let left = sender.finish(PATIENT).await.unwrap();
    assert_eq!((left.waiting, left.mined, stage.received()), (0, 1, 3));
}

/// Sends what leaves a log, while one of two endpoints changes every log with `change`.
async fn mints_while_logs_change(
    mined_within: Duration,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Result<Tx, ChainError> {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let rewrite = move |_: &Value, mut receipt: Value| {
        for log in receipt["logs"].as_array_mut().into_iter().flatten() {
            change(log);
        }
        receipt
    };
    let fault = Fault::Rewrite(Arc::new(rewrite));
    stage.rpcs[1].inject(Rule::method("eth_getTransactionReceipt", fault));
    let policy = SendPolicy { mined_within, ..STUBBORN };
    let sender = chain.sender(&sending_key()).with_policy(policy);
    sender.mint_test_token(sender.address(), amount(5)).await
}

#[tokio::test]
async fn receipts_that_differ_in_what_nodes_add_are_the_same() {
    for time in [json!("0x1"), json!(null)] {
        let tx = mints_while_logs_change(PATIENT, move |log| log["blockTimestamp"] = time.clone());
        tx.await.unwrap();
    }
}

#[tokio::test]
async fn receipts_that_differ_in_what_happened_are_not() {
    let soon = Duration::from_millis(300);
    let other = |log: &mut Value| log["data"] = json!(format!("0x{:064x}", 6));
    let error = mints_while_logs_change(soon, other).await.unwrap_err();
    assert!(matches!(error, ChainError::NotMined { .. }), "{error}");
}

#[tokio::test]
async fn a_transaction_that_any_endpoint_shows_is_not_taken_for_somebody_elses() {
    let stage = Stage::new(3).await;
    let chain = stage.chain().await;
    for rpc in &stage.rpcs[..2] {
        rpc.inject(Rule::method("eth_getTransactionReceipt", Fault::Answer(json!(null))));
    }
    let (mined_within, taken_after) = (Duration::from_secs(1), Duration::ZERO);
    let hasty = SendPolicy { mined_within, taken_after, ..STUBBORN };
    let sender = chain.sender(&sending_key()).with_policy(hasty);
    let error = sender.send_ether(SOMEBODY, 3).await.unwrap_err();
    assert!(matches!(error, ChainError::NotMined { .. }), "{error}");
    stage.rpcs[0].heal();
    let left = sender.finish(PATIENT).await.unwrap();
    assert_eq!((left.waiting, left.mined, stage.received()), (0, 1, 3));
}

#[tokio::test]
async fn a_wrong_count_of_what_waits_is_not_believed() {
    for liar in 0..2 {
        let stage = Stage::new(2).await;
        let chain = stage.chain().await;
        let many = |params: &Value, count: Value| {
            if params[1] == json!("pending") { json!("0xf4240") } else { count }
        };
        let fault = Fault::Rewrite(Arc::new(many));
        stage.rpcs[liar].inject(Rule::method("eth_getTransactionCount", fault));
        let sender = sender(&chain);
        for wei in 1..=2 {
            sender.send_ether(SOMEBODY, wei).await.unwrap();
        }
        assert_eq!((stage.received(), stage.mined_nonce()), (3, 2));
    }
}

#[tokio::test]
async fn an_endpoint_with_an_invented_block_is_left_out() {
    for liar in 0..3 {
        let stage = Stage::new(3).await;
        let chain = stage.chain().await;
        let invented = |params: &Value, mut block: Value| {
            if params[0] == json!("latest") {
                block["number"] = json!(format!("{:#x}", number(&block["number"]) - 1));
                block["hash"] = json!(format!("0x{}", "ba".repeat(32)));
            }
            block
        };
        let fault = Fault::Rewrite(Arc::new(invented));
        stage.rpcs[liar].inject(Rule::method("eth_getBlockByNumber", fault));
        assert_eq!(chain.head(BlockTag::Latest).await.unwrap().number, stage.head());
        reads(&stage, &chain).await;
        let (url, complaint) = chain.complaints()[liar].clone();
        assert_eq!((url, complaint.is_some()), (stage.rpcs[liar].url(), true));
        sender(&chain).send_ether(SOMEBODY, 5).await.unwrap();
        assert_eq!(stage.received(), 5);
    }
}

#[tokio::test]
async fn of_two_endpoints_with_different_blocks_neither_is_believed() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    let later = |_: &Value, mut block: Value| {
        block["timestamp"] = json!(format!("{:#x}", number(&block["timestamp"]) + 3_600));
        block
    };
    stage.rpcs[0].inject(Rule::method("eth_getBlockByNumber", Fault::Rewrite(Arc::new(later))));
    let error = chain.head(BlockTag::Latest).await.unwrap_err();
    assert!(matches!(error, ChainError::BlockGone { .. }), "{error}");
}

#[tokio::test]
async fn a_transaction_reaches_the_chain_through_the_endpoint_that_works() {
    let stage = Stage::new(2).await;
    let chain = stage.chain().await;
    stage.rpcs[0].inject(Rule::method("eth_sendRawTransaction", Fault::Refuse));
    sender(&chain).send_ether(SOMEBODY, 4).await.unwrap();
    assert_eq!((stage.received(), stage.mined_nonce()), (4, 1));
}

/// Every kind of call against endpoints that take requests and never answer.
#[tokio::test]
async fn no_call_waits_longer_than_its_limit() {
    for endpoints in [1, 2] {
        let stage = Stage::new(endpoints).await;
        let limit = Duration::from_secs(1);
        let chain = stage.hasty(1_000).await;
        for rpc in &stage.rpcs {
            rpc.inject(Rule::every(Fault::BlackHole));
        }
        let (user, pod) = (stage.user.address(), phallama_protocol::ids::PodId([1; 32]));
        let sender = sender(&chain);
        macro_rules! ends {
            ($($call:expr),* $(,)?) => {
                $({
                    let began = Instant::now();
                    let error = $call.await.unwrap_err();
                    let took = began.elapsed();
                    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
                    assert!(took < limit + Duration::from_millis(900), "{took:?}: {error}");
                })*
            };
        }
        ends!(
            chain.head(BlockTag::Latest),
            chain.head(BlockTag::Safe),
            chain.account(user),
            chain.account_at(user, BlockTag::Safe),
            chain.channel(user, pod),
            chain.channels(pod, &[user]),
            chain.pod(pod),
            chain.pods(),
            chain.key_good_until(pod, user),
            chain.credit(pod),
            chain.token_balance(user),
            chain.ether_balance(user),
            chain.token_meta(),
            sender.send_ether(SOMEBODY, 1),
            sender.collect(pod),
            Chain::connect(chain.config().clone()),
        );
    }
}
