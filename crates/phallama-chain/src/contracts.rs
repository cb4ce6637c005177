//! The contracts' interfaces, generated from the committed artifacts, and what their structs mean.

use alloy::primitives::{B256, U256};
use phallama_protocol::ids::PodId;
use phallama_protocol::keys::Signature;
use phallama_protocol::offers::Offer;

use crate::attestation::{
    AttestedKey, KeyBinding, Pck, QuoteParts, TcbStatusCode, TeeKind, UnknownCode, Verdict,
};
use crate::convert::{from_address, from_b256, from_u40, from_u96, to_address, to_u40, to_u96};
use crate::error::ChainError;
use crate::record::{Channel, PodRecord};

/// Generated code: its style is not ours.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
mod generated {
    /// The verifier as its interface has it: the contract's own file has other argument names.
    pub mod verifier {
        alloy::sol!("../../contracts/src/interfaces/IAttestationVerifier.sol");
    }
    /// For deploying.
    pub mod verifier_code {
        alloy::sol!(AttestationVerifier, "../../contracts/artifacts/AttestationVerifier.json");
    }
    alloy::sol!(
        #[derive(Debug)]
        PodRegistry,
        "../../contracts/artifacts/PodRegistry.json"
    );
    alloy::sol!(
        #[derive(Debug)]
        Escrow,
        "../../contracts/artifacts/Escrow.json"
    );
    alloy::sol!(TestToken, "../../contracts/artifacts/TestToken.json");
}

pub(crate) use generated::verifier::IAttestationVerifier;
pub(crate) use generated::verifier_code::AttestationVerifier;
pub(crate) use generated::{Escrow, PodRegistry, TestToken, verifier};

/// Whether the registry said that it has no such pod.
pub(crate) fn is_unknown_pod(error: &ChainError) -> bool {
    error.refusal() == Some("UnknownPod")
}

pub(crate) fn compact(signature: &Signature) -> Escrow::CompactSignature {
    let (r, vs) = signature.0.split_at(32);
    Escrow::CompactSignature { r: B256::from_slice(r), vs: B256::from_slice(vs) }
}

pub(crate) fn channel(channel: &Escrow::Channel) -> Channel {
    Channel {
        locked: from_u96(channel.locked),
        claimed: from_u96(channel.claimed),
        exit_at_unix_s: from_u40(channel.exitAt),
        epoch: channel.epoch.to::<u32>(),
    }
}

pub(crate) fn offers(offers: &[Offer]) -> Vec<PodRegistry::Offer> {
    let offer = |offer: &Offer| PodRegistry::Offer {
        model: offer.model.clone(),
        weightsSha256: offer.weights_sha256.0.into(),
        inputPricePerMtok: to_u96(offer.input_price_per_mtok),
        outputPricePerMtok: to_u96(offer.output_price_per_mtok),
        contextTokens: offer.context_tokens,
        maxOutputTokens: offer.max_output_tokens,
    };
    offers.iter().map(offer).collect()
}

fn from_offer(offer: PodRegistry::Offer) -> Offer {
    Offer {
        model: offer.model,
        weights_sha256: from_b256(offer.weightsSha256),
        input_price_per_mtok: from_u96(offer.inputPricePerMtok),
        output_price_per_mtok: from_u96(offer.outputPricePerMtok),
        context_tokens: offer.contextTokens,
        max_output_tokens: offer.maxOutputTokens,
    }
}

/// The registry and the verifier each have their own type of the same struct.
macro_rules! pck {
    ($module:ident, $pck:expr) => {
        $module::Pck {
            tbsHash: $pck.tbs_hash.0.into(),
            x: $pck.x.into(),
            y: $pck.y.into(),
            issuer: $pck.issuer.0.into(),
            serial: U256::from_be_bytes($pck.serial),
            machine: $pck.machine.0.into(),
            instance: $pck.instance.into(),
            cpuSvn: $pck.cpu_svn.into(),
            fmspc: $pck.fmspc.into(),
            pceId: $pck.pce_id.into(),
            pceSvn: $pck.pce_svn,
            notBefore: to_u40($pck.not_before_unix_s, "PCK certificate")?,
            notAfter: to_u40($pck.not_after_unix_s, "PCK certificate")?,
        }
    };
}

pub(crate) fn pck(pck: &Pck) -> Result<PodRegistry::Pck, ChainError> {
    Ok(pck!(PodRegistry, pck))
}

pub(crate) fn verifier_pck(pck: &Pck) -> Result<verifier::Pck, ChainError> {
    Ok(pck!(verifier, pck))
}

pub(crate) fn quote(quote: &QuoteParts) -> PodRegistry::Quote {
    let (signed, auth) = (quote.signed.clone().into(), quote.auth.clone().into());
    PodRegistry::Quote { signed, auth }
}

pub(crate) fn verifier_quote(quote: &QuoteParts) -> verifier::Quote {
    let (signed, auth) = (quote.signed.clone().into(), quote.auth.clone().into());
    verifier::Quote { signed, auth }
}

pub(crate) fn binding(binding: &KeyBinding) -> PodRegistry::Binding {
    PodRegistry::Binding {
        identity: to_address(binding.identity),
        modelSetRoot: binding.model_set_root.0.into(),
        policyDigest: binding.policy_digest.0.into(),
    }
}

pub(crate) fn tee(tee: TeeKind) -> verifier::Tee {
    match tee {
        TeeKind::Sgx => verifier::Tee::Sgx,
        TeeKind::Tdx => verifier::Tee::Tdx,
    }
}

pub(crate) fn verdict(verdict: &verifier::Verdict) -> Result<Verdict, ChainError> {
    let malformed = |error: UnknownCode| error.in_answer("verify");
    Ok(Verdict {
        tee: TeeKind::try_from(verdict.tee as u8).map_err(malformed)?,
        tcb_status: TcbStatusCode::try_from(verdict.status as u8).map_err(malformed)?,
        evaluation_number: verdict.evaluationNumber,
        expiry_unix_s: from_u40(verdict.expiry),
        measurement: from_b256(verdict.measurement),
        machine: from_b256(verdict.machine),
        evidence: from_b256(verdict.evidence),
        report_data: from_b256(verdict.reportData),
        nonce: from_b256(verdict.nonce),
    })
}

/// `None` while no key is attested.
fn attested_key(key: &PodRegistry::AttestedKey) -> Result<Option<AttestedKey>, ChainError> {
    if key.identity.is_zero() {
        return Ok(None);
    }
    let malformed = |error: UnknownCode| error.in_answer("pod");
    Ok(Some(AttestedKey {
        identity: from_address(key.identity),
        expiry_unix_s: from_u40(key.expiry),
        tee: key.tee.try_into().map_err(malformed)?,
        tcb_status: key.status.try_into().map_err(malformed)?,
        evaluation_number: key.evaluationNumber,
        measurement: from_b256(key.measurement),
        evidence: from_b256(key.evidence),
    }))
}

pub(crate) fn pod_record(pod: PodRegistry::Pod) -> Result<PodRecord, ChainError> {
    Ok(PodRecord {
        pod_id: PodId(pod.podId.0),
        operator: from_address(pod.operator),
        url: pod.url,
        payout: from_address(pod.payout),
        offers: pod.offers.into_iter().map(from_offer).collect(),
        offers_hash: from_b256(pod.offersHash),
        key: attested_key(&pod.key)?,
        updated_at_unix_s: from_u40(pod.updatedAt),
        retired: pod.retired,
    })
}
