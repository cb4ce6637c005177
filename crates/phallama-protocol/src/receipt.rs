//! Receipts: what the enclave signs about an answer, and the client's checks (spec/receipts.md).

use crate::codec::{ReadError, Reader};
use crate::eip712::{Domain, EPOCH_MAX, Settlement};
use crate::hash::tagged;
use crate::ids::{Address, Amount, Digest32, PodId};
use crate::keys::{Signature, SignatureError, Signer, recover};
use crate::offers::cost;

/// Receipt without its signature, bytes.
pub const RECEIPT_LEN: usize = 378;
/// Receipt with its signature, bytes.
pub const SIGNED_RECEIPT_LEN: usize = RECEIPT_LEN + 64;

const VERSION: u8 = 1;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Finish {
    /// The model stopped.
    Stop = 1,
    /// `max_tokens` or the context was reached.
    Length = 2,
    /// The model called a tool.
    ToolCalls = 3,
    /// The client went away.
    Cancelled = 4,
    /// Not ended yet.
    Interim = 5,
}

impl Finish {
    /// The id on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The reason with this id.
    pub const fn from_u8(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Stop),
            2 => Some(Self::Length),
            3 => Some(Self::ToolCalls),
            4 => Some(Self::Cancelled),
            5 => Some(Self::Interim),
            _ => None,
        }
    }
}

/// The fields of a receipt, in wire order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The pod.
    pub pod_id: PodId,
    /// The enclave's identity key.
    pub identity: Address,
    /// [`crate::eip712::channel_id`] of the paying account and the pod.
    pub channel: Digest32,
    /// Channel epoch, at most 2^24 − 1.
    pub epoch: u32,
    /// Counts the settlements of this channel under this identity, from 1.
    pub seq: u64,
    /// Everything charged to this channel so far, this answer included.
    pub cumulative: Amount,
    /// What this answer costs.
    pub cost: Amount,
    /// [`request_commitment`].
    pub request_commitment: Digest32,
    /// Hash chain over the DATA frames.
    pub data_chain: Digest32,
    /// Number of DATA frames.
    pub data_frames: u32,
    /// SHA-256 of the model's weights.
    pub model_digest: Digest32,
    /// Measurement of the enclave program.
    pub measurement: Digest32,
    /// SHA-256 of the quote, as the chain record names it.
    pub evidence_hash: Digest32,
    /// The terms: hash of the pod's offers.
    pub terms_hash: Digest32,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the completion.
    pub completion_tokens: u32,
    /// Prompt tokens that a cache of this account saved.
    pub cached_tokens: u32,
    /// Smallest token unit per 1,000,000 prompt tokens.
    pub input_price_per_mtok: Amount,
    /// Smallest token unit per 1,000,000 completion tokens.
    pub output_price_per_mtok: Amount,
    /// Newest block that the enclave has been told of.
    pub block_seen: u64,
    /// How the answer ended.
    pub finish: Finish,
}

/// A receipt with the identity key's signature over its settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// Signature over [`Receipt::settlement`]'s digest.
    pub signature: Signature,
}

/// Why bytes are not a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not exactly the length of a receipt.
    #[error("receipt has {got} bytes, not {expected}")]
    Size {
        /// [`RECEIPT_LEN`] or [`SIGNED_RECEIPT_LEN`].
        expected: usize,
        /// Length given.
        got: usize,
    },
    /// A version that this program does not speak.
    #[error("receipt has version {0}; this program speaks version 1")]
    Version(u8),
    /// The channel epoch is above 2^24 − 1.
    #[error("receipt names the channel epoch {0}, above 2^24 - 1")]
    Epoch(u32),
    /// An amount is above 2^96 − 1.
    #[error("receipt carries an amount above 2^96 - 1")]
    Amount,
    /// A finish reason that does not exist.
    #[error("receipt has the unknown finish reason {0}")]
    Finish(u8),
}

/// What the client verified, agreed and computed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptExpectation {
    /// The pod.
    pub pod_id: PodId,
    /// The identity key of the verified evidence.
    pub identity: Address,
    /// The channel that pays.
    pub channel: Digest32,
    /// Channel epoch of the voucher.
    pub epoch: u32,
    /// Measurement of the verified evidence.
    pub measurement: Digest32,
    /// SHA-256 of the verified quote.
    pub evidence_hash: Digest32,
    /// Terms of the request.
    pub terms_hash: Digest32,
    /// SHA-256 of the weights in the offer.
    pub model_digest: Digest32,
    /// Price in the offer.
    pub input_price_per_mtok: Amount,
    /// Price in the offer.
    pub output_price_per_mtok: Amount,
    /// [`crate::frames::ResponseOpener::request_commitment`].
    pub request_commitment: Digest32,
    /// [`crate::frames::ResponseOpener::data_chain`].
    pub data_chain: Digest32,
    /// [`crate::frames::ResponseOpener::data_frames`].
    pub data_frames: u32,
    /// [`crate::offers::Offer::reserve`] of the request.
    pub reserve: Amount,
    /// Highest cap that the client has signed in this epoch.
    pub cap_highest: Amount,
    /// The channel's cumulative amount in the client's record, before this answer.
    pub cumulative_before: Amount,
}

