//! Taking blocks back: snapshots, roll-backs and reorganisations.

use crate::block::{Block, SignedTx};
use crate::clock::Clock;
use crate::ledger::Ledger;

/// What `evm_revert` goes back to.
pub(crate) struct Snapshot {
    id: u64,
    block_count: usize,
    revision: u64,
    clock: Clock,
}

/// What becomes of the transactions of blocks that a reorganisation takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// They are gone, as when a sequencer loses what it promised.
    Forgotten,
    /// They wait in the pool again, as on a chain with a gossiping network.
    Waiting,
}

impl Ledger {
    /// Remembers the present; returns the snapshot's id.
    pub(crate) fn snapshot(&mut self) -> u64 {
        let id = self.next_snapshot_id;
        self.next_snapshot_id += 1;
        self.snapshots.push(Snapshot {
            id,
            block_count: self.blocks.len(),
            revision: self.revision,
            clock: self.clock,
        });
        id
    }

    /// Goes back to a snapshot, which is used up together with all younger ones; returns whether
    /// it existed. Waiting transactions are dropped.
    pub(crate) fn revert_to(&mut self, id: u64) -> bool {
        let Some(position) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else {
            return false;
        };
        let snapshot = self.snapshots.swap_remove(position);
        self.snapshots.truncate(position);
        self.cut(snapshot.block_count, snapshot.revision);
        self.pool.take();
        self.clock = snapshot.clock;
        true
    }

    /// Takes the newest blocks out, as many as `depth` and never block 0. The clock goes on.
    pub(crate) fn roll_back(&mut self, depth: usize, orphans: Orphans) -> usize {
        let block_count = self.blocks.len().saturating_sub(depth).max(1);
        let removed = self.cut(block_count, self.blocks[block_count - 1].revision);
        self.snapshots.retain(|snapshot| snapshot.block_count <= block_count);
        let count = removed.len();
        if orphans == Orphans::Waiting {
            let transactions = removed.into_iter().flat_map(|block| block.transactions);
            let again: Vec<SignedTx> = transactions.map(|mined| mined.tx).collect();
            self.pool.restore(again);
        }
        count
    }

    /// Replaces the newest blocks by as many empty ones with other hashes.
    pub(crate) fn reorganise(&mut self, depth: usize, orphans: Orphans) {
        let removed = self.roll_back(depth, orphans);
        let waiting = self.pool.take();
        for _ in 0..removed {
            self.mine();
        }
        self.pool.restore(waiting);
    }

    /// Forgets the blocks after the first `block_count` and what changed after `revision`.
    fn cut(&mut self, block_count: usize, revision: u64) -> Vec<Block> {
        let removed: Vec<Block> = self.blocks.drain(block_count..).collect();
        for block in &removed {
            self.block_numbers.remove(&block.hash);
            for mined in &block.transactions {
                self.tx_places.remove(mined.tx.tx_hash());
            }
        }
        self.state.roll_back(revision);
        self.revision = revision;
        self.blocks.last_mut().expect("block 0 is never removed").revision = revision;
        self.branch += 1;
        removed
    }
}
