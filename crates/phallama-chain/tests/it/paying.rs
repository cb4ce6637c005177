//! Deposit, lock, settle, collect.

use phallama_chain::{Account, Channel, ReceiptRow, settle_rows_bytes};
use phallama_protocol::eip712::{Allocation, Batch, Domain, Voucher, rows_hash};
use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::keys::Signer;

use crate::node::{GENESIS_UNIX_S, Node};
use crate::on_both_chains;
use crate::world::{PAYOUT, World, amount, refused, signer, user};

on_both_chains! {
    a_deposit_opens_the_account_for_its_owner_and_adds_to_it,
    lock_moves_the_good_rows_and_skips_the_bad_ones,
    a_replayed_lock_moves_nothing,
    settle_pays_the_least_of_claim_cap_and_lock,
    a_replayed_settle_moves_nothing,
    settle_skips_a_voucher_for_another_chain,
    a_voucher_pays_no_other_key_of_the_pod,
    settle_with_a_signature_for_another_chain_is_refused,
    settle_with_a_signature_for_another_escrow_is_refused,
    receipts_of_a_replaced_key_settle_within_its_grace_and_not_after,
    receipts_signed_by_a_stranger_are_skipped,
    collect_pays_the_payout_address,
}

async fn a_deposit_opens_the_account_for_its_owner_and_adds_to_it(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    let closed = world.chain.account(user.address()).await.unwrap();
    assert_eq!(closed, Account { owner: None, free: Amount::ZERO });
    world.open(&user, 500).await;
    world.owner.deposit(user.address(), amount(70)).await.unwrap();
    let open = world.chain.account(user.address()).await.unwrap();
    assert_eq!(open, Account { owner: Some(world.owner.address()), free: amount(570) });
}

async fn lock_moves_the_good_rows_and_skips_the_bad_ones(node: Node) {
    let world = World::new(node).await;
    let users: Vec<_> = (0..4).map(user).collect();
    for user in &users {
        world.open(user, 1_000).await;
    }
    let good = world.lock_row(&users[0], 400, 0);
    let allocation = Allocation {
        pod_id: world.pod,
        total: amount(100),
        terms_hash: good.terms_hash,
        epoch: 0,
        deadline_unix_s: GENESIS_UNIX_S - 1,
    };
    let rows = [
        good,
        world.lock_row(&users[1], 1_001, 0),
        world.lock_row(&users[2], 100, 1),
        world.signed_row(&users[3], &allocation),
        world.lock_row(&users[1], 1_000, 0),
    ];
    let tx = world.operator.lock(world.pod, &rows).await.unwrap();
    assert_eq!(tx.skipped_rows(), [1, 2, 3]);
    assert_eq!(tx.locked(), 1_400);
    let addresses: Vec<Address> = users.iter().map(Signer::address).collect();
    let channels = world.chain.channels(world.pod, &addresses).await.unwrap();
    let locked: Vec<Amount> = channels.iter().map(|channel| channel.locked).collect();
    assert_eq!(locked, [400, 1_000, 0, 0].map(amount));
    assert_eq!(world.free(&users[0]).await, amount(600));
}

async fn a_replayed_lock_moves_nothing(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open(&user, 1_000).await;
    let rows = [world.lock_row(&user, 400, 0)];
    world.operator.lock(world.pod, &rows).await.unwrap();
    let replayed = world.operator.lock(world.pod, &rows).await.unwrap();
    assert_eq!((replayed.locked(), replayed.skipped_rows()), (0, vec![0]));
    assert_eq!(world.free(&user).await, amount(600));
    assert_eq!(world.locked_and_claimed(&user).await, (amount(400), Amount::ZERO));
}

async fn settle_pays_the_least_of_claim_cap_and_lock(node: Node) {
    let world = World::new(node).await;
    let users: Vec<_> = (0..3).map(user).collect();
    for user in &users {
        world.open_and_lock(user, 100).await;
    }
    let rows = [
        world.settle_row(&users[0], 90, 30),
        world.settle_row(&users[1], 40, 50),
        world.settle_row(&users[2], 900, 800),
    ];
    let tx = world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (30 + 40 + 100, vec![]));
    assert_eq!(world.credit().await, amount(170));
    assert_eq!(world.locked_and_claimed(&users[1]).await, (amount(100), amount(40)));
}

