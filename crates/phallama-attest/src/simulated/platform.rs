use crate::evidence::{Collateral, Evidence};
use crate::tee::Tee;

use super::authorities::{DevelopmentRoot, PckCa};
use super::certificate::{ExtensionSpec, Subject, certificate, serial};
use super::collateral::{CollateralItems, CollateralSpec};
use super::dates::Validity;
use super::enclave::{EnclaveSpec, QuotingEnclaveSpec};
use super::keys::{self, Key};
use super::quote::{QuoteParts, SGX_QUOTE_VERSION, header};
use super::sgx_extension::sgx_extension;
use super::trust_domain::TrustDomainSpec;

const PCK_NAME: &str = "Phallama Development SGX PCK Certificate";
/// What the quoting enclaves hash after the attestation key.
const QE_AUTHENTICATION_DATA: [u8; 32] = [0x20; 32];

/// One simulated machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSpec {
    /// Keys follow from it: one seed per machine.
    pub seed: Vec<u8>,
    /// The machine identity (PPID), 16 bytes.
    pub ppid: Vec<u8>,
    /// Who issues the machine's PCK certificate.
    pub ca: PckCa,
    /// Processor family, which the TCB information is for.
    pub fmspc: [u8; 6],
    /// The 16 security versions of the processor's firmware.
    pub cpu_svn: [u8; 16],
    /// Provisioning enclave.
    pub pce_id: [u8; 2],
    /// Security version of the provisioning enclave.
    pub pce_svn: u16,
    /// Serial number of the PCK certificate, big-endian; otherwise it follows from the seed.
    pub pck_serial: Option<Vec<u8>>,
    /// When the PCK certificate is valid.
    pub pck_validity: Validity,
    /// Further extensions of the PCK certificate, after the SGX extension.
    pub pck_extensions: Vec<ExtensionSpec>,
    /// The machine's quoting enclave for SGX.
    pub quoting_enclave: QuotingEnclaveSpec,
    /// The machine's quoting enclave for TDX.
    pub td_quoting_enclave: QuotingEnclaveSpec,
}

impl PlatformSpec {
    /// A machine with current firmware.
    pub fn from_seed(seed: &[u8]) -> Self {
        Self {
            seed: seed.to_vec(),
            ppid: keys::bytes(seed, "PPID")[..16].to_vec(),
            ca: PckCa::Platform,
            fmspc: [0x00, 0x60, 0x6a, 0x00, 0x00, 0x00],
            cpu_svn: [11, 11, 3, 3, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_id: [0; 2],
            pce_svn: 13,
            pck_serial: None,
            pck_validity: Validity::default(),
            pck_extensions: Vec::new(),
            quoting_enclave: QuotingEnclaveSpec::of(Tee::Sgx),
            td_quoting_enclave: QuotingEnclaveSpec::of(Tee::Tdx),
        }
    }

    /// The platform instance id in the PCK certificate, if its CA is one that names it.
    pub fn instance(&self) -> Option<[u8; 16]> {
        let id = &keys::bytes(&self.seed, "platform instance")[..16];
        (self.ca == PckCa::Platform).then(|| id.try_into().expect("16 of 32 bytes"))
    }
}

/// A machine that signs quotes under a [`DevelopmentRoot`].
#[derive(Clone)]
pub struct SimulatedPlatform {
    spec: PlatformSpec,
    root: DevelopmentRoot,
    pck: Key,
    attestation: Key,
    pck_serial: Vec<u8>,
    pck_der: Vec<u8>,
    pck_chain: String,
}

impl SimulatedPlatform {
    /// The machine of `spec`, with a PCK certificate issued by `root`.
    pub fn new(root: &DevelopmentRoot, spec: PlatformSpec) -> Self {
        let pck = Key::derive(&spec.seed, "PCK");
        let pck_serial = spec.pck_serial.clone().unwrap_or_else(|| serial(&pck).to_vec());
        let mut extensions = vec![sgx_extension(&spec)];
        extensions.extend(spec.pck_extensions.iter().cloned());
        let subject = Subject {
            name: PCK_NAME,
            key: &pck,
            serial: &pck_serial,
            validity: spec.pck_validity,
            ca_path_length: None,
            extensions: &extensions,
        };
        let pck_der = certificate(&root.issuer(spec.ca), &subject);
        Self {
            pck_chain: root.pck_chain_pem(spec.ca, &pck_der),
            pck_der,
            attestation: Key::derive(&spec.seed, "attestation"),
            root: root.clone(),
            pck,
            pck_serial,
            spec,
        }
    }

    /// The same machine with another PCK certificate in its quotes, such as one made by
    /// [`DevelopmentRoot::signed_der`].
    #[must_use]
    pub fn with_pck_der(self, pck_der: Vec<u8>) -> Self {
        let pck_chain = self.root.pck_chain_pem(self.spec.ca, &pck_der);
        Self { pck_der, pck_chain, ..self }
    }

