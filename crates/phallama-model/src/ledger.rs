//! The money of one pod and its users under an adversary: each byte of the input is one thing that
//! happens, and at the end everything must add up.
//!
//! Real are the client's arithmetic, the host's admission, reserves, journal and settlement plan,
//! and the enclave's ledger. The chain is [`EscrowModel`](crate::escrow::EscrowModel) in blocks
//! that can be taken back; the disk fails, tears and is put back to an earlier day; power and
//! network go; receipts come late, in another order, or never. Signatures are symbolic (`signed`).
//!
//! After every step: the escrow holds exactly what went in and did not go out; `claimed ≤ locked`;
//! a user has paid no more than the sum of the reserves it signed; what the disk acknowledged is in
//! the journal. At the end, after a bounded number of rounds: nothing is left to settle, every unit
//! is the owner's or the pod's, the pod was paid everything it can prove up to what was locked, and
//! what it lost is within its limits. Where an old copy of the disk was put back, only the pod may
//! lose.

mod chain;
mod disk;
mod pod;
mod signed;
mod step;
mod user;
mod world;

use phallama_protocol::ids::{Address, Digest32, PodId};

pub use world::Report;

const ESCROW: Address = Address([0xe5; 20]);
const OWNER: Address = Address([0x0a; 20]);
const POD: PodId = PodId([0x9d; 32]);
const TERMS: Digest32 = Digest32([0x7e; 32]);
const START_UNIX_S: u64 = 1_800_000_000;

/// Plays the input.
///
/// # Errors
/// What does not add up, and after which step.
pub fn run(input: &[u8]) -> Result<Report, String> {
    world::World::new().play(input)
}
