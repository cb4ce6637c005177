use phallama_devchain::ChainOptions;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;

use super::*;
use crate::testing::{World, charge, charge_at, user};

fn watcher(world: &World) -> Watcher {
    Watcher {
        view: Arc::clone(&world.view),
        journal: Arc::clone(&world.journal),
        reserves: world.gate.reserves.clone(),
        enclave: EnclaveClient::new(world.enclave.socket()),
        wake_settler: Arc::clone(&world.wake),
        poll: Duration::from_secs(1),
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
async fn debt_that_nothing_covered_for_a_day_is_lost_and_no_longer_at_risk() {
    let user = user(1);
    let day_ago = clock::now_unix_s() - WRITE_OFF_AFTER_S;
    for (at_unix_s, left) in [(day_ago + 600, 70.into()), (day_ago, Amount::ZERO)] {
        let world = World::new(0).await;
        charge_at(&world, &user, 70, at_unix_s).await;
        world.gate.reserves.charge(user.address(), 0, 70.into());
        watcher(&world).refresh().await.unwrap();
        assert_eq!(world.gate.reserves.at_risk(), left);
    }
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
