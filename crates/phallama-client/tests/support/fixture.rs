//! A pod with a simulated TEE that can prove itself: keys, chain record, bundle, evidence.
#![allow(unreachable_pub, reason = "shared between unit and integration tests")]

use std::sync::Arc;

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, QuoteParts,
    SimulatedPlatform, TdReport, TrustDomainSpec, signed_part,
};
use phallama_attest::{
    Binding, Evidence, NONCE_ON_CHAIN, evidence_digest, machine_digest, model_set_root, report_data,
};
use phallama_chain::{
    AttestedKey, ChainConfig, KeyBinding, MachineHolder, PodRecord, TcbStatusCode, TeeKind,
};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use phallama_protocol::offers::{Offer, offers_hash};
use phallama_protocol::rand_core::UnwrapErr;
use phallama_protocol::request::EpochKey;
use sha2::{Digest as _, Sha256};

/// The measurement that the fixture's users approve.
pub const MEASUREMENT: [u8; 32] = [0x41; 32];

/// A pod, as it would be after its enclave has started and the registry has verified its quote.
#[derive(Clone)]
pub struct Fixture {
    pub identity: Signer,
    pub epoch: Arc<EpochKey>,
    pub chain: ChainConfig,
    pub record: PodRecord,
    pub policy_digest: Digest32,
    pub collateral: CollateralSpec,
    pub enclave: EnclaveSpec,
    /// Quoted instead of the enclave.
    pub trust_domain: Option<TrustDomainSpec>,
    pub platform: SimulatedPlatform,
    pub root: DevelopmentRoot,
    pub epoch_id: u64,
    pub from_unix_s: u64,
}

impl Fixture {
    /// A pod at `url` that proves itself at `now_unix_s`, on a machine of its own.
    pub fn new(chain: &ChainConfig, pod_id: PodId, url: &str, now_unix_s: u64) -> Self {
        let offers = vec![offer()];
        let record = PodRecord {
            pod_id,
            operator: Address([0x0b; 20]),
            url: url.to_owned(),
            payout: Address([0x0c; 20]),
            offers_hash: offers_hash(&offers),
            offers,
            key: None,
            updated_at_unix_s: now_unix_s,
            retired: false,
        };
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let mut fixture = Self {
            identity: Signer::from_bytes(&[0x17; 32]).unwrap(),
            epoch: Arc::new(EpochKey::generate(&mut UnwrapErr(getrandom::SysRng))),
            chain: chain.clone(),
            record,
            policy_digest: Digest32([0x77; 32]),
            collateral: CollateralSpec::fresh(now_unix_s),
            enclave: EnclaveSpec::new(MEASUREMENT, [0; 64]),
            trust_domain: None,
            platform: SimulatedPlatform::new(&root, PlatformSpec::from_seed(&pod_id.0)),
            root,
            epoch_id: 1,
            from_unix_s: now_unix_s,
        };
        fixture.enclave.report_data = fixture.report_data();
        fixture.attest();
        fixture
    }

    /// Lets the platform quote a trust domain instead of the enclave.
    pub fn in_trust_domain(&mut self) {
        let report_data = self.report_data();
        self.trust_domain = Some(TrustDomainSpec::new(TdReport::V5Td15, [0x7d; 48], report_data));
        self.attest();
    }

    /// Lets the chain record say what a registry says that verified the quote that the platform
    /// makes now.
    pub fn attest(&mut self) {
        self.record.key = Some(AttestedKey {
            identity: self.identity.address(),
            expiry_unix_s: self.from_unix_s + 86_400,
            tee: if self.trust_domain.is_some() { TeeKind::Tdx } else { TeeKind::Sgx },
            tcb_status: TcbStatusCode::UpToDate,
            evaluation_number: self.collateral.tcb_evaluation_number,
            measurement: self.measurement(),
            evidence: self.evidence_digest(),
        });
    }

    /// The attested key, to change it.
    pub fn key(&mut self) -> &mut AttestedKey {
        self.record.key.as_mut().expect("the fixture is attested")
    }

