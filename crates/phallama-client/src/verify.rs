//! From a chain record and foreign bytes to a [`VerifiedPod`], or the full list of why not.
//!
//! Pure: what was gathered, policy and time are arguments. Steps 1 and 2 of `spec/wire.md` and the
//! checklist of `spec/attestation.md`.

mod bundle;
mod on_chain;

use phallama_attest::{CheckName, Evidence, Expected, NONCE_ON_CHAIN, Policy, VerifiedEvidence};
use phallama_chain::{AttestedKey, PodRecord};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};

use crate::check::{Check, Name, Refusal, Transcript, VouchedBy};
use crate::config::TrustPolicy;
use crate::dossier::{DeploymentFacts, Dossier};

/// A pod that proved what it has to prove. Only a verification that succeeded makes one, and only
/// to one can a request be sealed.
#[derive(Clone, Debug)]
pub struct VerifiedPod {
    deployment: DeploymentFacts,
    record: PodRecord,
    key: AttestedKey,
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

    /// The key of the chain record.
    pub fn key(&self) -> &AttestedKey {
        &self.key
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
        self.evidence.expires_at_unix_s().min(self.key.expiry_unix_s)
    }

    /// First second at which nothing may be sealed to the current bundle any more.
    pub fn bundle_good_until_unix_s(&self) -> u64 {
        self.bundle.bundle().not_after_unix_s.min(self.evidence_good_until_unix_s())
    }

    /// Whether `record` still says everything that this verification relied on.
    pub(crate) fn still_matches(&self, record: &PodRecord) -> bool {
        let known = &self.record;
        !record.retired
            && known.key == record.key
            && known.offers_hash == record.offers_hash
            && known.url == record.url
    }

    /// The same pod with a newer bundle, if the bundle vouches for the same evidence.
    pub(crate) fn with_bundle(&self, bytes: &[u8], now_unix_s: u64) -> Option<Self> {
        let mut transcript = Transcript::new(VouchedBy::Chain);
        let facts = bundle::Facts {
            deployment: &self.deployment,
            record: &self.record,
            key: &self.key,
            now_unix_s,
        };
        let bundle = bundle::check(&facts, bytes, &mut transcript).ok()?;
        let (new, old) = (bundle.bundle(), self.bundle.bundle());
        let same = new.evidence_hash == old.evidence_hash
            && new.model_set_root == old.model_set_root
            && new.policy_digest == old.policy_digest;
        let fresh = now_unix_s < self.evidence_good_until_unix_s();
        (same && fresh).then(|| Self { bundle, ..self.clone() })
    }
}

/// What can be said before the pod is contacted: the deployment and the chain record.
pub(crate) fn check_record(
    dossier: &Dossier,
    trust: &TrustPolicy,
    now_unix_s: u64,
) -> Result<(), Box<Refusal>> {
    let mut transcript = Transcript::new(VouchedBy::Chain);
    let checked = on_chain::record(dossier, trust, now_unix_s, &mut transcript);
    checked.map(|_| ()).map_err(|failed| refusal(dossier, &transcript, failed))
}

/// Holds what was gathered about a pod to the user's policy. `record_of` vouches for what only the
/// chain knows: the chain itself, or a file.
pub(crate) fn appraise(
    dossier: &Dossier,
    trust: &TrustPolicy,
    record_of: VouchedBy,
    now_unix_s: u64,
) -> Result<VerifiedPod, Box<Refusal>> {
    let mut transcript = Transcript::new(record_of);
    let verified = run(dossier, trust, now_unix_s, &mut transcript);
    match verified {
        Ok(verified) => Ok(VerifiedPod { checks: transcript.complete(), ..verified }),
        Err(failed) => Err(refusal(dossier, &transcript, failed)),
    }
}

