//! What can go wrong for the user, whose fault it is, and what follows from it.

use std::path::PathBuf;
use std::sync::Arc;

use phallama_chain::ChainError;
use phallama_protocol::ids::{Address, Amount, PodId, RequestId};
use phallama_protocol::refusal::Code;

use crate::check::Refusal;
use crate::keystore::KeystoreError;
use crate::ledger::{LedgerError, Repeated};
use crate::receipt::ReceiptFault;
use crate::suitability::Unsuitable;

/// A failure of a client operation.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Pods offer the model, and none of them could answer.
    #[error("no pod could answer for model `{model}` ({} tried)", refused.len())]
    NoPod {
        /// The model asked for.
        model: String,
        /// Each pod that was tried, with the reason, in the order of trying.
        refused: Vec<PodFailure>,
    },
    /// No registered pod offers the model.
    #[error("no pod offers the model `{asked}`")]
    ModelUnknown {
        /// The model asked for.
        asked: String,
        /// Models that are offered.
        available: Vec<String>,
    },
    /// No pod with this id is registered.
    #[error("pod `{0}` is not registered")]
    PodUnknown(PodId),
    /// The pod is not one that the user wants to ask.
    #[error("pod `{pod}` is not suitable: {why}")]
    PodUnsuitable {
        /// The pod.
        pod: PodId,
        /// What is wrong with it.
        why: Unsuitable,
    },
    /// The pod did not prove what it has to prove.
    #[error("pod `{}` was not accepted: {}", .0.pod, .0.reason())]
    AttestationRejected(Box<Refusal>),
    /// Free and locked money together do not cover the request.
    #[error("balance too low: needs {needs}, available {available}")]
    BalanceTooLow {
        /// What has to be added to the pod's allocation for this request.
        needs: Amount,
        /// Free balance that is not promised to a pod yet.
        available: Amount,
        /// The request's reserve: its cost at most.
        reserve: Amount,
        /// Completion tokens that the reserve covers.
        max_tokens: u32,
    },
    /// The request could cost more than the user's own limit.
    #[error("{limit} of {allowed}: this request may cost {needs}, {spent} are spent")]
    LimitExceeded {
        /// Which limit.
        limit: SpendLimit,
        /// The limit.
        allowed: Amount,
        /// The request's reserve.
        needs: Amount,
        /// Spent and reserved in the limit's period before this request.
        spent: Amount,
    },
    /// The pod did not answer, or not as HTTP says.
    #[error("pod `{pod}` could not be reached at {url} for {what}: {reason}")]
    PodUnreachable {
        /// The pod.
        pod: PodId,
        /// Its base URL.
        url: String,
        /// What was asked: `key bundle`, `evidence`, `answer`.
        what: &'static str,
        /// What happened.
        reason: String,
    },
    /// The pod said no.
    #[error("pod `{pod}` refused: {} {message}", code.name())]
    PodRefused {
        /// The pod.
        pod: PodId,
        /// The reason as a code.
        code: Code,
        /// The enclave's words; empty for a refusal that anybody on the path could have made.
        message: String,
        /// When to ask again, in milliseconds.
        retry_after_ms: Option<u32>,
        /// Whether the enclave itself said so, inside the sealed answer.
        authenticated: bool,
    },
    /// The pod did not sign the end of a channel.
    #[error("pod `{pod}` did not close the channel: {}", code.name())]
    CloseRefused {
        /// The pod.
        pod: PodId,
        /// Why, as anybody on the path could have said.
        code: Code,
        /// When to ask again, in milliseconds.
        retry_after_ms: Option<u32>,
    },
    /// The answer stopped before its authenticated end.
    #[error("the answer of pod `{pod}` stopped after {frames} frames, before its end")]
    Truncated {
        /// The pod.
        pod: PodId,
        /// Frames that arrived whole.
        frames: u64,
        /// What ended it.
        reason: String,
    },
    /// The answer is not what the enclave sealed.
    #[error("the answer of pod `{pod}` was changed on its way: {reason}")]
    Tampered {
        /// The pod.
        pod: PodId,
        /// The rule that was broken.
        reason: String,
    },
    /// The enclave's answer breaks what was agreed, though nobody changed it on its way.
    #[error("pod `{pod}` does not keep what it offered: {reason}")]
    PodMisbehaved {
        /// The pod.
        pod: PodId,
        /// What it did.
        reason: String,
    },
    /// The user is taking back what is locked for the pod; it would not be paid.
    #[error("the channel with pod `{pod}` is exiting")]
    ChannelExiting {
        /// The pod.
        pod: PodId,
        /// When the exit can be finished, in unix seconds.
        exit_at_unix_s: u64,
    },
    /// The receipt does not say what was agreed and received.
    #[error("the receipt of pod `{pod}` was not accepted: {fault}")]
    ReceiptRejected {
        /// The pod.
        pod: PodId,
        /// The step that failed.
        fault: ReceiptFault,
    },
    /// The pod claims more than this wallet's requests can have cost. Nothing of it was taken over.
    #[error("pod `{pod}` claims {claimed}, but all requests can have cost {allowed} at most")]
    ClaimTooHigh {
        /// The pod.
        pod: PodId,
        /// The amount it names.
        claimed: Amount,
        /// Proven costs, and the reserves of requests that are open or were lost.
        allowed: Amount,
    },
    /// More was claimed on chain than this wallet's requests can have cost. Nothing more is
    /// promised to the pod until the channel has gone on to another epoch or the chain says
    /// otherwise.
    #[error(
        "the chain says that pod `{pod}` claimed {claimed}, but all requests can have cost \
         {allowed} at most"
    )]
    PodOverclaimed {
        /// The pod.
        pod: PodId,
        /// Claimed on chain, as the configured endpoint says.
        claimed: Amount,
        /// Proven costs, and the reserves of requests that are open or were lost.
        allowed: Amount,
    },
    /// This wallet has no records of what was claimed in the channel before: the endpoint or the
    /// pod is wrong about it, or another wallet uses the same key, or the records were lost.
    /// Nothing was taken over, and nobody is accused.
    #[error(
        "{claimed} is said to have been claimed by pod `{pod}`; this wallet has records of \
         {allowed}"
    )]
    RecordsMissing {
        /// The pod.
        pod: PodId,
        /// What the endpoint or the pod says.
        claimed: Amount,
        /// What the records explain, or what is believed without them.
        allowed: Amount,
    },
    /// Nothing can be signed in the token's name.
    #[error("the token {token} takes no deposits by signature")]
    TokenWithoutSignatures {
        /// The escrow's token.
        token: Address,
    },
    /// The same request id again, where that cannot be without being charged twice.
    #[error("request {request_id} {}", repeated(how))]
    RequestRepeated {
        /// The id.
        request_id: RequestId,
        /// What became of it before.
        how: Repeated,
    },
    /// The request cannot be sent as it is.
    #[error("invalid request: {reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
        /// The JSON field, where one is to blame.
        field: Option<&'static str>,
    },
    /// The chain could not be asked.
    #[error("the chain is unavailable: {0}")]
    ChainUnavailable(#[from] ChainError),
    /// The operation signs, and no user key is unlocked.
    #[error("the wallet is locked")]
    KeystoreLocked,
    /// The keystore file.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The folder of the wallet's own records.
    #[error("the records in {} cannot be used: {source}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the storage said.
        source: LedgerError,
    },
    /// What became of the one attempt at a request that an app has named.
    #[error(transparent)]
    Repeated(Arc<ClientError>),
    /// The configuration cannot work.
    #[error("invalid configuration: {reason}")]
    InvalidConfig {
        /// What is wrong with it.
        reason: String,
    },
}

