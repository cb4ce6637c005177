use phallama_chain::SendPolicy;
use phallama_devchain::{ChainOptions, Fault, Rule};
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use phallama_protocol::refusal::Code;
use serde_json::json;

use super::*;
use crate::admission::Standing;
use crate::clock;
use crate::error::SettleError;
use crate::testing::{IMPATIENT, World, charge, charge_at, user};

fn watcher(world: &World) -> Watcher {
    Watcher {
        view: Arc::clone(&world.view),
        journal: Arc::clone(&world.journal),
        reserves: world.gate.reserves.clone(),
        enclave: EnclaveClient::new(world.enclave.socket()),
        settler: Arc::new(world.settler()),
        poll: Duration::from_secs(1),
        stale: AtomicBool::new(true),
    }
}

/// An answer for 70 of which the lock is mined and not safe.
async fn served_before_it_is_safe(world: &World, user: &Signer) {
    world.open(user, 500).await;
    world.lock(user, 200).await;
    drop(world.gate.admit(&world.admit(user, 70, None)).await.unwrap());
    charge(world, user, 70).await;
    world.gate.reserves.charge(user.address(), 0, 70.into());
}

#[tokio::test]
async fn charge_is_at_risk_until_its_lock_is_safe() {
    let options = ChainOptions { safe_depth_blocks: 5, ..ChainOptions::default() };
    let (world, user) = (World::on(options, 0).await, user(1));
    served_before_it_is_safe(&world, &user).await;
    let watcher = watcher(&world);
    watcher.look().await.unwrap();
    assert_eq!(world.gate.reserves.at_risk(), 70.into());
    for _ in 0..5 {
        world.mine().await;
        watcher.look().await.unwrap();
    }
    assert_eq!(world.gate.reserves.at_risk(), Amount::ZERO);
}

#[tokio::test]
async fn debt_that_nothing_covered_for_a_day_stays_lost_through_a_restart_and_erases_no_other() {
    let (world, old, new) = (World::new(0).await, user(1), user(2));
    let day_ago = clock::now_unix_s() - WRITE_OFF_AFTER.as_secs();
    charge_at(&world, &old, 70, day_ago).await;
    charge_at(&world, &new, 50, day_ago + 600).await;
    let reserves = &world.gate.reserves;
    reserves.restore(&world.journal.unsettled(), day_ago);
    assert_eq!(reserves.at_risk(), 50.into());
    // One who left something unpaid for a day takes credit again.
    reserves.charge(old.address(), 0, 100.into());
    watcher(&world).refresh().await.unwrap();
    assert_eq!(reserves.at_risk(), 80.into());
}

#[tokio::test]
async fn user_who_leaves_wakes_the_settler_within_one_look() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 500).await;
    world.lock(&user, 200).await;
    charge(&world, &user, 70).await;
    let watcher = watcher(&world);
    watcher.look().await.unwrap();
    world.start_exit(&user).await;
    watcher.look().await.unwrap();
    world.wake.notified().await;
}

/// A world in which nothing is safe for as long as a test needs.
async fn unsafe_world() -> World {
    let options = ChainOptions { safe_depth_blocks: 100, ..ChainOptions::default() };
    let world = World::on(options, 0).await;
    // The contracts are.
    world.control("anvil_mine", json!(["0x64"])).await;
    world.view.advance().await.unwrap();
    world
}

/// The chain forgets everything since the snapshot and goes on for longer than before.
async fn reorganise(world: &World, snapshot: serde_json::Value, depth: u64) {
    assert_eq!(world.control("evm_revert", json!([snapshot])).await, json!(true));
    // Other blocks than before: later ones.
    world.control("evm_increaseTime", json!([7])).await;
    world.control("anvil_mine", json!([format!("{:#x}", depth + 1)])).await;
}

