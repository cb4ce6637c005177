//! The vectors in `vectors/attestation/valid`, which other languages read too.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

use phallama_attest::{Binding, model_set_root, report_data};
use serde::Deserialize;

#[derive(Deserialize)]
struct Model {
    name: String,
    sha256: String,
}

#[derive(Deserialize)]
struct ModelSet {
    models: Vec<Model>,
    root: String,
}

/// Integers over 2^53 are decimal strings, so that every JSON reader gets them right.
#[derive(Deserialize)]
struct BindingFields {
    chain_id: String,
    registry: String,
    pod_id: String,
    identity: String,
    model_set_root: String,
    policy_digest: String,
}

#[derive(Deserialize)]
struct BoundReport {
    binding: BindingFields,
    nonce: String,
    report_data: String,
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

#[test]
fn model_set_roots_match_the_vectors() {
    let text = include_str!("../../../vectors/attestation/valid/model_set_root.json");
    let vectors: Vec<ModelSet> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.len(), 3);
    for ModelSet { models, root } in vectors {
        let models: Vec<_> = models.iter().map(|m| (m.name.as_str(), bytes(&m.sha256))).collect();
        assert_eq!(model_set_root(&models), Ok(bytes(&root)));
    }
}

#[test]
fn report_data_matches_the_vectors() {
    let text = include_str!("../../../vectors/attestation/valid/report_data.json");
    let vectors: Vec<BoundReport> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let binding = Binding {
            chain_id: vector.binding.chain_id.parse().unwrap(),
            registry: bytes(&vector.binding.registry),
            pod_id: bytes(&vector.binding.pod_id),
            identity: bytes(&vector.binding.identity),
            model_set_root: bytes(&vector.binding.model_set_root),
            policy_digest: bytes(&vector.binding.policy_digest),
        };
        let data = report_data(&binding, bytes(&vector.nonce));
        assert_eq!(hex::encode(data), vector.report_data);
    }
}
