//! The chain: blocks that may be taken back, and transactions that wait.

use phallama_protocol::ids::Address;

use crate::escrow::{AllocationRow, EscrowModel, ReceiptClaim, VoucherRow};

use super::{ESCROW, OWNER, POD, START_UNIX_S};

/// Blocks below the head that no reorganisation reaches.
const SAFE_DEPTH: usize = 4;

/// A transaction on its way.
#[derive(Clone, Debug)]
pub(super) enum Tx {
    Lock(AllocationRow),
    Settle { identity: Address, rows: Vec<VoucherRow> },
    SettleReceipts(Vec<ReceiptClaim>),
    Collect,
    StartExit(Address),
    FinishExit(Address),
    Close { user: Address, epoch: u32, cumulative: u128, identity: Address },
    Deposit(Address, u128),
    Withdraw(Address, u128),
}

/// Blocks as the state after each, and what was in them.
pub(super) struct Chain {
    blocks: Vec<(EscrowModel, Vec<Tx>)>,
    pub(super) waiting: Vec<Tx>,
    /// Some epoch was taken back: what anybody saw of a channel may be of another history.
    pub(super) epochs_taken_back: bool,
}

impl Chain {
    pub(super) fn new(users: &[Address], deposit: u128, payout: Address) -> Self {
        let mut escrow = EscrowModel::new(ESCROW, START_UNIX_S);
        escrow.set_payout(POD, payout);
        escrow.fund(OWNER, deposit * 100);
        for user in users {
            escrow.open(*user, OWNER, *user).expect("a new account");
            escrow.deposit(OWNER, *user, deposit).expect("a funded owner");
        }
        let blocks = vec![(escrow, Vec::new()); SAFE_DEPTH + 1];
        Self { blocks, waiting: Vec::new(), epochs_taken_back: false }
    }

    pub(super) fn head(&self) -> &EscrowModel {
        &self.blocks.last().expect("there is a first block").0
    }

    /// What no reorganisation takes back.
    pub(super) fn safe(&self) -> &EscrowModel {
        &self.blocks[self.blocks.len() - 1 - SAFE_DEPTH].0
    }

    /// The registry takes a key, for all histories: attestation is not what is tried here.
    pub(super) fn attest(&mut self, identity: Address) {
        for (block, _) in &mut self.blocks {
            block.set_key(POD, identity, u64::MAX);
        }
    }

    pub(super) fn mine(&mut self, now_unix_s: u64) {
        let mut next = self.head().clone();
        next.now_unix_s = next.now_unix_s.max(now_unix_s);
        let txs = std::mem::take(&mut self.waiting);
        for tx in &txs {
            include(&mut next, tx);
        }
        next.take_events();
        self.blocks.push((next, txs));
    }

    /// Takes back up to `depth` blocks; what was in them waits again.
    pub(super) fn reorganise(&mut self, depth: usize) {
        let before = self.head().clone();
        for _ in 0..depth.min(SAFE_DEPTH - 1) {
            if self.blocks.len() <= SAFE_DEPTH + 1 {
                break;
            }
            let (_, mut txs) = self.blocks.pop().expect("more than the first");
            txs.append(&mut self.waiting);
            self.waiting = txs;
        }
        let head = self.head();
        self.epochs_taken_back |= before
            .channels()
            .any(|(user, pod, channel)| head.channel(user, pod).epoch != channel.epoch);
    }
}

/// What a transaction does; one that is refused does nothing.
fn include(escrow: &mut EscrowModel, tx: &Tx) {
    let _ = match tx {
        Tx::Lock(row) => escrow.lock(POD, &[*row]).map(drop),
        Tx::Settle { identity, rows } => escrow.settle(POD, *identity, rows).map(drop),
        Tx::SettleReceipts(rows) => escrow.settle_receipts(POD, rows).map(drop),
        Tx::Collect => escrow.collect(POD).map(drop),
        Tx::StartExit(user) => escrow.start_exit(OWNER, *user, POD),
        Tx::FinishExit(user) => escrow.finish_exit(*user, POD),
        Tx::Close { user, epoch, cumulative, identity } => {
            escrow.close_for(*user, POD, *epoch, *cumulative, [*identity, *user])
        }
        Tx::Deposit(user, amount) => escrow.deposit(OWNER, *user, *amount),
        Tx::Withdraw(user, amount) => escrow.withdraw(OWNER, *user, *amount),
    };
}
