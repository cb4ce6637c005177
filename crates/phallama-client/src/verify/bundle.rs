//! The signed key bundle, held to the chain record.

use phallama_chain::{AttestedKey, PodRecord};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::offers::offers_hash;

use super::{Step, failed, require};
use crate::check::{Name, Transcript};
use crate::dossier::DeploymentFacts;

/// What a bundle is held to.
pub(super) struct Facts<'a> {
    pub(super) deployment: &'a DeploymentFacts,
    pub(super) record: &'a PodRecord,
    pub(super) key: &'a AttestedKey,
    pub(super) now_unix_s: u64,
}

/// Signature, chain, window and models.
pub(super) fn check(
    facts: &Facts<'_>,
    bytes: &[u8],
    transcript: &mut Transcript,
) -> Step<SignedBundle> {
    let signed = match SignedBundle::decode(bytes) {
        Ok(signed) => signed,
        Err(error) => return failed(transcript, Name::BundleSignature, error.to_string()),
    };
    let passed = format!("signed by {}", signed.bundle().identity);
    transcript.pass(Name::BundleSignature, passed);
    matches_chain(facts, signed.bundle(), transcript)?;
    in_window(&signed, facts.now_unix_s, transcript)?;
    model_set(facts.record, signed.bundle(), transcript)?;
    Ok(signed)
}

fn matches_chain(facts: &Facts<'_>, bundle: &KeyBundle, transcript: &mut Transcript) -> Step<()> {
    fn same<T: PartialEq + std::fmt::Display>(what: &str, got: T, expected: T) -> (bool, String) {
        let detail = format!("{what}: the bundle says {got}, the chain says {expected}");
        (got == expected, detail)
    }
    let Facts { deployment, record, key, .. } = facts;
    let faults = [
        same("chain id", bundle.chain_id, deployment.chain_id),
        same("registry", bundle.registry, deployment.registry),
        same("escrow", bundle.escrow, deployment.escrow),
        same("pod id", bundle.pod_id, record.pod_id),
        same("identity key", bundle.identity, key.identity),
        same("measurement", bundle.measurement, key.measurement),
        same("offers hash", bundle.offers_hash, record.offers_hash),
        {
            let (got, expected) = (offers_hash(&record.offers), record.offers_hash);
            (got == expected, format!("the offers of the record hash to {got}, not to {expected}"))
        },
    ];
    let passed = "chain, contracts, pod, identity key, measurement and offers";
    require(transcript, Name::BundleMatchesChain, faults, passed)
}

fn in_window(signed: &SignedBundle, now_unix_s: u64, transcript: &mut Transcript) -> Step<()> {
    if let Err(error) = signed.check_window(now_unix_s) {
        return failed(transcript, Name::BundleWindow, error.to_string());
    }
    let KeyBundle { epoch_id, not_after_unix_s, .. } = signed.bundle();
    transcript
        .pass(Name::BundleWindow, format!("epoch {epoch_id} until unix time {not_after_unix_s}"));
    Ok(())
}

fn model_set(record: &PodRecord, bundle: &KeyBundle, transcript: &mut Transcript) -> Step<()> {
    let models: Vec<(&str, [u8; 32])> =
        record.offers.iter().map(|offer| (offer.model.as_str(), offer.weights_sha256.0)).collect();
    let root = match phallama_attest::model_set_root(&models) {
        Ok(root) => root,
        Err(error) => return failed(transcript, Name::ModelSet, error.to_string()),
    };
    let (got, expected) = (hex::encode(bundle.model_set_root.0), hex::encode(root));
    let detail = format!("the enclave vouches for models {got}, the offers are {expected}");
    let passed = format!("{} offered with their weights' digests", models.len());
    require(transcript, Name::ModelSet, [(got == expected, detail)], passed)
}