/// One pod that could not answer.
#[derive(Debug)]
pub struct PodFailure {
    /// The pod.
    pub pod: PodId,
    /// Its base URL.
    pub url: String,
    /// Why.
    pub error: ClientError,
}

/// Why one pod did not answer, for a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FailureRow {
    /// The pod.
    pub pod: PodId,
    /// Stable code: of [`Unsuitable`], a check's name after `attestation:`, or of [`ErrorClass`].
    pub code: String,
    /// What was found.
    pub got: String,
    /// What was wanted; empty where nothing can be named.
    pub expected: String,
}

impl PodFailure {
    /// The failure as a row; `money` tells amounts.
    pub fn row(&self, money: impl Fn(Amount) -> String) -> FailureRow {
        let (code, got, expected) = match &self.error {
            ClientError::PodUnsuitable { why, .. } => {
                (why.code().to_owned(), why.got(&money), why.expected(&money))
            }
            ClientError::AttestationRejected(refusal) => {
                let failed = refusal.failed();
                (format!("attestation:{}", failed.name), failed.detail.clone(), String::new())
            }
            ClientError::BalanceTooLow { needs, available, .. } => {
                (self.error.class().code.to_owned(), money(*available), money(*needs))
            }
            ClientError::LimitExceeded { allowed, needs, spent, .. } => {
                let got = format!("{} beside {} spent", money(*needs), money(*spent));
                let expected = format!("{} at most", money(*allowed));
                (self.error.class().code.to_owned(), got, expected)
            }
            ClientError::PodUnreachable { what, reason, .. } => {
                let got = format!("{what}: {reason}");
                (self.error.class().code.to_owned(), got, String::new())
            }
            other => (other.class().code.to_owned(), other.to_string(), String::new()),
        };
        FailureRow { pod: self.pod, code, got, expected }
    }
}

