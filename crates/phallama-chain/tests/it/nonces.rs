//! A sender keeps going when its count and the node's part ways.

use phallama_chain::{Sender, Tx};
use phallama_protocol::ids::Address;
use serde_json::json;
use tokio::task::JoinSet;

use crate::node::{Node, number};
use crate::on_both_chains;
use crate::world::{World, signer};

const SOMEBODY: Address = Address([0x50; 20]);

on_both_chains! {
    what_a_reorganisation_took_out_is_sent_again,
    what_a_restarted_node_lost_is_sent_again,
    a_sender_goes_on_when_another_process_used_its_account,
    one_sender_sends_many_transactions_at_once,
    transactions_wait_for_their_block_side_by_side,
}

async fn sends(sender: &Sender, wei: u128) -> Tx {
    sender.send_ether(SOMEBODY, wei).await.unwrap()
}

async fn what_a_reorganisation_took_out_is_sent_again(node: Node) {
    let world = World::new(node).await;
    let snapshot = world.node.rpc("evm_snapshot", json!([])).await;
    for wei in 1..=3 {
        sends(&world.operator, wei).await;
    }
    assert_eq!(world.node.rpc("evm_revert", json!([snapshot])).await, json!(true));
    assert_eq!(world.chain.ether_balance(SOMEBODY).await.unwrap(), 0);
    sends(&world.operator, 10).await;
    sends(&world.operator, 20).await;
    assert_eq!(world.chain.ether_balance(SOMEBODY).await.unwrap(), 1 + 2 + 3 + 10 + 20);
}

async fn what_a_restarted_node_lost_is_sent_again(node: Node) {
    let world = World::new(node).await;
    let World { node, chain, operator, .. } = world;
    sends(&operator, 5).await;
    let node = node.restart();
    node.fund(operator.address()).await;
    sends(&operator, 10).await;
    assert_eq!(chain.ether_balance(SOMEBODY).await.unwrap(), 15);
}

async fn a_sender_goes_on_when_another_process_used_its_account(node: Node) {
    let world = World::new(node).await;
    let twin = world.chain.sender(&signer(0));
    for _ in 0..3 {
        sends(&world.operator, 1).await;
        sends(&twin, 1).await;
    }
    assert_eq!(world.chain.ether_balance(SOMEBODY).await.unwrap(), 6);
}

async fn one_sender_sends_many_transactions_at_once(node: Node) {
    let world = World::new(node).await;
    let mut sending = JoinSet::new();
    for wei in 1..=10 {
        let sender = world.operator.clone();
        sending.spawn(async move { sends(&sender, wei).await });
    }
    assert_eq!(sending.join_all().await.len(), 10);
    assert_eq!(world.chain.ether_balance(SOMEBODY).await.unwrap(), 55);
}

async fn transactions_wait_for_their_block_side_by_side(node: Node) {
    let world = World::new(node).await;
    let pending = json!([world.operator.address(), "pending"]);
    let before = world.node.rpc("eth_getTransactionCount", pending.clone()).await;
    world.node.rpc("evm_setAutomine", json!([false])).await;
    let mut sending = JoinSet::new();
    for wei in 1..=3 {
        let sender = world.operator.clone();
        sending.spawn(async move { sends(&sender, wei).await });
    }
    let all_sent = number(&before) + 3;
    while number(&world.node.rpc("eth_getTransactionCount", pending.clone()).await) < all_sent {
        tokio::task::yield_now().await;
    }
    world.node.rpc("evm_mine", json!([])).await;
    let mined = sending.join_all().await;
    assert!(mined.iter().all(|tx| tx.block == mined[0].block), "{mined:?}");
}
