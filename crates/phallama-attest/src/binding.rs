use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Domain tag of the first half of the report data, without its terminating zero byte.
const REPORT_DATA_TAG: &[u8] = b"phallama/1 report data";
/// Domain tag of the model-set root, without its terminating zero byte.
const MODEL_SET_TAG: &[u8] = b"phallama/1 model set";

/// The nonce of a quote that is registered on chain, where no verifier chose one.
pub const NONCE_ON_CHAIN: [u8; 32] = [0; 32];

/// Longest model name in a model set, in bytes of UTF-8.
pub const MODEL_NAME_MAX_BYTES: usize = 255;

/// What a quote vouches for: one identity key, serving one model set under one policy, as one pod
/// of one registry on one chain.
///
/// Any difference gives other report data, so evidence cannot be moved to another pod, another
/// registry or another chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// EVM chain id of the registry.
    pub chain_id: u64,
    /// Address of the `PodRegistry` contract.
    pub registry: [u8; 20],
    /// The pod's id in that registry.
    pub pod_id: [u8; 32],
    /// Address of the enclave's identity key (secp256k1, one boot).
    pub identity: [u8; 20],
    /// [`model_set_root`] of the models that the enclave serves.
    pub model_set_root: [u8; 32],
    /// Digest of the enclave's own serving policy, as in its key bundle.
    pub policy_digest: [u8; 32],
}

impl Binding {
    /// The first half of the report data: SHA-256 over the tagged binding.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(REPORT_DATA_TAG)
            .chain_update([0])
            .chain_update(self.chain_id.to_be_bytes())
            .chain_update(self.registry)
            .chain_update(self.pod_id)
            .chain_update(self.identity)
            .chain_update(self.model_set_root)
            .chain_update(self.policy_digest)
            .finalize()
            .into()
    }
}

/// The 64 bytes that an enclave puts into its quote: [`Binding::digest`] ‖ `nonce`.
///
/// `nonce` is chosen by the verifier to prove freshness, or [`NONCE_ON_CHAIN`].
pub fn report_data(binding: &Binding, nonce: [u8; 32]) -> [u8; 64] {
    let mut data = [0; 64];
    let (head, tail) = data.split_at_mut(32);
    head.copy_from_slice(&binding.digest());
    tail.copy_from_slice(&nonce);
    data
}

/// Why a list of models has no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelSetError {
    /// Two entries have the same name.
    #[error("model `{name}` is listed twice; list each model once")]
    DuplicateName {
        /// The name in question.
        name: String,
    },
    /// A name is empty or too long.
    #[error("model name `{name}` has {got} bytes; use 1 to {max}")]
    NameLength {
        /// The name in question.
        name: String,
        /// Its length in bytes.
        got: usize,
        /// [`MODEL_NAME_MAX_BYTES`].
        max: usize,
    },
}

/// One digest for the set of `(model name, SHA-256 of its weights)` that an enclave serves.
///
/// The order of `models` does not matter. An empty set has a root too: a pod that serves nothing.
///
/// # Errors
/// [`ModelSetError`] when a name is repeated, empty or longer than [`MODEL_NAME_MAX_BYTES`].
pub fn model_set_root(models: &[(&str, [u8; 32])]) -> Result<[u8; 32], ModelSetError> {
    let mut sorted = models.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if let [(first, _), (second, _)] = pair
            && first == second
        {
            return Err(ModelSetError::DuplicateName { name: (*first).to_owned() });
        }
    }
    let mut hash = Sha256::new()
        .chain_update(MODEL_SET_TAG)
        .chain_update([0])
        .chain_update((sorted.len() as u64).to_be_bytes());
    for (name, sha256) in &sorted {
        hash.update([name_length(name)?]);
        hash.update(name.as_bytes());
        hash.update(sha256);
    }
    Ok(hash.finalize().into())
}

fn name_length(name: &str) -> Result<u8, ModelSetError> {
    u8::try_from(name.len()).ok().filter(|length| *length > 0).ok_or_else(|| {
        ModelSetError::NameLength {
            name: name.to_owned(),
            got: name.len(),
            max: MODEL_NAME_MAX_BYTES,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            chain_id: 2035,
            registry: [1; 20],
            pod_id: [2; 32],
            identity: [3; 20],
            model_set_root: [4; 32],
            policy_digest: [5; 32],
        }
    }

    #[test]
    fn each_field_changes_the_digest() {
        let base = binding();
        let changed = [
            Binding { chain_id: 2036, ..base.clone() },
            Binding { registry: [9; 20], ..base.clone() },
            Binding { pod_id: [9; 32], ..base.clone() },
            Binding { identity: [9; 20], ..base.clone() },
            Binding { model_set_root: [9; 32], ..base.clone() },
            Binding { policy_digest: [9; 32], ..base.clone() },
        ];
        for other in changed {
            assert_ne!(other.digest(), base.digest(), "{other:?}");
        }
    }

    #[test]
    fn report_data_ends_with_the_nonce() {
        let data = report_data(&binding(), [7; 32]);
        assert_eq!(data[..32], binding().digest());
        assert_eq!(data[32..], [7; 32]);
    }

    #[test]
    fn model_order_does_not_change_the_root() {
        let forward = model_set_root(&[("a", [1; 32]), ("b", [2; 32])]);
        let backward = model_set_root(&[("b", [2; 32]), ("a", [1; 32])]);
        assert_eq!(forward, backward);
        assert_ne!(forward, model_set_root(&[("a", [2; 32]), ("b", [1; 32])]));
    }

    #[test]
    fn rejects_a_repeated_name() {
        let twice = model_set_root(&[("a", [1; 32]), ("b", [0; 32]), ("a", [2; 32])]);
        assert_eq!(twice, Err(ModelSetError::DuplicateName { name: "a".to_owned() }));
    }

    #[test]
    fn rejects_names_that_are_empty_or_too_long() {
        for name in [String::new(), "x".repeat(MODEL_NAME_MAX_BYTES + 1)] {
            let got = name.len();
            let error = ModelSetError::NameLength { name: name.clone(), got, max: 255 };
            assert_eq!(model_set_root(&[(&name, [0; 32])]), Err(error));
        }
        let longest = "x".repeat(MODEL_NAME_MAX_BYTES);
        assert_ne!(model_set_root(&[(&longest, [0; 32])]), model_set_root(&[]));
    }
}