/// The user's own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendLimit {
    /// Reserve of one request.
    PerRequest,
    /// Costs and open reserves of one UTC day.
    PerDay,
    /// What one pod can draw in one epoch of its channel.
    PerPod,
    /// Costs and open reserves of one UTC day, of one app.
    PerApp,
}

impl std::fmt::Display for SpendLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PerRequest => "limit per request",
            Self::PerDay => "limit per day",
            Self::PerPod => "limit per pod",
            Self::PerApp => "app's limit per day",
        })
    }
}

/// What follows from an error, for every front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorClass {
    /// Exit code of the command line, one of [`Exit`].
    pub exit_code: u8,
    /// HTTP status of the local server.
    pub http_status: u16,
    /// Stable code in error bodies and `--json`.
    pub code: &'static str,
    /// Whether the same request may succeed later, unchanged.
    pub retryable: bool,
}

/// Documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// A bug, or the machine's own fault (disk).
    Bug = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Attestation rejected.
    Attestation = 3,
    /// No suitable pod.
    NoPod = 4,
    /// Payment.
    Payment = 5,
    /// Chain unavailable.
    Chain = 6,
    /// Pod unreachable or misbehaving.
    Pod = 7,
}

impl ClientError {
    /// The one place that decides what an error means.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoPod { refused, .. } => {
                let retryable = refused.iter().any(|failure| failure.error.class().retryable);
                of(Exit::NoPod, 503, "no_suitable_pod", retryable)
            }
            Self::ModelUnknown { .. } => of(Exit::NoPod, 404, "model_not_found", false),
            Self::PodUnknown(_) => of(Exit::NoPod, 404, "pod_not_found", false),
            Self::PodUnsuitable { .. } => of(Exit::NoPod, 503, "no_suitable_pod", false),
            Self::AttestationRejected(_) => {
                of(Exit::Attestation, 403, "attestation_rejected", false)
            }
            Self::BalanceTooLow { .. } => of(Exit::Payment, 402, "balance_too_low", false),
            Self::LimitExceeded { .. } => of(Exit::Payment, 402, "spend_limit_exceeded", false),
            Self::PodUnreachable { .. } => of(Exit::Pod, 502, "pod_unreachable", true),
            Self::PodRefused { code, .. } => refused_class(*code),
            Self::CloseRefused { .. } => of(Exit::Payment, 502, "close_refused", true),
            Self::Truncated { .. } => of(Exit::Pod, 502, "answer_truncated", true),
            Self::Tampered { .. } => of(Exit::Pod, 502, "answer_tampered", false),
            Self::PodMisbehaved { .. } => of(Exit::Pod, 502, "pod_misbehaved", false),
            Self::ChannelExiting { .. } => of(Exit::Payment, 402, "channel_exiting", false),
            Self::ReceiptRejected { .. } => of(Exit::Payment, 502, "receipt_rejected", false),
            Self::ClaimTooHigh { .. } => of(Exit::Payment, 502, "claim_too_high", false),
            Self::PodOverclaimed { .. } => of(Exit::Payment, 502, "pod_overclaimed", false),
            Self::RecordsMissing { .. } => of(Exit::Payment, 409, "records_missing", false),
            Self::TokenWithoutSignatures { .. } => {
                of(Exit::Payment, 409, "token_without_signatures", false)
            }
            Self::RequestRepeated { how, .. } => {
                of(Exit::Usage, 409, "request_repeated", *how == Repeated::Open)
            }
            Self::InvalidRequest { .. } => of(Exit::Usage, 400, "invalid_request", false),
            Self::ChainUnavailable(error) => chain_class(error),
            Self::KeystoreLocked => of(Exit::Usage, 403, "wallet_locked", false),
            Self::Keystore(_) => of(Exit::Usage, 500, "wallet_unusable", false),
            Self::Ledger { .. } => of(Exit::Bug, 500, "records_unusable", false),
            Self::Repeated(error) => error.class(),
            Self::InvalidConfig { .. } => of(Exit::Usage, 500, "invalid_config", false),
        }
    }

    /// When a pod asked to be asked again, in milliseconds.
    pub fn retry_after_ms(&self) -> Option<u32> {
        match self {
            Self::PodRefused { retry_after_ms, .. } | Self::CloseRefused { retry_after_ms, .. } => {
                *retry_after_ms
            }
            Self::NoPod { refused, .. } => {
                refused.iter().filter_map(|failure| failure.error.retry_after_ms()).min()
            }
            Self::Repeated(error) => error.retry_after_ms(),
            _ => None,
        }
    }

    /// Whether another pod may do better.
    pub(crate) fn another_pod_may_help(&self) -> bool {
        match self {
            Self::AttestationRejected(_)
            | Self::PodUnsuitable { .. }
            | Self::BalanceTooLow { .. }
            | Self::PodUnreachable { .. }
            | Self::Truncated { .. }
            | Self::Tampered { .. }
            | Self::PodMisbehaved { .. }
            | Self::ChannelExiting { .. }
            | Self::ReceiptRejected { .. }
            | Self::ClaimTooHigh { .. }
            | Self::PodOverclaimed { .. }
            | Self::RecordsMissing { .. }
            | Self::LimitExceeded { limit: SpendLimit::PerPod, .. } => true,
            Self::PodRefused { code, .. } => {
                !matches!(code, Code::InvalidRequest | Code::PromptTooLong)
            }
            Self::NoPod { .. }
            | Self::ModelUnknown { .. }
            | Self::PodUnknown(_)
            | Self::LimitExceeded { .. }
            | Self::CloseRefused { .. }
            | Self::RequestRepeated { .. }
            | Self::TokenWithoutSignatures { .. }
            | Self::InvalidRequest { .. }
            | Self::ChainUnavailable(_)
            | Self::KeystoreLocked
            | Self::Keystore(_)
            | Self::Ledger { .. }
            | Self::Repeated(_)
            | Self::InvalidConfig { .. } => false,
        }
    }
}

