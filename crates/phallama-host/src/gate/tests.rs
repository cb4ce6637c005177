use phallama_devchain::{ChainOptions, Fault, Rule};
use phallama_protocol::keys::Signature;

use super::*;
use crate::testing::{World, user};

async fn denied(world: &World, admit: &Admit) -> Code {
    world.gate.admit(admit).await.unwrap_err().code
}

#[tokio::test]
async fn first_request_is_served_on_credit_and_its_lock_is_mined() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 500).await;
    let admitted = world.gate.admit(&world.admit(&user, 40, Some(300))).await.unwrap();
    assert_eq!(admitted.cumulative, Amount::ZERO);
    assert_eq!(world.gate.reserves.total(), 40.into());

    let ticket = world.gate.locks.ticket(user.address()).unwrap();
    assert_eq!(ticket.outcome(Duration::from_secs(20)).await, LockState::Locked);
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!(channel.locked, 300.into());
    assert_eq!(world.gate.locks.pending_total(user.address()), None);
    drop(admitted);
    assert_eq!(world.gate.reserves.total(), Amount::ZERO);
}

#[tokio::test]
async fn request_above_the_credit_limit_is_admitted_once_its_lock_is_mined() {
    let (world, user) = (World::new(10).await, user(1));
    world.open(&user, 500).await;
    let admitted = world.gate.admit(&world.admit(&user, 40, Some(300))).await.unwrap();
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!(channel.locked, 300.into(), "it must have waited for the lock");
    drop(admitted);
}

#[tokio::test]
async fn parallel_requests_share_one_lock_and_cannot_use_the_same_money() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 100).await;
    let admit = world.admit(&user, 60, Some(100));
    let (first, second) = tokio::join!(world.gate.admit(&admit), world.gate.admit(&admit));
    let refused = [&first, &second].into_iter().filter_map(|admitted| admitted.as_ref().err());
    let refused: Vec<_> = refused.map(|denial| denial.code).collect();
    assert_eq!(refused, [Code::BalanceTooLow]);
    assert_eq!(world.gate.reserves.total(), 60.into());
}

#[tokio::test]
async fn locks_of_several_users_go_into_one_block() {
    let world = World::new(0).await;
    let users = [user(1), user(2), user(3)];
    for user in &users {
        world.open(user, 100).await;
    }
    let before = world.view.block();
    world.view.advance().await.unwrap();
    let before = world.view.block().max(before);
    let asks = users.each_ref().map(|user| world.admit(user, 60, Some(100)));
    let [a, b, c] = asks.each_ref().map(|admit| world.gate.admit(admit));
    let (a, b, c) = tokio::join!(a, b, c);
    let admitted = [a.unwrap(), b.unwrap(), c.unwrap()];
    world.view.advance().await.unwrap();
    assert_eq!(world.view.block() - before, 1, "three locks, one transaction");
    drop(admitted);
}

#[tokio::test]
async fn lock_that_would_be_skipped_by_now_is_not_sent() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 100).await;
    let row = world.gate.ask(&world.admit(&user, 60, Some(100))).allocation.unwrap().row;
    let outcome = async || {
        let before = world.endpoint.arrivals("eth_sendRawTransaction");
        let ticket = world.gate.locks.submit(user.address(), row).unwrap();
        let outcome = ticket.outcome(Duration::from_secs(20)).await;
        (outcome, world.endpoint.arrivals("eth_sendRawTransaction") - before)
    };
    world.withdraw(&user, 1).await;
    world.view.advance().await.unwrap();
    let (state, sent) = outcome().await;
    assert!(matches!(&state, LockState::Failed(why) if why.contains("99")), "{state:?}");
    assert_eq!(sent, 0);
    world.deposit(&user, 1).await;
    world.view.advance().await.unwrap();
    assert_eq!(outcome().await, (LockState::Locked, 1));
    world.view.advance().await.unwrap();
    assert_eq!(outcome().await, (LockState::Locked, 0), "somebody else's lock is as good");
}

#[tokio::test]
async fn lock_that_the_contract_skips_denies_the_request() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 100).await;
    // Known as free, and gone when the lock is mined.
    world.view.money(user.address()).await.unwrap();
    world.withdraw(&user, 100).await;
    assert_eq!(denied(&world, &world.admit(&user, 60, Some(100))).await, Code::BalanceTooLow);
    assert_eq!(world.gate.reserves.total(), Amount::ZERO);
}

#[tokio::test]
async fn forged_allocation_is_refused_without_a_transaction() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 100).await;
    let mut admit = world.admit(&user, 60, Some(100));
    admit.allocation.as_mut().unwrap().signature = Signature([1; 64]);
    assert_eq!(denied(&world, &admit).await, Code::BadVoucher);
    let mut admit = world.admit(&user, 60, Some(100));
    admit.allocation.as_mut().unwrap().total = 99.into();
    assert_eq!(denied(&world, &admit).await, Code::BadVoucher);
    assert_eq!(world.gate.locks.pending_total(user.address()), None);
}

