//! A day of 10,000 pods and 1,000,000 users: transactions, gas, money tied up, and who can lose how
//! much, in ordinary use, under an attack on credit limits, and when many leave at once.
//!
//! `tools/scale.sh` runs it; it takes a few minutes, and writes the tables of `docs/scale.md` and
//! the plots of `docs/scale/`. `--check` writes nothing and fails when they would change.
//! `tests/scale.rs` runs a smaller network in every check.
#![allow(clippy::cast_precision_loss, reason = "sums of gas and money are below 2^53")]

mod chart;
mod page;
mod plots;
mod simulation;
mod tables;

use page::Page;
use phallama_protocol::ids::Amount;
use simulation::chain::{BLOCK_GAS, BLOCKS_PER_DAY, Chain};
use simulation::exodus::{Exodus, Outcome};
use simulation::gas::{Failure, Gas, read};
use simulation::market::{Market, cheapest_first};
use simulation::population::Size;
use simulation::sybil::{Attack, Loss};
use simulation::world::{Rules, World};

const SIZE: Size = Size { pods: 10_000, users: 1_000_000 };
const SEED: u64 = 1;
/// Settlement by age, in hours: the pods' default, and two that wait longer.
const AGES_H: [u64; 3] = [6, 12, 24];
/// Shares of all users who leave, and shares of the block space left for this network.
const LEAVE: [f64; 3] = [0.1, 0.5, 1.0];
const ROOM: [(&str, u64); 3] =
    [("all", BLOCK_GAS), ("a tenth", BLOCK_GAS / 10), ("a twentieth", BLOCK_GAS / 20)];
/// Accounts of an attacker.
const ACCOUNTS: [u32; 7] = [1, 100, 1_000, 10_000, 30_000, 100_000, 300_000];
/// A pod with a large accelerator, in tokens per second over all streams.
const FAST_TOKENS_PER_S: f64 = 2_500.0;
/// The mean length of an answer, for the load of pods.
const ANSWER_TOKENS: f64 = 330.0;

/// An ordinary day.
pub(crate) struct Day {
    pub(crate) age_h: u64,
    pub(crate) world: World,
}

/// A mass exit.
pub(crate) struct Leaving {
    pub(crate) exodus: Exodus,
    pub(crate) room: &'static str,
    pub(crate) outcome: Outcome,
}

/// An attack on one pod's credit.
pub(crate) struct Attacked {
    pub(crate) tokens_per_s: f64,
    pub(crate) rules: Rules,
    pub(crate) attack: Attack,
    pub(crate) loss: Loss,
}

impl Attacked {
    /// How fast the pod was, and how careful.
    pub(crate) fn pod(&self) -> String {
        let limited = self.rules.policy.risk_total == Rules::default().policy.risk_total;
        let limit = if limited { "" } else { ", no total limit" };
        format!("{:.0} tokens/s{limit}", self.tokens_per_s)
    }
}

/// Everything that the page shows.
pub(crate) struct Results {
    pub(crate) gas: Gas,
    pub(crate) days: Vec<Day>,
    pub(crate) leaving: Vec<Leaving>,
    pub(crate) attacks: Vec<Attacked>,
    pub(crate) markets: Vec<(f64, Market)>,
}

fn main() -> Result<(), Failure> {
    let gas = Gas::measured()?;
    let slow = read("docs/figures.json")?["path.direct_tokens_per_s"]["value"].as_f64();
    let slow = slow.ok_or("docs/figures.json has no path.direct_tokens_per_s")?.round();
    let (mut days, mut leaving) = (Vec::new(), Vec::new());
    for age_h in AGES_H {
        note(&format!("scale: a day with settlements after {age_h} h"));
        let mut world = settled_in(age_h, gas);
        if age_h == AGES_H[0] {
            leaving = exits(&world, gas);
        }
        world.run_day(1, BLOCKS_PER_DAY);
        world.check();
        days.push(Day { age_h, world });
    }
    note("scale: attacks on credit");
    let attacks = attacks(slow);
    let queries_per_s = days[0].world.counts.queries as f64 / 86_400.0;
    let offers = &days[0].world.population().offers;
    let market = |speed| (speed, cheapest_first(offers, queries_per_s, ANSWER_TOKENS, speed));
    let markets = vec![market(slow), market(FAST_TOKENS_PER_S)];
    let results = Results { gas, days, leaving, attacks, markets };
    Page::of(&results).write_or_check(std::env::args().any(|argument| argument == "--check"))
}

/// A network in which everybody has been for a day.
fn settled_in(age_h: u64, gas: Gas) -> World {
    let mut rules = Rules::default();
    rules.policy.settle_max_age_s = age_h * 3_600;
    let mut world = World::new(SIZE, rules, Chain::new(gas, BLOCK_GAS, false), SEED);
    world.run_day(0, BLOCKS_PER_DAY);
    world.check();
    world.forget();
    world
}

fn exits(world: &World, gas: Gas) -> Vec<Leaving> {
    let mut leaving = Vec::new();
    for share in LEAVE {
        for (name, room) in ROOM {
            for settlements_first in [false, true] {
                let exodus = Exodus { share, room, settlements_first };
                note(&format!("scale: {exodus:?}"));
                leaving.push(Leaving { exodus, room: name, outcome: exodus.run(world, gas) });
            }
        }
    }
    leaving
}

fn attacks(slow: f64) -> Vec<Attacked> {
    let mut attacks = Vec::new();
    let mut careless = Rules::default();
    careless.policy.risk_total = Amount::MAX;
    let pods = [
        (slow, Rules::default()),
        (FAST_TOKENS_PER_S, Rules::default()),
        (FAST_TOKENS_PER_S, careless),
    ];
    for (tokens_per_s, rules) in pods {
        for accounts in ACCOUNTS {
            let (attack, rules) = (Attack::on(accounts, tokens_per_s), rules.clone());
            let loss = attack.run(&rules);
            attacks.push(Attacked { tokens_per_s, rules, attack, loss });
        }
    }
    attacks
}

/// Progress goes to stderr.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}
