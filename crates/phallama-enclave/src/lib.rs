//! The program inside the TEE: proves itself, opens requests, meters, signs.
//!
//! The only holder of a pod's keys, and beside the worker the only place on the pod's machine where
//! prompts and answers exist in the clear. It has no public socket, no TLS, no RPC client and no
//! persistent state: everything in it dies with the process. Its one partner is the pod's host,
//! over a UNIX socket ([`link_server`], spec/wire.md *Host and enclave*). The host is not trusted:
//! it can delay and stop, and what it says about deposits costs only itself.
//!
//! A request takes this way:
//!
//! 1. `opening`: the epoch's key ([`epoch`]) opens all of it; its encapsulation is remembered.
//! 2. `admission`: class, terms, voucher, allocation, body; then the host's word about deposits;
//!    then the channel's ledger ([`ledger`]) reserves the most that the answer can cost.
//! 3. `generation`: the worker's events go into the `outbox`, which cuts them into frames; the
//!    `pacer` sends one frame per tick, whatever the answer contains.
//! 4. `meter`: interim receipts on the way; at the end a charge, a signed claim, and END only after
//!    the host has stored the claim.
//!
//! What may be logged: counts, amounts, codes. Prompts, answers, vouchers and keys have types that
//! do not print them.

pub mod backend;
pub mod clock;
pub mod config;
pub mod enclave;
pub mod epoch;
pub mod hardening;
pub mod ledger;
pub mod link_server;
pub mod platform;
pub mod policy;
pub mod random;

mod admission;
mod connection;
mod exchange;
mod generation;
mod meter;
mod opening;
mod outbox;
mod pacer;
mod settlement;
