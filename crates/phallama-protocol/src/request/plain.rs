//! The plain text of a request: fixed fields, the body, zeros to the bucket.

use std::fmt;

use zeroize::Zeroizing;

use super::{BODY_MAX_LEN, PLAIN_MAX_LEN, PLAIN_MIN_LEN, SealError};
use crate::codec::{ReadError, Reader, len_u32};
use crate::eip712::{Allocation, DEADLINE_MAX_UNIX_S, EPOCH_MAX, Voucher};
use crate::frames::FrameClass;
use crate::ids::{Address, Amount, Digest32, PodId, RequestId};
use crate::keys::Signature;
use crate::suite::PK_LEN;

/// Bytes in front of the body.
pub const PLAIN_PREFIX_LEN: usize = 1_496;

/// Why an opened plain text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    /// The length is not a power of two from 4,096 to 2,097,152.
    #[error("request plain text has {0} bytes, which is no bucket")]
    Bucket(usize),
    /// A padding class that does not exist.
    #[error("request names the unknown padding class {0}")]
    UnknownClass(u8),
    /// The channel epoch is above 2^24 − 1.
    #[error("request names the channel epoch {0}, above 2^24 - 1")]
    Epoch(u32),
    /// The cap or the allocation's total is above 2^96 − 1.
    #[error("request carries an amount above 2^96 - 1")]
    Amount,
    /// The flag is neither 0 nor 1.
    #[error("request says has_allocation = {0}, not 0 or 1")]
    AllocationFlag(u8),
    /// There is no allocation, but its fields are not zero.
    #[error("request carries allocation fields without an allocation")]
    AllocationFields,
    /// The allocation's deadline is above 2^40 − 1.
    #[error("request carries the allocation deadline {0}, above 2^40 - 1")]
    Deadline(u64),
    /// A method that does not exist.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// The body does not fit between the fields and the end of the bucket.
    #[error("request says its body has {got} bytes, but {max} are left")]
    BodyLength {
        /// Bytes left.
        max: usize,
        /// Length stated.
        got: u32,
    },
    /// A byte of the padding is not zero.
    #[error("request padding is not zero")]
    Padding,
}

impl From<ReadError> for PlainError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Amount(_) => Self::Amount,
            // Unreachable after the bucket check; kept as a refusal rather than a panic.
            ReadError::Short => Self::Bucket(0),
        }
    }
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Method {
    /// JSON of an OpenAI chat completion request.
    Chat = 1,
    /// JSON of an OpenAI completion request.
    Completion = 2,
    /// JSON of an OpenAI embeddings request.
    Embeddings = 3,
    /// JSON with the text whose tokens are asked for.
    Tokenise = 4,
    /// JSON with the tokens whose text is asked for.
    Detokenise = 5,
}

/// A method id that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request names the unknown method {0}")]
pub struct UnknownMethod(pub u16);

impl Method {
    /// The id on the wire.
    pub const fn id(self) -> u16 {
        self as u16
    }
}

impl TryFrom<u16> for Method {
    type Error = UnknownMethod;

    fn try_from(id: u16) -> Result<Self, UnknownMethod> {
        match id {
            1 => Ok(Self::Chat),
            2 => Ok(Self::Completion),
            3 => Ok(Self::Embeddings),
            4 => Ok(Self::Tokenise),
            5 => Ok(Self::Detokenise),
            other => Err(UnknownMethod(other)),
        }
    }
}

/// An allocation that travels with a request, so that the host can lock it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationGrant {
    /// Cumulative over the channel's life.
    pub total: Amount,
    /// Last second in which the contract takes it, at most 2^40 − 1.
    pub deadline_unix_s: u64,
    /// The user key's signature over [`Allocation`].
    pub signature: Signature,
}

/// How a request is paid. Never logged: `Debug` shows neither signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The paying account.
    pub user: Address,
    /// Channel epoch, at most 2^24 − 1.
    pub epoch: u32,
    /// Cumulative cap of the voucher.
    pub cap: Amount,
    /// The user key's signature over [`Voucher`].
    pub voucher_sig: Signature,
    /// The terms that the user agreed to: the bundle's `offers_hash`.
    pub terms_hash: Digest32,
    /// An allocation to lock, if there is a new one.
    pub allocation: Option<AllocationGrant>,
}

impl Payment {
    /// What [`Payment::voucher_sig`] signs, for the enclave that the request is sealed to.
    pub fn voucher(&self, pod_id: PodId, identity: Address) -> Voucher {
        Voucher { pod_id, identity, epoch: self.epoch, cap: self.cap }
    }

    /// What the grant's signature signs, if there is a grant.
    pub fn allocation(&self, pod_id: PodId) -> Option<Allocation> {
        let grant = self.allocation?;
        Some(Allocation {
            pod_id,
            total: grant.total,
            terms_hash: self.terms_hash,
            epoch: self.epoch,
            deadline_unix_s: grant.deadline_unix_s,
        })
    }
}

