//! SGX quotes, version 3, byte for byte as Intel's DCAP quoting library lays them out.

use sha2::{Digest, Sha256};

use super::keys::Key;

/// Attributes of a production enclave: INIT and MODE64BIT, with x87, SSE and AVX in XFRM.
pub const ATTRIBUTES: [u8; 16] = [0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
/// In byte 0 of the attributes: the enclave can be debugged, so nothing in it is secret.
pub const DEBUG_BIT: u8 = 0x02;
/// In byte 0 of the attributes: the enclave may use the provisioning key.
pub const PROVISION_KEY_BIT: u8 = 0x10;
/// In byte 0 of the attributes: the enclave may use the launch-token key.
pub const EINITTOKEN_KEY_BIT: u8 = 0x20;

/// Intel's quoting-enclave vendor id, which the verifier requires.
const QE_VENDOR_ID: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
const QUOTE_VERSION: u16 = 3;
const ECDSA_P256: u16 = 2;
const TEE_TYPE_SGX: u32 = 0;
/// Certification data type 5: the PEM chain of the PCK certificate.
const PCK_CERT_CHAIN: u16 = 5;

/// The enclave that a quote describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveSpec {
    /// Measurement of the code and its initial data.
    pub mr_enclave: [u8; 32],
    /// Hash of the key that signed the enclave.
    pub mr_signer: [u8; 32],
    /// Product id under that signer.
    pub isv_prod_id: u16,
    /// Security version of the enclave.
    pub isv_svn: u16,
    /// FLAGS (8 bytes) ‖ XFRM (8 bytes); [`ATTRIBUTES`] for a production enclave.
    pub attributes: [u8; 16],
    /// The 64 bytes the enclave chose; see [`report_data`](crate::report_data).
    pub report_data: [u8; 64],
}

impl EnclaveSpec {
    /// A production enclave with this measurement and report data; the rest is fixed.
    pub fn new(mr_enclave: [u8; 32], report_data: [u8; 64]) -> Self {
        Self {
            mr_enclave,
            mr_signer: Sha256::digest(b"phallama/1 simulated enclave signer").into(),
            isv_prod_id: 1,
            isv_svn: 1,
            attributes: ATTRIBUTES,
            report_data,
        }
    }
}

/// The quoting enclave that certifies the attestation key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotingEnclaveSpec {
    /// Signer, which the QE identity names.
    pub mr_signer: [u8; 32],
    /// Product id, which the QE identity names.
    pub isv_prod_id: u16,
    /// Security version, which the QE identity rates.
    pub isv_svn: u16,
}

impl Default for QuotingEnclaveSpec {
    fn default() -> Self {
        let mr_signer = Sha256::digest(b"phallama/1 simulated quoting enclave signer").into();
        Self { mr_signer, isv_prod_id: 1, isv_svn: 8 }
    }
}

/// What signs a quote, from the machine's side.
pub(super) struct Signers<'a> {
    pub(super) pck: &'a Key,
    pub(super) attestation: &'a Key,
    pub(super) quoting_enclave: &'a QuotingEnclaveSpec,
    pub(super) cpu_svn: [u8; 16],
    pub(super) pce_svn: u16,
    /// PEM chain, leaf first.
    pub(super) pck_chain: &'a str,
}

/// The raw quote of `enclave`.
pub(super) fn quote(enclave: &EnclaveSpec, signers: &Signers<'_>) -> Vec<u8> {
    let mut quote = header(signers);
    quote.extend(report(enclave, signers.cpu_svn));
    let authentication = authentication(&quote, signers);
    quote.extend((authentication.len() as u32).to_le_bytes());
    quote.extend(authentication);
    quote
}

fn header(signers: &Signers<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(QUOTE_VERSION.to_le_bytes());
    out.extend(ECDSA_P256.to_le_bytes());
    out.extend(TEE_TYPE_SGX.to_le_bytes());
    out.extend(signers.quoting_enclave.isv_svn.to_le_bytes());
    out.extend(signers.pce_svn.to_le_bytes());
    out.extend(QE_VENDOR_ID);
    out.extend([0; 20]);
    out
}

/// The 384-byte report body of an enclave.
fn report(enclave: &EnclaveSpec, cpu_svn: [u8; 16]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(cpu_svn);
    out.extend([0; 4 + 28]);
    out.extend(enclave.attributes);
    out.extend(enclave.mr_enclave);
    out.extend([0; 32]);
    out.extend(enclave.mr_signer);
    out.extend([0; 96]);
    out.extend(enclave.isv_prod_id.to_le_bytes());
    out.extend(enclave.isv_svn.to_le_bytes());
    out.extend([0; 60]);
    out.extend(enclave.report_data);
    out
}

/// Signature of the attestation key over `signed`, and the PCK's certificate of that key.
fn authentication(signed: &[u8], signers: &Signers<'_>) -> Vec<u8> {
    let qe_authentication_data = [0x20; 32];
    let qe_report = quoting_enclave_report(&qe_authentication_data, signers);
    let mut out = Vec::new();
    out.extend(signers.attestation.sign(signed));
    out.extend(signers.attestation.public());
    out.extend(&qe_report);
    out.extend(signers.pck.sign(&qe_report));
    out.extend((qe_authentication_data.len() as u16).to_le_bytes());
    out.extend(qe_authentication_data);
    out.extend(PCK_CERT_CHAIN.to_le_bytes());
    out.extend((signers.pck_chain.len() as u32).to_le_bytes());
    out.extend(signers.pck_chain.as_bytes());
    out
}

/// The quoting enclave's report: its report data is SHA-256(attestation key ‖ data), then zeros.
fn quoting_enclave_report(authentication_data: &[u8], signers: &Signers<'_>) -> Vec<u8> {
    let mut report_data = [0; 64];
    let bound = Sha256::new()
        .chain_update(signers.attestation.public())
        .chain_update(authentication_data)
        .finalize();
    report_data[..32].copy_from_slice(&bound);
    let quoting_enclave = EnclaveSpec {
        mr_enclave: Sha256::digest(b"phallama/1 simulated quoting enclave").into(),
        mr_signer: signers.quoting_enclave.mr_signer,
        isv_prod_id: signers.quoting_enclave.isv_prod_id,
        isv_svn: signers.quoting_enclave.isv_svn,
        // The quoting enclave does hold the provisioning key's attribute: that is its job.
        attributes: [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
        report_data,
    };
    report(&quoting_enclave, signers.cpu_svn)
}
