//! Pods: registered, changed, listed.

use phallama_chain::{BlockTag, PodRecord};
use phallama_protocol::eip712::pod_id;
use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::offers::offers_hash;

use crate::node::{GENESIS_UNIX_S, Node};
use crate::on_both_chains;
use crate::world::{PAYOUT, World, offer, registration, signer};

on_both_chains! {
    a_registered_pod_reads_back_as_it_was_written,
    a_pod_that_nobody_registered_is_none,
    the_operator_changes_every_part_of_its_pod,
    the_list_goes_over_all_pages_in_the_order_of_registration,
    the_list_is_read_where_a_whole_page_takes_too_much_gas,
    a_key_is_good_until_its_expiry_and_grace,
    heads_carry_number_and_time,
    the_token_says_its_name_and_balances,
}

async fn a_registered_pod_reads_back_as_it_was_written(node: Node) {
    let world = World::unattested(node).await;
    let got = world.chain.pod(world.pod).await.unwrap().unwrap();
    let written = registration([0xff; 32]);
    let head = world.chain.head(BlockTag::Latest).await.unwrap();
    let expected = PodRecord {
        pod_id: world.pod,
        operator: world.operator.address(),
        url: written.url,
        payout: PAYOUT,
        offers_hash: offers_hash(&written.offers),
        offers: written.offers,
        key: None,
        updated_at_unix_s: head.timestamp_unix_s,
        retired: false,
    };
    assert_eq!(got, expected);
    assert_eq!(world.chain.pods().await.unwrap(), [expected]);
}

async fn a_pod_that_nobody_registered_is_none(node: Node) {
    let world = World::new(node).await;
    assert_eq!(world.chain.pod(PodId([1; 32])).await.unwrap(), None);
}

async fn the_operator_changes_every_part_of_its_pod(node: Node) {
    let world = World::new(node).await;
    let World { operator, pod, .. } = &world;
    let payout = Address([0x77; 20]);
    let offers = vec![offer("a:1"), offer("b:2")];
    operator.update_url(*pod, "https://pod.example").await.unwrap();
    operator.update_payout(*pod, payout).await.unwrap();
    operator.update_offers(*pod, &offers).await.unwrap();
    operator.set_retired(*pod, true).await.unwrap();
    let changed = world.chain.pod(*pod).await.unwrap().unwrap();
    assert_eq!(changed.url, "https://pod.example");
    assert_eq!(changed.payout, payout);
    assert_eq!(changed.offers_hash, offers_hash(&offers));
    assert_eq!(changed.offers, offers);
    assert!(changed.retired);
    operator.set_retired(*pod, false).await.unwrap();
    assert!(!world.chain.pod(*pod).await.unwrap().unwrap().retired);
}

async fn the_list_goes_over_all_pages_in_the_order_of_registration(node: Node) {
    let world = World::new(node).await;
    let mut expected = vec![world.pod];
    // One page holds 100.
    for number in 1..=100 {
        let salt = [number; 32];
        world.operator.register_pod(&registration(salt)).await.unwrap();
        expected.push(pod_id(world.operator.address(), &salt));
    }
    let listed: Vec<PodId> =
        world.chain.pods().await.unwrap().iter().map(|pod| pod.pod_id).collect();
    assert_eq!(listed, expected);
}

async fn the_list_is_read_where_a_whole_page_takes_too_much_gas(node: Node) {
    let world = World::new(node).await;
    let many: Vec<_> = (0..32).map(|number| offer(&format!("model:{number}"))).collect();
    for number in 1..=100 {
        let mut heavy = registration([number; 32]);
        heavy.offers.clone_from(&many);
        world.operator.register_pod(&heavy).await.unwrap();
    }
    let listed = world.chain.pods().await.unwrap();
    let offers: usize = listed.iter().map(|pod| pod.offers.len()).sum();
    assert_eq!((listed.len(), offers), (101, 3_201));
}

async fn a_key_is_good_until_its_expiry_and_grace(node: Node) {
    let world = World::new(node).await;
    let grace_s = 7 * 86_400;
    let until = world.chain.key_good_until(world.pod, world.identity.address()).await.unwrap();
    assert_eq!(until, world.key().await.expiry_unix_s + grace_s);
    assert_eq!(world.chain.key_good_until(world.pod, signer(9).address()).await.unwrap(), 0);
}

async fn heads_carry_number_and_time(node: Node) {
    let world = World::new(node).await;
    let before = world.chain.head(BlockTag::Latest).await.unwrap();
    world.node.advance(1_000).await;
    let after = world.chain.head(BlockTag::Latest).await.unwrap();
    assert_eq!(after.number, before.number + 1);
    assert!(before.timestamp_unix_s >= GENESIS_UNIX_S);
    assert!(after.timestamp_unix_s >= before.timestamp_unix_s + 1_000);
    let safe = world.chain.head(BlockTag::Safe).await.unwrap();
    assert!(safe.number <= after.number, "{safe:?} is after {after:?}");
}

async fn the_token_says_its_name_and_balances(node: Node) {
    let world = World::new(node).await;
    let meta = world.chain.token_meta().await.unwrap();
    assert_eq!((meta.symbol.as_str(), meta.decimals), ("PTEST", 6));
    let owner = world.owner.address();
    assert_eq!(world.chain.token_balance(owner).await.unwrap(), 1_000_000_000);
    let wei = world.chain.ether_balance(PAYOUT).await.unwrap();
    world.owner.send_ether(PAYOUT, 7).await.unwrap();
    assert_eq!(world.chain.ether_balance(PAYOUT).await.unwrap(), wei + 7);
}