#[tokio::test]
async fn leaving_user_is_not_served() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 200).await;
    world.lock(&user, 100).await;
    world.start_exit(&user).await;
    world.view.advance().await.unwrap();
    assert_eq!(denied(&world, &world.admit(&user, 60, None)).await, Code::ChannelExiting);
}

#[tokio::test]
async fn silent_chain_is_risked_up_to_the_cap_for_known_users_only() {
    let (mut world, known, stranger) = (World::new(0).await, user(1), user(2));
    world.open(&known, 5_000).await;
    world.lock(&known, 5_000).await;
    drop(world.gate.admit(&world.admit(&known, 10, None)).await.unwrap());
    world.stop_chain();
    assert!(world.view.advance().await.is_err());
    assert_eq!(denied(&world, &world.admit(&stranger, 10, None)).await, Code::ChainBehind);
    // The world's risk cap is 1,000.
    drop(world.gate.admit(&world.admit(&known, 600, None)).await.unwrap());
    drop(world.gate.admit(&world.admit(&known, 400, None)).await.unwrap());
    assert_eq!(denied(&world, &world.admit(&known, 1, None)).await, Code::ChainBehind);
}

#[tokio::test]
async fn deposit_that_is_not_safe_yet_waits_for_its_lock() {
    let options = ChainOptions { safe_depth_blocks: 3, ..ChainOptions::default() };
    let (world, user) = (World::on(options, 100).await, user(1));
    world.open(&user, 500).await;
    let money = world.view.money(user.address()).await.unwrap();
    assert_eq!((money.account.free, money.safe_free), (500.into(), Amount::ZERO));
    world.gate.admit(&world.admit(&user, 70, Some(200))).await.unwrap();
    let channel = world.chain.channel(user.address(), world.pod).await.unwrap();
    assert_eq!(channel.locked, 200.into(), "it was mined before the request was admitted");
}

#[tokio::test]
async fn second_request_waits_for_the_lock_of_the_first_to_be_safe() {
    let options = ChainOptions { safe_depth_blocks: 5, ..ChainOptions::default() };
    let mut world = World::on(options, 0).await;
    Arc::get_mut(&mut world.gate).unwrap().limits.per_user = 60.into();
    let user = user(1);
    world.open(&user, 500).await;
    let admit = world.admit(&user, 40, Some(300));
    let first = world.gate.admit(&admit).await.unwrap();
    assert_eq!(world.gate.reserves.at_risk(), 40.into());
    assert_eq!(denied(&world, &admit).await, Code::LockNotSafe);
    for _ in 0..5 {
        world.mine().await;
    }
    world.view.advance().await.unwrap();
    let second = world.gate.admit(&admit).await.unwrap();
    assert_eq!(world.gate.reserves.at_risk(), Amount::ZERO);
    drop((first, second));
}

/// An attacker with twenty funded accounts, before anything of theirs is mined.
#[tokio::test]
async fn many_accounts_get_no_more_credit_than_the_total() {
    let mut world = World::new(0).await;
    let gate = Arc::get_mut(&mut world.gate).unwrap();
    gate.limits =
        Limits { total: 500.into(), per_user: 40.into(), credit: 40.into(), ..gate.limits };
    gate.lock_wait = Duration::from_millis(50);
    let users: Vec<_> = (0..20).map(user).collect();
    for user in &users {
        world.open(user, 500).await;
    }
    world.view.advance().await.unwrap();
    world.control("evm_setAutomine", serde_json::json!([false])).await;
    let mut served = Vec::new();
    for user in &users {
        match world.gate.admit(&world.admit(user, 40, Some(100))).await {
            Ok(admitted) => served.push((user, admitted)),
            Err(denial) => assert_eq!(denial.code, Code::BalanceTooLow, "{}", denial.message),
        }
    }
    assert_eq!(served.len(), 12);
    assert_eq!(world.gate.reserves.at_risk(), 480.into());
    // Served and gone: what was charged stays at risk, so nobody else takes its place.
    for (user, admitted) in served {
        world.gate.reserves.charge(user.address(), 0, 40.into());
        drop(admitted);
    }
    assert_eq!(world.gate.reserves.at_risk(), 480.into());
    let another = world.admit(&users[19], 40, Some(100));
    assert_eq!(denied(&world, &another).await, Code::BalanceTooLow);
}

#[tokio::test]
async fn strangers_without_an_account_never_reach_the_enclave_and_are_not_kept() {
    let (world, stranger) = (World::new(0).await, user(1));
    for reserve in [0, 1, 10_001] {
        let admit = Admit { cap: Amount::ZERO, ..world.admit(&stranger, reserve, None) };
        assert_eq!(denied(&world, &admit).await, Code::BalanceTooLow);
    }
    assert_eq!(world.view.last_channel(stranger.address()), None);
}

