//! Withdraw, exit, close.

use phallama_chain::{BlockTag, Channel};
use phallama_protocol::eip712::StartExit;
use phallama_protocol::ids::Amount;

use crate::node::Node;
use crate::on_both_chains;
use crate::world::{World, amount, refused, user};

const EXIT_WINDOW_S: u64 = 172_800;

on_both_chains! {
    withdraw_pays_the_owner_and_nobody_else,
    an_exit_returns_what_is_unclaimed_after_48_hours,
    an_exit_starts_with_the_user_keys_signature,
    an_exit_is_started_by_the_owner_and_nobody_else,
    locks_wait_while_an_exit_runs_and_vouchers_still_settle,
    close_pays_the_final_amount_and_returns_the_rest_at_once,
    anybody_sends_a_close_that_both_keys_signed,
}

async fn withdraw_pays_the_owner_and_nobody_else(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open(&user, 500).await;
    let reason = refused(world.operator.withdraw(user.address(), amount(1)).await);
    assert!(reason.starts_with("NotOwner {"), "{reason}");
    let owner = world.owner.address();
    let before = world.chain.token_balance(owner).await.unwrap();
    world.owner.withdraw(user.address(), amount(200)).await.unwrap();
    assert_eq!(world.chain.token_balance(owner).await.unwrap(), before + 200);
    assert_eq!(world.free(&user).await, amount(300));
}

async fn an_exit_returns_what_is_unclaimed_after_48_hours(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let rows = [world.settle_row(&user, 90, 30)];
    world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();

    world.owner.start_exit(user.address(), world.pod).await.unwrap();
    let started = world.chain.head(BlockTag::Latest).await.unwrap().timestamp_unix_s;
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!(channel.exit_at_unix_s, started + EXIT_WINDOW_S);
    let reason = refused(world.operator.finish_exit(user.address(), world.pod).await);
    assert!(reason.starts_with("ExitTooEarly {"), "{reason}");

    world.node.advance(EXIT_WINDOW_S).await;
    world.operator.finish_exit(user.address(), world.pod).await.unwrap();
    assert_eq!(world.free(&user).await, amount(70));
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    let ended = Channel { locked: amount(30), claimed: amount(30), exit_at_unix_s: 0, epoch: 1 };
    assert_eq!(channel, ended);
}

async fn an_exit_starts_with_the_user_keys_signature(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let digest = StartExit { pod_id: world.pod, epoch: 0 }.digest(&world.domain());
    let signature = user.sign(&digest);
    let reason = refused(world.operator.start_exit_for(world.pod, 1, &signature).await);
    // A signature for another epoch recovers to a stranger, who has no account.
    assert!(reason.starts_with("NotOpen {"), "{reason}");
    world.operator.start_exit_for(world.pod, 0, &signature).await.unwrap();
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_ne!(channel.exit_at_unix_s, 0);
    let reason = refused(world.operator.start_exit_for(world.pod, 0, &signature).await);
    assert!(reason.starts_with("ExitRunning {"), "{reason}");
}

async fn an_exit_is_started_by_the_owner_and_nobody_else(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let reason = refused(world.operator.start_exit(user.address(), world.pod).await);
    assert!(reason.starts_with("NotOwner {"), "{reason}");
}

async fn locks_wait_while_an_exit_runs_and_vouchers_still_settle(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open(&user, 200).await;
    let first = [world.lock_row(&user, 100, 0)];
    world.operator.lock(world.pod, &first).await.unwrap();
    world.owner.start_exit(user.address(), world.pod).await.unwrap();
    let more = [world.lock_row(&user, 150, 0)];
    let tx = world.operator.lock(world.pod, &more).await.unwrap();
    assert_eq!((tx.locked(), tx.skipped_rows()), (0, vec![0]));
    let rows = [world.settle_row(&user, 90, 30)];
    let tx = world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();
    assert_eq!(tx.paid(), 30);
}

async fn close_pays_the_final_amount_and_returns_the_rest_at_once(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let close = world.close(user.address(), &user, 45);
    let send = world.owner.close(user.address(), world.pod, amount(45), &close.enclave_sig);
    let tx = send.await.unwrap();
    assert_eq!(tx.paid(), 45);
    assert_eq!(world.credit().await, amount(45));
    assert_eq!(world.free(&user).await, amount(55));
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!((channel.locked, channel.epoch), (amount(45), 1));
    // The vouchers of the epoch that ended are void.
    let rows = [world.settle_row(&user, 90, 90)];
    let tx = world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();
    assert_eq!((tx.paid(), tx.skipped_rows()), (0, vec![0]));
}

async fn anybody_sends_a_close_that_both_keys_signed(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let stranger = crate::world::user(1);
    let forged = world.close(user.address(), &stranger, 45);
    let reason = refused(world.operator.close_for(&forged).await);
    assert!(reason.starts_with("WrongSigner {"), "{reason}");
    assert_eq!(world.locked_and_claimed(&user).await, (amount(100), Amount::ZERO));
    let signed = world.close(user.address(), &user, 45);
    let tx = world.operator.close_for(&signed).await.unwrap();
    assert_eq!(tx.paid(), 45);
    assert_eq!(world.free(&user).await, amount(55));
}
