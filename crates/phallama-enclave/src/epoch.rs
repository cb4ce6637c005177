//! Epoch keys: what requests are sealed to, for fifteen minutes each.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Address, Digest32, PodId, RequestId};
use phallama_protocol::keys::Signer;
use phallama_protocol::rand_core::CryptoRng;
use phallama_protocol::replay::{REPLAY_ENTRIES_MAX, ReplayError, ReplaySet};
use phallama_protocol::request::EpochKey;

pub use phallama_protocol::bundle::{EPOCH_LIFE_S, EPOCH_OVERLAP_S};

/// What every key bundle of this boot has in common.
#[derive(Clone, Debug)]
pub struct PodFacts {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The `PodRegistry` contract.
    pub registry: Address,
    /// The `Escrow` contract.
    pub escrow: Address,
    /// The pod.
    pub pod_id: PodId,
    /// Hash of the quote with nonce 0.
    pub evidence_hash: Digest32,
    /// What the platform measured.
    pub measurement: Digest32,
    /// Root over the models.
    pub model_set_root: Digest32,
    /// Hash of the offers: the terms.
    pub offers_hash: Digest32,
    /// Digest of the policy.
    pub policy_digest: Digest32,
    /// Frame classes served, ascending.
    pub classes: Vec<FrameClass>,
}

/// The epochs whose keys still exist: the current one, and for the overlap the one before.
///
/// Dropping an epoch erases its key, and with it its replay set.
pub struct EpochRing {
    live: VecDeque<Epoch>,
    created: u64,
}

struct Epoch {
    key: Arc<EpochKey>,
    bundle: Arc<SignedBundle>,
    replay: ReplaySet,
    requests: HashSet<(Address, RequestId)>,
}

/// Why an opened request must not be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitOnceError {
    /// The epoch ended while the request was being opened.
    #[error("the request's epoch key is no longer live")]
    EpochEnded,
    /// Seen before, or no room to remember it.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl EpochRing {
    /// No epoch yet: the first [`EpochRing::rotate`] makes one.
    pub fn new() -> Self {
        Self { live: VecDeque::new(), created: 0 }
    }

    /// Erases what is over and makes the next epoch when the current one has ended, at
    /// `now_unix_s`. `block_seen` is the newest block known, for a new bundle.
    pub fn rotate(
        &mut self,
        now_unix_s: u64,
        block_seen: u64,
        facts: &PodFacts,
        identity: &Signer,
        rng: &mut impl CryptoRng,
    ) {
        self.live.retain(|epoch| now_unix_s <= epoch.not_after() + EPOCH_OVERLAP_S);
        if self.live.back().is_some_and(|epoch| now_unix_s < epoch.not_after()) {
            return;
        }
        self.created += 1;
        let key = EpochKey::generate(rng);
        let window = (now_unix_s, now_unix_s + EPOCH_LIFE_S);
        let bundle = bundle(facts, &key, window, (self.created, block_seen), identity);
        self.live.push_back(Epoch {
            key: Arc::new(key),
            bundle: Arc::new(bundle.sign(identity)),
            replay: ReplaySet::new(REPLAY_ENTRIES_MAX),
            requests: HashSet::new(),
        });
    }

    /// The current bundle, after [`EpochRing::rotate`].
    pub fn bundle(&self) -> Option<Arc<SignedBundle>> {
        self.live.back().map(|epoch| Arc::clone(&epoch.bundle))
    }

    /// The live key with this id, and its bundle.
    pub fn key(&self, key_id: [u8; 8]) -> Option<(Arc<EpochKey>, Arc<SignedBundle>)> {
        let epoch = self.live.iter().find(|epoch| epoch.bundle.key_id() == key_id)?;
        Some((Arc::clone(&epoch.key), Arc::clone(&epoch.bundle)))
    }

    /// Remembers an encapsulation that opened; the request may go on only if this succeeds.
    ///
    /// # Errors
    /// [`AdmitOnceError`].
    pub fn insert(&mut self, key_id: [u8; 8], fingerprint: [u8; 16]) -> Result<(), AdmitOnceError> {
        let mut live = self.live.iter_mut();
        let epoch =
            live.find(|epoch| epoch.bundle.key_id() == key_id).ok_or(AdmitOnceError::EpochEnded)?;
        Ok(epoch.replay.insert(fingerprint)?)
    }

    /// Takes a user's request id: `false` when it was taken under any live epoch. Ids are kept as
    /// long as the newest epoch, so an id sealed again to the next key is still refused.
    pub fn take_request_id(&mut self, user: Address, id: RequestId) -> bool {
        if self.live.iter().any(|epoch| epoch.requests.contains(&(user, id))) {
            return false;
        }
        self.live.back_mut().is_none_or(|epoch| epoch.requests.insert((user, id)))
    }

    /// Gives an id back: its request was refused or failed, and nothing was charged.
    pub fn release_request_id(&mut self, user: Address, id: RequestId) {
        for epoch in &mut self.live {
            epoch.requests.remove(&(user, id));
        }
    }
}

