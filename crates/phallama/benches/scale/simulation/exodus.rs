//! Many users leave within an hour: do the pods get their claims settled before the exits end?

use super::chain::{Action, Chain, ChannelId};
use super::gas::Gas;
use super::rng::Rng;
use super::world::World;

/// Users leave within this many blocks: an hour.
const LEAVING_BLOCKS: u32 = 360;
/// An exit ends after this many blocks: 48 hours.
pub(crate) const WINDOW_BLOCKS: u32 = 17_280;
/// When to stop looking.
const LONGEST_BLOCKS: u32 = 4 * WINDOW_BLOCKS;
const SEED: u64 = 3;

/// How the exodus goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exodus {
    /// Share of all users.
    pub(crate) share: f64,
    /// Gas per block that is left for this network.
    pub(crate) room: u64,
    /// Pods pay more for a place in a block than those who leave.
    pub(crate) settlements_first: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) exits: u32,
    /// Until the last exit was mined.
    pub(crate) exits_took_blocks: u32,
    /// The longest that a channel's claim waited from its exit to its settlement.
    pub(crate) longest_wait_blocks: u32,
    /// Rows settled only after their exit could have been finished.
    pub(crate) late_rows: u32,
    pub(crate) settle_transactions: u64,
    pub(crate) gas: u64,
    /// Unsettled claims of leaving users, block by block.
    pub(crate) unsettled: Vec<u64>,
}

impl Exodus {
    /// From `before`, a moment of an ordinary day. Nobody asks anything meanwhile.
    pub(crate) fn run(self, before: &World, gas: Gas) -> Outcome {
        let mut world = before.clone();
        while world.chain.waiting() > 0 {
            world.next_block();
        }
        world.chain = Chain::new(gas, self.room, self.settlements_first);
        let leaving = self.leaving(&world);
        let mut outcome = Outcome::default();
        let mut to_leave = leaving.iter();
        for block in 0..LONGEST_BLOCKS {
            if block < LEAVING_BLOCKS {
                let count = leaving.len().div_ceil(LEAVING_BLOCKS as usize);
                for &channel in to_leave.by_ref().take(count) {
                    world.chain.send(Action::StartExit(channel));
                    outcome.exits += 1;
                }
            }
            world.pods_act();
            let waits = world.next_block();
            for wait in waits {
                outcome.longest_wait_blocks = outcome.longest_wait_blocks.max(wait);
                outcome.late_rows += u32::from(wait > WINDOW_BLOCKS);
            }
            outcome.unsettled.push(world.leaving_unsettled());
            if block >= LEAVING_BLOCKS && world.chain.waiting() == 0 {
                break;
            }
            outcome.exits_took_blocks = block + 1;
        }
        world.check();
        let total = world.chain.total(super::chain::Kind::Settle);
        outcome.settle_transactions = total.transactions;
        outcome.gas = total.gas + world.chain.total(super::chain::Kind::Exit).gas;
        outcome
    }

    /// Every channel with money in it of the users who leave, in no order.
    fn leaving(self, world: &World) -> Vec<ChannelId> {
        let mut rng = Rng::new(SEED);
        let users = &world.population().users;
        let who = users.iter().filter(|_| rng.chance(self.share));
        let channels = who.flat_map(super::population::User::channels);
        let funded = |channel: &ChannelId| {
            let state = &world.channels[*channel as usize];
            state.locked > state.claimed && state.left_at.is_none()
        };
        let mut leaving: Vec<_> = channels.filter(funded).collect();
        for last in (1..leaving.len()).rev() {
            let other = rng.below(u32::try_from(last + 1).expect("a u32 of channels"));
            leaving.swap(last, other as usize);
        }
        leaving
    }
}