/// The settlement's transaction is mined in the first of `depth` blocks, which are then replaced.
async fn settlement_taken_back(depth: u64) {
    let (world, user) = (unsafe_world().await, user(1));
    world.open(&user, 500).await;
    world.lock(&user, 200).await;
    charge(&world, &user, 70).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let watcher = watcher(&world);
    let settle = || watcher.settler.settle_now();
    let snapshot = world.control("evm_snapshot", json!([])).await;
    assert_eq!(settle().await.unwrap()[0].paid, 70.into());
    world.control("anvil_mine", json!([format!("{:#x}", depth - 1)])).await;
    watcher.look().await.unwrap();
    assert_eq!(world.journal.unsettled_total(), Amount::ZERO);
    assert_eq!(world.journal.provisional().len(), 1, "paid, and not safe yet");

    world.control("evm_setAutomine", json!([false])).await;
    reorganise(&world, snapshot, depth).await;
    assert_eq!(world.chain.credit(world.pod).await.unwrap(), Amount::ZERO);
    watcher.look().await.unwrap();
    assert_eq!(world.journal.unsettled_total(), 70.into(), "{depth} blocks");
    // The same transaction is sent again, so no other is.
    assert!(matches!(settle().await.unwrap_err(), SettleError::Waiting));
    world.mine().await;
    assert_eq!(world.chain.credit(world.pod).await.unwrap(), 70.into());
    assert_eq!(settle().await.unwrap(), []);
    assert_eq!(world.journal.unsettled_total(), Amount::ZERO);

    world.control("anvil_mine", json!(["0x64"])).await;
    watcher.look().await.unwrap();
    assert_eq!(world.journal.provisional(), [], "known to stay");
    assert_eq!(settle().await.unwrap(), []);
    assert_eq!(world.chain.credit(world.pod).await.unwrap(), 70.into());
}

#[tokio::test]
async fn settlement_that_was_taken_back_is_sent_again_and_pays_once() {
    for depth in [1, 2, 12, 64] {
        Box::pin(settlement_taken_back(depth)).await;
    }
}

/// The lock's transaction is mined in the first of `depth` blocks, which are then replaced.
async fn lock_taken_back(depth: u64) {
    let (mut world, user) = (unsafe_world().await, user(1));
    world.open(&user, 500).await;
    let snapshot = world.control("evm_snapshot", json!([])).await;
    world.lock(&user, 200).await;
    world.control("anvil_mine", json!([format!("{:#x}", depth - 1)])).await;
    let watcher = watcher(&world);
    watcher.look().await.unwrap();
    Arc::get_mut(&mut world.gate).unwrap().limits.per_user = 100.into();
    drop(world.gate.admit(&world.admit(&user, 90, None)).await.unwrap());
    world.gate.reserves.charge(user.address(), 0, 90.into());

    world.control("evm_setAutomine", json!([false])).await;
    reorganise(&world, snapshot, depth).await;
    watcher.look().await.unwrap();
    assert_eq!(world.gate.reserves.at_risk(), 90.into(), "no more than one user may owe so");
    let denial = world.gate.admit(&world.admit(&user, 10, None)).await.unwrap_err();
    assert_eq!(denial.code, Code::BalanceTooLow, "{depth} blocks: {}", denial.message);
}

#[tokio::test]
async fn lock_that_was_taken_back_is_revoked_before_more_is_served() {
    for depth in [1, 2, 12, 64] {
        Box::pin(lock_taken_back(depth)).await;
    }
}

#[tokio::test]
async fn deposit_that_was_taken_back_is_worth_nothing() {
    let (world, user) = (unsafe_world().await, user(1));
    let watcher = watcher(&world);
    let snapshot = world.control("evm_snapshot", json!([])).await;
    world.open(&user, 500).await;
    watcher.look().await.unwrap();
    assert_eq!(world.view.money(user.address()).await.unwrap().account.free, 500.into());
    reorganise(&world, snapshot, 3).await;
    watcher.look().await.unwrap();
    let denial = world.gate.admit(&world.admit(&user, 10, Some(100))).await.unwrap_err();
    assert_eq!(denial.code, Code::BalanceTooLow);
    assert_eq!(world.gate.locks.pending_total(user.address()), None, "no gas was wasted");
}

