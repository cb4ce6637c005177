//! P-256 keys derived from seeds, with deterministic signatures.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

const KEY_TAG: &[u8] = b"phallama/1 simulated key";
const BYTES_TAG: &[u8] = b"phallama/1 simulated bytes";

/// A key pair of the simulated platform.
#[derive(Clone)]
pub(super) struct Key {
    signing: SigningKey,
}

impl Key {
    /// The key named `label` of `seed`.
    pub(super) fn derive(seed: &[u8], label: &str) -> Self {
        let signing = (0..=u8::MAX)
            .find_map(|counter| {
                let scalar = expand(KEY_TAG, seed, label, counter);
                SigningKey::from_slice(&scalar).ok()
            })
            .expect("one hash in 2^32 is not a valid scalar, so 256 tries suffice");
        Self { signing }
    }

    /// The public key: x ‖ y.
    pub(super) fn public(&self) -> [u8; 64] {
        let point = self.signing.verifying_key().to_sec1_point(false);
        point.as_bytes()[1..].try_into().expect("an uncompressed point is 0x04, x and y")
    }

    /// r ‖ s over SHA-256 of `message`.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing.sign(message);
        signature.to_bytes().into()
    }

    /// The private scalar, big-endian.
    pub(super) fn scalar(&self) -> [u8; 32] {
        self.signing.to_bytes().into()
    }

    /// Subject key identifier: the first 20 bytes of SHA-256 of the public key.
    pub(super) fn id(&self) -> [u8; 20] {
        let digest: [u8; 32] = Sha256::digest(self.public()).into();
        digest[..20].try_into().expect("20 of 32 bytes")
    }
}

/// 32 public bytes named `label` of `seed`, for identifiers.
pub(super) fn bytes(seed: &[u8], label: &str) -> [u8; 32] {
    expand(BYTES_TAG, seed, label, 0)
}

fn expand(tag: &[u8], seed: &[u8], label: &str, counter: u8) -> [u8; 32] {
    Sha256::new()
        .chain_update(tag)
        .chain_update([0])
        .chain_update((seed.len() as u64).to_be_bytes())
        .chain_update(seed)
        .chain_update(label.as_bytes())
        .chain_update([0, counter])
        .finalize()
        .into()
}
