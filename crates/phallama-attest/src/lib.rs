//! Evidence, collateral, policy and time in; verified claims, or why not, out.
//!
//! The normative page is `spec/attestation.md`. The crate is pure: it reads no clock, does no I/O
//! and draws no randomness. Time, trust root, policy and nonces are arguments, so a verdict can be
//! repeated years later from the same bytes.
//!
//! It has three parts, by who links them:
//!
//! - Always: [`Evidence`] (a quote with the collateral to judge it, and their JSON form),
//!   [`Binding`] with [`report_data`] (what ties a quote to a pod) and [`model_set_root`].
//! - Feature `verify`: [`verify()`], [`Policy`], [`VerifiedEvidence`]. For relying parties. A
//!   [`VerifiedEvidence`] can only be made by a verification that succeeded.
//!   With it comes [`onchain`]: the same evidence as the contracts take it.
//! - Feature `simulated`: a software SGX and TDX platform under a development root. Its evidence
//!   goes through the same verifier as hardware evidence: development is another root key, never
//!   another code path. Its seed is public, so it proves nothing about any machine.

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

mod binding;
mod digests;
mod evidence;
mod tcb_status;
mod tee;

#[cfg(feature = "verify")]
pub mod onchain;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(feature = "verify")]
mod verify;

pub use binding::{
    Binding, MODEL_NAME_MAX_BYTES, ModelSetError, NONCE_ON_CHAIN, model_set_root, report_data,
};
pub use digests::{evidence_digest, machine_digest, td_measurement};
pub use evidence::{Collateral, EVIDENCE_MAX_BYTES, EVIDENCE_PATH, Evidence, EvidenceError};
pub use tcb_status::{TcbStatus, UnknownTcbStatus};
pub use tee::Tee;
#[cfg(feature = "verify")]
pub use verify::{
    AcceptedTcb, Check, CheckName, CheckState, CollateralItem, Expected, MACHINE_IDENTITY_BYTES,
    Policy, QUOTE_MAX_BYTES, Rejection, ReportDataPart, RootKind, TcbComponent, TrustRoot,
    VerifiedEvidence, VerifyError, VouchedBy, verify,
};