    /// The machine, as a chain names it.
    pub fn machine(&self) -> Digest32 {
        Digest32(machine_digest(&self.platform.machine_identity()))
    }

    /// What the registry says about the machine of an attested pod.
    pub fn holder(&self) -> MachineHolder {
        let pod_prefix = self.record.pod_id.0[..26].try_into().unwrap();
        MachineHolder { pod_prefix, until_unix_s: self.from_unix_s + 86_400 }
    }

    /// What the contract is given beside the quote.
    pub fn key_binding(&self) -> KeyBinding {
        KeyBinding {
            identity: self.identity.address(),
            model_set_root: models_root(&self.record.offers),
            policy_digest: self.policy_digest,
        }
    }

    /// What the quote has to say.
    pub fn report_data(&self) -> [u8; 64] {
        let KeyBinding { identity, model_set_root, policy_digest } = self.key_binding();
        let binding = Binding {
            chain_id: self.chain.chain_id,
            registry: self.chain.registry.0,
            pod_id: self.record.pod_id.0,
            identity: identity.0,
            model_set_root: model_set_root.0,
            policy_digest: policy_digest.0,
        };
        report_data(&binding, NONCE_ON_CHAIN)
    }

    /// What the quote says about the program.
    pub fn measurement(&self) -> Digest32 {
        let of_enclave = self.enclave.mr_enclave;
        Digest32(self.trust_domain.as_ref().map_or(of_enclave, TrustDomainSpec::measurement))
    }

    fn quote_parts(&self) -> QuoteParts {
        match &self.trust_domain {
            Some(trust_domain) => self.platform.td_quote_parts(trust_domain),
            None => self.platform.quote_parts(&self.enclave),
        }
    }

    /// What the registry keeps of the quote.
    pub fn evidence_digest(&self) -> Digest32 {
        let quote = self.quote_parts();
        let signed_part = signed_part(self.platform.pck_der());
        let tbs_hash: [u8; 32] = Sha256::digest(signed_part).into();
        Digest32(evidence_digest(&quote.signed, &quote.qe_report, &tbs_hash))
    }

    /// The evidence, from this pod's machine.
    pub fn evidence(&self) -> Evidence {
        match &self.trust_domain {
            Some(trust_domain) => self.platform.td_evidence(trust_domain, &self.collateral),
            None => self.platform.evidence(&self.enclave, &self.collateral),
        }
    }

    /// The bundle's fields.
    pub fn key_bundle(&self) -> KeyBundle {
        KeyBundle {
            chain_id: self.chain.chain_id,
            registry: self.chain.registry,
            escrow: self.chain.escrow,
            pod_id: self.record.pod_id,
            identity: self.identity.address(),
            epoch_id: self.epoch_id,
            xwing_pk: Box::new(self.epoch.public_key()),
            not_before_unix_s: self.from_unix_s,
            not_after_unix_s: self.from_unix_s + 900,
            block_seen: 1,
            evidence_hash: Digest32(self.evidence().hash()),
            measurement: self.measurement(),
            model_set_root: models_root(&self.record.offers),
            offers_hash: offers_hash(&self.record.offers),
            policy_digest: self.policy_digest,
            classes: FrameClass::ALL.to_vec(),
        }
    }

    /// The bundle as served.
    pub fn bundle(&self) -> SignedBundle {
        self.key_bundle().sign(&self.identity)
    }
}

/// `tiny:1b` for 1 unit per token in and 2 per token out.
pub fn offer() -> Offer {
    Offer {
        model: "tiny:1b".to_owned(),
        weights_sha256: Digest32([0xb1; 32]),
        input_price_per_mtok: Amount::from(1_000_000),
        output_price_per_mtok: Amount::from(2_000_000),
        context_tokens: 2048,
        max_output_tokens: 512,
    }
}

fn models_root(offers: &[Offer]) -> Digest32 {
    let models: Vec<_> =
        offers.iter().map(|offer| (offer.model.as_str(), offer.weights_sha256.0)).collect();
    Digest32(model_set_root(&models).unwrap())
}
