//! A simulated machine: its quotes as the contracts take them, and collateral for them.

use phallama_attest::onchain::OnChainQuote;
use phallama_attest::simulated::{
    Authority, CollateralItems, CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec,
    PckCa, PlatformSpec, SimulatedPlatform, TdReport, TrustDomainSpec,
};
use phallama_attest::{Binding, NONCE_ON_CHAIN, Tee, report_data};
use phallama_chain::{
    Chain, ChainError, CollateralKeys, KeyBinding, Pck, QuoteParts, Sender, TeeKind, Tx,
};
use phallama_protocol::ids::{Address, Digest32, PodId};

use crate::node::GENESIS_UNIX_S;

pub(crate) const MR_ENCLAVE: [u8; 32] = [0x3e; 32];
pub(crate) const MR_TD: [u8; 48] = [0x7d; 48];
const DAY_S: u64 = 86_400;

/// A machine under the development root.
pub(crate) struct Machine {
    pub(crate) platform: SimulatedPlatform,
}

/// A quote with its PCK certificate, in both forms.
#[derive(Clone)]
pub(crate) struct Quoted {
    pub(crate) quote: QuoteParts,
    pub(crate) leaf: Vec<u8>,
    pub(crate) pck: Pck,
    pub(crate) evidence: Digest32,
    pub(crate) measurement: Digest32,
}

/// The authorities of every machine here.
pub(crate) fn root() -> DevelopmentRoot {
    DevelopmentRoot::from_seed(DEVELOPMENT_SEED)
}

/// By which the verifier knows an authority.
pub(crate) fn key_id(authority: Authority) -> Digest32 {
    phallama_chain::key_id(&root().public_key(authority))
}

/// A raw quote as the contracts take it.
fn cut(raw: &[u8]) -> Quoted {
    let cut = OnChainQuote::cut(raw).unwrap();
    let pck = Pck {
        tbs_hash: Digest32(cut.pck.tbs_hash),
        x: cut.pck.x,
        y: cut.pck.y,
        issuer: phallama_chain::key_id(&cut.pck.issuer_key),
        serial: cut.pck.serial,
        machine: Digest32(cut.pck.machine),
        instance: cut.pck.instance,
        cpu_svn: cut.pck.cpu_svn,
        fmspc: cut.pck.fmspc,
        pce_id: cut.pck.pce_id,
        pce_svn: cut.pck.pce_svn,
        not_before_unix_s: cut.pck.not_before_unix_s,
        not_after_unix_s: cut.pck.not_after_unix_s,
    };
    Quoted {
        evidence: Digest32(cut.evidence()),
        measurement: Digest32(cut.measurement()),
        quote: QuoteParts { signed: cut.signed, auth: cut.auth },
        leaf: cut.leaf,
        pck,
    }
}

/// What an enclave with this key says it serves.
pub(crate) fn key_binding(identity: Address) -> KeyBinding {
    let (model_set_root, policy_digest) = (Digest32([0x51; 32]), Digest32([0x52; 32]));
    KeyBinding { identity, model_set_root, policy_digest }
}

/// Report data of a quote for the chain.
pub(crate) fn bound(chain: &Chain, pod: PodId, binding: &KeyBinding) -> [u8; 64] {
    let binding = Binding {
        chain_id: chain.config().chain_id,
        registry: chain.config().registry.0,
        pod_id: pod.0,
        identity: binding.identity.0,
        model_set_root: binding.model_set_root.0,
        policy_digest: binding.policy_digest.0,
    };
    report_data(&binding, NONCE_ON_CHAIN)
}

impl Machine {
    /// One seed per machine.
    pub(crate) fn new(seed: &str) -> Self {
        Self::of(PlatformSpec::from_seed(seed.as_bytes()))
    }

    /// Its certificate is of the Processor CA.
    pub(crate) fn with_one_processor(seed: &str) -> Self {
        let spec = PlatformSpec::from_seed(seed.as_bytes());
        Self::of(PlatformSpec { ca: PckCa::Processor, ..spec })
    }

    pub(crate) fn of(spec: PlatformSpec) -> Self {
        Self { platform: SimulatedPlatform::new(&root(), spec) }
    }

    /// The CA of its certificate.
    fn ca(&self) -> Authority {
        self.platform.spec().ca.authority()
    }

