//! The only code that talks to an EVM node.
//!
//! [`Chain`] reads one deployment of the contracts, [`Sender`] writes to it from one account, and
//! [`deploy`] makes a development deployment. Types of the Ethereum library stay inside; outside
//! there are the protocol's types and the records of this crate.
//!
//! A node can be stale or lie. What decides about money is therefore read at one block, named by
//! its hash, and with two or more endpoints two of them have to give the same answer ([`AtBlock`]);
//! a single endpoint is believed. Everything else goes to one endpoint and, when that does not
//! answer, over to the next. [`HeadTrail`] notices a reorganisation.

mod at;
mod attestation;
mod broadcast;
mod call;
mod chain;
mod collateral;
mod config;
mod contracts;
mod convert;
mod deploy;
mod endpoint;
mod endpoints;
mod error;
mod fees;
mod http;
mod outbox;
mod record;
mod refusal;
mod rounds;
mod sender;
mod tls;
mod token;
mod trail;
mod verifier;
mod write;

pub use at::AtBlock;
pub use attestation::{
    AttestedKey, KeyBinding, MachineHolder, Pck, QuoteParts, TcbStatusCode, TeeKind, UnknownCode,
    Verdict, key_id,
};
pub use call::{Call, Credited};
pub use chain::Chain;
pub use collateral::{CollateralKeys, CollateralState, Stored, StoredCa, StoredCrl, StoredSigner};
pub use config::ChainConfig;
pub use deploy::{Deployment, deploy};
pub use error::{ChainError, Disagreement};
pub use record::{
    Account, Authorization, BlockTag, Channel, Head, LockRow, Permit, PodRecord, ReceiptRow,
    Registration, RelayedClose, SettleRow, TokenMeta,
};
pub use sender::{Gas, Outstanding, SendPolicy, Sender, Tx};
pub use tls::use_ring;
pub use trail::{Advance, HeadTrail};
pub use write::settle_rows_bytes;
