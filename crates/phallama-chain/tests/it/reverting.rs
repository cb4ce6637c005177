//! A refusal says which rule and with which numbers.

use phallama_chain::ChainError;
use serde_json::json;
use tokio::task::JoinSet;

use crate::node::{Node, number};
use crate::on_both_chains;
use crate::world::{World, amount, refused, registration, signer, user};

on_both_chains! {
    a_refusal_names_the_rule_and_its_numbers,
    a_refusal_of_the_registry_is_as_readable,
    a_transaction_that_reverts_only_when_mined_says_why,
    an_account_without_ether_is_told_so,
}

async fn a_refusal_names_the_rule_and_its_numbers(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open(&user, 500).await;
    let error = world.owner.withdraw(user.address(), amount(501)).await.unwrap_err();
    let text = error.to_string();
    let expected = format!(
        "the contract refused `withdraw`: InsufficientFree {{ user: {}, free: 500, asked: 501 }}",
        user.address().to_string().to_lowercase()
    );
    assert_eq!(text, expected);
}

async fn a_refusal_of_the_registry_is_as_readable(node: Node) {
    let world = World::new(node).await;
    let mut bad = registration([1; 32]);
    "ftp://pod".clone_into(&mut bad.url);
    let reason = refused(world.operator.register_pod(&bad).await);
    assert_eq!(reason, "BadUrl { url: \"ftp://pod\", max: 256 }");
    let reason = refused(world.owner.update_url(world.pod, "http://mine").await);
    assert!(reason.starts_with("NotOperator {"), "{reason}");
}

async fn a_transaction_that_reverts_only_when_mined_says_why(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open(&user, 500).await;
    world.node.rpc("evm_setAutomine", json!([false])).await;
    let mut sending = JoinSet::new();
    for asked in [300, 301] {
        let (owner, user) = (world.owner.clone(), user.address());
        sending.spawn(async move { owner.withdraw(user, amount(asked)).await });
    }
    let sent = json!([world.owner.address(), "pending"]);
    let mined = json!([world.owner.address(), "latest"]);
    let before = world.node.rpc("eth_getTransactionCount", mined).await;
    // Both are estimated against the state in which either alone succeeds.
    let both = format!("{:#x}", number(&before) + 2);
    while world.node.rpc("eth_getTransactionCount", sent.clone()).await != json!(both) {
        tokio::task::yield_now().await;
    }
    world.node.rpc("evm_mine", json!([])).await;
    let results = sending.join_all().await;
    let (paid, reverted): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((paid.len(), reverted.len()), (1, 1));
    let reason = refused(reverted.into_iter().next().unwrap());
    assert!(reason.starts_with("InsufficientFree {"), "{reason}");
    let left = world.free(&user).await;
    assert!([amount(200), amount(199)].contains(&left), "{left}");
}

async fn an_account_without_ether_is_told_so(node: Node) {
    let world = World::new(node).await;
    let poor = world.chain.sender(&signer(5_000));
    match poor.collect(world.pod).await {
        // The call is tried first, and it has nothing to collect.
        Err(ChainError::Reverted { reason, .. }) => {
            assert!(reason.starts_with("NothingToCollect {"), "{reason}");
        }
        other => panic!("expected a revert, got {other:?}"),
    }
    match poor.mint_test_token(poor.address(), amount(1)).await {
        Err(ChainError::InsufficientGasFunds { address, what: "mint", .. }) => {
            assert_eq!(address, poor.address());
        }
        other => panic!("expected insufficient gas funds, got {other:?}"),
    }
}