    /// A quote of an SGX enclave that serves `binding` as `pod`.
    pub(crate) fn quote(&self, chain: &Chain, pod: PodId, binding: &KeyBinding) -> Quoted {
        self.enclave(&EnclaveSpec::new(MR_ENCLAVE, bound(chain, pod, binding)))
    }

    pub(crate) fn enclave(&self, enclave: &EnclaveSpec) -> Quoted {
        cut(&self.platform.quote(enclave))
    }

    /// The same of a trust domain.
    pub(crate) fn td_quote(&self, chain: &Chain, pod: PodId, binding: &KeyBinding) -> Quoted {
        self.trust_domain(TdReport::V5Td15, bound(chain, pod, binding))
    }

    pub(crate) fn trust_domain(&self, report: TdReport, report_data: [u8; 64]) -> Quoted {
        cut(&self.platform.td_quote(&TrustDomainSpec::new(report, MR_TD, report_data)))
    }

    /// Up to date, issued `age_s` before the chain began, good for 30 days from then.
    pub(crate) fn collateral(&self, tee: Tee, age_s: u64) -> CollateralItems {
        let spec = CollateralSpec::issued(GENESIS_UNIX_S - age_s);
        CollateralItems::new(&self.platform, tee, &spec)
    }

    /// What the verifier needs before it knows this machine.
    pub(crate) fn keys(&self, tee: TeeKind) -> CollateralKeys {
        CollateralKeys {
            ca: key_id(self.ca()),
            signer: key_id(Authority::TcbSigner),
            tee,
            fmspc: self.platform.spec().fmspc,
        }
    }

    /// Brings the authorities and everything in `items`.
    pub(crate) async fn bring(&self, sender: &Sender, items: &CollateralItems) {
        let list = self.platform.collateral(items).root_ca_crl;
        sender.upsert_crl(key_id(Authority::Root), &list).await.unwrap();
        sender.admit_ca(root().certificate(self.ca())).await.unwrap();
        self.bring_rest(sender, items).await;
    }

    /// Brings what is left after the root's list and the CA.
    pub(crate) async fn bring_rest(&self, sender: &Sender, items: &CollateralItems) {
        self.bring_list(sender, items).await;
        sender.admit_signer(root().certificate(Authority::TcbSigner)).await.unwrap();
        self.bring_json(sender, items).await;
    }

    /// Brings the machine's CA and its list.
    pub(crate) async fn bring_ca(&self, sender: &Sender, items: &CollateralItems) {
        sender.admit_ca(root().certificate(self.ca())).await.unwrap();
        self.bring_list(sender, items).await;
    }

    async fn bring_list(&self, sender: &Sender, items: &CollateralItems) {
        let list = self.platform.collateral(items).pck_crl;
        sender.upsert_crl(key_id(self.ca()), &list).await.unwrap();
    }

    /// Brings the part of `items` that Intel signs as JSON.
    pub(crate) async fn bring_json(&self, sender: &Sender, items: &CollateralItems) {
        self.bring_tcb_info(sender, items).await.unwrap();
        let collateral = self.platform.collateral(items);
        let json = collateral.qe_identity.as_bytes();
        let signer = key_id(Authority::TcbSigner);
        let brought =
            sender.upsert_qe_identity(json, &collateral.qe_identity_signature, signer).await;
        brought.unwrap();
    }

    pub(crate) async fn bring_tcb_info(
        &self,
        sender: &Sender,
        items: &CollateralItems,
    ) -> Result<Tx, ChainError> {
        let collateral = self.platform.collateral(items);
        let (json, signature) = (collateral.tcb_info.as_bytes(), &collateral.tcb_info_signature);
        sender.upsert_tcb_info(json, signature, key_id(Authority::TcbSigner)).await
    }

    /// Brings a list that names this machine.
    pub(crate) async fn revoke(&self, sender: &Sender, issued_at_unix_s: u64) {
        let mut items = self.collateral(Tee::Sgx, 0);
        items.pck_crl.number = 2;
        items.pck_crl.this_update_unix_s = issued_at_unix_s;
        items.pck_crl.next_update_unix_s = issued_at_unix_s + 30 * DAY_S;
        items.pck_crl.revoked = vec![self.platform.pck_serial()];
        self.bring_list(sender, &items).await;
    }
}
