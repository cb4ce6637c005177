use super::certificate::{Issuer, Subject, certificate, revocation_list, serial};
use super::der;
use super::keys::Key;

/// The seed of the root that development networks share. It is public.
pub const DEVELOPMENT_SEED: &[u8] = b"phallama development root";

const ROOT_NAME: &str = "Phallama Development SGX Root CA";
const PLATFORM_CA_NAME: &str = "Phallama Development SGX PCK Platform CA";
const TCB_SIGNER_NAME: &str = "Phallama Development SGX TCB Signing";

/// The authorities that Intel runs for real machines: root CA, PCK Platform CA and TCB signer.
#[derive(Clone)]
pub struct DevelopmentRoot {
    root_key: Key,
    platform_ca_key: Key,
    tcb_signer_key: Key,
    root: Vec<u8>,
    platform_ca: Vec<u8>,
    tcb_signer: Vec<u8>,
}

impl DevelopmentRoot {
    /// The authorities of `seed`; [`DEVELOPMENT_SEED`] unless a test needs a second, foreign root.
    pub fn from_seed(seed: &[u8]) -> Self {
        let root_key = Key::derive(seed, "root CA");
        let platform_ca_key = Key::derive(seed, "PCK platform CA");
        let tcb_signer_key = Key::derive(seed, "TCB signer");
        let issuer = Issuer { name: ROOT_NAME, key: &root_key };
        let issue = |name, key, ca_path_length| {
            certificate(&issuer, &Subject { name, key, ca_path_length, extra: Vec::new() })
        };
        let root = issue(ROOT_NAME, &root_key, Some(1));
        let platform_ca = issue(PLATFORM_CA_NAME, &platform_ca_key, Some(0));
        let tcb_signer = issue(TCB_SIGNER_NAME, &tcb_signer_key, None);
        Self { root_key, platform_ca_key, tcb_signer_key, root, platform_ca, tcb_signer }
    }

    /// The self-signed root certificate in DER: what `TrustRoot::Development` takes.
    pub fn root_der(&self) -> &[u8] {
        &self.root
    }

    /// r ‖ s of the TCB signer over `json`, as collateral carries it.
    pub fn sign_collateral(&self, json: &str) -> Vec<u8> {
        self.tcb_signer_key.sign(json.as_bytes()).to_vec()
    }

    pub(super) fn platform_ca(&self) -> Issuer<'_> {
        Issuer { name: PLATFORM_CA_NAME, key: &self.platform_ca_key }
    }

    /// PEM: `leaf`, Platform CA, root.
    pub(super) fn pck_chain_pem(&self, leaf: &[u8]) -> String {
        [leaf, &self.platform_ca, &self.root].map(der::pem_certificate).concat()
    }

    /// PEM: Platform CA, root.
    pub(super) fn platform_ca_chain_pem(&self) -> String {
        [&self.platform_ca, &self.root].map(|der| der::pem_certificate(der)).concat()
    }

    /// PEM: TCB signer, root.
    pub(super) fn tcb_signer_chain_pem(&self) -> String {
        [&self.tcb_signer, &self.root].map(|der| der::pem_certificate(der)).concat()
    }

    pub(super) fn root_serial(&self) -> [u8; 20] {
        serial(&self.root_key)
    }

    pub(super) fn platform_ca_serial(&self) -> [u8; 20] {
        serial(&self.platform_ca_key)
    }

    pub(super) fn tcb_signer_serial(&self) -> [u8; 20] {
        serial(&self.tcb_signer_key)
    }

    /// The root's revocation list; dates as UTCTime text.
    pub(super) fn root_crl(&self, dates: [&str; 2], serials: &[Vec<u8>]) -> Vec<u8> {
        let issuer = Issuer { name: ROOT_NAME, key: &self.root_key };
        revocation_list(&issuer, dates[0], dates[1], serials)
    }

    /// The Platform CA's revocation list; dates as UTCTime text.
    pub(super) fn pck_crl(&self, dates: [&str; 2], serials: &[Vec<u8>]) -> Vec<u8> {
        revocation_list(&self.platform_ca(), dates[0], dates[1], serials)
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
