//! Refusals and errors: one list of codes for both.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Reader;
use crate::ids::Amount;

/// Length of an unauthenticated refusal, bytes, always.
pub const REFUSAL_LEN: usize = 64;
/// Media type of an unauthenticated refusal.
pub const REFUSAL_MEDIA_TYPE: &str = "application/phallama-refusal";
/// Longest message of an ERROR, bytes.
pub const POD_ERROR_MESSAGE_MAX_LEN: usize = 200;
/// Longest ERROR, bytes.
pub const POD_ERROR_MAX_LEN: usize = 2 + 4 + 16 + POD_ERROR_MESSAGE_MAX_LEN;

const MAGIC: [u8; 4] = *b"PHRF";

/// Where a code may appear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Refusal,
    Frame,
    Both,
}

/// The table of spec/wire.md, once.
macro_rules! codes {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $id:literal, $name:literal, $http:literal, $place:ident;
    )*) => {
        /// Why a pod does not answer. The table is in spec/wire.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Code {
            $($(#[$doc])* $variant = $id,)*
        }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code with this number.
            pub const fn from_u16(id: u16) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The stable name, snake_case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The HTTP status that goes with it.
            pub const fn http_status(self) -> u16 {
                match self {
                    $(Self::$variant => $http,)*
                }
            }

            const fn place(self) -> Place {
                match self {
                    $(Self::$variant => Place::$place,)*
                }
            }
        }
    };
}

codes! {
    /// The request was sealed to a key that the enclave does not have: refetch, retry once.
    UnknownKey = 1, "unknown_key", 409, Refusal;
    /// The request breaks a rule of the format.
    MalformedRequest = 2, "malformed_request", 400, Refusal;
    /// The request is larger than the largest bucket.
    RequestTooLarge = 3, "request_too_large", 413, Refusal;
    /// The request was received before.
    Replayed = 4, "replayed", 409, Refusal;
    /// No slot and no place to wait, or the replay set is full.
    QueueFull = 5, "queue_full", 503, Both;
    /// The pod is about to stop.
    Draining = 6, "draining", 503, Refusal;
    /// The host's journal cannot store claims.
    PaymentsPaused = 7, "payments_paused", 503, Both;
    /// The host's view of the chain is too old.
    ChainBehind = 8, "chain_behind", 503, Both;
    /// A bug.
    Internal = 9, "internal", 500, Both;
    /// The account's deposit does not cover the request.
    BalanceTooLow = 20, "balance_too_low", 402, Frame;
    /// The voucher's cap does not cover the request.
    CapTooLow = 21, "cap_too_low", 402, Frame;
    /// The request names other terms than the pod's.
    TermsMismatch = 22, "terms_mismatch", 409, Frame;
    /// The channel is being closed by its owner.
    ChannelExiting = 23, "channel_exiting", 402, Frame;
    /// The voucher's signature is not the user key's.
    BadVoucher = 24, "bad_voucher", 402, Frame;
    /// The pod does not offer the model.
    ModelNotFound = 25, "model_not_found", 404, Frame;
    /// The body is not a request that the pod can answer.
    InvalidRequest = 26, "invalid_request", 400, Frame;
    /// The worker is starting again.
    WorkerRestarting = 27, "worker_restarting", 503, Frame;
    /// The worker failed during the answer.
    WorkerFailed = 28, "worker_failed", 502, Frame;
    /// The request id was used before.
    DuplicateRequest = 29, "duplicate_request", 409, Frame;
    /// The voucher names another channel epoch.
    EpochMismatch = 30, "epoch_mismatch", 409, Both;
    /// The prompt and `max_tokens` do not fit the model's context.
    PromptTooLong = 31, "prompt_too_long", 400, Frame;
    /// What is locked stands in blocks that the chain can still take back.
    LockNotSafe = 32, "lock_not_safe", 503, Frame;
    /// The pod has as much at risk as it may.
    RiskLimit = 33, "risk_limit", 503, Frame;
    /// The account has as many requests waiting as one account may.
    TooManyRequests = 34, "too_many_requests", 429, Frame;
    /// The model is not served for this method, or cannot do what is asked.
    NotSupported = 35, "not_supported", 400, Frame;
}

impl Code {
    /// The number on the wire.
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// Whether an unauthenticated refusal may carry the code.
    pub const fn in_refusal(self) -> bool {
        matches!(self.place(), Place::Refusal | Place::Both)
    }

    /// Whether an ERROR frame may carry the code.
    pub const fn in_frame(self) -> bool {
        matches!(self.place(), Place::Frame | Place::Both)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.as_u16())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u16::deserialize(deserializer)?;
        Self::from_u16(id).ok_or_else(|| serde::de::Error::custom(format!("unknown code {id}")))
    }
}

