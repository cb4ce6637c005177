//! From a chain record and foreign bytes to a [`VerifiedPod`], or the full list of why not.
//!
//! Pure: records, bytes, policy and time are arguments. Steps 1 and 2 of `spec/wire.md` and the
//! checklist of `spec/attestation.md`.

use phallama_attest::{Binding, Evidence, Expected, NONCE_ON_CHAIN, Policy, VerifiedEvidence};
use phallama_chain::{ChainConfig, PodRecord};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::ids::Address;
use phallama_protocol::offers::offers_hash;

use crate::check::{Check, Name, Refusal, Transcript};
use crate::config::TrustPolicy;

/// A pod that proved what it has to prove. Only a verification that succeeded makes one, and only
/// to one can a request be sealed.
#[derive(Clone, Debug)]
pub struct VerifiedPod {
    record: PodRecord,
    bundle: SignedBundle,
    evidence: VerifiedEvidence,
    label: String,
    checks: Vec<Check>,
    verified_at_unix_s: u64,
}

impl VerifiedPod {
    /// The chain record that the pod was held to.
    pub fn record(&self) -> &PodRecord {
        &self.record
    }

    /// The current, signed key bundle.
    pub fn bundle(&self) -> &SignedBundle {
        &self.bundle
    }

    /// What the quote proved.
    pub fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }

    /// The name under which the user approved the measurement.
    pub fn release_label(&self) -> &str {
        &self.label
    }

    /// Every check in table order; none failed, and a skip is not a pass.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// When the quote was verified, in unix seconds.
    pub fn verified_at_unix_s(&self) -> u64 {
        self.verified_at_unix_s
    }

    /// First second at which the quote must be verified again.
    pub fn evidence_good_until_unix_s(&self) -> u64 {
        self.evidence.expires_at_unix_s().min(self.record.key_expiry_unix_s)
    }

    /// First second at which nothing may be sealed to the current bundle any more.
    pub fn bundle_good_until_unix_s(&self) -> u64 {
        self.bundle.bundle().not_after_unix_s.min(self.evidence_good_until_unix_s())
    }

    /// Whether `record` still says everything that this verification relied on.
    pub(crate) fn still_matches(&self, record: &PodRecord) -> bool {
        let known = &self.record;
        !record.retired
            && known.identity == record.identity
            && known.measurement == record.measurement
            && known.quote_hash == record.quote_hash
            && known.offers_hash == record.offers_hash
            && known.key_expiry_unix_s == record.key_expiry_unix_s
            && known.url == record.url
    }

    /// The same pod with a newer bundle, if the bundle vouches for the same evidence.
    pub(crate) fn with_bundle(
        &self,
        chain: &ChainConfig,
        bytes: &[u8],
        now_unix_s: u64,
    ) -> Option<Self> {
        let mut transcript = Transcript::default();
        let bundle = check_bundle(&self.record, chain, bytes, now_unix_s, &mut transcript).ok()?;
        let (new, old) = (bundle.bundle(), self.bundle.bundle());
        let same = new.evidence_hash == old.evidence_hash
            && new.model_set_root == old.model_set_root
            && new.policy_digest == old.policy_digest;
        let fresh = now_unix_s < self.evidence_good_until_unix_s();
        (same && fresh).then(|| Self { bundle, ..self.clone() })
    }
}

/// What a pod showed.
pub(crate) struct Presented<'a> {
    pub(crate) record: &'a PodRecord,
    pub(crate) bundle: &'a [u8],
    pub(crate) evidence: &'a [u8],
}

/// Step 1 of the transcript alone: what can be said before the pod is contacted.
pub(crate) fn check_record(record: &PodRecord, now_unix_s: u64) -> Result<(), Box<Refusal>> {
    let mut transcript = Transcript::default();
    record_is_live(record, now_unix_s, &mut transcript)
        .map_err(|Failed| refusal(record, &transcript, None))
}

