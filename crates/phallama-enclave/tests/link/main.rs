//! The enclave through its real socket, with a scripted host and client and the engine's fake
//! worker, which is built when it is missing.

// Clippy knows functions with #[test] only; the driver belongs to them.
#![allow(clippy::unwrap_used)]

mod answers;
mod cancellation;
mod driver;
mod evidence;
mod models;
mod overload;
mod payments;
mod program;
mod real_worker;
mod refusals;
mod rotation;