#[tokio::test]
async fn low_caps_take_no_room_for_risk() {
    let (world, stranger) = (World::new(0).await, user(1));
    world.open(&stranger, 1).await;
    let admitted = world.gate.admit(&world.admit(&stranger, 10_001, None)).await.unwrap();
    assert!(admitted.reserve.is_none(), "the enclave refuses it");
    assert_eq!(world.gate.reserves.at_risk(), Amount::ZERO);
}

#[tokio::test]
async fn allocation_for_other_terms_is_refused_without_a_transaction() {
    let mut world = World::new(100).await;
    let user = user(1);
    world.open(&user, 500).await;
    let of_before = world.admit(&user, 60, Some(100));
    // The pod was started again with other prices.
    Arc::get_mut(&mut world.gate).unwrap().terms_hash = Digest32([9; 32]);
    assert_eq!(denied(&world, &of_before).await, Code::TermsMismatch);
    // The request agrees to them, the allocation was signed for the former.
    let mixed = Admit { terms_hash: Digest32([9; 32]), ..of_before };
    assert_eq!(denied(&world, &mixed).await, Code::BadVoucher);
    assert_eq!(world.gate.locks.pending_total(user.address()), None);
    drop(world.gate.admit(&world.admit(&user, 60, Some(100))).await.unwrap());
}

#[tokio::test]
async fn allocation_is_judged_by_the_chains_time() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 500).await;
    // The machine's clock is thirty days behind the chain's.
    world.control("evm_increaseTime", serde_json::json!([30 * 86_400])).await;
    world.mine().await;
    let signed_by_the_wall_clock = world.admit_until(&user, 60, 100, wall_clock() + 3_600);
    world.view.advance().await.unwrap();
    assert_eq!(denied(&world, &signed_by_the_wall_clock).await, Code::BalanceTooLow);
    assert_eq!(world.gate.locks.pending_total(user.address()), None, "no gas was wasted");
    let signed_by_the_chains = world.admit(&user, 60, Some(100));
    drop(world.gate.admit(&signed_by_the_chains).await.unwrap());
}

fn wall_clock() -> u64 {
    crate::clock::now_unix_s()
}

#[tokio::test]
async fn two_hours_without_a_block_are_risked_up_to_the_cap_and_end_with_the_next_one() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 9_000).await;
    world.lock(&user, 9_000).await;
    world.view.advance().await.unwrap();
    drop(world.gate.admit(&world.admit(&user, 10, None)).await.unwrap());
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(2)).await;
    tokio::time::resume();
    // The endpoint answers all the time, and the world's risk cap is 1,000.
    assert_eq!(world.view.advance().await.unwrap(), phallama_chain::Advance::Same);
    drop(world.gate.admit(&world.admit(&user, 900, None)).await.unwrap());
    assert_eq!(denied(&world, &world.admit(&user, 200, None)).await, Code::ChainBehind);
    world.mine().await;
    world.view.advance().await.unwrap();
    drop(world.gate.admit(&world.admit(&user, 2_000, None)).await.unwrap());
}

/// Everything that was read is older now than it may be.
async fn four_hours_later() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_hours(4)).await;
    tokio::time::resume();
}

/// What an endpoint can do that is no answer, or an old one.
fn faults() -> Vec<(&'static str, Fault)> {
    vec![
        ("refuses", Fault::Refuse),
        ("hangs", Fault::BlackHole),
        ("is too busy", Fault::Status { code: 429, retry_after_s: Some(1) }),
        ("breaks", Fault::Status { code: 500, retry_after_s: None }),
        ("lags", Fault::AsOf(1)),
    ]
}

#[tokio::test]
async fn endpoint_that_fails_in_whatever_way_is_risked_up_to_the_cap() {
    for (what, fault) in faults() {
        let (user, stranger) = (user(1), user(2));
        let world = World::new(0).await;
        world.open(&user, 9_000).await;
        world.lock(&user, 9_000).await;
        world.view.advance().await.unwrap();
        drop(world.gate.admit(&world.admit(&user, 10, None)).await.unwrap());
        let hangs = matches!(fault, Fault::BlackHole);
        world.endpoint.inject(Rule::every(fault));
        if hangs {
            // Idle time passes at once, so the limit on the call runs out.
            tokio::time::pause();
        }
        let looked = world.view.advance().await;
        assert!(looked.is_err() || what == "lags", "{what}: {looked:?}");
        if hangs {
            tokio::time::resume();
        }
        four_hours_later().await;
        drop(world.gate.admit(&world.admit(&user, 900, None)).await.unwrap());
        let code = denied(&world, &world.admit(&user, 200, None)).await;
        assert_eq!(code, Code::ChainBehind, "{what}");
        let code = denied(&world, &world.admit(&stranger, 1, None)).await;
        assert_eq!(code, Code::ChainBehind, "{what}");
        world.endpoint.heal();
        world.mine().await;
        let advanced = world.view.advance().await.unwrap();
        assert!(matches!(advanced, phallama_chain::Advance::Extended(_)), "{what}: {advanced:?}");
        drop(world.gate.admit(&world.admit(&user, 2_000, None)).await.unwrap());
    }
}
