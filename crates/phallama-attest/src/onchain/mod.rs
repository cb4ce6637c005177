//! What the contracts are given: quotes and collateral cut into the parts they check.
//!
//! The contracts verify everything again, so nothing here judges: a quote that is cut may still be
//! refused. `IAttestationVerifier.sol` describes the parts.

mod collateral;
mod pck;
mod quote;

pub use collateral::{OnChainCertificate, OnChainCollateral};
pub use pck::Pck;
pub use quote::OnChainQuote;

use crate::verify::Rejection;

/// Why a quote or its collateral cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The quote's own layout is wrong.
    #[error(transparent)]
    Layout(#[from] Rejection),
    /// The signed part is neither an enclave's nor a trust domain's.
    #[error("header and body of the quote have {got} bytes; use 432, 632, 638, 702 or 939")]
    BodyLength {
        /// Their length in bytes.
        got: usize,
    },
    /// The quoting enclave's authentication data has another length than Intel's enclaves use.
    #[error("the quoting enclave's authentication data has {got} bytes, not {expected}")]
    AuthenticationDataLength {
        /// Its length in bytes.
        got: usize,
        /// Always 32.
        expected: usize,
    },
    /// A PEM chain is broken or too short.
    #[error("the certificate chain of {of} cannot be used: {detail}")]
    Chain {
        /// What it belongs to.
        of: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A certificate is broken or lacks a field.
    #[error("a certificate of {of} cannot be used: {detail}")]
    Certificate {
        /// Where it is.
        of: &'static str,
        /// What is wrong.
        detail: String,
    },
}
