//! What the chain says, before and after the client has judged the quote for itself.
//!
//! The two judgements are made at different times with collateral of different age. The client's
//! own decides; the chain's is held against it, and where they may differ the check says why.

use phallama_attest::onchain::OnChainQuote;
use phallama_attest::{Evidence, TcbStatus, VerifiedEvidence, machine_digest};
use phallama_chain::{AttestedKey, MachineHolder};
use phallama_protocol::ids::{Address, Digest32, PodId};

use super::{Failed, Step, failed, require};
use crate::check::{Name, Transcript};
use crate::config::TrustPolicy;
use crate::dossier::{Dossier, MachineFacts};

/// Steps 1 and 2: the deployment's root, and a live record with a key.
pub(super) fn record<'a>(
    dossier: &'a Dossier,
    trust: &TrustPolicy,
    now_unix_s: u64,
    transcript: &mut Transcript,
) -> Step<&'a AttestedKey> {
    same_root(dossier, trust, transcript)?;
    let (record, key) = (&dossier.record, dossier.record.key.as_ref());
    let (identity, expiry) =
        key.map_or((Address::ZERO, 0), |key| (key.identity, key.expiry_unix_s));
    let faults = [
        (!record.retired, "the operator has retired the pod".to_owned()),
        (key.is_some(), "no enclave key is attested".to_owned()),
        (
            now_unix_s < expiry,
            format!("the key expired at unix time {expiry}, now is {now_unix_s}"),
        ),
    ];
    let passed = format!("registered, key {identity} good until unix time {expiry}");
    require(transcript, Name::ChainRecord, faults, passed)?;
    key.ok_or(Failed(None))
}

/// A deployment pins one root for good. Under another one its word about quotes means nothing here.
fn same_root(dossier: &Dossier, trust: &TrustPolicy, transcript: &mut Transcript) -> Step<()> {
    let deployment = &dossier.deployment;
    let (got, expected) = (deployment.root_certificate_sha256, Digest32(trust.root.sha256()));
    let (verifier, kind) = (deployment.verifier, trust.root.kind());
    let detail = format!("the registry's verifier pins root {got}, you trust {expected}, {kind}");
    let passed = format!("the registry's verifier {verifier} pins {kind}");
    require(transcript, Name::ChainRoot, [(got == expected, detail)], passed)
}

/// Steps after the quote: the chain verified this quote, of this program, on this machine.
pub(super) fn quote(
    dossier: &Dossier,
    key: &AttestedKey,
    trust: &TrustPolicy,
    presented: &Evidence,
    verified: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    measurement(key, verified, transcript)?;
    verified_there(dossier, key, presented, verified, transcript)?;
    tcb_status(key, trust, verified, transcript)?;
    machine(dossier, verified, transcript)
}

fn measurement(
    key: &AttestedKey,
    verified: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    let (got, expected) = (verified.measurement(), key.measurement.0);
    let detail =
        format!("the quote says {}, the chain says {}", hex::encode(got), hex::encode(expected));
    let passed = "the quote, the bundle and the chain name the same program";
    require(transcript, Name::QuotedMeasurement, [(got == expected, detail)], passed)
}

/// The evidence digest covers all that hardware and Intel signed: equal digests, one quote.
fn verified_there(
    dossier: &Dossier,
    key: &AttestedKey,
    presented: &Evidence,
    verified: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    let cut = match OnChainQuote::cut(&presented.quote) {
        Ok(cut) => cut,
        Err(error) => return failed(transcript, Name::OnChainQuote, error.to_string()),
    };
    let (got, expected) = (Digest32(cut.evidence()), key.evidence);
    let (tee, tee_there) = (verified.tee().to_string(), key.tee.to_string());
    let faults = [
        (got == expected, format!("this quote is {got}, the registry verified {expected}")),
        (tee == tee_there, format!("this quote is from {tee}, the registry says {tee_there}")),
    ];
    let passed =
        format!("the registry verified this {tee} quote through {}", dossier.deployment.verifier);
    require(transcript, Name::OnChainQuote, faults, passed)
}

/// The chain's status is of the time of the attestation, the client's own of now.
fn tcb_status(
    key: &AttestedKey,
    trust: &TrustPolicy,
    verified: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    let (here, there) = (verified.tcb_status().to_string(), key.tcb_status.to_string());
    let (number, number_there) = (verified.tcb_evaluation_number(), key.evaluation_number);
    if here == there {
        transcript.pass(Name::ChainTcbStatus, format!("{there}, as this client finds"));
        return Ok(());
    }
    let both = format!(
        "the registry says {there} (TCB evaluation number {number_there}), this client finds \
         {here} ({number})"
    );
    if number_there < number {
        let detail = format!("{both}: the newer counts");
        transcript.skip(Name::ChainTcbStatus, detail);
        return Ok(());
    }
    let accepted = number_there > number && accepts(trust, &there);
    let passed = format!("{both}: you accept both");
    let detail = if number_there > number {
        format!("{both}: the registry knows newer collateral, and you do not accept {there}")
    } else {
        format!("{both}: one of the two is wrong")
    };
    require(transcript, Name::ChainTcbStatus, [(accepted, detail)], passed)
}

fn accepts(trust: &TrustPolicy, status: &str) -> bool {
    let listed = trust.accepted_tcb.iter().map(|accepted| accepted.status);
    let up_to_date = std::iter::once(TcbStatus::UpToDate);
    up_to_date.chain(listed).any(|accepted| accepted.as_str() == status)
}

/// One machine backs one pod, unless the operators agreed otherwise.
fn machine(
    dossier: &Dossier,
    verified: &VerifiedEvidence,
    transcript: &mut Transcript,
) -> Step<()> {
    let machine = Digest32(machine_digest(&verified.machine_identity()));
    let pod = dossier.record.pod_id;
    let facts = dossier.machine.as_ref().filter(|facts| facts.machine == machine);
    let (holder, shared) = match facts {
        Some(MachineFacts { holder: Some(holder), shared, .. }) => (holder, *shared),
        _ => {
            let detail = format!("no pod holds the machine {machine} in the registry");
            return failed(transcript, Name::MachineIdentity, detail);
        }
    };
    let prefix = hex::encode(holder.pod_prefix);
    if is_held_by(holder, pod) {
        transcript.pass(Name::MachineIdentity, format!("{machine} backs this pod"));
        return Ok(());
    }
    let detail = format!(
        "{machine} backs pod 0x{prefix}…, and this pod's operator did not agree to share it"
    );
    let passed = format!("{machine} is shared with pod 0x{prefix}…");
    require(transcript, Name::MachineIdentity, [(shared, detail)], passed)
}

pub(crate) fn is_held_by(holder: &MachineHolder, pod: PodId) -> bool {
    pod.0.starts_with(&holder.pod_prefix)
}
