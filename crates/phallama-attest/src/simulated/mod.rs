//! A software SGX and TDX platform under a development root.
//!
//! [`DevelopmentRoot`] plays Intel: root CA, Platform CA, Processor CA and TCB signer.
//! [`SimulatedPlatform`] plays one machine: a PCK certificate with its own machine identity, two
//! quoting enclaves (for SGX and for TDX) and their attestation key. Unmodified `dcap-qvl` accepts
//! the quotes under this root and refuses them under Intel's.
//!
//! Two roads lead to evidence. [`CollateralSpec`] says the little that most tests change;
//! [`CollateralItems`] has every field of every item, for tests of verifiers. Where even that is
//! not enough, [`QuoteParts`], [`DevelopmentRoot::sign`] and [`DevelopmentRoot::signed_der`] sign
//! any bytes at all.
//!
//! Every key is derived from a seed and every signature is deterministic (RFC 6979), so the same
//! seed gives the same certificates, byte for byte, in every process. [`DEVELOPMENT_SEED`] is
//! public: **whoever trusts its root trusts everybody**.

// The inputs are the program's own parameters, never foreign bytes: lengths are small constants,
// and a broken invariant here is a bug in a test or a development network.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod authorities;
mod certificate;
mod collateral;
mod dates;
mod der;
mod enclave;
mod keys;
mod platform;
mod qe_identity;
mod quote;
mod sgx_extension;
mod tcb_info;
mod trust_domain;

pub use authorities::{Authority, DEVELOPMENT_SEED, DevelopmentRoot, PckCa, RootSpec};
pub use certificate::{CrlSpec, ExtensionSpec};
pub use collateral::{CollateralItems, CollateralSpec, RevokedCertificate};
pub use dates::Validity;
pub use der::signed_part;
pub use enclave::{
    ATTRIBUTES, DEBUG_BIT, EINITTOKEN_KEY_BIT, EnclaveSpec, PROVISION_KEY_BIT, QuotingEnclaveSpec,
};
pub use platform::{PlatformSpec, SimulatedPlatform};
pub use qe_identity::QeIdentitySpec;
pub use quote::QuoteParts;
pub use tcb_info::{
    IsvLevelSpec, Rating, TcbInfoSpec, TcbLevelSpec, TdxModuleIdentitySpec, TdxModuleSpec,
};
pub use trust_domain::{
    SEPT_VE_DISABLE_BIT, TD_DEBUG_BIT, TD_MIGRATABLE_BIT, TD_SERVTD_EXT_BIT, TdReport,
    TrustDomainSpec,
};
