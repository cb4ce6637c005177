//! The enclave through its real socket, with a scripted host and client and the engine's fake
//! worker (`cargo build -p phallama-engine --bins`).

mod answers;
mod cancellation;
mod driver;
mod evidence;
mod payments;
mod refusals;
mod rotation;
