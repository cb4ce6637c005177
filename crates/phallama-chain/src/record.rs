//! What the contracts say, in the protocol's types.

use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signature;
use phallama_protocol::offers::Offer;
use serde::{Deserialize, Serialize};

use crate::attestation::AttestedKey;

/// Which block to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The newest block.
    Latest,
    /// The newest block that the chain's sequencer cannot take back.
    Safe,
    /// The block of this number.
    Number(u64),
}

/// A block's place in the chain and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: Digest32,
    /// That of the block before.
    pub parent: Digest32,
    /// Block time, seconds since 1970.
    pub timestamp_unix_s: u64,
}

/// A pod as registered. The registry verified a quote for `key`; everything else is what the
/// operator says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// The pod's id.
    pub pod_id: PodId,
    /// Who may change the record.
    pub operator: Address,
    /// Base URL of the host, without trailing slash.
    pub url: String,
    /// Where `collect` pays to.
    pub payout: Address,
    /// Models and prices.
    pub offers: Vec<Offer>,
    /// The terms' hash, as the registry computed it.
    pub offers_hash: Digest32,
    /// The key it signs with; `None` while none is attested.
    pub key: Option<AttestedKey>,
    /// Time of the last change of anything but `key`, seconds since 1970.
    pub updated_at_unix_s: u64,
    /// The operator has taken the pod off the list.
    pub retired: bool,
}

/// A user key's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Who may withdraw; `None` until the account is opened.
    pub owner: Option<Address>,
    /// Neither locked nor withdrawn.
    pub free: Amount,
}

/// What a user has locked for a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Cumulative amount ever locked.
    pub locked: Amount,
    /// Cumulative amount ever paid.
    pub claimed: Amount,
    /// When an exit can be finished, seconds since 1970; 0 when none runs.
    pub exit_at_unix_s: u64,
    /// Generation of the channel.
    pub epoch: u32,
}

/// The settlement token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMeta {
    /// e.g. `USDC`.
    pub symbol: String,
    /// Decimals of the smallest unit.
    pub decimals: u8,
}

/// A new pod. It has no key until one is attested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Makes the pod id, together with the operator's address.
    pub salt: [u8; 32],
    /// Base URL of the host.
    pub url: String,
    /// Where `collect` pays to.
    pub payout: Address,
    /// Models and prices.
    pub offers: Vec<Offer>,
}

/// One allocation to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRow {
    /// Cumulative amount to have locked.
    pub total: Amount,
    /// Not valid after, seconds since 1970.
    pub deadline_unix_s: u64,
    /// The terms agreed.
    pub terms_hash: Digest32,
    /// Generation of the channel.
    pub epoch: u32,
    /// The user key's signature.
    pub signature: Signature,
}

/// One row of a batch signed by a live enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleRow {
    /// The voucher's cap.
    pub cap: Amount,
    /// Cumulative amount claimed.
    pub claimed: Amount,
    /// Generation of the channel.
    pub epoch: u32,
    /// The user key's signature on the voucher.
    pub voucher_sig: Signature,
}

/// One row with its own settlement, for claims whose enclave is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The identity key that the voucher names and that signed the settlement.
    pub identity: Address,
    /// The voucher's cap.
    pub cap: Amount,
    /// Generation of the channel.
    pub epoch: u32,
    /// The user key's signature on the voucher.
    pub voucher_sig: Signature,
    /// The settlement's sequence number.
    pub seq: u64,
    /// The settlement's cumulative amount.
    pub cumulative: Amount,
    /// The settlement's receipt.
    pub receipt_hash: Digest32,
    /// The identity key's signature on the settlement.
    pub settlement_sig: Signature,
}

/// An EIP-2612 permit by which its signer pays the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// In the token's smallest unit.
    pub amount: Amount,
    /// Last second in which the token takes it.
    pub deadline_unix_s: u64,
    /// The payer's signature in the token's domain.
    pub signature: Signature,
}

/// An EIP-3009 authorization to pay the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// Who pays.
    pub from: Address,
    /// In the token's smallest unit.
    pub amount: Amount,
    /// Valid after this second.
    pub valid_after_unix_s: u64,
    /// Valid before this second.
    pub valid_before_unix_s: u64,
    /// What the payer chose; the signed nonce is made from it and the user.
    pub salt: Digest32,
    /// The payer's signature in the token's domain.
    pub signature: Signature,
}

/// A `Close` that the enclave and the user key both signed, for anybody to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayedClose {
    /// The user key.
    pub user: Address,
    /// The pod.
    pub pod: PodId,
    /// Generation of the channel.
    pub epoch: u32,
    /// The final cumulative amount.
    pub cumulative: Amount,
    /// The identity key's signature.
    pub enclave_sig: Signature,
    /// The user key's signature.
    pub user_sig: Signature,
}
