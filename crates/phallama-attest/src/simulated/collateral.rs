use crate::evidence::Collateral;
use crate::tcb_status::TcbStatus;
use crate::tee::Tee;

use super::authorities::{Authority, DevelopmentRoot, PckCa};
use super::certificate::CrlSpec;
use super::enclave::QE_ISV_SVN;
use super::platform::SimulatedPlatform;
use super::qe_identity::QeIdentitySpec;
use super::tcb_info::{
    IsvLevelSpec, Rating, TcbInfoSpec, TcbLevelSpec, TdxModuleIdentitySpec, TdxModuleSpec,
};
use super::trust_domain::TEE_TCB_SVN;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Intel's collateral is valid for 30 days.
const VALIDITY_S: u64 = 30 * DAY_S;

/// A certificate that a revocation list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedCertificate {
    /// The root CA itself.
    Root,
    /// The signer of TCB information and QE identity.
    TcbSigner,
    /// The Platform CA.
    PlatformCa,
    /// The Processor CA.
    ProcessorCa,
    /// This machine's PCK certificate.
    Pck,
    /// Another PCK certificate of the same CA, by serial number (big-endian).
    PckSerial(Vec<u8>),
}

/// What the authorities say about a machine, and when: one level of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollateralSpec {
    /// Issue date of every item, seconds since 1970 (UTC).
    pub issued_at_unix_s: u64,
    /// Next update of every item, seconds since 1970 (UTC).
    pub next_update_unix_s: u64,
    /// `tcbEvaluationDataNumber` of TCB information and QE identity.
    pub tcb_evaluation_number: u32,
    /// Status of the machine's TCB level.
    pub tcb_status: TcbStatus,
    /// Advisories of that level.
    pub advisory_ids: Vec<String>,
    /// Status of the quoting enclave's level.
    pub qe_status: TcbStatus,
    /// Lowest security version of the quoting enclave that has a level.
    pub qe_isv_svn_min: u16,
    /// Overrides the processor family of the TCB information.
    pub fmspc: Option<[u8; 6]>,
    /// Overrides the firmware versions that the only TCB level asks for.
    pub cpu_svn_min: Option<[u8; 16]>,
    /// What the revocation lists name.
    pub revoked: Vec<RevokedCertificate>,
}

impl CollateralSpec {
    /// Everything up to date, issued an hour before `now_unix_s`, valid for 30 days.
    pub fn fresh(now_unix_s: u64) -> Self {
        Self::issued(now_unix_s.saturating_sub(HOUR_S))
    }

    /// Everything up to date, issued at `issued_at_unix_s`, valid for 30 days.
    pub fn issued(issued_at_unix_s: u64) -> Self {
        Self {
            issued_at_unix_s,
            next_update_unix_s: issued_at_unix_s.saturating_add(VALIDITY_S),
            tcb_evaluation_number: 17,
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: Vec::new(),
            qe_status: TcbStatus::UpToDate,
            qe_isv_svn_min: QE_ISV_SVN,
            fmspc: None,
            cpu_svn_min: None,
            revoked: Vec::new(),
        }
    }
}

/// Everything that the authorities publish for a machine and a TEE, every field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollateralItems {
    /// TCB information.
    pub tcb_info: TcbInfoSpec,
    /// Identity of the quoting enclave.
    pub qe_identity: QeIdentitySpec,
    /// The root's revocation list.
    pub root_crl: CrlSpec,
    /// The revocation list of the CA that issued the PCK certificate.
    pub pck_crl: CrlSpec,
}

impl CollateralItems {
    /// What `spec` says about quotes of `tee` from `platform`.
    pub fn new(platform: &SimulatedPlatform, tee: Tee, spec: &CollateralSpec) -> Self {
        let (by_root, by_pck_ca) = revoked_serials(platform, spec);
        let crl = |revoked| CrlSpec {
            this_update_unix_s: spec.issued_at_unix_s,
            next_update_unix_s: spec.next_update_unix_s,
            number: 1,
            revoked,
            extensions: Vec::new(),
        };
        Self {
            tcb_info: tcb_info(platform, tee, spec),
            qe_identity: qe_identity(platform, tee, spec),
            root_crl: crl(by_root),
            pck_crl: crl(by_pck_ca),
        }
    }

