use super::certificate::{CrlSpec, Issuer, Subject, certificate, revocation_list, serial, signed};
use super::dates::Validity;
use super::der;
use super::keys::Key;

/// The seed of the root that development networks share. It is public.
pub const DEVELOPMENT_SEED: &[u8] = b"phallama development root";

/// The authorities that Intel runs for real machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The self-signed root CA.
    Root,
    /// The CA for the PCK certificates of machines with several processors.
    PlatformCa,
    /// The CA for the PCK certificates of machines with one processor.
    ProcessorCa,
    /// The signer of TCB information and QE identities.
    TcbSigner,
}

/// The CA that issued a machine's PCK certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PckCa {
    /// Its certificates name the platform instance and its configuration.
    Platform,
    /// Its certificates do not.
    Processor,
}

impl PckCa {
    /// The same as one of all authorities.
    pub fn authority(self) -> Authority {
        match self {
            Self::Platform => Authority::PlatformCa,
            Self::Processor => Authority::ProcessorCa,
        }
    }
}

/// A root and when the certificates of its authorities are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSpec {
    /// Keys follow from it.
    pub seed: Vec<u8>,
    /// Validity of the root certificate.
    pub root: Validity,
    /// Validity of the Platform CA's certificate.
    pub platform_ca: Validity,
    /// Validity of the Processor CA's certificate.
    pub processor_ca: Validity,
    /// Validity of the TCB signer's certificate.
    pub tcb_signer: Validity,
}

impl RootSpec {
    /// The authorities of `seed`, valid from 2020 to 2045.
    pub fn from_seed(seed: &[u8]) -> Self {
        let validity = Validity::default();
        Self {
            seed: seed.to_vec(),
            root: validity,
            platform_ca: validity,
            processor_ca: validity,
            tcb_signer: validity,
        }
    }
}

/// One authority: its key and its certificate in DER.
#[derive(Clone)]
struct Member {
    name: &'static str,
    key: Key,
    der: Vec<u8>,
}

impl Member {
    fn issuer(&self) -> Issuer<'_> {
        Issuer { name: self.name, key: &self.key }
    }
}

/// The authorities that Intel runs for real machines: root CA, the CAs of PCK certificates and TCB
/// signer.
#[derive(Clone)]
pub struct DevelopmentRoot {
    root: Member,
    platform_ca: Member,
    processor_ca: Member,
    tcb_signer: Member,
}

impl DevelopmentRoot {
    /// The authorities of `seed`; [`DEVELOPMENT_SEED`] unless a test needs a second, foreign root.
    pub fn from_seed(seed: &[u8]) -> Self {
        Self::new(&RootSpec::from_seed(seed))
    }

    /// The authorities of `spec`.
    pub fn new(spec: &RootSpec) -> Self {
        let root_key = Key::derive(&spec.seed, "root CA");
        let root_name = "Phallama Development SGX Root CA";
        let issuer = Issuer { name: root_name, key: &root_key };
        let issue = |name, label, validity, ca_path_length| {
            let key = Key::derive(&spec.seed, label);
            let serial = &serial(&key);
            let subject =
                Subject { name, key: &key, serial, validity, ca_path_length, extensions: &[] };
            Member { name, der: certificate(&issuer, &subject), key }
        };
        let ca = |name, label, validity| issue(name, label, validity, Some(0));
        let platform = "Phallama Development SGX PCK Platform CA";
        let processor = "Phallama Development SGX PCK Processor CA";
        let tcb_signer = "Phallama Development SGX TCB Signing";
        Self {
            root: issue(root_name, "root CA", spec.root, Some(1)),
            platform_ca: ca(platform, "PCK platform CA", spec.platform_ca),
            processor_ca: ca(processor, "PCK processor CA", spec.processor_ca),
            tcb_signer: issue(tcb_signer, "TCB signer", spec.tcb_signer, None),
        }
    }

    /// The self-signed root certificate in DER: what `TrustRoot::Development` takes.
    pub fn root_der(&self) -> &[u8] {
        &self.root.der
    }

    /// The certificate of `authority` in DER.
    pub fn certificate(&self, authority: Authority) -> &[u8] {
        &self.member(authority).der
    }

    /// Serial number of the certificate of `authority`, big-endian.
    pub fn serial(&self, authority: Authority) -> Vec<u8> {
        serial(&self.member(authority).key).to_vec()
    }

    /// The public key of `authority`: x ‖ y.
    pub fn public_key(&self, authority: Authority) -> [u8; 64] {
        self.member(authority).key.public()
    }

    /// The revocation list of `authority` in DER.
    pub fn crl(&self, authority: Authority, spec: &CrlSpec) -> Vec<u8> {
        revocation_list(&self.member(authority).issuer(), spec)
    }

    /// r ‖ s of the TCB signer over `json`, as collateral carries it.
    pub fn sign_collateral(&self, json: &str) -> Vec<u8> {
        self.sign(Authority::TcbSigner, json.as_bytes()).to_vec()
    }

    /// r ‖ s of `authority` over any bytes.
    pub fn sign(&self, authority: Authority, bytes: &[u8]) -> [u8; 64] {
        self.member(authority).key.sign(bytes)
    }

    /// A certificate or revocation list in DER with any signed part, under the key of `authority`.
    /// [`signed_part`](super::signed_part) gives the one of an existing certificate or list.
    pub fn signed_der(&self, authority: Authority, signed_part: &[u8]) -> Vec<u8> {
        signed(signed_part, &self.member(authority).key)
    }

    pub(super) fn issuer(&self, ca: PckCa) -> Issuer<'_> {
        self.member(ca.authority()).issuer()
    }

    /// PEM: `leaf`, its CA, root.
    pub(super) fn pck_chain_pem(&self, ca: PckCa, leaf: &[u8]) -> String {
        der::pem_certificate(leaf) + &self.chain_pem(ca.authority())
    }

    /// PEM: the certificate of `authority`, root.
    pub(super) fn chain_pem(&self, authority: Authority) -> String {
        [self.certificate(authority), self.root_der()].map(der::pem_certificate).concat()
    }

    fn member(&self, authority: Authority) -> &Member {
        match authority {
            Authority::Root => &self.root,
            Authority::PlatformCa => &self.platform_ca,
            Authority::ProcessorCa => &self.processor_ca,
            Authority::TcbSigner => &self.tcb_signer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_development_root_is_the_same_in_every_process() {
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let pinned = "7cb155b8f8e8e132140d85ed7a73ba1cdcf2018fad199c024dffd740986e2f2a";
        assert_eq!(hex::encode(Sha256::digest(root.root_der())), pinned);
    }

    #[test]
    fn another_seed_is_another_root() {
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        assert_ne!(root.root_der(), DevelopmentRoot::from_seed(b"another").root_der());
    }
}
