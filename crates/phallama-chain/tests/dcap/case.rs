//! One question to both verifiers.

use std::fmt;
use std::sync::Arc;

use phallama_attest::Collateral;

use crate::field::Cut;

/// The certificates above the leaf in DER, as they are brought to the contract. Those for
/// `dcap-qvl` are in the PEM chains of quote and collateral.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) ca: Vec<u8>,
    pub(crate) tcb_signer: Vec<u8>,
    pub(crate) qe_signer: Vec<u8>,
}

/// What was changed in a case, if it was not generated whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// All of it is as a platform and its authorities make it.
    Nothing,
    /// Bytes of a quote, signatures as they were.
    Quote,
    /// What the platform signs, signed again.
    SignedByPlatform,
    TcbInfo,
    QeIdentity,
    Leaf,
    Ca,
    Signer,
    RootCrl,
    PckCrl,
    /// Certificates above the leaf, or the text around them, where only `dcap-qvl` looks.
    Chain,
    /// Raw signatures.
    Signature,
}

/// A quote, its collateral, a root, and when.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) root: Arc<[u8]>,
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Collateral,
    pub(crate) certificates: Certificates,
    /// When collateral is brought to the contract.
    pub(crate) brought_at: u64,
    /// When both verifiers judge.
    pub(crate) judged_at: u64,
    pub(crate) changed: Changed,
    /// What the contract is given, if not what `dcap-qvl` finds in the quote.
    pub(crate) given: Option<Cut>,
    /// What the contract was given, and accepted, before the change.
    pub(crate) original: Option<Arc<Cut>>,
    /// The certificate or list that was changed, as it was and both accept it.
    pub(crate) before: Option<Arc<[u8]>>,
    /// What a person needs to know about it.
    pub(crate) note: String,
}

/// What an accepted quote says, as far as both verifiers tell.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: String,
    pub(crate) measurement: [u8; 32],
    pub(crate) report_data: [u8; 64],
    pub(crate) machine: [u8; 32],
    pub(crate) evaluation_number: u32,
    /// First second at which some part is no longer valid; `None` where `dcap-qvl` cannot say.
    pub(crate) expiry_unix_s: Option<u64>,
}

impl Case {
    pub(crate) fn note(mut self, changed: Changed, note: impl Into<String>) -> Self {
        self.changed = changed;
        self.note = note.into();
        self
    }
}

impl Verdict {
    /// Whether the contract's verdict `got` is the same, as far as this one goes.
    pub(crate) fn is(&self, got: &Self) -> bool {
        let expiry_unix_s = self.expiry_unix_s.or(got.expiry_unix_s);
        &Self { expiry_unix_s, ..self.clone() } == got
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &[u8]| alloy::hex::encode(bytes);
        f.debug_struct("Verdict")
            .field("status", &self.status)
            .field("measurement", &hex(&self.measurement))
            .field("report_data", &hex(&self.report_data))
            .field("machine", &hex(&self.machine))
            .field("evaluation_number", &self.evaluation_number)
            .field("expiry_unix_s", &self.expiry_unix_s)
            .finish()
    }
}
