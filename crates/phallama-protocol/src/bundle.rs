//! The key bundle: which key to seal to, and what the pod says about itself (spec/wire.md).

use crate::codec::{ReadError, Reader};
use crate::frames::FrameClass;
use crate::hash::{sha256, tagged, truncate};
use crate::ids::{Address, Digest32, PodId};
use crate::keys::{Signature, SignatureError, Signer, recover};
use crate::suite;

/// X-Wing public key, bytes.
pub const XWING_PK_LEN: usize = suite::PK_LEN;
/// Life of an epoch key, seconds: `not_after − not_before` is at most this.
pub const EPOCH_LIFE_S: u64 = 900;
/// How long after its window (and, for clocks that differ, before it) a bundle is acceptable.
pub const EPOCH_OVERLAP_S: u64 = 120;
/// Smallest bundle: one padding class.
pub const BUNDLE_MIN_LEN: usize = 1585;
/// Largest bundle: every padding class.
pub const BUNDLE_MAX_LEN: usize = 1588;

const MAGIC: [u8; 4] = *b"PHKB";
const VERSION: u8 = 1;
const TAG: &str = "phallama/1 bundle";

/// The fields of a key bundle, in wire order (magic, version and suite are fixed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBundle {
    /// EIP-155 id of the chain that the pod settles on.
    pub chain_id: u64,
    /// The pod registry contract.
    pub registry: Address,
    /// The escrow contract.
    pub escrow: Address,
    /// The pod.
    pub pod_id: PodId,
    /// The enclave's identity key, which signs this bundle.
    pub identity: Address,
    /// Counts the identity's epoch keys.
    pub epoch_id: u64,
    /// The X-Wing public key to seal to, 1216 B.
    pub xwing_pk: Box<[u8; XWING_PK_LEN]>,
    /// First second of the window.
    pub not_before_unix_s: u64,
    /// Last second of the window.
    pub not_after_unix_s: u64,
    /// Newest block that the enclave has been told of.
    pub block_seen: u64,
    /// SHA-256 of the quote, as the chain record names it.
    pub evidence_hash: Digest32,
    /// MRENCLAVE or the platform's counterpart.
    pub measurement: Digest32,
    /// Root over the models that the enclave may load.
    pub model_set_root: Digest32,
    /// [`crate::offers::offers_hash`] of the pod's offers: the terms of allocations.
    pub offers_hash: Digest32,
    /// SHA-256 of the enclave's policy.
    pub policy_digest: Digest32,
    /// Padding classes that the pod serves, ascending by id, at least one.
    pub classes: Vec<FrameClass>,
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The length does not fit the class count, or is outside 1585..=1588.
    #[error("key bundle has {got} bytes, not {expected}")]
    Size {
        /// What the class count asks for, or the nearest size a bundle can have.
        expected: usize,
        /// Bytes received.
        got: usize,
    },
    /// Not a key bundle.
    #[error("key bundle starts with {0:02x?}, not with \"PHKB\"")]
    Magic([u8; 4]),
    /// A version that this program does not speak.
    #[error("key bundle has version {0}; this program speaks version 1")]
    Version(u8),
    /// Another KEM, KDF or AEAD: nothing is negotiated.
    #[error("key bundle names suite {0:02x?}; the only one is X-Wing, HKDF-SHA256, AES-256-GCM")]
    Suite([u8; 6]),
    /// The X-Wing public key is not one.
    #[error("key bundle carries an invalid X-Wing public key")]
    PublicKey,
    /// A padding class that does not exist.
    #[error("key bundle names the unknown padding class {0}")]
    UnknownClass(u8),
    /// No class, or the ids are not strictly ascending.
    #[error("key bundle lists no padding class, or lists them out of order: {0:?}")]
    Classes(Vec<u8>),
    /// The signature is malformed.
    #[error("key bundle signature is invalid: {0}")]
    Signature(#[from] SignatureError),
    /// The signature is another key's than the identity in the bundle.
    #[error("key bundle names the identity {identity} but was signed by {signer}")]
    Signer {
        /// Identity in the bundle.
        identity: Address,
        /// Who signed.
        signer: Address,
    },
    /// The window is empty, or longer than 900 s.
    #[error("key bundle has the window {not_before_unix_s}..={not_after_unix_s}, not 1 to 900 s")]
    Window {
        /// Start.
        not_before_unix_s: u64,
        /// End.
        not_after_unix_s: u64,
    },
    /// The window starts more than 120 s from now.
    #[error("key bundle is valid from {not_before_unix_s}, but it is {now_unix_s} here")]
    NotYetValid {
        /// Start.
        not_before_unix_s: u64,
        /// The verifier's clock.
        now_unix_s: u64,
    },
    /// The window ended more than 120 s ago.
    #[error("key bundle was valid until {not_after_unix_s}, but it is {now_unix_s} here")]
    Expired {
        /// End.
        not_after_unix_s: u64,
        /// The verifier's clock.
        now_unix_s: u64,
    },
    /// A field differs from what the chain and the verified evidence say.
    #[error("key bundle names another {0} than the chain and the verified evidence do")]
    Mismatch(&'static str),
}

/// What a client knows about the pod before it fetches the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleExpectation {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The pod registry contract.
    pub registry: Address,
    /// The escrow contract.
    pub escrow: Address,
    /// The pod.
    pub pod_id: PodId,
    /// The identity key that the verified evidence and the chain name for this pod.
    pub identity: Address,
}

