//! The scale simulation with 100 pods and 10,000 users: not a unit appears or is lost, and what
//! must rise rises.
#![allow(clippy::cast_precision_loss, reason = "sums of gas and money are below 2^53")]

#[path = "../benches/scale/simulation/mod.rs"]
#[allow(dead_code, reason = "the program prints more than these tests look at")]
mod simulation;

use simulation::chain::{BLOCK_GAS, BLOCKS_PER_DAY, Chain, Kind};
use simulation::exodus::{Exodus, WINDOW_BLOCKS};
use simulation::gas::Gas;
use simulation::market::cheapest_first;
use simulation::population::{Size, offer};
use simulation::sybil::Attack;
use simulation::world::{Rules, World};

const SIZE: Size = Size { pods: 100, users: 10_000 };

fn gas() -> Gas {
    Gas::measured().expect("the repository has snapshots and figures")
}

fn world(age_h: u64, seed: u64) -> World {
    let mut rules = Rules::default();
    rules.policy.settle_max_age_s = age_h * 3_600;
    World::new(SIZE, rules, Chain::new(gas(), BLOCK_GAS, false), seed)
}

/// The second day, after one that fills the channels.
fn second_day(age_h: u64, seed: u64) -> World {
    let mut world = world(age_h, seed);
    world.run_day(0, BLOCKS_PER_DAY);
    world.check();
    world.forget();
    world.run_day(1, BLOCKS_PER_DAY);
    world
}

#[test]
fn every_unit_is_accounted_for_in_the_middle_of_a_day_and_at_its_end() {
    for blocks in [1, 1_000, BLOCKS_PER_DAY] {
        let mut world = world(6, 2);
        world.run_day(0, blocks);
        world.check();
    }
    let world = second_day(6, 2);
    world.check();
    let counts = &world.counts;
    assert!(counts.queries > 50_000, "{counts:?}");
    assert!(counts.revenue > 0, "{counts:?}");
    for kind in [Kind::Settle, Kind::Lock, Kind::Exit, Kind::Deposit] {
        assert!(world.chain.total(kind).transactions > 0, "{kind:?}");
    }
    assert_eq!(world.chain.total(Kind::Collect).transactions, u64::from(SIZE.pods));
}

#[test]
fn the_same_seed_gives_the_same_day_and_another_one_another() {
    let facts =
        |world: World| (world.chain.total(Kind::Settle), world.counts.revenue, world.tied());
    let first = facts(second_day(6, 3));
    assert_eq!(first, facts(second_day(6, 3)));
    assert_ne!(first, facts(second_day(6, 4)));
}

#[test]
fn pods_that_wait_longer_settle_fewer_rows_and_have_more_unsettled() {
    let (soon, late) = (second_day(6, 5), second_day(24, 5));
    let rows = |world: &World| world.chain.total(Kind::Settle).rows;
    assert!(rows(&late) < rows(&soon), "{} and {}", rows(&late), rows(&soon));
    let unsettled = |world: &World| world.unsettled_per_pod().iter().sum::<u64>();
    assert!(unsettled(&late) > unsettled(&soon));
}

#[test]
fn a_pod_never_risks_more_on_credit_than_its_limit_for_each_of_its_users() {
    let world = second_day(6, 6);
    let limit = Attack::deposit(&Rules::default());
    let users_of_a_pod = u64::from(SIZE.users);
    let most = world.on_credit_per_pod().last().copied().unwrap();
    assert!(most > 0, "nobody was served on credit");
    assert!(most <= limit * users_of_a_pod);
    assert_eq!(world.counts.skipped_locks, 0, "honest locks are not skipped");
}

#[test]
fn more_accounts_take_no_less_and_no_more_than_their_limits() {
    let mut rules = Rules::default();
    // As much as a thousand accounts get.
    rules.policy.risk_total = (1_000 * Attack::deposit(&rules)).into();
    let mut before = 0;
    for accounts in [1, 10, 100, 1_000, 5_000] {
        let loss = Attack::on(accounts, 2_500.0).run(&rules);
        assert!(loss.lost >= before, "{accounts} accounts: {loss:?}");
        assert!(loss.lost <= u64::from(accounts) * Attack::deposit(&rules), "{loss:?}");
        // At the end of a block an account may be in the middle of its requests.
        assert!((1..=2 * accounts).contains(&loss.skipped_locks), "{loss:?}");
        assert!(loss.lost <= 1_000 * Attack::deposit(&rules), "{loss:?}");
        before = loss.lost;
    }
    assert!(before > 0);
    assert!(Attack::on(5_000, 2_500.0).run(&rules).stopped >= 4_000, "the limit holds");
}

#[test]
fn less_room_in_blocks_makes_nothing_faster_and_a_higher_price_helps_the_pods() {
    let mut before = world(6, 7);
    before.run_day(0, BLOCKS_PER_DAY / 2);
    let run = |room: u64, settlements_first: bool| {
        Exodus { share: 1.0, room, settlements_first }.run(&before, gas())
    };
    let all = run(BLOCK_GAS, false);
    let little = run(BLOCK_GAS / 200, false);
    let first = run(BLOCK_GAS / 200, true);
    assert_eq!(all.exits, little.exits);
    assert!(all.longest_wait_blocks <= little.longest_wait_blocks);
    assert!(all.exits_took_blocks <= little.exits_took_blocks);
    assert!(first.longest_wait_blocks <= little.longest_wait_blocks);
    assert!(all.longest_wait_blocks < WINDOW_BLOCKS);
    for outcome in [all, little, first] {
        assert_eq!(outcome.unsettled.last(), Some(&0), "everything is settled in the end");
    }
}

#[test]
fn the_cheapest_pods_are_full_before_others_have_work() {
    let offers: Vec<_> = (1..=100_u32).map(|pod| offer(f64::from(pod))).collect();
    let idle = cheapest_first(&offers, 0.0, 330.0, 77.0);
    assert_eq!((idle.full, idle.asked_by_newcomer), (0, 1));
    let busy = cheapest_first(&offers, 10.0, 330.0, 77.0);
    assert_eq!((busy.full, busy.asked_by_newcomer), (42, 43));
    assert!((busy.dearest - 43.0).abs() < 1e-9, "{busy:?}");
    let over = cheapest_first(&offers, 1_000.0, 330.0, 77.0);
    assert_eq!((over.full, over.asked_by_newcomer), (100, 100));
}
