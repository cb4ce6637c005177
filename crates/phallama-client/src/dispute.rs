//! What a pod claimed that cannot be, and the evidence for it. No prompt and no answer is in it:
//! counts and hashes.
//!
//! A pod that is disputed for what its enclave said is not asked again unless it is named.

use std::fmt;

use phallama_protocol::eip712::{Domain, Voucher};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::keys::{Signature, recover};
use phallama_protocol::receipt::SignedReceipt;
use serde::{Deserialize, Serialize};

use crate::client::now_unix_ms;
use crate::receipt::{Agreement, ReceiptFault};

/// Something that a pod claimed and that this wallet's records contradict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// When it was noticed.
    pub at_unix_ms: u64,
    /// EIP-155 chain id of the escrow.
    pub chain_id: u64,
    /// The escrow.
    pub escrow: Address,
    /// The user key.
    pub user: Address,
    /// The pod.
    pub pod: PodId,
    /// What it did.
    pub accusation: Accusation,
    /// The exchange that shows it, when one does.
    pub evidence: Option<Evidence>,
}

/// What a pod did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Accusation {
    /// Its receipt says something else than was agreed and delivered.
    Receipt {
        /// The step that failed.
        fault: String,
    },
    /// Its enclave named a higher amount than all requests can have cost, in a receipt or a
    /// refusal.
    Claim {
        /// The amount it names.
        claimed: Amount,
        /// Proven costs, and the reserves of requests that are open or were lost.
        allowed: Amount,
    },
    /// More was claimed on chain than all requests can have cost, as the endpoint says.
    Chain {
        /// Claimed on chain.
        claimed: Amount,
        /// Proven costs, and the reserves of requests that are open or were lost.
        allowed: Amount,
    },
}

impl fmt::Display for Accusation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receipt { fault } => {
                write!(f, "signed what was not agreed or delivered: {fault}")
            }
            Self::Claim { claimed, allowed } => {
                write!(f, "claims {claimed} units where requests can have cost {allowed} at most")
            }
            Self::Chain { claimed, allowed } => {
                write!(f, "was paid {claimed} units where requests can have cost {allowed} at most")
            }
        }
    }
}

/// One exchange: what was agreed, what was delivered, and both signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The request.
    pub request_id: RequestId,
    /// The pod's base URL then.
    pub pod_url: String,
    /// The name under which the user approved the measurement.
    pub release_label: String,
    /// What the receipt was held to; data chain and number of frames as received.
    pub agreement: Agreement,
    /// Most tokens that were asked for.
    pub max_tokens: u32,
    /// Bytes of text and JSON that reached the app before.
    pub delivered_bytes: u64,
    /// The user key's signature on the voucher.
    pub voucher_sig: Signature,
    /// The receipt with the enclave's signature, 442 bytes in hex.
    pub receipt_hex: String,
}

/// What the evidence alone shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Who signed the receipt's claim.
    pub enclave: Option<Address>,
    /// Who signed the voucher.
    pub user: Option<Address>,
    /// Hash of the receipt.
    pub receipt_hash: Digest32,
}

impl Dispute {
    pub(crate) fn new(
        domain: Domain,
        user: Address,
        pod: PodId,
        accusation: Accusation,
        evidence: Option<Evidence>,
    ) -> Self {
        let (Domain { chain_id, escrow }, at_unix_ms) = (domain, now_unix_ms());
        Self { at_unix_ms, chain_id, escrow, user, pod, accusation, evidence }
    }

    /// Whether the pod is asked no more for it. What the chain says is looked up at each request
    /// anyway, and an endpoint can lie.
    pub fn distrusts(&self) -> bool {
        !matches!(self.accusation, Accusation::Chain { .. })
    }

    /// Whether `other` says the same, so that once is enough.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let same = self.evidence.is_none() && other.evidence.is_none();
        same && (self.pod, self.user, self.escrow, &self.accusation)
            == (other.pod, other.user, other.escrow, &other.accusation)
    }

    /// Recovers both signatures of the evidence.
    ///
    /// # Errors
    /// [`ReceiptFault`]: the evidence holds no receipt.
    pub fn shown(&self) -> Option<Result<Shown, ReceiptFault>> {
        self.evidence.as_ref().map(|evidence| evidence.shown(self))
    }
}

impl Evidence {
    fn shown(&self, of: &Dispute) -> Result<Shown, ReceiptFault> {
        let domain = Domain { chain_id: of.chain_id, escrow: of.escrow };
        let bytes = hex::decode(&self.receipt_hex).map_err(|_| ReceiptFault::NotHex)?;
        let signed = SignedReceipt::decode(&bytes)?;
        let settlement = signed.receipt.settlement().digest(&domain);
        let Agreement { pod_id, identity, epoch, voucher_cap: cap, .. } = self.agreement;
        let voucher = Voucher { pod_id, identity, epoch, cap }.digest(&domain);
        Ok(Shown {
            enclave: recover(&settlement, &signed.signature).ok(),
            user: recover(&voucher, &self.voucher_sig).ok(),
            receipt_hash: signed.receipt.hash(),
        })
    }
}
