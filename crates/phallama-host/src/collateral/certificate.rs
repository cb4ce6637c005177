//! Certificates and signatures of Intel's PKI: ECDSA on P-256 with SHA-256, chains of two.

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};
use x509_cert::ext::pkix::CrlDistributionPoints;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::name::Name;

use super::Fault;

/// Who signs an item.
pub(super) struct Issuer {
    pub(super) name: Name,
    /// First second after its validity.
    pub(super) end_unix_s: u64,
    key: VerifyingKey,
}

impl Issuer {
    /// The issuer at the head of a PEM chain `[issuer, root]`, whose root must be `root_der` and
    /// must have signed it.
    pub(super) fn from_chain(pem: &str, root_der: &[u8], now_unix_s: u64) -> Result<Self, Fault> {
        let text = pem.trim_end_matches(['\0', '\n', '\r', ' ']);
        let chain = Certificate::load_pem_chain(text.as_bytes()).map_err(Fault::malformed)?;
        let [issuer, root] = chain.as_slice() else {
            let detail = format!("an issuer chain of {} certificates, not 2", chain.len());
            return Err(Fault::Malformed { detail });
        };
        let root_sent = root.to_der().map_err(Fault::malformed)?;
        if root_sent != root_der {
            return Err(Fault::OtherRoot {
                expected_sha256: Sha256::digest(root_der).into(),
                got_sha256: Sha256::digest(&root_sent).into(),
            });
        }
        let root = Self::read(root)?;
        let signed = issuer.tbs_certificate().to_der().map_err(Fault::malformed)?;
        root.check_der(&signed, issuer.signature().raw_bytes(), "issuer certificate")?;
        let issuer = Self::read(issuer)?;
        if now_unix_s >= issuer.end_unix_s {
            let (what, end_unix_s) = ("issuer certificate", issuer.end_unix_s);
            return Err(Fault::Expired { what, end_unix_s, now_unix_s });
        }
        Ok(issuer)
    }

    /// The root itself, which signs its own list.
    pub(super) fn root(root_der: &[u8]) -> Result<Self, Fault> {
        Self::read(&Certificate::from_der(root_der).map_err(Fault::malformed)?)
    }

    fn read(certificate: &Certificate) -> Result<Self, Fault> {
        let certificate = certificate.tbs_certificate();
        let point = certificate.subject_public_key_info().subject_public_key.raw_bytes();
        let last_unix_s = certificate.validity().not_after.to_unix_duration().as_secs();
        Ok(Self {
            name: certificate.subject().clone(),
            end_unix_s: last_unix_s,
            key: VerifyingKey::from_sec1_bytes(point).map_err(Fault::malformed)?,
        })
    }

    /// Checks a signature of 64 bytes, r ‖ s.
    pub(super) fn check(
        &self,
        signed: &[u8],
        signature: &[u8],
        what: &'static str,
    ) -> Result<(), Fault> {
        let bad = || Fault::BadSignature { what };
        let signature = Signature::from_slice(signature).map_err(|_| bad())?;
        self.key.verify(signed, &signature).map_err(|_| bad())
    }

    /// Checks a signature in DER, as certificates and lists carry it.
    pub(super) fn check_der(
        &self,
        signed: &[u8],
        signature: &[u8],
        what: &'static str,
    ) -> Result<(), Fault> {
        let signature = flat_signature(signature).ok_or(Fault::BadSignature { what })?;
        self.check(signed, &signature, what)
    }
}

/// r ‖ s of a DER signature (RFC 3279, section 2.2.3).
fn flat_signature(der: &[u8]) -> Option<[u8; 64]> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut flat = [0; 64];
    reader
        .sequence(|inner: &mut SliceReader<'_>| {
            for half in flat.chunks_exact_mut(32) {
                let number = UintRef::decode(inner)?;
                let bytes = number.as_bytes();
                let start = 32_usize.checked_sub(bytes.len()).ok_or(Tag::Integer.length_error())?;
                half[start..].copy_from_slice(bytes);
            }
            Ok::<(), x509_cert::der::Error>(())
        })
        .ok()?;
    Some(flat)
}

/// Where a root certificate says that its revocation list is, if it does. Intel's own service
/// serves that list there and not at `rootcacrl`.
pub fn root_distribution_point(root_der: &[u8]) -> Option<String> {
    let root = Certificate::from_der(root_der).ok()?;
    let extensions = root.tbs_certificate().extensions()?;
    let found = extensions.iter().find(|found| found.extn_id == CrlDistributionPoints::OID)?;
    let points = CrlDistributionPoints::from_der(found.extn_value.as_bytes()).ok()?;
    points.0.iter().find_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => names.iter().find_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        }),
        _ => None,
    })
}
