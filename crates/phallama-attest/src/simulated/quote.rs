//! SGX quotes v3 and TDX quotes v4 and v5, byte for byte as Intel's DCAP quoting libraries lay them
//! out.

use crate::tee::Tee;

/// Intel's quoting-enclave vendor id, which the verifier requires.
const QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
pub(super) const SGX_QUOTE_VERSION: u16 = 3;
const ECDSA_P256: u16 = 2;
const TEE_TYPE_SGX: u32 = 0;
const TEE_TYPE_TDX: u32 = 0x81;
/// Certification data type 5: the PEM chain of the PCK certificate.
const PCK_CERT_CHAIN: u16 = 5;
/// Certification data type 6, around type 5 in quotes v4 and v5.
const QE_REPORT_CERTIFICATION: u16 = 6;

/// A quote in its parts. Whoever changes one signs it again with the keys of
/// [`SimulatedPlatform`](super::SimulatedPlatform), or leaves the signature wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteParts {
    /// Header and body: what the attestation key signs.
    pub signed: Vec<u8>,
    /// r ‖ s of the attestation key over `signed`.
    pub signature: [u8; 64],
    /// The attestation key: x ‖ y.
    pub attestation_key: [u8; 64],
    /// Report of the quoting enclave, 384 bytes.
    pub qe_report: Vec<u8>,
    /// r ‖ s of the PCK over `qe_report`.
    pub qe_report_signature: [u8; 64],
    /// What the quoting enclave's report data covers after the attestation key, 32 bytes.
    pub qe_authentication_data: Vec<u8>,
    /// PEM chain of the PCK certificate, leaf first.
    pub pck_chain: String,
}

impl QuoteParts {
    /// The raw quote. Its first two bytes, the version, decide between the shapes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut certified = self.qe_report.clone();
        certified.extend(self.qe_report_signature);
        certified.extend((self.qe_authentication_data.len() as u16).to_le_bytes());
        certified.extend(&self.qe_authentication_data);
        certified.extend(typed(PCK_CERT_CHAIN, self.pck_chain.as_bytes()));
        if self.signed[..2] != SGX_QUOTE_VERSION.to_le_bytes() {
            certified = typed(QE_REPORT_CERTIFICATION, &certified);
        }
        let authentication = [&self.signature[..], &self.attestation_key, &certified].concat();
        let mut quote = self.signed.clone();
        quote.extend((authentication.len() as u32).to_le_bytes());
        quote.extend(authentication);
        quote
    }
}

/// The 48-byte header.
pub(super) fn header(version: u16, tee: Tee, qe_svn: u16, pce_svn: u16) -> Vec<u8> {
    let tee_type = match tee {
        Tee::Sgx => TEE_TYPE_SGX,
        Tee::Tdx => TEE_TYPE_TDX,
    };
    let mut out = Vec::new();
    out.extend(version.to_le_bytes());
    out.extend(ECDSA_P256.to_le_bytes());
    out.extend(tee_type.to_le_bytes());
    out.extend(qe_svn.to_le_bytes());
    out.extend(pce_svn.to_le_bytes());
    out.extend(QE_VENDOR_ID);
    out.extend([0; 20]);
    out
}

/// Certification data: type, length, content.
fn typed(certification_type: u16, content: &[u8]) -> Vec<u8> {
    let mut out = certification_type.to_le_bytes().to_vec();
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(content);
    out
}
