//! What is emitted.

use phallama_protocol::ids::{Address, PodId};

/// The escrow's events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named and described in contracts/src/interfaces/IEscrow.sol.
pub enum Event {
    AccountOpened { user: Address, owner: Address },
    Deposited { user: Address, payer: Address, amount: u128 },
    Withdrawn { user: Address, owner: Address, amount: u128 },
    Locked { pod: PodId, moved: u128, rows: usize, skipped: Vec<u8> },
    Settled { pod: PodId, paid: u128, rows: usize, skipped: Vec<u8> },
    ExitStarted { user: Address, pod: PodId, epoch: u32, exit_at_unix_s: u64 },
    ExitFinished { user: Address, pod: PodId, new_epoch: u32, refund: u128 },
    Closed { user: Address, pod: PodId, new_epoch: u32, paid: u128, refund: u128 },
    Collected { pod: PodId, payout: Address, amount: u128 },
}