/// What a client asks. Never logged: `Debug` shows neither body nor salt.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestPlain {
    /// The client's name for the request, 16 random bytes; never charged twice.
    pub request_id: RequestId,
    /// How the answer is cut and paced.
    pub class: FrameClass,
    /// 32 random bytes that blind the receipt's commitment to the request.
    pub salt: [u8; 32],
    /// Who pays, how much at most.
    pub payment: Payment,
    /// What the body is.
    pub method: Method,
    /// JSON, at most [`BODY_MAX_LEN`] bytes; where tokens are generated it states `max_tokens`.
    pub body: Vec<u8>,
}

impl fmt::Debug for RequestPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestPlain")
            .field("request_id", &self.request_id)
            .field("class", &self.class)
            .field("method", &self.method)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl RequestPlain {
    /// The padded plain text: the next power of two from 4,096 up.
    pub(crate) fn encode(&self, ephemeral: &[u8; PK_LEN]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if self.body.len() > BODY_MAX_LEN {
            return Err(SealError::BodyTooLarge { max: BODY_MAX_LEN, got: self.body.len() });
        }
        let bucket = PLAIN_PREFIX_LEN
            .saturating_add(self.body.len())
            .next_power_of_two()
            .clamp(PLAIN_MIN_LEN, PLAIN_MAX_LEN);
        // The whole capacity at once: growing would leave copies of the prompt behind.
        let mut out = Zeroizing::new(Vec::with_capacity(bucket));
        out.extend(ephemeral);
        out.extend(self.request_id.0);
        out.push(self.class.id());
        out.extend(self.salt);
        self.payment.encode(&mut out);
        out.extend(self.method.id().to_be_bytes());
        out.extend(len_u32(self.body.len()));
        out.extend(&self.body);
        out.resize(bucket, 0);
        Ok(out)
    }

    /// Parses a padded plain text into the request and the answer's public key.
    pub(crate) fn decode(plain: &[u8]) -> Result<(Self, Box<[u8; PK_LEN]>), PlainError> {
        let bucket = plain.len();
        if !bucket.is_power_of_two() || !(PLAIN_MIN_LEN..=PLAIN_MAX_LEN).contains(&bucket) {
            return Err(PlainError::Bucket(bucket));
        }
        let mut input = Reader::new(plain);
        let ephemeral = Box::new(input.array()?);
        let request_id = RequestId(input.array()?);
        let class = input.u8()?;
        let class = FrameClass::from_u8(class).ok_or(PlainError::UnknownClass(class))?;
        let salt = input.array()?;
        let payment = Payment::decode(&mut input)?;
        let method = Method::try_from(input.u16()?)?;
        let stated = input.u32()?;
        let body_error = PlainError::BodyLength { max: input.rest().len(), got: stated };
        let body_len = usize::try_from(stated).map_err(|_| body_error.clone())?;
        let body = input.slice(body_len).map_err(|_| body_error)?.to_vec();
        if input.rest().iter().any(|byte| *byte != 0) {
            return Err(PlainError::Padding);
        }
        Ok((Self { request_id, class, salt, payment, method, body }, ephemeral))
    }
}

impl Payment {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.user.0);
        out.extend(self.epoch.to_be_bytes());
        out.extend(self.cap.to_be_bytes());
        out.extend(self.voucher_sig.0);
        out.extend(self.terms_hash.0);
        match &self.allocation {
            Some(grant) => {
                out.push(1);
                out.extend(grant.total.to_be_bytes());
                out.extend(grant.deadline_unix_s.to_be_bytes());
                out.extend(grant.signature.0);
            }
            None => out.extend([0; 1 + 16 + 8 + 64]),
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, PlainError> {
        let payment = Self {
            user: Address(input.array()?),
            epoch: input.u32()?,
            cap: input.amount()?,
            voucher_sig: Signature(input.array()?),
            terms_hash: Digest32(input.array()?),
            allocation: decode_allocation(input)?,
        };
        if payment.epoch > EPOCH_MAX {
            return Err(PlainError::Epoch(payment.epoch));
        }
        Ok(payment)
    }
}

fn decode_allocation(input: &mut Reader<'_>) -> Result<Option<AllocationGrant>, PlainError> {
    match input.u8()? {
        0 => {
            let fields: [u8; 16 + 8 + 64] = input.array()?;
            if fields.iter().any(|byte| *byte != 0) {
                return Err(PlainError::AllocationFields);
            }
            Ok(None)
        }
        1 => {
            let grant = AllocationGrant {
                total: input.amount()?,
                deadline_unix_s: input.u64()?,
                signature: Signature(input.array()?),
            };
            if grant.deadline_unix_s > DEADLINE_MAX_UNIX_S {
                return Err(PlainError::Deadline(grant.deadline_unix_s));
            }
            Ok(Some(grant))
        }
        other => Err(PlainError::AllocationFlag(other)),
    }
}
