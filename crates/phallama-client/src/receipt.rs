//! What a receipt is held to, and what is kept of it. The checklist of `spec/receipts.md`.

use std::sync::Arc;

use phallama_protocol::eip712::{Domain, channel_id};
use phallama_protocol::frames::ResponseOpener;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::offers::Offer;
use phallama_protocol::receipt::{
    DecodeError, ReceiptError, ReceiptExpectation, SignedReceipt, request_commitment,
};
use serde::{Deserialize, Serialize};

use crate::client::now_unix_ms;
use crate::dispute::{Accusation, Evidence};
use crate::error::ClientError;
use crate::ledger::Bounds;
use crate::promise::{Promise, amount};
use crate::verify::VerifiedPod;

/// Why a receipt is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFault {
    /// The stored bytes are not a receipt (step 1).
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stored bytes are not hex.
    #[error("the stored receipt is not hex")]
    NotHex,
    /// A step from 2 to 6.
    #[error(transparent)]
    Check(#[from] ReceiptError),
    /// More tokens than were asked for (step 4).
    #[error("receipt counts {got} completion tokens, {asked} were asked for at most")]
    TooManyTokens {
        /// `max_tokens` of the request, for each of its choices.
        asked: u32,
        /// In the receipt.
        got: u32,
    },
}

/// What was verified and agreed before a request was sent.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) pod: Arc<VerifiedPod>,
    pub(crate) offer: Offer,
    pub(crate) domain: Domain,
    pub(crate) max_tokens: u32,
    pub(crate) salt: [u8; 32],
    pub(crate) request_hash: Digest32,
    pub(crate) wire_bytes_up: u64,
    pub(crate) plain_bytes_up: u64,
}

impl Agreed {
    /// Steps 2 to 6 for the receipt that ends an answer; what is kept of it.
    pub(crate) async fn check_final(
        &self,
        promise: &Promise,
        opener: &ResponseOpener,
        delivered_bytes: u64,
        receipt: &SignedReceipt,
    ) -> Result<StoredReceipt, ClientError> {
        let data = (opener.data_chain(), opener.data_frames());
        let agreement = self.check(promise, data, delivered_bytes, receipt).await?;
        Ok(self.stored(promise, agreement, receipt))
    }

    /// The same for an interim receipt, whose place in the data the opener has already checked.
    pub(crate) async fn check_interim(
        &self,
        promise: &Promise,
        delivered_bytes: u64,
        receipt: &SignedReceipt,
    ) -> Result<(), ClientError> {
        let data = (receipt.receipt.data_chain, receipt.receipt.data_frames);
        self.check(promise, data, delivered_bytes, receipt).await.map(drop)
    }

    /// What is refused is kept as evidence.
    async fn check(
        &self,
        promise: &Promise,
        (data_chain, data_frames): (Digest32, u32),
        delivered_bytes: u64,
        receipt: &SignedReceipt,
    ) -> Result<Agreement, ClientError> {
        let bounds = promise.bounds().await?;
        let pod = self.pod.record().pod_id;
        let agreement = self.agreement(promise, &bounds, data_chain, data_frames);
        let before_cost = bounds.before_cost;
        let (accusation, error) = match self.fault(&agreement, before_cost, receipt) {
            Ok(()) => return Ok(agreement),
            Err(Fault::Receipt(fault)) => {
                let accusation = Accusation::Receipt { fault: fault.to_string() };
                (accusation, ClientError::ReceiptRejected { pod, fault })
            }
            Err(Fault::Claim { claimed, allowed }) => {
                let accusation = Accusation::Claim { claimed, allowed };
                (accusation, ClientError::ClaimTooHigh { pod, claimed, allowed })
            }
        };
        let shown = Evidence {
            request_id: promise.request_id(),
            pod_url: self.pod.record().url.clone(),
            release_label: self.pod.release_label().to_owned(),
            agreement,
            max_tokens: self.max_tokens,
            delivered_bytes,
            voucher_sig: promise.payment().voucher_sig,
            receipt_hex: hex::encode(receipt.encode()),
        };
        promise.accuse(self.domain, accusation, shown).await;
        Err(error)
    }

