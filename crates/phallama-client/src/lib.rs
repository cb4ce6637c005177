//! The user's side of Phallama: choose a pod, verify it, seal to it, open its answer, pay it.
//!
//! The crate listens on no socket and prints nothing; command line and local server are built on
//! it. Plain-text prompts leave it in one way only: [`Client::ask`] seals them, and sealing takes a
//! [`VerifiedPod`], which only a verification that succeeded can make. There is no unverified, no
//! unsealed and no unpaid path to fall back to.
//!
//! One request, in order:
//!
//! 1. *Choose*: of the chain's list of pods those that offer the model and suit the user's
//!    [`PodPolicy`], at random among those that are cheap enough; a conversation stays where it is.
//! 2. *Verify*: chain record, key bundle and evidence against each other and against the user's
//!    [`TrustPolicy`]; the verdict is a list of named [`Check`]s. A refused pod is a [`Refusal`].
//! 3. *Promise*: the request's reserve against the user's limits and balance, as a voucher and, if
//!    more must be locked, an allocation. Both are on disk before they leave.
//! 4. *Seal, send, open*: the answer arrives as [`AnswerEvent`]s. Before its first part another pod
//!    may be tried; after that never.
//! 5. *Settle*: the receipt at the authenticated end is held to what was agreed and received, then
//!    stored. A stream that ends in any other way is an error, never a short answer.
//!
//! Normative: `spec/wire.md`, `spec/attestation.md`, `spec/receipts.md`, `spec/billing.md`.

mod answer;
mod ask;
mod check;
mod choose;
mod client;
mod config;
mod conversation;
mod directory;
mod dispute;
mod dossier;
mod draw;
mod error;
mod explain;
mod health;
mod keystore;
mod leaving;
mod ledger;
mod observe;
mod once;
mod pod_http;
mod promise;
mod question;
mod receipt;
mod relay;
mod spend;
mod suitability;
mod verify;
mod wallet;

#[cfg(test)]
#[path = "../tests/support/fixture.rs"]
mod fixture;

pub use answer::{Answer, AnswerEvent, FinishedAnswer, Started, Usage};
pub use ask::AskOptions;
pub use check::{Check, Refusal, VouchedBy};
pub use client::{Client, UserKey};
pub use config::{
    ApprovedMeasurement, ClientConfig, PaymentPolicy, Purse, SpendLimits, Timeouts, TrustPolicy,
    lock_size,
};
pub use directory::ModelListing;
pub use dispute::{Accusation, Dispute, Evidence, Shown};
pub use dossier::{
    AUDIT_FILE_MAX_BYTES, Audit, DeploymentFacts, Dossier, DossierError, MachineFacts,
};
pub use error::{ClientError, ErrorClass, Exit, FailureRow, PodFailure, SpendLimit};
pub use explain::{Explanation, Fact};
pub use keystore::{Keystore, KeystoreError, ScryptCost, random_signer};
pub use ledger::{LedgerError, Repeated};
pub use observe::{Observer, RequestEnd};
pub use phallama_attest::{AcceptedTcb, CheckState, RootKind, TcbStatus, TrustRoot};
pub use phallama_chain::{RelayedClose, TeeKind};
pub use phallama_protocol::request::Method;
pub use receipt::{Agreement, ReceiptFault, StoredReceipt};
pub use relay::{Action, Opening, RelayError, SIGNED_FILE_MAX_BYTES, SignedAction};
pub use suitability::{PodPolicy, Unsuitable};
pub use verify::VerifiedPod;
pub use wallet::{Balance, ChannelBalance, Spending};
