use crate::evidence::Evidence;

use super::certificate::{Subject, certificate, extension, serial};
use super::collateral::{CollateralSpec, collateral};
use super::der;
use super::keys::{self, Key};
use super::quote::{EnclaveSpec, QuotingEnclaveSpec, Signers, quote};
use super::root::DevelopmentRoot;

const PCK_NAME: &str = "Phallama Development SGX PCK Certificate";
/// Intel's SGX extension of PCK certificates.
const SGX_EXTENSION: [u32; 7] = [1, 2, 840, 113_741, 1, 13, 1];
/// SGX type 1: Scalable, as on server processors.
const SGX_TYPE_SCALABLE: u8 = 1;

/// One simulated machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSpec {
    /// Keys and the machine identity (PPID) follow from it: one seed per machine.
    pub seed: Vec<u8>,
    /// Processor family, which the TCB information is for.
    pub fmspc: [u8; 6],
    /// The 16 security versions of the processor's firmware.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning enclave.
    pub pce_svn: u16,
    /// The machine's quoting enclave.
    pub quoting_enclave: QuotingEnclaveSpec,
}

impl PlatformSpec {
    /// A machine with current firmware.
    pub fn from_seed(seed: &[u8]) -> Self {
        Self {
            seed: seed.to_vec(),
            fmspc: [0x00, 0x60, 0x6a, 0x00, 0x00, 0x00],
            cpu_svn: [11, 11, 3, 3, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 13,
            quoting_enclave: QuotingEnclaveSpec::default(),
        }
    }
}

/// A machine that signs quotes under a [`DevelopmentRoot`].
#[derive(Clone)]
pub struct SimulatedPlatform {
    spec: PlatformSpec,
    root: DevelopmentRoot,
    pck: Key,
    attestation: Key,
    pck_chain: String,
}

impl SimulatedPlatform {
    /// The machine of `spec`, with a PCK certificate issued by `root`.
    pub fn new(root: &DevelopmentRoot, spec: PlatformSpec) -> Self {
        let pck = Key::derive(&spec.seed, "PCK");
        let subject = Subject {
            name: PCK_NAME,
            key: &pck,
            ca_path_length: None,
            extra: vec![extension(&SGX_EXTENSION, false, &sgx_extension(&spec))],
        };
        let leaf = certificate(&root.platform_ca(), &subject);
        Self {
            pck_chain: root.pck_chain_pem(&leaf),
            attestation: Key::derive(&spec.seed, "attestation"),
            root: root.clone(),
            pck,
            spec,
        }
    }

    /// The machine identity (PPID), 16 bytes.
    pub fn machine_identity(&self) -> [u8; 16] {
        ppid(&self.spec.seed)
    }

    /// What the machine is.
    pub fn spec(&self) -> &PlatformSpec {
        &self.spec
    }

    /// Serial number of the machine's PCK certificate.
    pub fn pck_serial(&self) -> Vec<u8> {
        serial(&self.pck).to_vec()
    }

    /// The machine's PCK chain, PEM, leaf first, as its quotes carry it.
    pub fn pck_chain_pem(&self) -> &str {
        &self.pck_chain
    }

    /// A raw SGX v3 quote of `enclave`.
    pub fn quote(&self, enclave: &EnclaveSpec) -> Vec<u8> {
        let signers = Signers {
            pck: &self.pck,
            attestation: &self.attestation,
            quoting_enclave: &self.spec.quoting_enclave,
            cpu_svn: self.spec.cpu_svn,
            pce_svn: self.spec.pce_svn,
            pck_chain: &self.pck_chain,
        };
        quote(enclave, &signers)
    }

    /// A quote of `enclave` with collateral for this machine.
    pub fn evidence(&self, enclave: &EnclaveSpec, spec: &CollateralSpec) -> Evidence {
        Evidence { quote: self.quote(enclave), collateral: collateral(&self.root, self, spec) }
    }
}

fn ppid(seed: &[u8]) -> [u8; 16] {
    keys::bytes(seed, "PPID")[..16].try_into().expect("16 of 32 bytes")
}

/// The value of the SGX extension, with the fields of a Platform CA certificate
/// (Intel, *SGX PCK Certificate and CRL Profile Specification*, 1.5).
fn sgx_extension(spec: &PlatformSpec) -> Vec<u8> {
    let instance = keys::bytes(&spec.seed, "platform instance");
    let flag = |number, value| field(&[7, number], &der::boolean(value));
    let configuration = der::sequence(&[&flag(1, false), &flag(2, false), &flag(3, false)]);
    der::sequence(&[
        &field(&[1], &der::octet_string(&ppid(&spec.seed))),
        &field(&[2], &tcb(spec)),
        &field(&[3], &der::octet_string(&[0, 0])),
        &field(&[4], &der::octet_string(&spec.fmspc)),
        &field(&[5], &der::enumerated(SGX_TYPE_SCALABLE)),
        &field(&[6], &der::octet_string(&instance[..16])),
        &field(&[7], &configuration),
    ])
}

fn tcb(spec: &PlatformSpec) -> Vec<u8> {
    let mut components: Vec<Vec<u8>> = (1..)
        .zip(spec.cpu_svn)
        .map(|(number, svn)| field(&[2, number], &der::integer(&[svn])))
        .collect();
    components.push(field(&[2, 17], &der::integer(&spec.pce_svn.to_be_bytes())));
    components.push(field(&[2, 18], &der::octet_string(&spec.cpu_svn)));
    der::tlv(0x30, &components.concat())
}

/// One field: its OID under the SGX extension, and its value.
fn field(arcs: &[u32], value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(&[&SGX_EXTENSION, arcs].concat()), value])
}
