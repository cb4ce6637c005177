//! SGX enclaves and their 384-byte reports (Intel SDM, volume 3D, table 37-21).

use sha2::{Digest, Sha256};

use crate::tee::Tee;

/// Attributes of a production enclave: INIT and MODE64BIT, with x87, SSE and AVX in XFRM.
pub const ATTRIBUTES: [u8; 16] = [0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];
/// In byte 0 of the attributes: the enclave can be debugged, so nothing in it is secret.
pub const DEBUG_BIT: u8 = 0x02;
/// In byte 0 of the attributes: the enclave may use the provisioning key.
pub const PROVISION_KEY_BIT: u8 = 0x10;
/// In byte 0 of the attributes: the enclave may use the launch-token key.
pub const EINITTOKEN_KEY_BIT: u8 = 0x20;

/// Security version of both quoting enclaves.
pub(super) const QE_ISV_SVN: u16 = 8;

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

    /// The report body on a processor with `cpu_svn`.
    pub(super) fn report(&self, cpu_svn: [u8; 16], misc_select: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(cpu_svn);
        out.extend(misc_select);
        out.extend([0; 28]);
        out.extend(self.attributes);
        out.extend(self.mr_enclave);
        out.extend([0; 32]);
        out.extend(self.mr_signer);
        out.extend([0; 96]);
        out.extend(self.isv_prod_id.to_le_bytes());
        out.extend(self.isv_svn.to_le_bytes());
        out.extend([0; 60]);
        out.extend(self.report_data);
        out
    }
}

/// A quoting enclave, which certifies the attestation key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotingEnclaveSpec {
    /// Signer, which the QE identity names.
    pub mr_signer: [u8; 32],
    /// Product id, which the QE identity names.
    pub isv_prod_id: u16,
    /// Security version, which the QE identity rates.
    pub isv_svn: u16,
    /// MISCSELECT as in the report (little-endian).
    pub misc_select: [u8; 4],
    /// ATTRIBUTES as in the report.
    pub attributes: [u8; 16],
}

impl QuotingEnclaveSpec {
    /// The quoting enclave for `tee`; the two have their own signers and product ids.
    pub fn of(tee: Tee) -> Self {
        let (signer, isv_prod_id): (&[u8], u16) = match tee {
            Tee::Sgx => (b"phallama/1 simulated quoting enclave signer", 1),
            Tee::Tdx => (b"phallama/1 simulated TD quoting enclave signer", 2),
        };
        Self {
            mr_signer: Sha256::digest(signer).into(),
            isv_prod_id,
            isv_svn: QE_ISV_SVN,
            misc_select: [0; 4],
            // A quoting enclave does hold the provisioning key's attribute: that is its job.
            attributes: [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// Its report: the report data is SHA-256(attestation key ‖ authentication data), then zeros.
    pub(super) fn report(
        &self,
        cpu_svn: [u8; 16],
        attestation_key: &[u8; 64],
        authentication_data: &[u8],
    ) -> Vec<u8> {
        let mut report_data = [0; 64];
        let bound = Sha256::new()
            .chain_update(attestation_key)
            .chain_update(authentication_data)
            .finalize();
        report_data[..32].copy_from_slice(&bound);
        let enclave = EnclaveSpec {
            mr_enclave: Sha256::digest(b"phallama/1 simulated quoting enclave").into(),
            mr_signer: self.mr_signer,
            isv_prod_id: self.isv_prod_id,
            isv_svn: self.isv_svn,
            attributes: self.attributes,
            report_data,
        };
        enclave.report(cpu_svn, self.misc_select)
    }
}