/// Why a receipt is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A field differs from what was verified, agreed or computed.
    #[error("receipt states another {0} than the client verified before the request or computed")]
    Mismatch(&'static str),
    /// The cost is not what tokens and prices give.
    #[error("receipt charges {got}, but its tokens at its prices cost {expected:?}")]
    Cost {
        /// By the formula; `None`: above every amount.
        expected: Option<Amount>,
        /// In the receipt.
        got: Amount,
    },
    /// The cost is above the reserve of the request.
    #[error("receipt charges {got}, more than the {reserve} reserved for the request")]
    AboveReserve {
        /// Reserve.
        reserve: Amount,
        /// In the receipt.
        got: Amount,
    },
    /// The cumulative amount is above every cap that the client signed.
    #[error("receipt claims {got} in total, above the highest cap signed, {cap}")]
    AboveCap {
        /// Highest cap.
        cap: Amount,
        /// In the receipt.
        got: Amount,
    },
    /// The cumulative amount is below the client's record and the cost.
    #[error("receipt claims {got} in total, below the {least} of the record and this answer")]
    BelowRecord {
        /// Record + cost.
        least: Amount,
        /// In the receipt.
        got: Amount,
    },
    /// The signature is malformed.
    #[error("receipt signature is invalid: {0}")]
    Signature(#[from] SignatureError),
    /// The signature is another key's.
    #[error("receipt was signed by {signer}, not by the pod's identity {identity}")]
    Signer {
        /// Expected.
        identity: Address,
        /// Who signed.
        signer: Address,
    },
}

/// `H("phallama/1 commitment" ‖ 0 ‖ salt ‖ H(request body))`: names the request without showing it.
pub fn request_commitment(salt: &[u8; 32], request_bytes_hash: &Digest32) -> Digest32 {
    Digest32(tagged("phallama/1 commitment", &[salt, &request_bytes_hash.0]))
}

impl From<ReadError> for DecodeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Amount(_) => Self::Amount,
            // Unreachable after the size check; kept as a refusal rather than a panic.
            ReadError::Short => Self::Size { expected: RECEIPT_LEN, got: 0 },
        }
    }
}

impl Receipt {
    /// The 378 bytes before the signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED_RECEIPT_LEN);
        out.push(VERSION);
        out.extend(self.pod_id.0);
        out.extend(self.identity.0);
        out.extend(self.channel.0);
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.cumulative.to_be_bytes());
        out.extend(self.cost.to_be_bytes());
        out.extend(self.request_commitment.0);
        out.extend(self.data_chain.0);
        out.extend(self.data_frames.to_be_bytes());
        for digest in [&self.model_digest, &self.measurement, &self.evidence_hash, &self.terms_hash]
        {
            out.extend(digest.0);
        }
        for tokens in [self.prompt_tokens, self.completion_tokens, self.cached_tokens] {
            out.extend(tokens.to_be_bytes());
        }
        out.extend(self.input_price_per_mtok.to_be_bytes());
        out.extend(self.output_price_per_mtok.to_be_bytes());
        out.extend(self.block_seen.to_be_bytes());
        out.push(self.finish.id());
        out
    }

    /// Parses the 378 bytes before the signature.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() != RECEIPT_LEN {
            return Err(DecodeError::Size { expected: RECEIPT_LEN, got: bytes.len() });
        }
        let mut input = Reader::new(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        // Fields of a struct expression are evaluated as written: the order of the wire.
        let receipt = Self {
            pod_id: PodId(input.array()?),
            identity: Address(input.array()?),
            channel: Digest32(input.array()?),
            epoch: input.u32()?,
            seq: input.u64()?,
            cumulative: input.amount()?,
            cost: input.amount()?,
            request_commitment: Digest32(input.array()?),
            data_chain: Digest32(input.array()?),
            data_frames: input.u32()?,
            model_digest: Digest32(input.array()?),
            measurement: Digest32(input.array()?),
            evidence_hash: Digest32(input.array()?),
            terms_hash: Digest32(input.array()?),
            prompt_tokens: input.u32()?,
            completion_tokens: input.u32()?,
            cached_tokens: input.u32()?,
            input_price_per_mtok: input.amount()?,
            output_price_per_mtok: input.amount()?,
            block_seen: input.u64()?,
            finish: decode_finish(input.u8()?)?,
        };
        if receipt.epoch > EPOCH_MAX {
            return Err(DecodeError::Epoch(receipt.epoch));
        }
        Ok(receipt)
    }

    /// `H("phallama/1 receipt" ‖ 0 ‖ bytes)`.
    pub fn hash(&self) -> Digest32 {
        Digest32(tagged("phallama/1 receipt", &[&self.encode()]))
    }

    /// The claim that the receipt makes.
    pub fn settlement(&self) -> Settlement {
        Settlement {
            channel: self.channel,
            epoch: self.epoch,
            seq: self.seq,
            cumulative: self.cumulative,
            receipt_hash: self.hash(),
        }
    }

    /// Signs the claim with the identity key.
    pub fn sign(self, signer: &Signer, domain: &Domain) -> SignedReceipt {
        let signature = signer.sign(&self.settlement().digest(domain));
        SignedReceipt { receipt: self, signature }
    }
}