    /// The items, signed by the authorities of `root`; `ca` issued the machine's PCK certificate.
    pub fn sign(&self, root: &DevelopmentRoot, ca: PckCa) -> Collateral {
        let tcb_info = self.tcb_info.to_json();
        let qe_identity = self.qe_identity.to_json();
        Collateral {
            pck_crl_issuer_chain: root.chain_pem(ca.authority()),
            root_ca_crl: root.crl(Authority::Root, &self.root_crl),
            pck_crl: root.crl(ca.authority(), &self.pck_crl),
            tcb_info_issuer_chain: root.chain_pem(Authority::TcbSigner),
            tcb_info_signature: root.sign_collateral(&tcb_info),
            tcb_info,
            qe_identity_issuer_chain: root.chain_pem(Authority::TcbSigner),
            qe_identity_signature: root.sign_collateral(&qe_identity),
            qe_identity,
            pck_certificate_chain: None,
        }
    }
}

/// Serials for the root's list and for the list of the machine's CA.
fn revoked_serials(
    platform: &SimulatedPlatform,
    spec: &CollateralSpec,
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let root = platform.root();
    let (mut by_root, mut by_pck_ca) = (Vec::new(), Vec::new());
    for revoked in &spec.revoked {
        match revoked {
            RevokedCertificate::Root => by_root.push(root.serial(Authority::Root)),
            RevokedCertificate::TcbSigner => by_root.push(root.serial(Authority::TcbSigner)),
            RevokedCertificate::PlatformCa => by_root.push(root.serial(Authority::PlatformCa)),
            RevokedCertificate::ProcessorCa => by_root.push(root.serial(Authority::ProcessorCa)),
            RevokedCertificate::Pck => by_pck_ca.push(platform.pck_serial()),
            RevokedCertificate::PckSerial(serial) => by_pck_ca.push(serial.clone()),
        }
    }
    (by_root, by_pck_ca)
}

fn tcb_info(platform: &SimulatedPlatform, tee: Tee, spec: &CollateralSpec) -> TcbInfoSpec {
    let (machine, tdx) = (platform.spec(), tee == Tee::Tdx);
    let [module_svn, module_version, others @ ..] = TEE_TCB_SVN;
    let mut tdx_components = [module_svn, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tdx_components[2..].copy_from_slice(&others);
    let rating = Rating { advisory_ids: spec.advisory_ids.clone(), ..Rating::new(spec.tcb_status) };
    let module = TdxModuleIdentitySpec {
        version: module_version,
        module: TdxModuleSpec::default(),
        levels: vec![IsvLevelSpec::new(module_svn.into(), TcbStatus::UpToDate)],
    };
    TcbInfoSpec {
        tee,
        issued_at_unix_s: spec.issued_at_unix_s,
        next_update_unix_s: spec.next_update_unix_s,
        fmspc: spec.fmspc.unwrap_or(machine.fmspc),
        pce_id: machine.pce_id,
        evaluation_number: spec.tcb_evaluation_number,
        tdx_module: tdx.then(TdxModuleSpec::default),
        tdx_module_identities: if tdx { vec![module] } else { Vec::new() },
        levels: vec![TcbLevelSpec {
            sgx: spec.cpu_svn_min.unwrap_or(machine.cpu_svn),
            pce_svn: machine.pce_svn,
            tdx: tdx.then_some(tdx_components),
            rating,
        }],
        describes_components: tdx,
    }
}

fn qe_identity(platform: &SimulatedPlatform, tee: Tee, spec: &CollateralSpec) -> QeIdentitySpec {
    let quoting_enclave = platform.quoting_enclave(tee);
    let mut attributes = [0; 16];
    attributes[0] = 0x11;
    let mut attributes_mask = [0; 16];
    attributes_mask[..8].copy_from_slice(&[0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    QeIdentitySpec {
        tee,
        version: 2,
        issued_at_unix_s: spec.issued_at_unix_s,
        next_update_unix_s: spec.next_update_unix_s,
        evaluation_number: spec.tcb_evaluation_number,
        misc_select: [0; 4],
        misc_select_mask: [0xff; 4],
        attributes,
        attributes_mask,
        mr_signer: quoting_enclave.mr_signer,
        isv_prod_id: quoting_enclave.isv_prod_id,
        levels: vec![IsvLevelSpec::new(spec.qe_isv_svn_min, spec.qe_status)],
    }
}
