//! Control messages: JSON objects without unknown fields.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::ids::{Address, Amount, Digest32};
use crate::keys::Signature;
use crate::refusal::{Code, PodError};
use crate::request::{AllocationGrant, Payment};

/// A message whose payload is JSON, with the kind of its frame.
pub trait Control: Serialize + DeserializeOwned {
    /// Kind of the frame that carries it.
    const KIND: Kind;
}

/// Binds message types to kinds.
macro_rules! control {
    ($($name:ident),*) => {
        $(impl Control for $name {
            const KIND: Kind = Kind::$name;
        })*
    };
}

control!(
    Admit,
    Admitted,
    Denied,
    Claim,
    Refused,
    SignBatch,
    BatchSigned,
    SignClose,
    CloseSigned,
    Status,
    Head
);

/// Payload of an Evidence request: the verifier's nonce, raw.
pub type EvidenceRequest = [u8; 32];

/// The enclave asks the host whether the payment of a request is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admit {
    /// The paying account.
    pub user: Address,
    /// Channel epoch.
    pub epoch: u32,
    /// Cumulative cap of the voucher.
    pub cap: Amount,
    /// The user key's signature over the voucher.
    pub voucher_sig: Signature,
    /// Terms of the request.
    pub terms_hash: Digest32,
    /// A new allocation to lock.
    pub allocation: Option<AllocationGrant>,
    /// The most that the answer can cost.
    pub reserve: Amount,
    /// What the enclave has charged to the channel so far.
    pub charged: Amount,
}

impl Admit {
    /// The question for one request's payment.
    pub fn new(payment: &Payment, reserve: Amount, charged: Amount) -> Self {
        let Payment { user, epoch, cap, voucher_sig, terms_hash, allocation } = *payment;
        Self { user, epoch, cap, voucher_sig, terms_hash, allocation, reserve, charged }
    }
}

/// The host admits the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    /// Highest claim that the host knows for this channel and epoch.
    pub cumulative: Amount,
}

/// The host refuses the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// Why.
    pub code: Code,
    /// When to try again, milliseconds; 0: no advice.
    pub retry_after_ms: u32,
    /// The channel's cumulative amount where the code asks for it, otherwise 0.
    pub cumulative: Amount,
    /// For people, at most 200 bytes.
    pub message: String,
}

impl From<Denied> for PodError {
    fn from(denied: Denied) -> Self {
        let Denied { code, retry_after_ms, cumulative, message } = denied;
        Self { code, retry_after_ms, cumulative, message }
    }
}

/// What the host stores durably before the last frame leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The paying account.
    pub user: Address,
    /// Channel epoch.
    pub epoch: u32,
    /// Cumulative cap of the voucher.
    pub cap: Amount,
    /// The user key's signature over the voucher.
    pub voucher_sig: Signature,
    /// Number of the settlement.
    pub seq: u64,
    /// Cumulative claim.
    pub cumulative: Amount,
    /// Hash of the receipt.
    pub receipt_hash: Digest32,
    /// The identity key's signature over the settlement.
    pub settlement_sig: Signature,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the completion.
    pub completion_tokens: u32,
}

/// The enclave refuses a request that it could not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// When to try again, milliseconds; 0: no advice.
    pub retry_after_ms: u32,
}

/// The host asks for one signature over rows to settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignBatch {
    /// The rows.
    pub rows: Vec<BatchRow>,
}

/// One row to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRow {
    /// The paying account.
    pub user: Address,
    /// Channel epoch.
    pub epoch: u32,
    /// Cumulative cap of the voucher.
    pub cap: Amount,
    /// The user key's signature over the voucher.
    pub voucher_sig: Signature,
    /// Cumulative claim.
    pub claimed: Amount,
}

impl BatchRow {
    /// The row as the contract reads it, 91 bytes.
    pub fn pack(&self) -> [u8; crate::eip712::SETTLE_ROW_LEN] {
        crate::eip712::settle_row(self.cap, self.claimed, self.epoch, &self.voucher_sig)
    }
}

/// The enclave's signature over the packed rows that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSigned {
    /// Indices of the rows that are signed, ascending: those of which the enclave itself has
    /// charged at least as much. The packed rows are theirs, in this order.
    pub accepted: Vec<u32>,
    /// Over [`crate::eip712::Batch`].
    pub signature: Signature,
}

/// The host asks to close a channel at what the enclave has charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignClose {
    /// The account.
    pub user: Address,
    /// Channel epoch.
    pub epoch: u32,
}

/// The enclave's signature over a final amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseSigned {
    /// Final cumulative amount.
    pub cumulative: Amount,
    /// Over [`crate::eip712::Close`].
    pub signature: Signature,
}

/// How the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Loading the model.
    Starting,
    /// Answering.
    Ready,
    /// Starting again after a failure.
    Restarting,
    /// Given up.
    Failed,
    /// Not in memory; the next request loads it.
    Unloaded,
}

/// How one model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelStatus {
    /// Name of the offer.
    pub model: String,
    /// How its worker is.
    pub state: WorkerState,
    /// Build of the worker, while it answers and says so.
    pub build: Option<String>,
    /// Requests being answered.
    pub in_flight: u32,
    /// Requests waiting.
    pub queued: u32,
    /// How often it was without a worker for a while.
    pub restarts: u64,
    /// Memory that it takes when it is loaded, about.
    pub needs_bytes: u64,
}

/// How the enclave is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The identity key's address.
    pub identity: Address,
    /// Measurement of the enclave program.
    pub measurement: Digest32,
    /// Requests being answered.
    pub in_flight: u32,
    /// Requests waiting.
    pub queued: u32,
    /// Requests that can be answered at once.
    pub slots: u32,
    /// How the workers are: ready while any model is served.
    pub worker: WorkerState,
    /// Epoch of the newest bundle.
    pub epoch_id: u64,
    /// Each model, in the order of the offers.
    pub models: Vec<ModelStatus>,
}

/// The newest block that the host has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Block number.
    pub block: u64,
}
