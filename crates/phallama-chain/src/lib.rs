//! The only code that talks to an EVM node.
//!
//! [`Chain`] reads one deployment of the contracts, [`Sender`] writes to it from one account, and
//! [`deploy`] makes a development deployment. Types of the Ethereum library stay inside; outside
//! there are the protocol's types and the records of this crate.
//!
//! Nothing here decides anything: a node can be stale or lie, and callers treat its word as such.

mod chain;
mod config;
mod contracts;
mod convert;
mod deploy;
mod error;
mod record;
mod sender;
mod tls;
mod write;

pub use chain::Chain;
pub use config::ChainConfig;
pub use deploy::{Deployment, deploy};
pub use error::ChainError;
pub use record::{
    Account, BlockTag, Channel, Head, KeyRegistration, LockRow, PodRecord, ReceiptRow,
    Registration, RelayedClose, SettleRow, TokenMeta,
};
pub use sender::{Sender, Tx};
pub use tls::use_ring;
pub use write::settle_rows_bytes;
