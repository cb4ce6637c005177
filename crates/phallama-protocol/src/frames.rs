//! The answer: frames of one size per class, sealed to the client's ephemeral key
//! (spec/wire.md, *Response*).

mod exchange;
pub mod ladder;
mod opener;
mod order;
mod sealer;

pub(crate) use exchange::ExchangeKeys;
pub use exchange::{ClientExchange, ServerExchange};
pub use opener::{Message, OpenError, ResponseOpener};
pub use order::OrderError;
pub use sealer::{FrameSealer, SealError};

use crate::suite::TAG_LEN;

/// `type 1 | len 2` in front of a frame's data.
pub const INNER_HEADER_LEN: usize = 3;
/// DATA frames between two interim receipts.
pub const SETTLE_EVERY_DATA_FRAMES: u32 = 64;
/// Data of HEAD: `created_unix_s 8 | model_digest 32`.
pub const HEAD_LEN: usize = 40;

/// Set in the type of every part of a SETTLE, ERROR or END but the last.
const MORE: u8 = 0x80;

/// How an answer is cut and paced. Chosen by the client from public data only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FrameClass {
    /// 256 B every 100 ms.
    Std = 1,
    /// 128 B every 50 ms.
    Fast = 2,
    /// 256 B, all withheld until the end.
    Bulk = 3,
    /// 256 B, sent when there is something to send: gives up hiding the timing of tokens.
    Unpaced = 4,
}

impl FrameClass {
    /// Every class, ascending by id.
    pub const ALL: [Self; 4] = [Self::Std, Self::Fast, Self::Bulk, Self::Unpaced];

    /// The id on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The class with this id.
    pub const fn from_u8(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Std),
            2 => Some(Self::Fast),
            3 => Some(Self::Bulk),
            4 => Some(Self::Unpaced),
            _ => None,
        }
    }

    /// Plain-text bytes of a frame.
    pub const fn frame_plain_len(self) -> usize {
        match self {
            Self::Fast => 128,
            Self::Std | Self::Bulk | Self::Unpaced => 256,
        }
    }

    /// Bytes of a frame on the wire.
    pub const fn frame_wire_len(self) -> usize {
        match self {
            Self::Fast => 128 + TAG_LEN,
            Self::Std | Self::Bulk | Self::Unpaced => 256 + TAG_LEN,
        }
    }

    /// Data bytes that a frame carries at most.
    pub const fn data_capacity(self) -> usize {
        match self {
            Self::Fast => 128 - INNER_HEADER_LEN,
            Self::Std | Self::Bulk | Self::Unpaced => 256 - INNER_HEADER_LEN,
        }
    }

    /// Milliseconds between two frames, from admission; `None`: not paced.
    pub const fn tick_ms(self) -> Option<u32> {
        match self {
            Self::Std => Some(100),
            Self::Fast => Some(50),
            Self::Bulk | Self::Unpaced => None,
        }
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Nothing.
    Pad = 0,
    /// `created_unix_s 8 | model_digest 32`, first.
    Head = 1,
    /// Part of the event stream.
    Data = 2,
    /// Part of an interim receipt.
    Settle = 3,
    /// Part of an error, which ends the answer without charge.
    Error = 4,
    /// Part of the final receipt.
    End = 5,
}

impl FrameType {
    /// The id on the wire, without the continuation bit.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The type with this id (without the continuation bit).
    pub const fn from_u8(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Pad),
            1 => Some(Self::Head),
            2 => Some(Self::Data),
            3 => Some(Self::Settle),
            4 => Some(Self::Error),
            5 => Some(Self::End),
            _ => None,
        }
    }

    /// Longest message of this type, all parts together, bytes.
    pub(crate) const fn message_max_len(self) -> usize {
        match self {
            Self::Pad => 0,
            Self::Head => HEAD_LEN,
            // One frame; the frame's own capacity is the limit.
            Self::Data => usize::MAX,
            Self::Settle | Self::End => crate::receipt::SIGNED_RECEIPT_LEN,
            Self::Error => crate::refusal::POD_ERROR_MAX_LEN,
        }
    }
}

/// `H("phallama/1 data" ‖ 0 ‖ previous ‖ data)`: the next link of the hash chain over DATA.
pub(crate) fn next_link(previous: &[u8; 32], data: &[u8]) -> [u8; 32] {
    crate::hash::tagged("phallama/1 data", &[previous, data])
}

#[cfg(test)]
pub(crate) mod tests;
