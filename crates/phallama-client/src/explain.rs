//! What a person is told about an error: what failed, the facts, the effect, and a command.

use std::fmt;

use phallama_attest::Rejection;
use phallama_chain::{TeeKind, TokenMeta};
use phallama_protocol::ids::{Amount, PodId};
use phallama_protocol::refusal::Code;

use crate::check::Refusal;
use crate::error::{ClientError, PodFailure, SpendLimit};
use crate::keystore::KeystoreError;

const NO_PROMPT: &str = "No prompt was sent.";
const POLICY: &str = "[pods] and [trust] in config.toml";
const WIDER: &str = "What is wanted of pods is set in `[pods]` and `[trust]` of config.toml. To see \
                     every pod, run `phallama pods`";
/// Most rows that a person is shown.
const ROWS_MAX: usize = 20;
const PASSWORD: &str = "The password is the one that was chosen for this key; `--password-file FILE` \
                        names a file with it. Nothing opens the key without it; the owner's wallet \
                        gets the money back with `phallama withdraw` and `phallama exit`";
const NOT_CHARGED: &str = "You were not charged.";
const PROBABLY_NOT_CHARGED: &str =
    "You were probably not charged; the pod's next receipt will show it.";
const COST_AT_MOST: &str = "receipts, and reserves of requests without one";
const ROOTS: &str = "`[chain]` and `[trust]` in config.toml do not belong together. Pods of a \
                     development chain need `--danger-accept-simulated-tee`, others must not have \
                     it";
const CHAIN_ROOT: &str = "chain-root";
const BY_THIS_FILE: &str = "By this file, no prompt would be sent.";
const ROOT_OF_FILE: &str = "The file is of a deployment under another root. Files of a development \
                            chain need `--danger-accept-simulated-tee`, others must not have it";
const OLDER: &str = "Its operator has to fetch Intel's newest collateral. To see other pods, run \
                     `phallama pods`";
const MAYBE_CHARGED: &str =
    "You may be charged for the part that arrived, at most what this request reserved.";