/// An unauthenticated refusal: anyone on the path can make one, so it decides a retry at most and
/// is never shown as the pod's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// When to try again, milliseconds; 0: no advice.
    pub retry_after_ms: u32,
}

/// Why bytes are not a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalError {
    /// Not 64 bytes.
    #[error("refusal has {0} bytes, not 64")]
    Size(usize),
    /// Not a refusal.
    #[error("refusal starts with {0:02x?}, not with \"PHRF\"")]
    Magic([u8; 4]),
    /// A code that does not exist, or that belongs into a frame.
    #[error("refusal has code {0}, which no refusal has")]
    Code(u16),
    /// A byte of the padding is not zero.
    #[error("refusal padding is not zero")]
    Padding,
}

impl Refusal {
    /// The 64 bytes.
    pub fn encode(&self) -> [u8; REFUSAL_LEN] {
        let fields = MAGIC
            .into_iter()
            .chain(self.code.as_u16().to_be_bytes())
            .chain(self.retry_after_ms.to_be_bytes());
        let mut out = [0; REFUSAL_LEN];
        out.iter_mut().zip(fields).for_each(|(slot, byte)| *slot = byte);
        out
    }

    /// Parses the 64 bytes.
    ///
    /// # Errors
    /// [`RefusalError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RefusalError> {
        let size = RefusalError::Size(bytes.len());
        let bytes: &[u8; REFUSAL_LEN] = bytes.try_into().map_err(|_| size)?;
        let mut input = Reader::new(bytes);
        let magic = input.array().map_err(|_| size)?;
        if magic != MAGIC {
            return Err(RefusalError::Magic(magic));
        }
        let id = input.u16().map_err(|_| size)?;
        let code = Code::from_u16(id).filter(|code| code.in_refusal());
        let code = code.ok_or(RefusalError::Code(id))?;
        let retry_after_ms = input.u32().map_err(|_| size)?;
        if input.rest().iter().any(|byte| *byte != 0) {
            return Err(RefusalError::Padding);
        }
        Ok(Self { code, retry_after_ms })
    }
}

/// An authenticated error: the data of an ERROR frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodError {
    /// Why.
    pub code: Code,
    /// When to try again, milliseconds; 0: no advice.
    pub retry_after_ms: u32,
    /// The channel's cumulative amount for `cap_too_low` and `epoch_mismatch`, otherwise 0.
    pub cumulative: Amount,
    /// For people, at most 200 bytes.
    pub message: String,
}

/// Why bytes are not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodErrorError {
    /// Shorter than its fixed fields, or longer than 222 bytes.
    #[error("error has {0} bytes, not 22 to 222")]
    Size(usize),
    /// A code that does not exist, or that belongs into a refusal.
    #[error("error has code {0}, which no error has")]
    Code(u16),
    /// The amount is above 2^96 − 1.
    #[error("error names an amount above 2^96 - 1")]
    Amount,
    /// The message is not UTF-8.
    #[error("error message is not UTF-8")]
    NotUtf8,
}

impl PodError {
    /// The data of the ERROR frame; a message above 200 bytes is cut between characters.
    pub fn encode(&self) -> Vec<u8> {
        let end = self.message.floor_char_boundary(POD_ERROR_MESSAGE_MAX_LEN);
        let message = self.message.get(..end).unwrap_or_default();
        let mut out = Vec::with_capacity(POD_ERROR_MAX_LEN);
        out.extend(self.code.as_u16().to_be_bytes());
        out.extend(self.retry_after_ms.to_be_bytes());
        out.extend(self.cumulative.to_be_bytes());
        out.extend(message.as_bytes());
        out
    }

    /// Parses the data of an ERROR frame.
    ///
    /// # Errors
    /// [`PodErrorError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PodErrorError> {
        let size = PodErrorError::Size(bytes.len());
        if bytes.len() > POD_ERROR_MAX_LEN {
            return Err(size);
        }
        let mut input = Reader::new(bytes);
        let id = input.u16().map_err(|_| size)?;
        let retry_after_ms = input.u32().map_err(|_| size)?;
        let cumulative = u128::from_be_bytes(input.array().map_err(|_| size)?);
        let code = Code::from_u16(id).filter(|code| code.in_frame());
        let message = str::from_utf8(input.rest()).map_err(|_| PodErrorError::NotUtf8)?;
        Ok(Self {
            code: code.ok_or(PodErrorError::Code(id))?,
            retry_after_ms,
            cumulative: Amount::new(cumulative).map_err(|_| PodErrorError::Amount)?,
            message: message.to_owned(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