    fn fault(
        &self,
        agreement: &Agreement,
        before_cost: u128,
        receipt: &SignedReceipt,
    ) -> Result<(), Fault> {
        let checked = receipt.check(&agreement.expectation(), &self.domain);
        checked.map_err(|error| Fault::Receipt(ReceiptFault::Check(error)))?;
        let signed = &receipt.receipt;
        let (asked, got) = (self.max_tokens, signed.completion_tokens);
        if got > asked {
            return Err(Fault::Receipt(ReceiptFault::TooManyTokens { asked, got }));
        }
        let claimed = signed.cumulative;
        let allowed = amount(before_cost.saturating_add(signed.cost.value()));
        if claimed > allowed {
            return Err(Fault::Claim { claimed, allowed });
        }
        Ok(())
    }

    fn agreement(
        &self,
        promise: &Promise,
        bounds: &Bounds,
        data_chain: Digest32,
        data_frames: u32,
    ) -> Agreement {
        let bundle = self.pod.bundle().bundle();
        Agreement {
            pod_id: bundle.pod_id,
            identity: bundle.identity,
            user: promise.payment().user,
            epoch: promise.payment().epoch,
            measurement: Digest32(self.pod.evidence().measurement()),
            evidence_hash: bundle.evidence_hash,
            terms_hash: promise.payment().terms_hash,
            offer: self.offer.clone(),
            salt: Digest32(self.salt),
            request_hash: self.request_hash,
            data_chain,
            data_frames,
            reserve: promise.reserve(),
            voucher_cap: promise.payment().cap,
            cap_highest: amount(bounds.cap_highest),
            cumulative_before: promise.charged_before(),
        }
    }

    /// What is kept of an accepted answer.
    fn stored(
        &self,
        promise: &Promise,
        agreement: Agreement,
        receipt: &SignedReceipt,
    ) -> StoredReceipt {
        StoredReceipt {
            request_id: promise.request_id(),
            finished_at_unix_ms: now_unix_ms(),
            pod_url: self.pod.record().url.clone(),
            release_label: self.pod.release_label().to_owned(),
            chain_id: self.domain.chain_id,
            escrow: self.domain.escrow,
            agreement,
            verified_at_unix_s: Some(self.pod.verified_at_unix_s()),
            receipt_hex: hex::encode(receipt.encode()),
        }
    }
}

/// What is wrong with a receipt: what it says, or where it puts the channel.
enum Fault {
    Receipt(ReceiptFault),
    Claim { claimed: Amount, allowed: Amount },
}

/// Everything a receipt is compared with, as the client knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// The pod.
    pub pod_id: PodId,
    /// Its verified identity key.
    pub identity: Address,
    /// The paying account.
    pub user: Address,
    /// Channel epoch of the voucher.
    pub epoch: u32,
    /// Verified measurement of the enclave program.
    pub measurement: Digest32,
    /// Hash of the verified evidence.
    pub evidence_hash: Digest32,
    /// Terms of the request.
    pub terms_hash: Digest32,
    /// Model and prices.
    pub offer: Offer,
    /// What blinds the commitment to the request.
    pub salt: Digest32,
    /// SHA-256 of the sealed request.
    pub request_hash: Digest32,
    /// Hash chain over the answer, as received.
    pub data_chain: Digest32,
    /// Links of that chain.
    pub data_frames: u32,
    /// Most the answer could cost.
    pub reserve: Amount,
    /// Cap that was signed with the request.
    pub voucher_cap: Amount,
    /// Highest cap signed in this epoch when the receipt came.
    pub cap_highest: Amount,
    /// The channel's amount before the request.
    pub cumulative_before: Amount,
}

impl Agreement {
    fn expectation(&self) -> ReceiptExpectation {
        ReceiptExpectation {
            pod_id: self.pod_id,
            identity: self.identity,
            channel: channel_id(self.user, self.pod_id),
            epoch: self.epoch,
            measurement: self.measurement,
            evidence_hash: self.evidence_hash,
            terms_hash: self.terms_hash,
            model_digest: self.offer.weights_sha256,
            input_price_per_mtok: self.offer.input_price_per_mtok,
            output_price_per_mtok: self.offer.output_price_per_mtok,
            request_commitment: request_commitment(&self.salt.0, &self.request_hash),
            data_chain: self.data_chain,
            data_frames: self.data_frames,
            reserve: self.reserve,
            cap_highest: self.cap_highest,
            cumulative_before: self.cumulative_before,
        }
    }
}