/// An error for people. `Display` is the whole text, several lines, without `error: ` in front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What failed, and the object.
    pub title: String,
    /// Values got and expected, with units and source.
    pub facts: Vec<Fact>,
    /// What it means for the user.
    pub effect: Option<&'static str>,
    /// What to do, with the exact command.
    pub hint: Option<String>,
}

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, e.g. `available`.
    pub name: &'static str,
    /// The value, with its unit.
    pub value: String,
    /// Where it comes from; may be empty.
    pub source: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        let name_width = self.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
        let with_source = self.facts.iter().filter(|fact| !fact.source.is_empty());
        let value_width = with_source.map(|fact| fact.value.len()).max().unwrap_or(0);
        for Fact { name, value, source } in &self.facts {
            if source.is_empty() {
                write!(f, "\n  {name:name_width$}  {value}")?;
            } else {
                write!(f, "\n  {name:name_width$}  {value:value_width$}  ({source})")?;
            }
        }
        if let Some(effect) = self.effect {
            write!(f, "\n  {effect}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl ClientError {
    /// The error for people. `token` gives amounts their unit; without it they are in the smallest.
    pub fn explain(&self, token: Option<&TokenMeta>) -> Explanation {
        let money = |amount: &Amount| money(*amount, token);
        match self {
            Self::AttestationRejected(refusal) => attestation(refusal),
            Self::BalanceTooLow { needs, available, reserve, max_tokens } => Explanation {
                title: "balance too low for this request".to_owned(),
                facts: vec![
                    fact("needs", money(needs), "beyond what is locked for the pod"),
                    fact("available", money(available), "free and not promised to a pod"),
                    fact("reserve", money(reserve), format!("max_tokens {max_tokens}")),
                ],
                effect: Some(NO_PROMPT),
                hint: Some("To add funds, run `phallama deposit AMOUNT`".to_owned()),
            },
            Self::LimitExceeded { limit, allowed, needs, spent } => Explanation {
                title: format!("this request may cost more than your {limit}"),
                facts: vec![
                    fact("needs", money(needs), "the reserve of this request"),
                    fact("spent", money(spent), "and reserved before it"),
                    fact("allowed", money(allowed), limit_key(*limit)),
                ],
                effect: Some(NO_PROMPT),
                hint: Some(format!(
                    "To allow more, run `{}`, or ask for fewer tokens",
                    raises(*limit)
                )),
            },
            Self::ClaimTooHigh { pod, claimed, allowed } => Explanation {
                title: format!("pod `{}` claims more than it can have earned", short(*pod)),
                facts: vec![
                    fact("claims", money(claimed), "cumulative, its own words"),
                    fact("possible", money(allowed), COST_AT_MOST),
                ],
                effect: Some("Nothing of it was accepted; the pod is asked only when it is named."),
                hint: Some(leave(*pod)),
            },
            Self::PodOverclaimed { pod, claimed, allowed } => Explanation {
                title: format!("pod `{}` was paid more than it can have earned", short(*pod)),
                facts: vec![
                    fact("claimed", money(claimed), "on chain, as the endpoint says"),
                    fact("possible", money(allowed), COST_AT_MOST),
                ],
                effect: Some("Nothing more is promised to the pod."),
                hint: Some(leave(*pod)),
            },
            Self::RecordsMissing { pod, claimed, allowed } => Explanation {
                title: format!("this wallet has no records of what pod `{}` claimed", short(*pod)),
                facts: vec![
                    fact("claimed", money(claimed), "as the endpoint or the pod says"),
                    fact("believed", money(allowed), "records, or limits.unrecorded"),
                ],
                effect: Some("Nothing of it was accepted; nothing is promised to the pod."),
                hint: Some(
                    "Other pods can be asked. If the wallet was restored without its records and \
                     the amount is right, set `unrecorded` under [limits] in config.toml to it"
                        .to_owned(),
                ),
            },
            Self::NoPod { model, refused } => no_pod(model, refused, |amount| money(&amount)),
            Self::PodUnsuitable { pod, why } => Explanation {
                title: format!("pod `{}` is not suitable", short(*pod)),
                facts: vec![
                    fact("got", why.got(|amount| money(&amount)), why.code()),
                    fact("expected", why.expected(|amount| money(&amount)), POLICY),
                ],
                effect: Some(NO_PROMPT),
                hint: Some(WIDER.to_owned()),
            },
            Self::Repeated(error) => error.explain(token),
            _ => self.explain_without_money(),
        }
    }

    fn explain_without_money(&self) -> Explanation {
        match self {
            Self::ModelUnknown { asked, available } => Explanation {
                title: format!("no pod offers the model `{asked}`"),
                facts: vec![fact("offered", available.join(", "), "")],
                effect: Some(NO_PROMPT),
                hint: Some("To see models and prices, run `phallama list`".to_owned()),
            },
            Self::PodUnreachable { pod, url, what, reason } => Explanation {
                title: format!("pod `{}` could not be reached", short(*pod)),
                facts: vec![
                    fact("url", url.clone(), "from its chain record"),
                    fact("asked", (*what).to_owned(), ""),
                    fact("reason", reason.clone(), ""),
                ],
                effect: (*what != "answer").then_some(NO_PROMPT),
                hint: Some(format!("To test it alone, run `phallama verify {pod}`")),
            },
            Self::PodRefused { .. } => self.refused(),
            Self::Truncated { pod, frames, reason } => Explanation {
                title: format!("the answer of pod `{}` is incomplete", short(*pod)),
                facts: vec![
                    fact("frames", frames.to_string(), "arrived whole"),
                    fact("reason", reason.clone(), ""),
                ],
                effect: Some(MAYBE_CHARGED),
                hint: None,
            },
            Self::Tampered { pod, reason } => Explanation {
                title: format!("the answer of pod `{}` was changed on its way", short(*pod)),
                facts: vec![fact("reason", reason.clone(), "")],
                effect: Some(MAYBE_CHARGED),
                hint: None,
            },
            Self::CloseRefused { .. } => self.not_closed(),
            Self::ReceiptRejected { pod, fault } => Explanation {
                title: format!("the receipt of pod `{}` was not accepted", short(*pod)),
                facts: vec![fact("reason", fault.to_string(), "")],
                effect: Some("The evidence is kept; the pod is asked only when it is named."),
                hint: Some(format!("To see it, run `phallama disputes`. {}", leave(*pod))),
            },
            Self::KeystoreLocked => Explanation {
                title: "the wallet is locked".to_owned(),
                effect: Some(NO_PROMPT),
                hint: Some("Name a file with the password: `--password-file FILE`".to_owned()),
                facts: Vec::new(),
            },
            Self::Keystore(error @ KeystoreError::WrongPassword { .. }) => Explanation {
                title: error.to_string(),
                hint: Some(PASSWORD.to_owned()),
                ..Explanation::default()
            },
            other => Explanation {
                title: other.to_string(),
                effect: other.nothing_was_sent().then_some(NO_PROMPT),
                ..Explanation::default()
            },
        }
    }

    fn not_closed(&self) -> Explanation {
        let Self::CloseRefused { pod, code, .. } = self else { return Explanation::default() };
        let (reason, hint) = match code {
            Code::EpochMismatch => (
                "its enclave has not served the channel since its last start",
                format!("Ask it anything and close again, or {}", lowercase(&leave(*pod))),
            ),
            Code::QueueFull => (
                "requests are open, a lock is on its way, or the enclave is starting",
                format!("Try again in a moment, or {}", lowercase(&leave(*pod))),
            ),
            _ => ("it does not take the request", leave(*pod)),
        };
        Explanation {
            title: format!("pod `{}` did not sign the end of the channel", short(*pod)),
            facts: vec![
                fact("code", code.name().to_owned(), "not authenticated"),
                fact("reason", reason.to_owned(), ""),
            ],
            effect: Some("Nothing was sent to the chain."),
            hint: Some(hint),
        }
    }

    fn refused(&self) -> Explanation {
        let Self::PodRefused { pod, code, message, retry_after_ms, authenticated } = self else {
            return Explanation::default();
        };
        let source = if *authenticated { "said by the enclave" } else { "not authenticated" };
        let mut facts = vec![fact("code", code.name().to_owned(), source)];
        if !message.is_empty() {
            facts.push(fact("message", message.clone(), ""));
        }
        if let Some(ms) = retry_after_ms {
            facts.push(fact("retry", format!("after {ms} ms"), ""));
        }
        // The model is not in the verified record: nothing was sent.
        let effect = match (authenticated, code) {
            (true, Code::PaymentsPaused) => PROBABLY_NOT_CHARGED,
            (true, _) => NOT_CHARGED,
            (false, Code::ModelNotFound) => NO_PROMPT,
            (false, _) => PROBABLY_NOT_CHARGED,
        };
        Explanation {
            title: format!("pod `{}` refused the request", short(*pod)),
            facts,
            effect: Some(effect),
            hint: None,
        }
    }

    fn nothing_was_sent(&self) -> bool {
        matches!(
            self,
            Self::PodUnknown(_)
                | Self::InvalidRequest { .. }
                | Self::RequestRepeated { .. }
                | Self::InvalidConfig { .. }
                | Self::ChannelExiting { .. }
        )
    }
}

/// One row per pod: which, why, what was found and what was wanted.
fn no_pod(model: &str, refused: &[PodFailure], money: impl Fn(Amount) -> String) -> Explanation {
    let row = |failure: &PodFailure| {
        let row = failure.row(&money);
        let expected = match row.expected.as_str() {
            "" => String::new(),
            expected => format!(", expected {expected}"),
        };
        let named = format!("{}  {}", short(failure.pod), row.code);
        fact("pod", named, format!("{}{expected}", row.got))
    };
    let mut facts: Vec<Fact> = refused.iter().take(ROWS_MAX).map(row).collect();
    let more = refused.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        facts.push(fact("and", format!("{more} more"), ""));
    }
    let unsuitable =
        |failure: &PodFailure| matches!(failure.error, ClientError::PodUnsuitable { .. });
    let (what, effect, hint) = if refused.iter().all(unsuitable) {
        ("is suitable", NO_PROMPT, WIDER)
    } else {
        ("could answer", "No answer was given.", "To see every pod, run `phallama pods`")
    };
    Explanation {
        title: format!("no pod {what} for model `{model}`"),
        facts,
        effect: Some(effect),
        hint: Some(hint.to_owned()),
    }
}