    /// The machine identity (PPID), 16 bytes.
    ///
    /// # Panics
    /// If the machine was given one of another length.
    pub fn machine_identity(&self) -> [u8; 16] {
        self.spec.ppid.as_slice().try_into().expect("a PPID has 16 bytes")
    }

    /// What the machine is.
    pub fn spec(&self) -> &PlatformSpec {
        &self.spec
    }

    /// The authorities that vouch for the machine.
    pub fn root(&self) -> &DevelopmentRoot {
        &self.root
    }

    /// The machine's quoting enclave for `tee`.
    pub fn quoting_enclave(&self, tee: Tee) -> &QuotingEnclaveSpec {
        match tee {
            Tee::Sgx => &self.spec.quoting_enclave,
            Tee::Tdx => &self.spec.td_quoting_enclave,
        }
    }

    /// Serial number of the machine's PCK certificate, big-endian.
    pub fn pck_serial(&self) -> Vec<u8> {
        self.pck_serial.clone()
    }

    /// The machine's PCK certificate in DER.
    pub fn pck_der(&self) -> &[u8] {
        &self.pck_der
    }

    /// The public key of the machine's PCK certificate: x ‖ y.
    pub fn pck_public_key(&self) -> [u8; 64] {
        self.pck.public()
    }

    /// The machine's PCK chain, PEM, leaf first, as its quotes carry it.
    pub fn pck_chain_pem(&self) -> &str {
        &self.pck_chain
    }

    /// A raw SGX v3 quote of `enclave`.
    pub fn quote(&self, enclave: &EnclaveSpec) -> Vec<u8> {
        self.quote_parts(enclave).to_bytes()
    }

    /// The parts of an SGX v3 quote of `enclave`.
    pub fn quote_parts(&self, enclave: &EnclaveSpec) -> QuoteParts {
        let report = enclave.report(self.spec.cpu_svn, [0; 4]);
        self.parts(Tee::Sgx, SGX_QUOTE_VERSION, &report)
    }

    /// A raw TDX quote of `trust_domain`, v4 or v5.
    pub fn td_quote(&self, trust_domain: &TrustDomainSpec) -> Vec<u8> {
        self.td_quote_parts(trust_domain).to_bytes()
    }

    /// The parts of a TDX quote of `trust_domain`.
    pub fn td_quote_parts(&self, trust_domain: &TrustDomainSpec) -> QuoteParts {
        self.parts(Tee::Tdx, trust_domain.report.quote_version(), &trust_domain.body())
    }

    /// A quote of `enclave` with collateral for this machine.
    pub fn evidence(&self, enclave: &EnclaveSpec, spec: &CollateralSpec) -> Evidence {
        let collateral = self.collateral(&CollateralItems::new(self, Tee::Sgx, spec));
        Evidence { quote: self.quote(enclave), collateral }
    }

    /// A quote of `trust_domain` with collateral for this machine.
    pub fn td_evidence(&self, trust_domain: &TrustDomainSpec, spec: &CollateralSpec) -> Evidence {
        let collateral = self.collateral(&CollateralItems::new(self, Tee::Tdx, spec));
        Evidence { quote: self.td_quote(trust_domain), collateral }
    }

    /// `items`, signed by the authorities that vouch for this machine.
    pub fn collateral(&self, items: &CollateralItems) -> Collateral {
        items.sign(&self.root, self.spec.ca)
    }

    /// r ‖ s of the attestation key over any bytes, such as a changed header and body.
    pub fn sign_with_attestation_key(&self, bytes: &[u8]) -> [u8; 64] {
        self.attestation.sign(bytes)
    }

    /// r ‖ s of the PCK over any bytes, such as a changed report of the quoting enclave.
    pub fn sign_with_pck(&self, bytes: &[u8]) -> [u8; 64] {
        self.pck.sign(bytes)
    }

    /// The attestation key's scalar, big-endian. As public as the machine's seed.
    pub fn attestation_scalar(&self) -> [u8; 32] {
        self.attestation.scalar()
    }

    fn parts(&self, tee: Tee, version: u16, body: &[u8]) -> QuoteParts {
        let quoting_enclave = self.quoting_enclave(tee);
        let mut signed = header(version, tee, quoting_enclave.isv_svn, self.spec.pce_svn);
        signed.extend(body);
        let attestation_key = self.attestation.public();
        let qe_report =
            quoting_enclave.report(self.spec.cpu_svn, &attestation_key, &QE_AUTHENTICATION_DATA);
        QuoteParts {
            signature: self.sign_with_attestation_key(&signed),
            signed,
            attestation_key,
            qe_report_signature: self.sign_with_pck(&qe_report),
            qe_report,
            qe_authentication_data: QE_AUTHENTICATION_DATA.to_vec(),
            pck_chain: self.pck_chain.clone(),
        }
    }
}