fn repeated(how: &Repeated) -> String {
    match how {
        Repeated::Open => "is being answered".to_owned(),
        Repeated::Answered => "was answered and paid before".to_owned(),
        Repeated::Elsewhere(pod) => {
            format!("was sent to pod {pod}, which may have charged it")
        }
        Repeated::Larger => "was sent before with a smaller reserve".to_owned(),
        Repeated::Charged => "was lost, and the pod has charged for lost requests since".to_owned(),
    }
}

fn refused_class(code: Code) -> ErrorClass {
    let exit = match code {
        Code::BalanceTooLow
        | Code::CapTooLow
        | Code::ChannelExiting
        | Code::BadVoucher
        | Code::TermsMismatch
        | Code::EpochMismatch
        | Code::PaymentsPaused => Exit::Payment,
        Code::InvalidRequest | Code::PromptTooLong | Code::NotSupported => Exit::Usage,
        Code::ModelNotFound => Exit::NoPod,
        _ => Exit::Pod,
    };
    let retryable = matches!(
        code,
        Code::QueueFull
            | Code::TooManyRequests
            | Code::Draining
            | Code::PaymentsPaused
            | Code::ChainBehind
            | Code::WorkerRestarting
            | Code::WorkerFailed
            | Code::LockNotSafe
            | Code::RiskLimit
    );
    of(exit, code.http_status(), code.name(), retryable)
}

fn of(exit: Exit, http_status: u16, code: &'static str, retryable: bool) -> ErrorClass {
    ErrorClass { exit_code: exit as u8, http_status, code, retryable }
}