fn attestation(refusal: &Refusal) -> Explanation {
    let (title, facts) = match &refusal.rejection {
        Some(Rejection::MeasurementNotAccepted { got, accepted }) => {
            unapproved(refusal, got, accepted)
        }
        Some(Rejection::TcbEvaluationNumber { got, min }) => older_collateral(refusal, *got, *min),
        _ => not_proven(refusal),
    };
    let (effect, hint) = if refusal.is_of_a_file() {
        (BY_THIS_FILE, (refusal.failed().name == CHAIN_ROOT).then(|| ROOT_OF_FILE.to_owned()))
    } else {
        (NO_PROMPT, Some(what_to_do(refusal)))
    };
    Explanation { title, facts, effect: Some(effect), hint }
}

fn what_to_do(refusal: &Refusal) -> String {
    let every_check = format!("To see every check, run `phallama verify {}`", refusal.pod);
    match refusal.failed().name {
        CHAIN_ROOT => ROOTS.to_owned(),
        "tcb-evaluation-number" => OLDER.to_owned(),
        _ if refusal.may_be_of_two_moments() => {
            format!("The pod may be renewing its key; try again in a minute. {every_check}")
        }
        _ => every_check,
    }
}

fn unapproved(refusal: &Refusal, got: &[u8], accepted: &[[u8; 32]]) -> (String, Vec<Fact>) {
    let what = match refusal.tee {
        Some(TeeKind::Tdx) => "digest of the trust domain, from its quote",
        _ => "MRENCLAVE, from its quote",
    };
    let mut facts = vec![fact("measurement", hex::encode(got), what)];
    facts.extend(accepted.iter().map(|one| fact("approved", hex::encode(one), "your list")));
    (format!("pod `{}` is running a build you have not approved", short(refusal.pod)), facts)
}

