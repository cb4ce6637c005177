//! What the verifier has stored of Intel's collateral.

use phallama_protocol::ids::Digest32;

use crate::attestation::TeeKind;

/// Which collateral a quote needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollateralKeys {
    /// [`key_id`](crate::key_id) of the CA that issued the PCK certificate.
    pub ca: Digest32,
    /// [`key_id`](crate::key_id) of the signer of TCB information and QE identity.
    pub signer: Digest32,
    /// What made the quote.
    pub tee: TeeKind,
    /// Processor family.
    pub fmspc: [u8; 6],
}

/// What there is of it; `None` is what has to be brought. It says nothing about validity now: the
/// reader compares the times with the chain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollateralState {
    /// The root's own list.
    pub root_crl: Option<StoredCrl>,
    /// The CA of PCK certificates.
    pub ca: Option<StoredCa>,
    /// The signer of the other two.
    pub signer: Option<StoredSigner>,
    /// TCB information of the processor family.
    pub tcb_info: Option<Stored>,
    /// Identity of the quoting enclave.
    pub qe_identity: Option<Stored>,
}

/// A revocation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCrl {
    /// CRL number; `u128::MAX` stands for anything larger.
    pub number: u128,
    /// Good before this second since 1970.
    pub next_update_unix_s: u64,
}

/// An admitted CA of PCK certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCa {
    /// Good before this second since 1970.
    pub not_after_unix_s: u64,
    /// Its list.
    pub crl: Option<StoredCrl>,
    /// The root revoked it.
    pub revoked: bool,
}

/// An admitted signer of TCB information and QE identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSigner {
    /// Good before this second since 1970.
    pub not_after_unix_s: u64,
    /// Not revoked by the root.
    pub good: bool,
}

/// Signed JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// TCB evaluation data number.
    pub evaluation_number: u32,
    /// Seconds since 1970.
    pub issued_at_unix_s: u64,
    /// Good before this second since 1970.
    pub next_update_unix_s: u64,
}