fn chain_class(error: &ChainError) -> ErrorClass {
    match error {
        ChainError::Unavailable { .. }
        | ChainError::NotMined { .. }
        | ChainError::BlockGone { .. }
        | ChainError::HeadsApart { .. } => of(Exit::Chain, 503, "chain_unavailable", true),
        ChainError::Disagreement(_) => of(Exit::Chain, 502, "chain_disagreement", false),
        ChainError::FeeAboveCeiling { .. } => of(Exit::Chain, 503, "gas_too_dear", true),
        ChainError::NonceTaken { .. } => of(Exit::Chain, 409, "account_used_elsewhere", true),
        ChainError::Outbox { .. } => of(Exit::Chain, 500, "outbox_unusable", false),
        ChainError::BadEndpoint { .. } => of(Exit::Usage, 500, "bad_endpoint", false),
        ChainError::WrongChain { .. }
        | ChainError::NoContract { .. }
        | ChainError::Mismatch { .. } => of(Exit::Usage, 500, "wrong_chain", false),
        ChainError::Reverted { .. } => of(Exit::Payment, 409, "contract_refused", false),
        ChainError::InsufficientGasFunds { .. } => of(Exit::Payment, 402, "gas_too_low", false),
        ChainError::Malformed { .. } => of(Exit::Chain, 502, "chain_malformed", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: PodId = PodId([1; 32]);

    fn refused(code: Code) -> ClientError {
        let (message, retry_after_ms) = (String::new(), Some(250));
        ClientError::PodRefused { pod: POD, code, message, retry_after_ms, authenticated: true }
    }

    fn unreachable() -> ClientError {
        let (url, reason) = ("http://127.0.0.1:1".to_owned(), "refused".to_owned());
        ClientError::PodUnreachable { pod: POD, url, what: "answer", reason }
    }

    fn nobody(errors: Vec<ClientError>) -> ClientError {
        let failure = |error| PodFailure { pod: POD, url: String::new(), error };
        let refused = errors.into_iter().map(failure).collect();
        ClientError::NoPod { model: "m".to_owned(), refused }
    }

    #[track_caller]
    fn check(error: &ClientError, exit: Exit, http_status: u16, code: &str, retryable: bool) {
        let class = error.class();
        let got = (class.exit_code, class.http_status, class.code, class.retryable);
        assert_eq!(got, (exit as u8, http_status, code, retryable), "{error}");
    }

    #[test]
    fn every_kind_of_fault_has_its_documented_exit_code() {
        let unknown = ClientError::ModelUnknown { asked: "m".to_owned(), available: Vec::new() };
        check(&unknown, Exit::NoPod, 404, "model_not_found", false);
        check(&ClientError::KeystoreLocked, Exit::Usage, 403, "wallet_locked", false);
        check(&unreachable(), Exit::Pod, 502, "pod_unreachable", true);
        check(&refused(Code::QueueFull), Exit::Pod, 503, "queue_full", true);
        check(&refused(Code::TooManyRequests), Exit::Pod, 429, "too_many_requests", true);
        check(&refused(Code::NotSupported), Exit::Usage, 400, "not_supported", false);
        check(&refused(Code::BalanceTooLow), Exit::Payment, 402, "balance_too_low", false);
        check(&refused(Code::InvalidRequest), Exit::Usage, 400, "invalid_request", false);
        let down = ChainError::NotMined { what: "lock", hash: String::new(), waited_s: 90 };
        check(&down.into(), Exit::Chain, 503, "chain_unavailable", true);
    }

    #[test]
    fn a_request_that_nobody_answered_is_as_retryable_as_its_best_pod() {
        let class = nobody(vec![refused(Code::BadVoucher), refused(Code::QueueFull)]).class();
        assert!(class.retryable);
        assert!(!nobody(vec![refused(Code::BadVoucher)]).class().retryable);
    }

    #[test]
    fn the_shortest_advice_of_all_pods_counts() {
        assert_eq!(
            nobody(vec![unreachable(), refused(Code::QueueFull)]).retry_after_ms(),
            Some(250)
        );
        assert_eq!(nobody(vec![unreachable()]).retry_after_ms(), None);
    }

    #[test]
    fn faults_of_the_request_are_not_taken_to_another_pod() {
        for stays in [refused(Code::InvalidRequest), refused(Code::PromptTooLong)] {
            assert!(!stays.another_pod_may_help(), "{stays}");
        }
        for moves in [refused(Code::QueueFull), refused(Code::ModelNotFound), unreachable()] {
            assert!(moves.another_pod_may_help(), "{moves}");
        }
    }
}