fn decode_finish(id: u8) -> Result<Finish, DecodeError> {
    Finish::from_u8(id).ok_or(DecodeError::Finish(id))
}

impl SignedReceipt {
    /// The 442 bytes of SETTLE and END.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.receipt.encode();
        out.extend(self.signature.0);
        out
    }

    /// Parses the 442 bytes. Checks no signature: that is [`SignedReceipt::check`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let size = DecodeError::Size { expected: SIGNED_RECEIPT_LEN, got: bytes.len() };
        if bytes.len() != SIGNED_RECEIPT_LEN {
            return Err(size);
        }
        let (receipt, signature) = bytes.split_last_chunk::<64>().ok_or(size)?;
        Ok(Self { receipt: Receipt::decode(receipt)?, signature: Signature(*signature) })
    }

    /// The client's checklist of spec/receipts.md, steps 2 to 6 (decoding is step 1).
    ///
    /// # Errors
    /// [`ReceiptError`], naming the first rule that is broken.
    pub fn check(
        &self,
        expected: &ReceiptExpectation,
        domain: &Domain,
    ) -> Result<(), ReceiptError> {
        self.check_agreed(expected)?;
        self.check_exchange(expected)?;
        self.check_cost(expected)?;
        self.check_cumulative(expected)?;
        self.check_signature(expected, domain)
    }

    /// Step 2: what was verified and agreed before the request.
    fn check_agreed(&self, expected: &ReceiptExpectation) -> Result<(), ReceiptError> {
        let got = &self.receipt;
        first_difference(&[
            (got.pod_id == expected.pod_id, "pod id"),
            (got.identity == expected.identity, "identity"),
            (got.channel == expected.channel, "channel"),
            (got.epoch == expected.epoch, "epoch"),
            (got.measurement == expected.measurement, "measurement"),
            (got.evidence_hash == expected.evidence_hash, "evidence hash"),
            (got.terms_hash == expected.terms_hash, "terms hash"),
            (got.model_digest == expected.model_digest, "model digest"),
            (got.input_price_per_mtok == expected.input_price_per_mtok, "input price"),
            (got.output_price_per_mtok == expected.output_price_per_mtok, "output price"),
        ])
    }

    /// Step 3: what the client sent and received.
    fn check_exchange(&self, expected: &ReceiptExpectation) -> Result<(), ReceiptError> {
        let got = &self.receipt;
        first_difference(&[
            (got.request_commitment == expected.request_commitment, "request commitment"),
            (got.data_chain == expected.data_chain, "data chain"),
            (got.data_frames == expected.data_frames, "number of DATA frames"),
        ])
    }

    /// Step 4: the cost follows from tokens and prices and is within the reserve.
    fn check_cost(&self, expected: &ReceiptExpectation) -> Result<(), ReceiptError> {
        let got = &self.receipt;
        let by_formula = cost(
            got.input_price_per_mtok,
            got.output_price_per_mtok,
            got.prompt_tokens.into(),
            got.completion_tokens.into(),
        )
        .ok();
        if by_formula != Some(got.cost) {
            return Err(ReceiptError::Cost { expected: by_formula, got: got.cost });
        }
        if got.cost > expected.reserve {
            return Err(ReceiptError::AboveReserve { reserve: expected.reserve, got: got.cost });
        }
        Ok(())
    }

    /// Step 5: between the client's record and what it signed.
    fn check_cumulative(&self, expected: &ReceiptExpectation) -> Result<(), ReceiptError> {
        let got = self.receipt.cumulative;
        if got > expected.cap_highest {
            return Err(ReceiptError::AboveCap { cap: expected.cap_highest, got });
        }
        let least = expected.cumulative_before.checked_add(self.receipt.cost);
        let least = least.unwrap_or(Amount::MAX);
        if got < least {
            return Err(ReceiptError::BelowRecord { least, got });
        }
        Ok(())
    }

    /// Step 6: the claim is the identity key's.
    fn check_signature(
        &self,
        expected: &ReceiptExpectation,
        domain: &Domain,
    ) -> Result<(), ReceiptError> {
        let signer = recover(&self.receipt.settlement().digest(domain), &self.signature)?;
        if signer != expected.identity {
            return Err(ReceiptError::Signer { identity: expected.identity, signer });
        }
        Ok(())
    }
}

fn first_difference(fields: &[(bool, &'static str)]) -> Result<(), ReceiptError> {
    match fields.iter().find(|(same, _)| !same) {
        Some((_, name)) => Err(ReceiptError::Mismatch(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