/// An accepted receipt, with everything needed to check it again without a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReceipt {
    /// The request.
    pub request_id: RequestId,
    /// When the answer was finished.
    pub finished_at_unix_ms: u64,
    /// The pod's base URL then.
    pub pod_url: String,
    /// The name under which the user approved the measurement.
    pub release_label: String,
    /// EIP-155 chain id of the escrow.
    pub chain_id: u64,
    /// The escrow that the claim is valid in.
    pub escrow: Address,
    /// What the receipt was held to.
    pub agreement: Agreement,
    /// When the pod was verified for this request or an earlier one; older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at_unix_s: Option<u64>,
    /// The signed receipt's 442 bytes in hex.
    pub receipt_hex: String,
}

impl StoredReceipt {
    /// The receipt with its signature.
    ///
    /// # Errors
    /// [`ReceiptFault::NotHex`], [`ReceiptFault::Decode`].
    pub fn signed(&self) -> Result<SignedReceipt, ReceiptFault> {
        let bytes = hex::decode(&self.receipt_hex).map_err(|_| ReceiptFault::NotHex)?;
        Ok(SignedReceipt::decode(&bytes)?)
    }

    /// Makes every check again and returns the receipt.
    ///
    /// # Errors
    /// [`ReceiptFault`], naming the first step that fails.
    pub fn check(&self) -> Result<SignedReceipt, ReceiptFault> {
        let signed = self.signed()?;
        let domain = Domain { chain_id: self.chain_id, escrow: self.escrow };
        signed.check(&self.agreement.expectation(), &domain)?;
        Ok(signed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use phallama_protocol::keys::Signer;
    use phallama_protocol::receipt::{Finish, Receipt};

    use super::*;

    const DOMAIN: Domain = Domain { chain_id: 31_337, escrow: Address([7; 20]) };

    fn identity() -> Signer {
        Signer::from_bytes(&[0x11; 32]).unwrap()
    }

    fn offer() -> Offer {
        Offer {
            model: "m".to_owned(),
            weights_sha256: Digest32([3; 32]),
            input_price_per_mtok: Amount::from(1_000_000),
            output_price_per_mtok: Amount::from(2_000_000),
            context_tokens: 2048,
            max_output_tokens: 512,
        }
    }

    fn agreement() -> Agreement {
        Agreement {
            pod_id: PodId([1; 32]),
            identity: identity().address(),
            user: Address([2; 20]),
            epoch: 0,
            measurement: Digest32([4; 32]),
            evidence_hash: Digest32([5; 32]),
            terms_hash: Digest32([6; 32]),
            offer: offer(),
            salt: Digest32([8; 32]),
            request_hash: Digest32([9; 32]),
            data_chain: Digest32([10; 32]),
            data_frames: 3,
            reserve: Amount::from(100),
            voucher_cap: Amount::from(150),
            cap_highest: Amount::from(150),
            cumulative_before: Amount::from(50),
        }
    }

    fn receipt() -> Receipt {
        let expected = agreement().expectation();
        Receipt {
            pod_id: expected.pod_id,
            identity: expected.identity,
            channel: expected.channel,
            epoch: 0,
            seq: 1,
            cumulative: Amount::from(74),
            cost: Amount::from(24),
            request_commitment: expected.request_commitment,
            data_chain: expected.data_chain,
            data_frames: 3,
            model_digest: expected.model_digest,
            measurement: expected.measurement,
            evidence_hash: expected.evidence_hash,
            terms_hash: expected.terms_hash,
            prompt_tokens: 10,
            completion_tokens: 7,
            cached_tokens: 0,
            input_price_per_mtok: expected.input_price_per_mtok,
            output_price_per_mtok: expected.output_price_per_mtok,
            block_seen: 1,
            finish: Finish::Stop,
        }
    }

    /// A stored receipt for tests of the store.
    pub(crate) fn stored(id: u8, finished_at_unix_ms: u64) -> StoredReceipt {
        signed_as(receipt(), RequestId([id; 16]), finished_at_unix_ms)
    }

    fn signed_as(receipt: Receipt, request_id: RequestId, at: u64) -> StoredReceipt {
        StoredReceipt {
            request_id,
            finished_at_unix_ms: at,
            pod_url: "http://127.0.0.1:1".to_owned(),
            release_label: "release 1".to_owned(),
            chain_id: DOMAIN.chain_id,
            escrow: DOMAIN.escrow,
            agreement: agreement(),
            verified_at_unix_s: Some(at / 1000),
            receipt_hex: hex::encode(receipt.sign(&identity(), &DOMAIN).encode()),
        }
    }

    fn check(change: impl FnOnce(&mut Receipt)) -> Result<SignedReceipt, ReceiptFault> {
        let mut receipt = receipt();
        change(&mut receipt);
        signed_as(receipt, RequestId([1; 16]), 1).check()
    }

    #[test]
    fn accepts_what_was_agreed_and_survives_storage() {
        check(|_| {}).unwrap();
        let json = serde_json::to_vec(&stored(1, 2)).unwrap();
        let read: StoredReceipt = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, stored(1, 2));
        assert_eq!(read.check().unwrap().receipt.cost, Amount::from(24));
    }

    #[test]
    fn rejects_each_field_that_differs_from_what_was_agreed() {
        let mismatch = |what| Err(ReceiptFault::Check(ReceiptError::Mismatch(what)));
        assert_eq!(check(|r| r.pod_id = PodId([0; 32])), mismatch("pod id"));
        assert_eq!(check(|r| r.channel = Digest32([0; 32])), mismatch("channel"));
        assert_eq!(check(|r| r.epoch = 1), mismatch("epoch"));
        assert_eq!(check(|r| r.measurement = Digest32([0; 32])), mismatch("measurement"));
        assert_eq!(check(|r| r.evidence_hash = Digest32([0; 32])), mismatch("evidence hash"));
        assert_eq!(check(|r| r.terms_hash = Digest32([0; 32])), mismatch("terms hash"));
        assert_eq!(check(|r| r.model_digest = Digest32([0; 32])), mismatch("model digest"));
        assert_eq!(check(|r| r.input_price_per_mtok = 1.into()), mismatch("input price"));
        assert_eq!(check(|r| r.data_chain = Digest32([0; 32])), mismatch("data chain"));
        let commitment = check(|r| r.request_commitment = Digest32([0; 32]));
        assert_eq!(commitment, mismatch("request commitment"));
    }

    #[test]
    fn rejects_amounts_that_do_not_follow() {
        let cost = check(|r| (r.cost, r.cumulative) = (25.into(), 75.into()));
        assert!(matches!(cost, Err(ReceiptFault::Check(ReceiptError::Cost { .. }))), "{cost:?}");
        let reserve = check(|r| {
            (r.completion_tokens, r.cost, r.cumulative) = (46, 102.into(), 150.into());
        });
        let above_reserve = ReceiptError::AboveReserve { reserve: 100.into(), got: 102.into() };
        assert_eq!(reserve, Err(ReceiptFault::Check(above_reserve)));
        let above_cap = ReceiptError::AboveCap { cap: 150.into(), got: 151.into() };
        assert_eq!(check(|r| r.cumulative = 151.into()), Err(ReceiptFault::Check(above_cap)));
        let below = ReceiptError::BelowRecord { least: 74.into(), got: 73.into() };
        assert_eq!(check(|r| r.cumulative = 73.into()), Err(ReceiptFault::Check(below)));
    }

    #[test]
    fn rejects_another_signer_another_chain_and_cut_bytes() {
        let stranger = Signer::from_bytes(&[0x22; 32]).unwrap();
        let mut stored = stored(1, 1);
        stored.receipt_hex = hex::encode(receipt().sign(&stranger, &DOMAIN).encode());
        let signer = stored.check();
        assert!(
            matches!(signer, Err(ReceiptFault::Check(ReceiptError::Signer { .. }))),
            "{signer:?}"
        );
        let elsewhere = StoredReceipt { chain_id: 1, ..self::stored(1, 1) }.check();
        assert!(matches!(elsewhere, Err(ReceiptFault::Check(_))), "{elsewhere:?}");
        stored.receipt_hex.truncate(20);
        assert!(matches!(stored.check(), Err(ReceiptFault::Decode(DecodeError::Size { .. }))));
        stored.receipt_hex = "zz".to_owned();
        assert_eq!(stored.check(), Err(ReceiptFault::NotHex));
    }
}