async fn a_replayed_settle_moves_nothing(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let rows = [world.settle_row(&user, 90, 30)];
    let signature = world.batch_sig(&rows);
    world.operator.settle(world.pod, &rows, &signature).await.unwrap();
    let replayed = world.operator.settle(world.pod, &rows, &signature).await.unwrap();
    assert_eq!((replayed.paid(), replayed.skipped_rows()), (0, vec![0]));
    assert_eq!(world.credit().await, amount(30));
    // Cumulative: a higher claim pays the difference only.
    let higher = [world.settle_row(&user, 90, 50)];
    let tx = world.operator.settle(world.pod, &higher, &world.batch_sig(&higher)).await.unwrap();
    assert_eq!(tx.paid(), 20);
}

async fn settle_skips_a_voucher_for_another_chain(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let mut row = world.settle_row(&user, 90, 30);
    let elsewhere = Domain { chain_id: 1, ..world.domain() };
    let (pod_id, identity) = (world.pod, world.identity.address());
    let voucher = Voucher { pod_id, identity, epoch: 0, cap: row.cap };
    row.voucher_sig = user.sign(&voucher.digest(&elsewhere));
    let tx = world.operator.settle(world.pod, &[row], &world.batch_sig(&[row])).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (0, vec![0]));
    assert_eq!(world.locked_and_claimed(&user).await, (amount(100), Amount::ZERO));
}

async fn a_voucher_pays_no_other_key_of_the_pod(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let other = signer(3);
    world.attest(world.pod, other.address()).await.unwrap();

    // Signed for the first key; the second is as good as it in the registry.
    let rows = [world.settle_row(&user, 90, 30)];
    let batch = Batch { pod_id: world.pod, rows_hash: rows_hash(&settle_rows_bytes(&rows)) };
    let by_other = other.sign(&batch.digest(&world.domain()));
    let tx = world.operator.settle(world.pod, &rows, &by_other).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (0, vec![0]));
    let own = world.receipt_row(&user, &world.identity, 25);
    let stolen =
        ReceiptRow { voucher_sig: own.voucher_sig, ..world.receipt_row(&user, &other, 25) };
    let renamed = ReceiptRow { identity: own.identity, ..stolen };
    let rows = [stolen, renamed, own];
    let tx = world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (25, vec![0, 1]));
}

async fn settle_with_a_signature_for_another_chain_is_refused(node: Node) {
    let world = World::new(node).await;
    let elsewhere = Domain { chain_id: 1, ..world.domain() };
    settle_is_refused(&world, &elsewhere).await;
}

async fn settle_with_a_signature_for_another_escrow_is_refused(node: Node) {
    let world = World::new(node).await;
    let elsewhere = Domain { escrow: Address([0xe5; 20]), ..world.domain() };
    settle_is_refused(&world, &elsewhere).await;
}

async fn settle_is_refused(world: &World, elsewhere: &Domain) {
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let rows = [world.settle_row(&user, 90, 30)];
    let signature = world.batch_sig_for(elsewhere, &rows);
    let reason = refused(world.operator.settle(world.pod, &rows, &signature).await);
    assert!(reason.starts_with("IdentityNotAccepted {"), "{reason}");
    assert_eq!(world.credit().await, Amount::ZERO);
}

async fn receipts_of_a_replaced_key_settle_within_its_grace_and_not_after(node: Node) {
    let world = World::new(node).await;
    let (early, late) = (user(0), user(1));
    world.open_and_lock(&early, 100).await;
    world.open_and_lock(&late, 100).await;
    let next = signer(3);
    world.attest(world.pod, next.address()).await.unwrap();

    let rows = [world.receipt_row(&early, &world.identity, 25)];
    let tx = world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (25, vec![]));
    let replayed = world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!((replayed.paid(), replayed.skipped_rows()), (0, vec![0]));

    world.node.advance(7 * 86_400 + 1).await;
    let rows = [world.receipt_row(&late, &world.identity, 25), world.receipt_row(&late, &next, 10)];
    let tx = world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (10, vec![0]));
}

async fn receipts_signed_by_a_stranger_are_skipped(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let rows = [world.receipt_row(&user, &signer(9), 25)];
    let tx = world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (0, vec![0]));
    let untouched = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!(untouched, Channel { locked: amount(100), ..Channel::default() });
}

async fn collect_pays_the_payout_address(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let rows = [world.settle_row(&user, 90, 30)];
    world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();
    world.operator.collect(world.pod).await.unwrap();
    assert_eq!(world.chain.token_balance(PAYOUT).await.unwrap(), 30);
    assert_eq!(world.credit().await, Amount::ZERO);
    let reason = refused(world.operator.collect(world.pod).await);
    assert!(reason.starts_with("NothingToCollect {"), "{reason}");
}
