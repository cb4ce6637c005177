//! `phallama verify`

use phallama_attest::CheckState;
use phallama_client::{Check, Client, ClientError};
use phallama_protocol::ids::PodId;
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::print;

pub(super) async fn run(context: &Context, asked: Option<&str>) -> Result<(), CliError> {
    let client = context.reader().await?;
    let mut refused = None;
    for pod in select(&client, asked).await? {
        match client.verify(pod).await {
            Ok(verified) => show(context, pod, verified.checks()),
            Err(ClientError::AttestationRejected(refusal)) => {
                show(context, pod, &refusal.checks);
                refused = Some(ClientError::AttestationRejected(refusal));
            }
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// All pods, or the one whose id begins as asked.
async fn select(client: &Client, asked: Option<&str>) -> Result<Vec<PodId>, CliError> {
    let pods: Vec<PodId> = client.pods().await?.iter().map(|pod| pod.pod_id).collect();
    let Some(asked) = asked else { return Ok(pods) };
    let matching: Vec<PodId> =
        pods.iter().copied().filter(|pod| pod.to_string().starts_with(asked)).collect();
    match matching.as_slice() {
        [pod] => Ok(vec![*pod]),
        found => Err(CliError::BadValue {
            what: "pod",
            got: asked.to_owned(),
            expected: format!(
                "the beginning of exactly one pod id; {} of {} pods begin so",
                found.len(),
                pods.len()
            ),
        }),
    }
}

fn show(context: &Context, pod: PodId, checks: &[Check]) {
    if context.global.json {
        print::json(&json!({"pod": pod, "checks": checks}));
        return;
    }
    print::line(format!("pod {pod}"));
    print::line(check_table(checks));
}

/// Every check with its state, who vouches for it, and what was seen.
pub(super) fn check_table(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let state = match check.state {
                CheckState::Pass => "pass",
                CheckState::Fail => "FAIL",
                CheckState::Skip => "skip",
            };
            let vouched_by = format!("{:?}", check.vouched_by).to_lowercase();
            vec![check.name.to_owned(), state.to_owned(), vouched_by, check.detail.clone()]
        })
        .collect();
    print::table(&["check", "state", "vouched by", "seen"], &rows, &[])
}