/// Holds what a pod showed to its chain record and to the user's policy.
pub(crate) fn appraise(
    presented: &Presented<'_>,
    chain: &ChainConfig,
    trust: &TrustPolicy,
    tcb_evaluation_number_min: u32,
    now_unix_s: u64,
) -> Result<VerifiedPod, Box<Refusal>> {
    let record = presented.record;
    let mut transcript = Transcript::default();
    let refused = |transcript: &Transcript| refusal(record, transcript, None);
    record_is_live(record, now_unix_s, &mut transcript).map_err(|Failed| refused(&transcript))?;
    let bundle = check_bundle(record, chain, presented.bundle, now_unix_s, &mut transcript)
        .map_err(|Failed| refused(&transcript))?;
    let evidence = check_evidence(record, bundle.bundle(), presented.evidence, &mut transcript)
        .map_err(|Failed| refused(&transcript))?;
    let policy = Policy {
        accepted_tcb: trust.accepted_tcb.clone(),
        tcb_evaluation_number_min,
        ..Policy::strict(trust.root.clone(), approved(trust))
    };
    let expected = Expected::new(&binding(record, chain, bundle.bundle()), NONCE_ON_CHAIN);
    let verified = phallama_attest::verify(&evidence, &policy, &expected, now_unix_s);
    let evidence = verified.map_err(|error| {
        transcript.quote(&error.checks);
        refusal(record, &transcript, Some(error.rejection))
    })?;
    transcript.quote(evidence.checks());
    policy_is_approved(trust, &evidence, bundle.bundle(), &mut transcript)
        .map_err(|Failed| refused(&transcript))?;
    quoted_measurement(record, &evidence, &mut transcript)
        .map_err(|Failed| refused(&transcript))?;
    transcript.skip(
        Name::OnChainQuote,
        "the contracts store the quote's hash; they do not verify quotes yet",
    );
    let label = trust.label(&evidence.measurement()).unwrap_or_default().to_owned();
    Ok(VerifiedPod {
        record: record.clone(),
        bundle,
        evidence,
        label,
        checks: transcript.complete(),
        verified_at_unix_s: now_unix_s,
    })
}

/// A check failed; the transcript says which.
struct Failed;

type Step<T> = Result<T, Failed>;

fn refusal(
    record: &PodRecord,
    transcript: &Transcript,
    rejection: Option<phallama_attest::Rejection>,
) -> Box<Refusal> {
    let (pod, url) = (record.pod_id, record.url.clone());
    Box::new(Refusal { pod, url, checks: transcript.complete(), rejection })
}

fn approved(trust: &TrustPolicy) -> Vec<[u8; 32]> {
    trust.measurements.iter().map(|entry| entry.measurement).collect()
}

fn binding(record: &PodRecord, chain: &ChainConfig, bundle: &KeyBundle) -> Binding {
    Binding {
        chain_id: chain.chain_id,
        registry: chain.registry.0,
        pod_id: record.pod_id.0,
        identity: record.identity.0,
        model_set_root: bundle.model_set_root.0,
        policy_digest: bundle.policy_digest.0,
    }
}

fn require(
    transcript: &mut Transcript,
    name: Name,
    faults: impl IntoIterator<Item = (bool, String)>,
    passed: impl Into<String>,
) -> Step<()> {
    let fault = faults.into_iter().find(|(holds, _)| !holds);
    match fault {
        Some((_, detail)) => {
            transcript.fail(name, detail);
            Err(Failed)
        }
        None => {
            transcript.pass(name, passed);
            Ok(())
        }
    }
}

fn record_is_live(record: &PodRecord, now_unix_s: u64, transcript: &mut Transcript) -> Step<()> {
    let expiry = record.key_expiry_unix_s;
    let faults = [
        (!record.retired, "the operator has retired the pod".to_owned()),
        (record.identity != Address::ZERO, "no enclave key is registered".to_owned()),
        (
            now_unix_s < expiry,
            format!("the key expired at unix time {expiry}, now is {now_unix_s}"),
        ),
    ];
    let passed = format!("registered, key {} good until unix time {expiry}", record.identity);
    require(transcript, Name::ChainRecord, faults, passed)
}

fn check_bundle(
    record: &PodRecord,
    chain: &ChainConfig,
    bytes: &[u8],
    now_unix_s: u64,
    transcript: &mut Transcript,
) -> Step<SignedBundle> {
    let signed = match SignedBundle::decode(bytes) {
        Ok(signed) => signed,
        Err(error) => {
            transcript.fail(Name::BundleSignature, error.to_string());
            return Err(Failed);
        }
    };
    let passed = format!("signed by {}", signed.bundle().identity);
    transcript.pass(Name::BundleSignature, passed);
    let bundle = signed.bundle();
    matches_chain(record, chain, bundle, transcript)?;
    in_window(&signed, now_unix_s, transcript)?;
    model_set(record, bundle, transcript)?;
    Ok(signed)
}

