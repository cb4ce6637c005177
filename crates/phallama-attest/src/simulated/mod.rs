//! A software SGX platform under a development root.
//!
//! [`DevelopmentRoot`] plays Intel: root CA, Platform CA, TCB signer, revocation lists, TCB
//! information and quoting-enclave identity. [`SimulatedPlatform`] plays one machine: a PCK
//! certificate with its own machine identity, a quoting enclave and its attestation key. Unmodified
//! `dcap-qvl` accepts the quotes under this root and refuses them under Intel's.
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

mod certificate;
mod collateral;
mod dates;
mod der;
mod keys;
mod platform;
mod quote;
mod root;

pub use collateral::{CollateralSpec, RevokedCertificate};
pub use platform::{PlatformSpec, SimulatedPlatform};
pub use quote::{
    ATTRIBUTES, DEBUG_BIT, EINITTOKEN_KEY_BIT, EnclaveSpec, PROVISION_KEY_BIT, QuotingEnclaveSpec,
};
pub use root::{DEVELOPMENT_SEED, DevelopmentRoot};