#[tokio::test]
async fn endpoint_that_lags_is_not_taken_for_a_reorganisation() {
    let world = unsafe_world().await;
    let snapshot = world.control("evm_snapshot", json!([])).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        world.mine().await;
        seen.push(world.view.advance().await.unwrap());
    }
    assert!(seen.iter().all(|it| matches!(it, Advance::Extended(_))), "{seen:?}");
    // It shows a block that was the head before.
    world.control("evm_revert", json!([snapshot])).await;
    let advanced = world.view.advance().await.unwrap();
    assert!(matches!(advanced, Advance::Behind(_)), "{advanced:?}");
    // And then one of the same height with another hash.
    world.control("evm_increaseTime", json!([7])).await;
    world.control("anvil_mine", json!(["0x3"])).await;
    let advanced = world.view.advance().await.unwrap();
    assert!(matches!(advanced, Advance::Reorganised { .. }), "{advanced:?}");
}

#[tokio::test]
async fn head_that_was_none_is_given_up_when_the_patience_ends() {
    let world = World::new(0).await;
    let honest = world.view.block();
    let invented = world.endpoint.inject(Rule::method(
        "eth_getBlockByNumber",
        Fault::Rewrite(Arc::new(|_, mut block| {
            block["number"] = json!("0xffffffff");
            block["hash"] = json!(format!("0x{}", "11".repeat(32)));
            block
        })),
    ));
    world.view.advance().await.unwrap();
    assert_eq!(world.view.block(), 0xffff_ffff);
    world.endpoint.withdraw(invented);
    let pass = async |time| {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    };
    assert!(matches!(world.view.advance().await.unwrap(), Advance::Behind(_)));
    pass(Duration::from_hours(2)).await;
    world.mine().await;
    assert!(matches!(world.view.advance().await.unwrap(), Advance::Behind(_)));
    pass(Duration::from_hours(1)).await;
    world.view.advance().await.unwrap();
    assert_eq!(world.view.block(), honest + 1);
    assert_eq!(world.view.standing(), Standing::Current);
}

#[tokio::test]
async fn transaction_that_waits_is_looked_after_at_the_next_head() {
    let world = World::new(0).await;
    let mut watcher = watcher(&world);
    watcher.look().await.unwrap();
    world.control("evm_setAutomine", json!([false])).await;
    let policy = SendPolicy { rebroadcast_after: Duration::ZERO, ..IMPATIENT };
    let sender = world.operator.clone().with_policy(policy);
    Arc::get_mut(&mut watcher.settler).unwrap().sender = sender.clone();
    let waits = sender.send_ether(user(1).address(), 7).await.unwrap_err();
    assert!(matches!(waits, ChainError::NotMined { .. }), "{waits}");
    world.control("anvil_dropAllTransactions", json!([])).await;
    // The node has forgotten it; the outbox has not.
    world.mine().await;
    watcher.look().await.unwrap();
    world.mine().await;
    assert_eq!(sender.tend().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn channel_counts_as_ended_only_when_its_end_is_safe() {
    let (world, user) = (unsafe_world().await, user(1));
    world.open(&user, 500).await;
    world.lock(&user, 200).await;
    charge(&world, &user, 70).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    world.start_exit(&user).await;
    world.control("evm_increaseTime", json!([49 * 3_600])).await;
    world.finish_exit(&user).await;
    let watcher = watcher(&world);
    watcher.look().await.unwrap();
    assert_eq!(watcher.settler.settle_now().await.unwrap(), []);
    assert_eq!(world.journal.unsettled_total(), 70.into(), "the end may still be taken back");
    world.control("anvil_mine", json!(["0x64"])).await;
    watcher.look().await.unwrap();
    assert_eq!(watcher.settler.settle_now().await.unwrap(), []);
    assert_eq!(world.journal.unsettled_total(), Amount::ZERO, "lost");
}