impl Default for EpochRing {
    fn default() -> Self {
        Self::new()
    }
}

impl Epoch {
    fn not_after(&self) -> u64 {
        self.bundle.bundle().not_after_unix_s
    }
}

fn bundle(
    facts: &PodFacts,
    key: &EpochKey,
    (not_before_unix_s, not_after_unix_s): (u64, u64),
    (epoch_id, block_seen): (u64, u64),
    identity: &Signer,
) -> KeyBundle {
    KeyBundle {
        chain_id: facts.chain_id,
        registry: facts.registry,
        escrow: facts.escrow,
        pod_id: facts.pod_id,
        identity: identity.address(),
        epoch_id,
        xwing_pk: Box::new(key.public_key()),
        not_before_unix_s,
        not_after_unix_s,
        block_seen,
        evidence_hash: facts.evidence_hash,
        measurement: facts.measurement,
        model_set_root: facts.model_set_root,
        offers_hash: facts.offers_hash,
        policy_digest: facts.policy_digest,
        classes: facts.classes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::os_rng;

    const START: u64 = 1_800_000_000;

    struct Boot {
        epochs: EpochRing,
        facts: PodFacts,
        identity: Signer,
    }

    fn boot() -> Boot {
        let facts = PodFacts {
            chain_id: 1,
            registry: Address([1; 20]),
            escrow: Address([2; 20]),
            pod_id: PodId([3; 32]),
            evidence_hash: Digest32([4; 32]),
            measurement: Digest32([5; 32]),
            model_set_root: Digest32([6; 32]),
            offers_hash: Digest32([7; 32]),
            policy_digest: Digest32([8; 32]),
            classes: vec![FrameClass::Std],
        };
        Boot { epochs: EpochRing::new(), facts, identity: Signer::generate(&mut os_rng()) }
    }

    impl Boot {
        /// The current bundle `after_s` seconds after the start.
        fn at(&mut self, after_s: u64) -> Arc<SignedBundle> {
            self.epochs.rotate(START + after_s, 77, &self.facts, &self.identity, &mut os_rng());
            self.epochs.bundle().unwrap()
        }
    }

    #[test]
    fn a_bundle_is_signed_and_the_same_for_its_whole_life() {
        let mut boot = boot();
        let first = boot.at(0);
        assert_eq!(SignedBundle::decode(first.bytes()).unwrap(), *first);
        assert_eq!(first.bundle().block_seen, 77);
        first.check_window(START).unwrap();
        assert_eq!(boot.at(EPOCH_LIFE_S - 1).bytes(), first.bytes());
    }

    #[test]
    fn the_key_changes_at_the_end_of_its_life_and_overlaps() {
        let mut boot = boot();
        let first = boot.at(0);
        let second = boot.at(EPOCH_LIFE_S);
        assert_eq!((first.bundle().epoch_id, second.bundle().epoch_id), (1, 2));
        assert_ne!(first.bundle().xwing_pk, second.bundle().xwing_pk);
        boot.at(EPOCH_LIFE_S + EPOCH_OVERLAP_S);
        assert!(boot.epochs.key(first.key_id()).is_some(), "erased inside the overlap");
        boot.at(EPOCH_LIFE_S + EPOCH_OVERLAP_S + 1);
        assert!(boot.epochs.key(first.key_id()).is_none(), "kept after the overlap");
        assert!(boot.epochs.key(second.key_id()).is_some());
    }

    #[test]
    fn the_secret_is_dropped_with_its_epoch() {
        let mut boot = boot();
        let first = boot.at(0);
        let key = Arc::downgrade(&boot.epochs.key(first.key_id()).unwrap().0);
        boot.at(EPOCH_LIFE_S + EPOCH_OVERLAP_S + 1);
        assert!(key.upgrade().is_none(), "someone still holds the epoch's secret");
    }

    #[test]
    fn an_encapsulation_opens_once_per_key_and_never_after_it() {
        let mut boot = boot();
        let first = boot.at(0).key_id();
        boot.epochs.insert(first, [1; 16]).unwrap();
        let again = boot.epochs.insert(first, [1; 16]);
        assert_eq!(again, Err(AdmitOnceError::Replay(ReplayError::Seen)));
        boot.at(2 * EPOCH_LIFE_S);
        assert_eq!(boot.epochs.insert(first, [2; 16]), Err(AdmitOnceError::EpochEnded));
    }

    #[test]
    fn a_request_id_stays_taken_under_the_next_key_until_it_is_released() {
        let mut boot = boot();
        let (user, other) = (Address([9; 20]), Address([8; 20]));
        let id = RequestId([1; 16]);
        boot.at(0);
        assert!(boot.epochs.take_request_id(user, id));
        assert!(boot.epochs.take_request_id(other, id), "ids are each user's own");
        boot.at(EPOCH_LIFE_S);
        assert!(!boot.epochs.take_request_id(user, id));
        boot.epochs.release_request_id(user, id);
        assert!(boot.epochs.take_request_id(user, id));
    }
}