fn older_collateral(refusal: &Refusal, got: u32, min: u32) -> (String, Vec<Fact>) {
    let facts = vec![
        fact("shown", got.to_string(), "TCB evaluation number of the pod's collateral"),
        fact("known", min.to_string(), "the highest you were shown for this kind of TEE"),
    ];
    let pod = short(refusal.pod);
    (format!("pod `{pod}` shows older firmware ratings of Intel than you know"), facts)
}

fn not_proven(refusal: &Refusal) -> (String, Vec<Fact>) {
    let failed = refusal.failed();
    let facts = vec![
        fact("check", failed.name.to_owned(), "failed"),
        fact("reason", failed.detail.clone(), ""),
    ];
    (format!("pod `{}` did not prove what it has to prove", short(refusal.pod)), facts)
}

fn fact(name: &'static str, value: String, source: impl Into<String>) -> Fact {
    Fact { name, value, source: source.into() }
}

fn limit_key(limit: SpendLimit) -> &'static str {
    match limit {
        SpendLimit::PerRequest => "limits.per_request",
        SpendLimit::PerDay => "limits.per_day",
        SpendLimit::PerPod => "limits.per_pod",
        SpendLimit::PerApp => "of its token, `phallama token list`",
    }
}

/// How to take back what is locked for a pod.
fn leave(pod: PodId) -> String {
    format!(
        "To take back what is locked, run `phallama exit {pod} --start`; it takes 48 hours and \
         nobody's consent"
    )
}