impl From<ReadError> for BundleError {
    /// Unreachable after the size check; kept as a refusal rather than a panic.
    fn from(_: ReadError) -> Self {
        Self::Size { expected: BUNDLE_MIN_LEN, got: 0 }
    }
}

impl KeyBundle {
    /// Signs the bundle; `identity` must be the signer's address for it to be accepted.
    pub fn sign(self, signer: &Signer) -> SignedBundle {
        let mut bytes = self.encode();
        let signature = signer.sign(&tagged(TAG, &[&bytes]));
        bytes.extend(signature.0);
        SignedBundle::new(self, bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BUNDLE_MAX_LEN);
        out.extend(MAGIC);
        out.push(VERSION);
        out.extend(suite::IDS);
        out.extend(self.chain_id.to_be_bytes());
        out.extend(self.registry.0);
        out.extend(self.escrow.0);
        out.extend(self.pod_id.0);
        out.extend(self.identity.0);
        out.extend(self.epoch_id.to_be_bytes());
        out.extend(self.xwing_pk.as_slice());
        for number in [self.not_before_unix_s, self.not_after_unix_s, self.block_seen] {
            out.extend(number.to_be_bytes());
        }
        for digest in [
            &self.evidence_hash,
            &self.measurement,
            &self.model_set_root,
            &self.offers_hash,
            &self.policy_digest,
        ] {
            out.extend(digest.0);
        }
        out.push(u8::try_from(self.classes.len()).unwrap_or(u8::MAX));
        out.extend(self.classes.iter().map(|class| class.id()));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut input = Reader::new(bytes);
        let magic = input.array()?;
        if magic != MAGIC {
            return Err(BundleError::Magic(magic));
        }
        let version = input.u8()?;
        if version != VERSION {
            return Err(BundleError::Version(version));
        }
        let suite = input.array()?;
        if suite != suite::IDS {
            return Err(BundleError::Suite(suite));
        }
        // Fields of a struct expression are evaluated as written: the order of the wire.
        Ok(Self {
            chain_id: input.u64()?,
            registry: Address(input.array()?),
            escrow: Address(input.array()?),
            pod_id: PodId(input.array()?),
            identity: Address(input.array()?),
            epoch_id: input.u64()?,
            xwing_pk: Box::new(input.array()?),
            not_before_unix_s: input.u64()?,
            not_after_unix_s: input.u64()?,
            block_seen: input.u64()?,
            evidence_hash: Digest32(input.array()?),
            measurement: Digest32(input.array()?),
            model_set_root: Digest32(input.array()?),
            offers_hash: Digest32(input.array()?),
            policy_digest: Digest32(input.array()?),
            classes: decode_classes(&mut input)?,
        })
    }
}

