//! `phallama verify`

use phallama_attest::CheckState;
use phallama_client::{Audit, Check, Client, ClientError};
use phallama_protocol::ids::PodId;

use crate::context::Context;
use crate::error::CliError;
use crate::{clock, print};

pub(super) async fn run(context: &Context, asked: Option<&str>) -> Result<(), CliError> {
    let client = context.reader().await?;
    let mut failures = Vec::new();
    for pod in select(&client, asked).await? {
        let judged = client.audit(pod).await;
        let judged = judged.and_then(|audit| {
            show(context, &audit);
            audit.into_result()
        });
        failures.extend(judged.err());
    }
    // A refusal says more than a pod that is away; the exit code is the first one's.
    failures.sort_by_key(|error| !matches!(error, ClientError::AttestationRejected(_)));
    let mut failures = failures.into_iter();
    let first = failures.next();
    failures.for_each(print::warning);
    first.map_or(Ok(()), |error| Err(error.into()))
}

/// All pods, or the one whose id begins as asked.
pub(super) async fn select(client: &Client, asked: Option<&str>) -> Result<Vec<PodId>, CliError> {
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

/// One JSON object per pod, in the form of `docs/reference/audit-file.md`.
fn show(context: &Context, audit: &Audit) {
    if context.global.json {
        print::document(&audit.to_json());
        return;
    }
    print::line(format!("pod {}", audit.dossier().record.pod_id));
    print::line(check_table(audit.checks()));
}

/// The same with dates for people.
fn dated(detail: &str) -> String {
    const TIME: &str = "unix time ";
    let Some((before, after)) = detail.split_once(TIME) else { return detail.to_owned() };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let (digits, rest) = after.split_at(end);
    match digits.parse() {
        Ok(unix_s) => format!("{before}{}{}", clock::rfc3339(unix_s), dated(rest)),
        Err(_) => format!("{before}{TIME}{digits}{}", dated(rest)),
    }
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
            vec![check.name.to_owned(), state.to_owned(), vouched_by, dated(&check.detail)]
        })
        .collect();
    print::table(&["check", "state", "vouched by", "seen"], &rows, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_dates() {
        assert_eq!(
            dated("epoch 1 until unix time 1795896724"),
            "epoch 1 until 2026-11-28T20:12:04Z"
        );
        assert_eq!(dated("unix time 0, unix time x"), "1970-01-01T00:00:00Z, unix time x");
        assert_eq!(dated("SGX v3"), "SGX v3");
    }
}