/// A sentence's beginning inside another.
fn lowercase(sentence: &str) -> String {
    sentence.replacen('T', "t", 1)
}

/// The command that allows more.
fn raises(limit: SpendLimit) -> &'static str {
    match limit {
        SpendLimit::PerRequest => "phallama limits set --per-request AMOUNT",
        SpendLimit::PerDay => "phallama limits set --per-day AMOUNT",
        SpendLimit::PerPod => "phallama limits set --per-pod AMOUNT",
        SpendLimit::PerApp => "phallama token limit NAME AMOUNT",
    }
}

/// `0x7c1e…a93f`
fn short(pod: PodId) -> String {
    let text = pod.to_string();
    format!("{}…{}", &text[..6], &text[text.len() - 4..])
}

/// Whole tokens with all their decimals, so that columns line up.
fn money(amount: Amount, token: Option<&TokenMeta>) -> String {
    let Some(TokenMeta { symbol, decimals }) = token else {
        return format!("{amount} units");
    };
    let width = usize::from(*decimals);
    let digits = format!("{:0>width$}", amount.value().to_string(), width = width + 1);
    let (whole, fraction) = digits.split_at(digits.len() - width);
    if fraction.is_empty() {
        format!("{whole} {symbol}")
    } else {
        format!("{whole}.{fraction} {symbol}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Repeated;

    fn usdc() -> TokenMeta {
        TokenMeta { symbol: "USDC".to_owned(), decimals: 6 }
    }

    #[test]
    fn a_balance_that_is_too_low_says_what_and_how_much() {
        let error = ClientError::BalanceTooLow {
            needs: Amount::from(40_960),
            available: Amount::from(10_000),
            reserve: Amount::from(1_040_960),
            max_tokens: 8192,
        };
        let expected = "\
balance too low for this request
  needs      0.040960 USDC  (beyond what is locked for the pod)
  available  0.010000 USDC  (free and not promised to a pod)
  reserve    1.040960 USDC  (max_tokens 8192)
  No prompt was sent.

hint: To add funds, run `phallama deposit AMOUNT`";
        assert_eq!(error.explain(Some(&usdc())).to_string(), expected);
        let bare = error.explain(None).to_string();
        assert!(bare.contains("needs      40960 units"), "{bare}");
    }

    #[test]
    fn a_pod_that_is_down_is_named_with_its_url() {
        let error = ClientError::PodUnreachable {
            pod: PodId([0x7c; 32]),
            url: "http://127.0.0.1:9".to_owned(),
            what: "key bundle",
            reason: "connection refused".to_owned(),
        };
        let expected = "\
pod `0x7c7c…7c7c` could not be reached
  url     http://127.0.0.1:9  (from its chain record)
  asked   key bundle
  reason  connection refused
  No prompt was sent.

hint: To test it alone, run `phallama verify 0x7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c`";
        assert_eq!(error.explain(None).to_string(), expected);
    }

    #[test]
    fn a_claim_that_is_too_high_says_how_to_leave() {
        let (pod, claimed, allowed) = (PodId([0x7c; 32]), 1_010.into(), 10.into());
        for error in [
            ClientError::ClaimTooHigh { pod, claimed, allowed },
            ClientError::PodOverclaimed { pod, claimed, allowed },
        ] {
            let text = error.explain(None).to_string();
            assert!(text.contains("1010 units") && text.contains("10 units"), "{text}");
            assert!(text.contains(&format!("`phallama exit {pod} --start`")), "{text}");
        }
    }

    #[test]
    fn missing_records_name_the_amount_and_the_setting() {
        let (pod, claimed, allowed) = (PodId([0x7c; 32]), 998.into(), 0.into());
        let expected = "\
this wallet has no records of what pod `0x7c7c…7c7c` claimed
  claimed   998 units  (as the endpoint or the pod says)
  believed  0 units    (records, or limits.unrecorded)
  Nothing of it was accepted; nothing is promised to the pod.

hint: Other pods can be asked. If the wallet was restored without its records and the amount is right, \
set `unrecorded` under [limits] in config.toml to it";
        let error = ClientError::RecordsMissing { pod, claimed, allowed };
        assert_eq!(error.explain(None).to_string(), expected);
    }

    #[test]
    fn a_limit_says_what_counts_against_it_and_how_to_raise_it() {
        let error = ClientError::LimitExceeded {
            limit: SpendLimit::PerPod,
            allowed: Amount::from(1_000_000),
            needs: Amount::from(40_960),
            spent: Amount::from(990_000),
        };
        let expected = "\
this request may cost more than your limit per pod
  needs    0.040960 USDC  (the reserve of this request)
  spent    0.990000 USDC  (and reserved before it)
  allowed  1.000000 USDC  (limits.per_pod)
  No prompt was sent.

hint: To allow more, run `phallama limits set --per-pod AMOUNT`, or ask for fewer tokens";
        assert_eq!(error.explain(Some(&usdc())).to_string(), expected);
    }

    #[test]
    fn a_close_that_is_refused_says_why_and_what_needs_nobody() {
        let (pod, code) = (PodId([0x7c; 32]), Code::EpochMismatch);
        let error = ClientError::CloseRefused { pod, code, retry_after_ms: None };
        let expected = format!(
            "\
pod `0x7c7c…7c7c` did not sign the end of the channel
  code    epoch_mismatch  (not authenticated)
  reason  its enclave has not served the channel since its last start
  Nothing was sent to the chain.

hint: Ask it anything and close again, or to take back what is locked, run `phallama exit {pod} \
             --start`; it takes 48 hours and nobody's consent"
        );
        assert_eq!(error.explain(None).to_string(), expected);
    }

    #[test]
    fn a_request_that_is_not_sent_again_says_so() {
        let request_id = phallama_protocol::ids::RequestId([7; 16]);
        for (how, what) in [
            (Repeated::Open, "is being answered"),
            (Repeated::Answered, "was answered and paid before"),
            (Repeated::Larger, "was sent before with a smaller reserve"),
            (Repeated::Charged, "was lost, and the pod has charged for lost requests since"),
        ] {
            let text = ClientError::RequestRepeated { request_id, how }.explain(None).to_string();
            assert_eq!(text, format!("request {request_id} {what}\n  No prompt was sent."));
        }
    }

    #[test]
    fn only_the_enclaves_own_refusal_says_that_nothing_was_charged() {
        let refused = |code, authenticated| {
            let (pod, message, retry_after_ms) = (PodId([1; 32]), String::new(), None);
            let error =
                ClientError::PodRefused { pod, code, message, retry_after_ms, authenticated };
            error.explain(None).effect
        };
        assert_eq!(refused(Code::QueueFull, true), Some(NOT_CHARGED));
        assert_eq!(refused(Code::QueueFull, false), Some(PROBABLY_NOT_CHARGED));
        assert_eq!(refused(Code::PaymentsPaused, true), Some(PROBABLY_NOT_CHARGED));
    }

    #[test]
    fn amounts_of_a_token_without_decimals_have_no_dot() {
        let token = TokenMeta { symbol: "T".to_owned(), decimals: 0 };
        assert_eq!(money(Amount::from(7), Some(&token)), "7 T");
        assert_eq!(money(Amount::from(7), Some(&usdc())), "0.000007 USDC");
    }
}
