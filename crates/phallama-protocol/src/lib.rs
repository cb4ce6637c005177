//! Every byte that crosses a trust boundary: messages, sealing, receipts, vouchers, digests (pure).
//!
//! The crate is the executable form of `spec/wire.md`, `spec/receipts.md` and `spec/billing.md`.
//! It never reads a clock, never does I/O and owns no source of randomness: time and generators
//! are arguments (use the traits of [`rand_core`]). Integers are big-endian everywhere.
//!
//! One exchange, in order:
//!
//! 1. the enclave signs a [`bundle::KeyBundle`]; the client decodes and checks it;
//! 2. the client seals a [`request::RequestPlain`] to the bundle's epoch key
//!    ([`request::seal_request`]); the enclave opens all of it before acting on any of it
//!    ([`request::open_request`]) and remembers the encapsulation in a [`replay::ReplaySet`];
//! 3. the enclave answers through a [`frames::FrameSealer`]; the client reads through a
//!    [`frames::ResponseOpener`], which refuses every deviation from the page;
//! 4. the answer ends with a [`receipt::SignedReceipt`], whose signature is the payment claim
//!    ([`eip712::Settlement`]).
//!
//! Parsers return typed errors with what they got and what they expected; none of them panics.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub use hpke::rand_core;

pub mod bundle;
pub mod closing;
pub mod demand;
pub mod eip712;
pub mod events;
pub mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod ids;
pub mod keys;
pub mod link;
pub mod offers;
pub mod receipt;
pub mod refusal;
pub mod replay;
pub mod request;
pub mod token;

mod amount;
mod codec;
mod hash;
#[cfg(test)]
mod interop;
mod suite;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
