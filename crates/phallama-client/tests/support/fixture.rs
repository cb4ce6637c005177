//! A pod with a simulated TEE that can prove itself: keys, chain record, bundle, evidence.
#![allow(unreachable_pub, reason = "shared between unit and integration tests")]

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Binding, Evidence, NONCE_ON_CHAIN, model_set_root, report_data};
use phallama_chain::{ChainConfig, PodRecord};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use phallama_protocol::offers::{Offer, offers_hash};
use phallama_protocol::rand_core::UnwrapErr;
use phallama_protocol::request::EpochKey;

/// The measurement that the fixture's users approve.
pub const MEASUREMENT: [u8; 32] = [0x41; 32];

/// A pod, as it would be after its enclave has started and its operator has registered it.
pub struct Fixture {
    pub identity: Signer,
    pub epoch: EpochKey,
    pub chain: ChainConfig,
    pub record: PodRecord,
    pub policy_digest: Digest32,
    pub collateral: CollateralSpec,
    pub enclave: EnclaveSpec,
    pub root: DevelopmentRoot,
    pub epoch_id: u64,
    pub from_unix_s: u64,
}

impl Fixture {
    /// A pod at `url` that proves itself at `now_unix_s`.
    pub fn new(chain: &ChainConfig, pod_id: PodId, url: &str, now_unix_s: u64) -> Self {
        let identity = Signer::from_bytes(&[0x17; 32]).unwrap();
        let offers = vec![offer()];
        let policy_digest = Digest32([0x77; 32]);
        let binding = Binding {
            chain_id: chain.chain_id,
            registry: chain.registry.0,
            pod_id: pod_id.0,
            identity: identity.address().0,
            model_set_root: models_root(&offers).0,
            policy_digest: policy_digest.0,
        };
        let record = PodRecord {
            pod_id,
            operator: Address([0x0b; 20]),
            url: url.to_owned(),
            payout: Address([0x0c; 20]),
            offers_hash: offers_hash(&offers),
            offers,
            identity: identity.address(),
            key_expiry_unix_s: now_unix_s + 86_400,
            measurement: Digest32(MEASUREMENT),
            quote_hash: Digest32([0; 32]),
            evidence_uri: format!("{url}/.well-known/phallama/evidence"),
            updated_at_unix_s: now_unix_s,
            retired: false,
        };
        let mut fixture = Self {
            identity,
            epoch: EpochKey::generate(&mut UnwrapErr(getrandom::SysRng)),
            chain: chain.clone(),
            record,
            policy_digest,
            collateral: CollateralSpec::fresh(now_unix_s),
            enclave: EnclaveSpec::new(MEASUREMENT, report_data(&binding, NONCE_ON_CHAIN)),
            root: DevelopmentRoot::from_seed(DEVELOPMENT_SEED),
            epoch_id: 1,
            from_unix_s: now_unix_s,
        };
        fixture.register_quote();
        fixture
    }

    /// Lets the chain record name the quote that the platform makes now.
    pub fn register_quote(&mut self) {
        self.record.quote_hash = Digest32(self.evidence().hash());
    }

    /// The evidence, from this pod's machine.
    pub fn evidence(&self) -> Evidence {
        let platform = SimulatedPlatform::new(&self.root, PlatformSpec::from_seed(b"machine 1"));
        platform.evidence(&self.enclave, &self.collateral)
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
            measurement: Digest32(MEASUREMENT),
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
