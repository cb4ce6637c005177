//! The enclave program as the host sees it: a socket that answers, and a process to keep alive.

mod client;
mod link;
mod process;
mod settings;

pub use client::EnclaveClient;
pub use link::Links;
pub(crate) use link::{LinkReader, LinkWriter, connect};
pub(crate) use process::Report;
pub use process::{EnclaveInfo, EnclaveProcess, EnclaveState, ProcessSpec};
pub(crate) use settings::enclave_config_json;