/// `class_count 1 | class ids`: known, strictly ascending, at least one, and nothing after them.
fn decode_classes(input: &mut Reader<'_>) -> Result<Vec<FrameClass>, BundleError> {
    let count = usize::from(input.u8()?);
    let ids = input.rest();
    if ids.len() != count {
        let expected = BUNDLE_MIN_LEN.saturating_sub(1).saturating_add(count);
        let got = BUNDLE_MIN_LEN.saturating_sub(1).saturating_add(ids.len());
        return Err(BundleError::Size { expected, got });
    }
    if ids.is_empty() || !ids.is_sorted_by(|a, b| a < b) {
        return Err(BundleError::Classes(ids.to_vec()));
    }
    ids.iter().map(|id| FrameClass::from_u8(*id).ok_or(BundleError::UnknownClass(*id))).collect()
}

/// A bundle with its signature, as served: the same bytes for everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBundle {
    bundle: KeyBundle,
    bytes: Vec<u8>,
    hash: Digest32,
}

impl SignedBundle {
    fn new(bundle: KeyBundle, bytes: Vec<u8>) -> Self {
        let hash = Digest32(sha256(&bytes));
        Self { bundle, bytes, hash }
    }

    /// Checks size, version, suite, public key, classes and that the signature recovers to the
    /// identity in the bundle. Whose identity that is, and when the bundle is valid, is for
    /// [`SignedBundle::check_expectation`] and [`SignedBundle::check_window`].
    ///
    /// # Errors
    /// [`BundleError`], naming the first rule that is broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let expected = bytes.len().clamp(BUNDLE_MIN_LEN, BUNDLE_MAX_LEN);
        if bytes.len() != expected {
            return Err(BundleError::Size { expected, got: bytes.len() });
        }
        let (body, signature) = bytes
            .split_last_chunk::<64>()
            .ok_or(BundleError::Size { expected, got: bytes.len() })?;
        let bundle = KeyBundle::decode(body)?;
        let signer = recover(&tagged(TAG, &[body]), &Signature(*signature))?;
        if signer != bundle.identity {
            return Err(BundleError::Signer { identity: bundle.identity, signer });
        }
        if !suite::is_public_key(&bundle.xwing_pk) {
            return Err(BundleError::PublicKey);
        }
        Ok(Self::new(bundle, bytes.to_vec()))
    }

    /// The fields.
    pub fn bundle(&self) -> &KeyBundle {
        &self.bundle
    }

    /// The bytes as served, signature included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 over [`SignedBundle::bytes`].
    pub fn hash(&self) -> Digest32 {
        self.hash
    }

    /// The first 8 bytes of the hash: how a request names the bundle it was sealed to.
    pub fn key_id(&self) -> [u8; 8] {
        truncate(&self.hash.0)
    }

    /// Checks the window against the caller's clock, with 120 s of tolerance on both sides.
    ///
    /// # Errors
    /// [`BundleError::Window`], [`BundleError::NotYetValid`], [`BundleError::Expired`].
    pub fn check_window(&self, now_unix_s: u64) -> Result<(), BundleError> {
        let KeyBundle { not_before_unix_s, not_after_unix_s, .. } = self.bundle;
        let life = not_after_unix_s.checked_sub(not_before_unix_s);
        if !life.is_some_and(|life| (1..=EPOCH_LIFE_S).contains(&life)) {
            return Err(BundleError::Window { not_before_unix_s, not_after_unix_s });
        }
        if now_unix_s.saturating_add(EPOCH_OVERLAP_S) < not_before_unix_s {
            return Err(BundleError::NotYetValid { not_before_unix_s, now_unix_s });
        }
        if now_unix_s > not_after_unix_s.saturating_add(EPOCH_OVERLAP_S) {
            return Err(BundleError::Expired { not_after_unix_s, now_unix_s });
        }
        Ok(())
    }

    /// Checks that the bundle is that of the pod, chain, contracts and identity that the client
    /// has verified.
    ///
    /// # Errors
    /// [`BundleError::Mismatch`] with the name of the first field that differs.
    pub fn check_expectation(&self, expected: &BundleExpectation) -> Result<(), BundleError> {
        let got = &self.bundle;
        for (same, name) in [
            (got.chain_id == expected.chain_id, "chain id"),
            (got.registry == expected.registry, "registry"),
            (got.escrow == expected.escrow, "escrow"),
            (got.pod_id == expected.pod_id, "pod id"),
            (got.identity == expected.identity, "identity"),
        ] {
            if !same {
                return Err(BundleError::Mismatch(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
