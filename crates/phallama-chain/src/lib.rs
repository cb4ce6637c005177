//! The only code that talks to an EVM node.
//!
//! [`Chain`] reads one deployment of the contracts, [`Sender`] writes to it from one account, and
//! [`deploy`] makes a development deployment. Types of the Ethereum library stay inside; outside
//! there are the protocol's types and the records of this crate.
//!
//! Nothing here decides anything: a node can be stale or lie, and callers treat its word as such.

mod attestation;
mod call;
mod chain;
mod collateral;
mod config;
mod contracts;
mod convert;
mod deploy;
mod error;
mod record;
mod refusal;
mod sender;
mod tls;
mod token;
mod verifier;
mod write;

pub use attestation::{
    AttestedKey, KeyBinding, MachineHolder, Pck, QuoteParts, TcbStatusCode, TeeKind, UnknownCode,
    Verdict, key_id,
};
pub use call::{Call, Credited};
pub use chain::Chain;
pub use collateral::{CollateralKeys, CollateralState, Stored, StoredCa, StoredCrl, StoredSigner};
pub use config::ChainConfig;
pub use deploy::{Deployment, deploy};
pub use error::ChainError;
pub use record::{
    Account, Authorization, BlockTag, Channel, Head, LockRow, Permit, PodRecord, ReceiptRow,
    Registration, RelayedClose, SettleRow, TokenMeta,
};
pub use sender::{Gas, Sender, Tx};
pub use tls::use_ring;
pub use write::settle_rows_bytes;
