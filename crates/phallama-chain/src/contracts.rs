//! The contracts' interfaces, generated from the committed artifacts, and what their structs mean.

use alloy::primitives::{B256, Bytes};
use alloy::sol_types::SolInterface as _;
use phallama_protocol::ids::PodId;
use phallama_protocol::keys::Signature;
use phallama_protocol::offers::Offer;

use crate::convert::{from_address, from_b256, from_u96, to_address, to_u40, to_u96};
use crate::error::ChainError;
use crate::record::{Channel, KeyRegistration, PodRecord};

/// Generated code: its style is not ours.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
mod generated {
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

pub(crate) use generated::{Escrow, PodRegistry, TestToken};

/// A contract's error by name and arguments, or its bytes when it is none of ours.
pub(crate) fn reason(data: &Bytes) -> String {
    let of_escrow = Escrow::EscrowErrors::abi_decode(data).map(|error| format!("{error:?}"));
    let ours = of_escrow.or_else(|_| {
        PodRegistry::PodRegistryErrors::abi_decode(data).map(|error| format!("{error:?}"))
    });
    match ours {
        Ok(text) => without_wrapper(&text).to_owned(),
        Err(_) => alloy::sol_types::decode_revert_reason(data).unwrap_or_else(|| data.to_string()),
    }
}

/// Whether the registry said that it has no such pod.
pub(crate) fn is_unknown_pod(error: &ChainError) -> bool {
    matches!(error, ChainError::Reverted { reason, .. } if reason.starts_with("UnknownPod "))
}

/// `Name(Name { … })` as `Name { … }`.
fn without_wrapper(text: &str) -> &str {
    text.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(text)
}

pub(crate) fn compact(signature: &Signature) -> Escrow::CompactSignature {
    let (r, vs) = signature.0.split_at(32);
    Escrow::CompactSignature { r: B256::from_slice(r), vs: B256::from_slice(vs) }
}

pub(crate) fn channel(channel: &Escrow::Channel) -> Channel {
    Channel {
        locked: from_u96(channel.locked),
        claimed: from_u96(channel.claimed),
        exit_at_unix_s: channel.exitAt.to::<u64>(),
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

pub(crate) fn key(key: &KeyRegistration) -> Result<PodRegistry::IdentityKey, ChainError> {
    Ok(PodRegistry::IdentityKey {
        identity: to_address(key.identity),
        expiry: to_u40(key.expiry_unix_s, "key")?,
        measurement: key.measurement.0.into(),
        quoteHash: key.quote_hash.0.into(),
        evidenceUri: key.evidence_uri.clone(),
    })
}

pub(crate) fn pod_record(pod: PodRegistry::Pod) -> PodRecord {
    PodRecord {
        pod_id: PodId(pod.podId.0),
        operator: from_address(pod.operator),
        url: pod.url,
        payout: from_address(pod.payout),
        offers: pod.offers.into_iter().map(from_offer).collect(),
        offers_hash: from_b256(pod.offersHash),
        identity: from_address(pod.key.identity),
        key_expiry_unix_s: pod.key.expiry.to::<u64>(),
        measurement: from_b256(pod.key.measurement),
        quote_hash: from_b256(pod.key.quoteHash),
        evidence_uri: pod.key.evidenceUri,
        updated_at_unix_s: pod.updatedAt.to::<u64>(),
        retired: pod.retired,
    }
}
