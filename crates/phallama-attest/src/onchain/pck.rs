use dcap_qvl::configs::RingConfig;
use dcap_qvl::intel::{PckExtension, parse_pck_extension_with};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::SequenceRef;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::time::Time;

use crate::digests::machine_digest;

use super::CutError;

const OF: &str = "the quote (PCK)";

/// What a PCK certificate says: the contracts' `Pck`, but for its issuer's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pck {
    /// SHA-256 of the certificate's signed part.
    pub tbs_hash: [u8; 32],
    /// Public key, P-256, big-endian.
    pub x: [u8; 32],
    /// Public key, P-256, big-endian.
    pub y: [u8; 32],
    /// Public key of the CA that signed it: x ‖ y. Its Keccak-256 is the contracts' `issuer`.
    pub issuer_key: [u8; 64],
    /// Serial number, big-endian.
    pub serial: [u8; 32],
    /// The machine identity itself, which the contracts know by [`Pck::machine`] only.
    pub ppid: [u8; 16],
    /// [`machine_digest`] of the PPID.
    pub machine: [u8; 32],
    /// Platform instance id; zero for certificates of the Processor CA.
    pub instance: [u8; 16],
    /// Security versions of the 16 components.
    pub cpu_svn: [u8; 16],
    /// Processor family.
    pub fmspc: [u8; 6],
    /// Provisioning enclave.
    pub pce_id: [u8; 2],
    /// Security version of the provisioning enclave.
    pub pce_svn: u16,
    /// First second of validity, since 1970 (UTC).
    pub not_before_unix_s: u64,
    /// Last second of validity, since 1970 (UTC).
    pub not_after_unix_s: u64,
}

impl Pck {
    /// Reads the certificate `leaf`, signed by the CA with certificate `issuer`, both in DER. No
    /// signature is checked.
    ///
    /// # Errors
    /// [`CutError::Certificate`] naming the one that is broken or lacks a field.
    pub fn from_der(leaf: &[u8], issuer: &[u8]) -> Result<Self, CutError> {
        let certificate = decoded(leaf, OF)?;
        let sgx = parse_pck_extension_with::<RingConfig>(leaf).map_err(|e| unusable(OF, &e))?;
        let tbs = certificate.tbs_certificate();
        let ([x, y], ppid) = (halves(key(&certificate, OF)?), sized(OF, "PPID", &sgx.ppid)?);
        let unix_s = |time: Time| time.to_unix_duration().as_secs();
        Ok(Self {
            tbs_hash: Sha256::digest(signed_part(leaf)?).into(),
            x,
            y,
            issuer_key: public_key(issuer, "the quote (its CA)")?,
            serial: left_padded(tbs.serial_number().as_bytes())?,
            machine: machine_digest(&ppid),
            ppid,
            instance: instance(&sgx)?,
            cpu_svn: sgx.cpu_svn,
            fmspc: sgx.fmspc,
            pce_id: sized(OF, "PCE id", &sgx.pce_id)?,
            pce_svn: sgx.pce_svn,
            not_before_unix_s: unix_s(tbs.validity().not_before),
            not_after_unix_s: unix_s(tbs.validity().not_after),
        })
    }
}

/// The P-256 key of a certificate in DER: x ‖ y.
pub(super) fn public_key(der: &[u8], of: &'static str) -> Result<[u8; 64], CutError> {
    key(&decoded(der, of)?, of)
}

fn key(certificate: &Certificate, of: &'static str) -> Result<[u8; 64], CutError> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let point = info.subject_public_key.raw_bytes();
    let key = point.strip_prefix(&[4]).and_then(|point| point.try_into().ok());
    key.ok_or_else(|| unusable(of, &"its key is not an uncompressed point of P-256"))
}

fn decoded(der: &[u8], of: &'static str) -> Result<Certificate, CutError> {
    Certificate::from_der(der).map_err(|error| unusable(of, &error))
}

/// The first element of the certificate, header included.
fn signed_part(leaf: &[u8]) -> Result<&[u8], CutError> {
    let content = <&SequenceRef>::from_der(leaf).and_then(|sequence| {
        let mut reader = SliceReader::new(sequence.as_bytes())?;
        reader.tlv_bytes()
    });
    content.map_err(|error| unusable(OF, &error))
}

fn instance(sgx: &PckExtension) -> Result<[u8; 16], CutError> {
    let id = sgx.platform_instance_id.as_deref();
    id.map_or(Ok([0; 16]), |id| sized(OF, "platform instance id", id))
}

fn halves(key: [u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves.as_flattened_mut().copy_from_slice(&key);
    halves
}

/// A positive INTEGER's bytes as 256 bits.
fn left_padded(bytes: &[u8]) -> Result<[u8; 32], CutError> {
    let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut out = [0; 32];
    let tail = out.len().checked_sub(digits.len()).and_then(|from| out.get_mut(from..));
    tail.ok_or_else(|| unusable(OF, &"its serial number has more than 32 bytes"))?
        .copy_from_slice(digits);
    Ok(out)
}

fn sized<const N: usize>(of: &'static str, field: &str, bytes: &[u8]) -> Result<[u8; N], CutError> {
    let wrong = || unusable(of, &format!("its {field} has {} bytes, not {N}", bytes.len()));
    bytes.try_into().map_err(|_| wrong())
}

pub(super) fn unusable(of: &'static str, error: &dyn std::fmt::Display) -> CutError {
    CutError::Certificate { of, detail: format!("{error:#}") }
}
