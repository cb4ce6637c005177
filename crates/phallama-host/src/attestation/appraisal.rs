//! The host's own judgement of its evidence, as the registry will judge it.

use phallama_attest::{
    AcceptedTcb, Evidence, Expected, Policy, TcbStatus, VerifiedEvidence, verify,
};
use serde_json::Value;

use super::quote::{PlatformQuote, Root};
use super::refusal::Refusal;

/// Statuses that the registry accepts beside `UpToDate` (`IPodRegistry.accepts`).
const ACCEPTED: [TcbStatus; 3] = [
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
];

/// What the registry will say about evidence that it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraisal {
    /// Platform and quoting enclave together.
    pub tcb_status: TcbStatus,
    /// Advisories that apply.
    pub advisory_ids: Vec<String>,
    /// The lower TCB evaluation data number of the collateral.
    pub evaluation_number: u32,
    /// First second at which the verdict needs newer collateral (unix).
    pub expires_at_unix_s: u64,
}

impl Appraisal {
    /// What the operator should know of a platform that the registry accepts and that users may
    /// still refuse; `None` when there is nothing.
    pub fn remark(&self) -> Option<String> {
        let remedy = match self.tcb_status {
            TcbStatus::UpToDate => return None,
            TcbStatus::ConfigurationNeeded => {
                "Change the BIOS setting that the advisories name, often hyper-threading"
            }
            TcbStatus::SWHardeningNeeded => {
                "Nothing on the machine changes it: the enclave program must carry mitigations"
            }
            _ => {
                "Change the BIOS setting that the advisories name; the enclave program must carry \
                 mitigations for the rest"
            }
        };
        let status = self.tcb_status;
        let advisories = match self.advisory_ids.join(", ") {
            none if none.is_empty() => "no advisories".to_owned(),
            some => some,
        };
        Some(format!(
            "this machine's TCB status is {status} ({advisories}): the registry accepts it, but \
             clients skip this pod unless their users list the status and its advisories. {remedy}"
        ))
    }
}

/// Judges `evidence`, whose quote is `quote`, under the root that the registry's verifier pins.
/// `report_data` is what the quote must have; `None` takes what it has.
///
/// # Errors
/// [`Refusal`] with the first reason.
pub fn appraise(
    evidence: &Evidence,
    quote: &PlatformQuote,
    root: Root,
    report_data: Option<[u8; 64]>,
    now_unix_s: u64,
) -> Result<Appraisal, Refusal> {
    let trust = root.trust(&quote.wanted)?;
    let mut policy = Policy::strict(trust, vec![quote.measurement.0]);
    let advisory_ids = advisories(evidence);
    let accepted = |status| AcceptedTcb { status, advisory_ids: advisory_ids.clone() };
    policy.accepted_tcb = ACCEPTED.map(accepted).to_vec();
    let own = own_report_data(evidence);
    let expected = Expected { report_data: report_data.unwrap_or(own), machine_identity: None };
    match verify(evidence, &policy, &expected, now_unix_s) {
        Ok(verified) => Ok(accept(&verified)),
        Err(error) => Err(Refusal::from(&error.rejection)),
    }
}

fn accept(verified: &VerifiedEvidence) -> Appraisal {
    Appraisal {
        tcb_status: verified.tcb_status(),
        advisory_ids: verified.advisory_ids().to_vec(),
        evaluation_number: verified.tcb_evaluation_number(),
        expires_at_unix_s: verified.expires_at_unix_s(),
    }
}

fn own_report_data(evidence: &Evidence) -> [u8; 64] {
    let cut = phallama_attest::onchain::OnChainQuote::cut(&evidence.quote);
    cut.map_or([0; 64], |cut| cut.report_data())
}

/// Every advisory that the collateral knows: the registry accepts a status with any of them.
fn advisories(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for json in [&evidence.collateral.tcb_info, &evidence.collateral.qe_identity] {
        collect(&serde_json::from_str(json).unwrap_or(Value::Null), &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(ids)) = fields.get("advisoryIDs") {
                found.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            fields.values().for_each(|field| collect(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}
