//! The whole path with nothing of ours replaced: a chain, the contracts, a pod's host, the enclave
//! program with a worker behind it, the client, the local server and the command line.
//!
//! The TEE is simulated: another root key, the same verification code. Where a fault of the worker
//! is wanted, the scripted worker takes llama-server's place behind the same supervisor.
#![allow(clippy::print_stderr)] // A test that could not run says so.

mod apis;
mod audit;
mod chat;
mod clients;
mod conversation;
mod failures;
mod goldens;
mod json;
mod money;
mod operator;
mod page;
mod payment;
mod security;
mod spending;
mod stack;
mod surface;
