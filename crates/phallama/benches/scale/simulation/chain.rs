//! The chain as a queue for block space.

use std::collections::VecDeque;

use super::gas::Gas;

/// Seconds between blocks of the target chain.
pub(crate) const BLOCK_S: u64 = 10;
/// Gas of its blocks.
pub(crate) const BLOCK_GAS: u64 = 30_000_000;
pub(crate) const BLOCKS_PER_DAY: usize = 86_400 / 10;

/// Index of a channel.
pub(crate) type ChannelId = u32;

/// What transactions do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A user's first deposit.
    Open,
    Lock {
        pod: u32,
        rows: Vec<(ChannelId, u64)>,
    },
    Settle {
        pod: u32,
        rows: Vec<(ChannelId, u64)>,
    },
    StartExit(ChannelId),
    FinishExit,
    Collect,
}

/// Kinds of transactions, for sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deposit,
    Lock,
    Settle,
    Exit,
    Collect,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Settle, Kind::Lock, Kind::Exit, Kind::Deposit, Kind::Collect];

impl Action {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Open => Kind::Deposit,
            Self::Lock { .. } => Kind::Lock,
            Self::Settle { .. } => Kind::Settle,
            Self::StartExit(_) | Self::FinishExit => Kind::Exit,
            Self::Collect => Kind::Collect,
        }
    }

    fn gas(&self, gas: &Gas) -> u64 {
        match self {
            Self::Open => gas.open_and_deposit,
            Self::Lock { rows, .. } => gas.lock(rows.len()),
            Self::Settle { rows, .. } => gas.settle(rows.len()),
            Self::StartExit(_) => gas.start_exit,
            Self::FinishExit => gas.finish_exit,
            Self::Collect => gas.collect,
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Lock { rows, .. } | Self::Settle { rows, .. } => rows.len() as u64,
            _ => 1,
        }
    }
}

/// Sums of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) transactions: u64,
    pub(crate) rows: u64,
    pub(crate) gas: u64,
}

/// Gas of one block by kind, in the order of [`KINDS`].
pub(crate) type BlockGas = [u64; KINDS.len()];

/// Transactions wait in the order in which they came, those that pay more before the others.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    gas: Gas,
    /// Gas per block that is left for this network, on average.
    room: u64,
    /// Gas that may be used now: where little is left, a large transaction has to wait for it.
    budget: u64,
    /// Settlements pay for a place before everybody else.
    settlements_first: bool,
    first: VecDeque<Action>,
    others: VecDeque<Action>,
    pub(crate) blocks: Vec<BlockGas>,
    totals: [Totals; KINDS.len()],
}

impl Chain {
    pub(crate) fn new(gas: Gas, room: u64, settlements_first: bool) -> Self {
        let (first, others) = (VecDeque::new(), VecDeque::new());
        let (blocks, totals) = (Vec::new(), [Totals::default(); KINDS.len()]);
        Self { gas, room, budget: 0, settlements_first, first, others, blocks, totals }
    }

    pub(crate) fn send(&mut self, action: Action) {
        if self.settlements_first && action.kind() == Kind::Settle {
            self.first.push_back(action);
        } else {
            self.others.push_back(action);
        }
    }

    /// Transactions that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.first.len() + self.others.len()
    }

    /// Fills one block.
    pub(crate) fn mine(&mut self) -> Vec<Action> {
        let (mut block, mut mined) = (BlockGas::default(), Vec::new());
        self.budget = (self.budget + self.room).min(BLOCK_GAS);
        for queue in [&mut self.first, &mut self.others] {
            while let Some(next) = queue.front() {
                let gas = next.gas(&self.gas);
                if gas > self.budget {
                    break;
                }
                self.budget -= gas;
                let action = queue.pop_front().expect("it is at the front");
                let at = index(action.kind());
                block[at] += gas;
                self.totals[at].transactions += 1;
                self.totals[at].rows += action.rows();
                self.totals[at].gas += gas;
                mined.push(action);
            }
            if !queue.is_empty() {
                // Who pays less does not overtake one that waits for more room.
                break;
            }
        }
        self.blocks.push(block);
        mined
    }

    pub(crate) fn total(&self, kind: Kind) -> Totals {
        self.totals[index(kind)]
    }

    /// Starts the sums again.
    pub(crate) fn forget(&mut self) {
        self.blocks.clear();
        self.totals = Default::default();
    }
}

fn index(kind: Kind) -> usize {
    KINDS.iter().position(|known| *known == kind).expect("every kind is listed")
}