/// Every step in the order of the checklist.
fn run(
    dossier: &Dossier,
    trust: &TrustPolicy,
    now_unix_s: u64,
    transcript: &mut Transcript,
) -> Step<VerifiedPod> {
    let key = on_chain::record(dossier, trust, now_unix_s, transcript)?;
    let (deployment, record) = (&dossier.deployment, &dossier.record);
    let facts = bundle::Facts { deployment, record, key, now_unix_s };
    let bundle = bundle::check(&facts, &dossier.bundle, transcript)?;
    let presented = check_evidence(bundle.bundle(), &dossier.evidence, transcript)?;
    let evidence = check_quote(dossier, trust, &facts, bundle.bundle(), &presented, transcript)?;
    policy_is_approved(trust, &evidence, bundle.bundle(), transcript)?;
    on_chain::quote(dossier, key, trust, &presented, &evidence, transcript)?;
    let label = trust.label(&evidence.measurement()).unwrap_or_default().to_owned();
    Ok(VerifiedPod {
        deployment: deployment.clone(),
        record: record.clone(),
        key: *key,
        bundle,
        evidence,
        label,
        checks: Vec::new(),
        verified_at_unix_s: now_unix_s,
    })
}

/// A check failed; the transcript says which. With the quote's fault, if it is one.
struct Failed(Option<phallama_attest::Rejection>);

type Step<T> = Result<T, Failed>;

fn refusal(dossier: &Dossier, transcript: &Transcript, failed: Failed) -> Box<Refusal> {
    let record = &dossier.record;
    Box::new(Refusal {
        pod: record.pod_id,
        url: record.url.clone(),
        tee: record.key.map(|key| key.tee),
        checks: transcript.complete(),
        rejection: failed.0,
    })
}

fn require(
    transcript: &mut Transcript,
    name: Name,
    faults: impl IntoIterator<Item = (bool, String)>,
    passed: impl Into<String>,
) -> Step<()> {
    let fault = faults.into_iter().find(|(holds, _)| !holds);
    match fault {
        Some((_, detail)) => failed(transcript, name, detail),
        None => {
            transcript.pass(name, passed);
            Ok(())
        }
    }
}

fn failed<T>(transcript: &mut Transcript, name: Name, detail: impl Into<String>) -> Step<T> {
    transcript.fail(name, detail);
    Err(Failed(None))
}

/// The document, and that it holds the quote that the bundle names.
fn check_evidence(bundle: &KeyBundle, json: &[u8], transcript: &mut Transcript) -> Step<Evidence> {
    let evidence = match Evidence::from_json(json) {
        Ok(evidence) => evidence,
        Err(error) => return failed(transcript, Name::EvidenceFormat, error.to_string()),
    };
    transcript.pass(Name::EvidenceFormat, format!("{} bytes", json.len()));
    let (got, expected) = (evidence.hash(), bundle.evidence_hash.0);
    let detail = format!(
        "the quote has SHA-256 {}, the bundle names {}",
        hex::encode(got),
        hex::encode(expected)
    );
    let passed = "the quote that the bundle names";
    require(transcript, Name::EvidencePinned, [(got == expected, detail)], passed)?;
    Ok(evidence)
}

/// The steps of `phallama-attest`.
fn check_quote(
    dossier: &Dossier,
    trust: &TrustPolicy,
    facts: &bundle::Facts<'_>,
    bundle: &KeyBundle,
    evidence: &Evidence,
    transcript: &mut Transcript,
) -> Step<VerifiedEvidence> {
    let policy = Policy {
        accepted_tcb: trust.accepted_tcb.clone(),
        tcb_evaluation_number_min: dossier.tcb_evaluation_number_min,
        ..Policy::strict(trust.root.clone(), approved(trust))
    };
    let expected = Expected::new(&dossier.binding(facts.key, bundle), NONCE_ON_CHAIN);
    match phallama_attest::verify(evidence, &policy, &expected, facts.now_unix_s) {
        Ok(verified) => {
            transcript.quote(verified.checks());
            Ok(verified)
        }
        Err(error) => {
            transcript.quote(&error.checks);
            if error.rejection.check() == CheckName::MachineIdentity {
                transcript.fail(Name::MachineIdentity, error.rejection.to_string());
            }
            Err(Failed(Some(error.rejection)))
        }
    }
}

fn approved(trust: &TrustPolicy) -> Vec<[u8; 32]> {
    trust.measurements.iter().map(|entry| entry.measurement).collect()
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

#[cfg(test)]
pub(crate) mod tests;