fn matches_chain(
    record: &PodRecord,
    chain: &ChainConfig,
    bundle: &KeyBundle,
    transcript: &mut Transcript,
) -> Step<()> {
    fn same<T: PartialEq + std::fmt::Display>(what: &str, got: T, expected: T) -> (bool, String) {
        let detail = format!("{what}: the bundle says {got}, the chain says {expected}");
        (got == expected, detail)
    }
    let faults = [
        same("chain id", bundle.chain_id, chain.chain_id),
        same("registry", bundle.registry, chain.registry),
        same("escrow", bundle.escrow, chain.escrow),
        same("pod id", bundle.pod_id, record.pod_id),
        same("identity key", bundle.identity, record.identity),
        same("measurement", bundle.measurement, record.measurement),
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
        transcript.fail(Name::BundleWindow, error.to_string());
        return Err(Failed);
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
        Err(error) => {
            transcript.fail(Name::ModelSet, error.to_string());
            return Err(Failed);
        }
    };
    let (got, expected) = (hex::encode(bundle.model_set_root.0), hex::encode(root));
    let detail = format!("the enclave vouches for models {got}, the offers are {expected}");
    let passed = format!("{} offered with their weights' digests", models.len());
    require(transcript, Name::ModelSet, [(got == expected, detail)], passed)
}

fn check_evidence(
    record: &PodRecord,
    bundle: &KeyBundle,
    json: &[u8],
    transcript: &mut Transcript,
) -> Step<Evidence> {
    let evidence = match Evidence::from_json(json) {
        Ok(evidence) => evidence,
        Err(error) => {
            transcript.fail(Name::EvidenceFormat, error.to_string());
            return Err(Failed);
        }
    };
    transcript.pass(Name::EvidenceFormat, format!("{} bytes", json.len()));
    let quote = evidence.hash();
    let (on_chain, in_bundle) = (record.quote_hash.0, bundle.evidence_hash.0);
    let differs = |who: &str, expected: [u8; 32]| {
        let (got, expected) = (hex::encode(quote), hex::encode(expected));
        format!("the quote has SHA-256 {got}, {who} names {expected}")
    };
    let faults = [
        (quote == on_chain, differs("the chain", on_chain)),
        (quote == in_bundle, differs("the bundle", in_bundle)),
    ];
    let passed = "the quote that chain and bundle name";
    require(transcript, Name::EvidencePinned, faults, passed)?;
    Ok(evidence)
}

/// The digest is the one that the report data was just held to.
fn policy_is_approved(
    trust: &TrustPolicy,
    evidence: &VerifiedEvidence,
    bundle: &KeyBundle,
    transcript: &mut Transcript,
) -> Step<()> {
    let (got, measurement) = (bundle.policy_digest, evidence.measurement());
    let approved: Vec<[u8; 32]> = trust
        .measurements
        .iter()
        .filter(|entry| entry.measurement == measurement)
        .filter_map(|entry| entry.policy)
        .collect();
    let worker = format!("worker program and limits: policy digest {got} is bound into the quote");
    if approved.is_empty() {
        transcript.skip(Name::Policy, format!("{worker}, no reference value is set"));
        return Ok(());
    }
    let references: Vec<_> = approved.iter().map(|one| format!("0x{}", hex::encode(one))).collect();
    let detail = format!("{worker}, approved is {}", references.join(", "));
    let passed = format!("{worker} and approved");
    require(transcript, Name::Policy, [(approved.contains(&got.0), detail)], passed)
}

fn quoted_measurement(
    record: &PodRecord,
    evidence: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    let (got, expected) = (evidence.measurement(), record.measurement.0);
    let detail =
        format!("the quote says {}, the chain says {}", hex::encode(got), hex::encode(expected));
    let passed = "the quote, the bundle and the chain name the same program";
    require(transcript, Name::QuotedMeasurement, [(got == expected, detail)], passed)
}

#[cfg(test)]
mod tests;
