//! A quote tried against a registry without sending anything.

use phallama_attest::Evidence;
use phallama_chain::{Chain, MachineHolder, Verdict};

use super::appraisal::{Appraisal, appraise};
use super::bringing::{Bring, Bringing, needed};
use super::quote::{PlatformQuote, Root};
use super::refusal::{Refusal, of_contract};
use crate::collateral::{CollateralSet, CollateralSource, Remark};
use crate::error::PodError;

/// About how much gas an attestation takes, without and with a certificate that is remembered
/// (measured on the embedded chain).
const ATTEST_GAS: u64 = 230_000;
const ATTEST_KNOWN_GAS: u64 = 130_000;

/// What a registry would say to a quote.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The quote.
    pub quote: PlatformQuote,
    /// What this host says about it.
    pub appraisal: Appraisal,
    /// What the contract lacks and the pod would bring.
    pub missing: Vec<Bring>,
    /// The contract remembers the machine's PCK certificate.
    pub pck_known: bool,
    /// The pod that the machine backs now.
    pub holder: Option<MachineHolder>,
    /// What the contract says; `None` while collateral is missing.
    pub verdict: Option<Verdict>,
    /// About how much gas the pod would spend, its listing not included.
    pub gas_about: u64,
    /// What the operator should hear of the collateral.
    pub remarks: Vec<Remark>,
}

/// Tries `evidence`, with the collateral of `source`, or its own when there is none.
///
/// # Errors
/// [`PodError::Refused`] with the first reason, [`PodError::Chain`].
pub async fn try_evidence(
    chain: &Chain,
    evidence: &Evidence,
    source: Option<&CollateralSource>,
    now_unix_s: u64,
) -> Result<Trial, PodError> {
    let quote = PlatformQuote::cut(&evidence.quote)?;
    let root = Root(chain.root_certificate_sha256().await?.0);
    root.trust(&quote.wanted)?;
    let (set, remarks) = match source {
        Some(source) => {
            source.set(&quote.wanted, now_unix_s).await.map_err(|e| Refusal::from(&e))?
        }
        None => (CollateralSet::of_evidence(evidence, &quote.wanted, now_unix_s)?, Vec::new()),
    };
    let judged = Evidence { quote: evidence.quote.clone(), collateral: set.to_evidence() };
    let appraisal = appraise(&judged, &quote, root, None, now_unix_s)?;
    let missing = match needed(chain, &quote, &set, now_unix_s).await {
        Ok(needed) => needed.what,
        Err(Bringing::Refused(refusal)) => return Err(refusal.into()),
        Err(Bringing::Chain(error)) => return Err(error.into()),
    };
    let verdict = if missing.is_empty() { Some(verdict(chain, &quote).await?) } else { None };
    let pck_known = chain.is_known_pck(&quote.pck).await?;
    let holder = chain.machine_holder(quote.pck.machine).await?;
    let holder = holder.filter(|holder| holder.until_unix_s > now_unix_s);
    let attest = if pck_known { ATTEST_KNOWN_GAS } else { ATTEST_GAS };
    let bring = missing.iter().map(|what| what.gas_about(&set));
    let gas_about = bring.fold(attest, u64::saturating_add);
    Ok(Trial { quote, appraisal, missing, pck_known, holder, verdict, gas_about, remarks })
}

async fn verdict(chain: &Chain, quote: &PlatformQuote) -> Result<Verdict, PodError> {
    let said = chain.verify_quote(&quote.parts, &quote.leaf).await;
    said.map_err(|error| match of_contract(&error) {
        Some(refusal) => refusal.into(),
        None => PodError::Chain(error),
    })
}
