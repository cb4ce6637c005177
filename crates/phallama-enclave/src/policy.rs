//! What the enclave accepts and promises, and its digest in evidence and key bundles.

use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::Digest32;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::epoch::{EPOCH_LIFE_S, EPOCH_OVERLAP_S};

/// Domain tag of the policy digest, without its terminating zero byte.
const POLICY_TAG: &[u8] = b"phallama/1 policy";
/// Largest `body_max_bytes`: what fits the largest bucket beside the fixed fields.
const BODY_MAX_LIMIT: u32 = 2_000_000;

/// The part of the configuration that is bound into the evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Classes in which answers are given. Absent: `std`, `fast` and `bulk`, which hide the timing
    /// of tokens.
    #[serde(default = "default_classes")]
    pub classes: Vec<FrameClass>,
    /// Largest JSON body, bytes.
    #[serde(default = "default_body_max_bytes")]
    pub body_max_bytes: u32,
    /// Requests that are open at the same time, waiting ones included.
    #[serde(default = "default_exchanges_max")]
    pub exchanges_max: u32,
}

fn default_classes() -> Vec<FrameClass> {
    vec![FrameClass::Std, FrameClass::Fast, FrameClass::Bulk]
}

fn default_body_max_bytes() -> u32 {
    1024 * 1024
}

fn default_exchanges_max() -> u32 {
    256
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            classes: default_classes(),
            body_max_bytes: default_body_max_bytes(),
            exchanges_max: default_exchanges_max(),
        }
    }
}

impl PolicyConfig {
    /// What to change, if something must be.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.classes.is_empty() {
            return Err("`classes` is empty; list at least `std`".to_owned());
        }
        if self.body_max_bytes == 0 || self.body_max_bytes > BODY_MAX_LIMIT {
            let got = self.body_max_bytes;
            return Err(format!("`body_max_bytes` is {got}, expected 1 to {BODY_MAX_LIMIT}"));
        }
        if self.exchanges_max == 0 {
            return Err("`exchanges_max` is 0; allow at least 1".to_owned());
        }
        Ok(())
    }

    /// The classes in which answers are given, ascending by id, each once.
    pub fn frame_classes(&self) -> Vec<FrameClass> {
        let mut classes = self.classes.clone();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// SHA-256 over what a user may care about (spec/wire.md, *Key bundle*):
    ///
    /// ```text
    /// "phallama/1 policy" ‖ 0 ‖ class_count 1 ‖ class ids 1 each, ascending ‖ body_max_bytes 4
    /// ‖ epoch_life_s 8 ‖ epoch_overlap_s 8 ‖ worker_sha256 32 ‖ arg_count 4 ‖ (len 4 ‖ arg)*
    /// ```
    /// `worker_sha256` and `worker_args` name the program that sees the prompts.
    pub fn digest(&self, worker_sha256: [u8; 32], worker_args: &[String]) -> Digest32 {
        let classes: Vec<u8> = self.frame_classes().into_iter().map(FrameClass::id).collect();
        let mut hash = Sha256::new()
            .chain_update(POLICY_TAG)
            .chain_update([0, len_u8(classes.len())])
            .chain_update(&classes)
            .chain_update(self.body_max_bytes.to_be_bytes())
            .chain_update(EPOCH_LIFE_S.to_be_bytes())
            .chain_update(EPOCH_OVERLAP_S.to_be_bytes())
            .chain_update(worker_sha256)
            .chain_update(len_u32(worker_args.len()));
        for arg in worker_args {
            hash.update(len_u32(arg.len()));
            hash.update(arg.as_bytes());
        }
        Digest32(hash.finalize().into())
    }
}

fn len_u8(len: usize) -> u8 {
    u8::try_from(len).expect("there are four classes")
}

fn len_u32(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a configuration file has at most 64 KiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> PolicyConfig {
        PolicyConfig { classes: vec![FrameClass::Fast, FrameClass::Std], ..PolicyConfig::default() }
    }

    #[test]
    fn digest_ignores_the_order_of_classes() {
        let other = PolicyConfig {
            classes: vec![FrameClass::Std, FrameClass::Fast, FrameClass::Std],
            ..base()
        };
        assert_eq!(base().digest([1; 32], &[]), other.digest([1; 32], &[]));
    }

    #[test]
    fn each_promise_changes_the_digest() {
        let args = |list: &[&str]| list.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let digest = base().digest([1; 32], &args(&["a", "b"]));
        let classes = PolicyConfig { classes: vec![FrameClass::Std], ..base() };
        let body = PolicyConfig { body_max_bytes: 1, ..base() };
        assert_ne!(classes.digest([1; 32], &args(&["a", "b"])), digest);
        assert_ne!(body.digest([1; 32], &args(&["a", "b"])), digest);
        assert_ne!(base().digest([2; 32], &args(&["a", "b"])), digest);
        assert_ne!(base().digest([1; 32], &args(&["ab"])), digest);
        assert_ne!(base().digest([1; 32], &args(&["a", "b", ""])), digest);
    }

    #[test]
    fn unpaced_answers_must_be_asked_for_by_name() {
        assert!(!PolicyConfig::default().frame_classes().contains(&FrameClass::Unpaced));
    }
}
