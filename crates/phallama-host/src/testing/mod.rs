//! What this crate's tests share: a development chain with a registered pod and funded users, a
//! disk that can fail, and an enclave side that a test plays frame by frame.

mod disk;
mod enclave;
#[path = "../../../../tests/disk/random.rs"]
mod random;
#[path = "../../../../tests/disk/recorder.rs"]
mod recorder;
mod world;

pub(crate) use disk::{RecordedMedium, SharedDisk};
pub(crate) use enclave::{EnclaveSide, ScriptedEnclave};
pub(crate) use random::Random;
pub(crate) use recorder::{Cuts, Recorder, Unsynced};
pub(crate) use world::{
    IMPATIENT, Node, Noted, World, charge, charge_at, enclave_info, enclave_spec, journal_claim,
    machine, registrar, signer, start_node, user,
};
