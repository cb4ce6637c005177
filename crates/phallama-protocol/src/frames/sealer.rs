//! The enclave's side of an answer: seals frames in order and keeps the hash chain over DATA.

use std::fmt;

use zeroize::Zeroizing;

use super::order::Order;
use super::{FrameClass, FrameType, MORE, OrderError, ladder, next_link};
use crate::ids::Digest32;
use crate::suite::Sender;

/// Why a frame cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The class is not the one that the request asked for.
    #[error("request asked for class {asked:?}, not {got:?}")]
    Class {
        /// The request's.
        asked: FrameClass,
        /// The caller's.
        got: FrameClass,
    },
    /// The client's ephemeral key is invalid.
    #[error("the request's ephemeral key is invalid")]
    PeerKey,
    /// The data does not fit.
    #[error("{frame:?} has {got} bytes of data, more than {max}")]
    TooLong {
        /// Type of the frame or message.
        frame: FrameType,
        /// Most.
        max: usize,
        /// Length given.
        got: usize,
    },
    /// A frame other than PAD without data.
    #[error("{0:?} without data")]
    Empty(FrameType),
    /// The frame may not stand here.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A counter of the answer is exhausted.
    #[error("answer is longer than its counters can count")]
    Exhausted,
}

/// Seals the frames of one answer. Frame *i* uses HPKE's sequence number *i*.
pub struct FrameSealer {
    context: Sender,
    class: FrameClass,
    order: Order,
    chain: [u8; 32],
    data_frames: u32,
    frames: u64,
}

impl fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSealer")
            .field("class", &self.class)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl FrameSealer {
    pub(super) fn new(context: Sender, class: FrameClass) -> Self {
        Self { context, class, order: Order::new(), chain: [0; 32], data_frames: 0, frames: 0 }
    }

    /// Seals one frame. `more`: further parts of the same SETTLE, ERROR or END follow.
    /// Returns [`FrameClass::frame_wire_len`] bytes.
    ///
    /// # Errors
    /// [`SealError::TooLong`], [`SealError::Empty`] or [`SealError::Order`]; nothing is sealed
    /// then and the sealer stays usable.
    pub fn seal(
        &mut self,
        frame: FrameType,
        more: bool,
        data: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let max = if frame == FrameType::Pad { 0 } else { self.data_capacity() };
        if data.len() > max {
            return Err(SealError::TooLong { frame, max, got: data.len() });
        }
        if data.is_empty() && frame != FrameType::Pad {
            return Err(SealError::Empty(frame));
        }
        let frames = self.frames.checked_add(1).ok_or(SealError::Exhausted)?;
        let mut data_frames = self.data_frames;
        if frame == FrameType::Data {
            data_frames = data_frames.checked_add(1).ok_or(SealError::Exhausted)?;
        }
        self.order.accept(frame, more)?;
        let inner = self.inner(frame, more, data);
        let wire = self.context.seal(&inner, &[]).map_err(|_| SealError::Exhausted)?;
        if frame == FrameType::Data {
            self.chain = next_link(&self.chain, data);
        }
        self.data_frames = data_frames;
        self.frames = frames;
        Ok(wire)
    }

    /// Seals a message in as many frames as it needs.
    ///
    /// # Errors
    /// As [`FrameSealer::seal`]; [`SealError::TooLong`] also for a message above its type's limit.
    pub fn seal_message(
        &mut self,
        frame: FrameType,
        message: &[u8],
    ) -> Result<Vec<Vec<u8>>, SealError> {
        let max = frame.message_max_len();
        if message.len() > max {
            return Err(SealError::TooLong { frame, max, got: message.len() });
        }
        if message.is_empty() {
            return self.seal(frame, false, message).map(|wire| vec![wire]);
        }
        // DATA has no parts: the event stream runs across its frames by itself.
        let has_parts = frame != FrameType::Data;
        let mut parts = message.chunks(self.data_capacity()).peekable();
        let mut wires = Vec::new();
        while let Some(part) = parts.next() {
            let more = has_parts && parts.peek().is_some();
            wires.push(self.seal(frame, more, part)?);
        }
        Ok(wires)
    }

    #[cfg(fuzzing)]
    pub(crate) fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        self.context.seal(inner, &[]).unwrap_or_default()
    }

    /// Hash chain over the DATA frames sealed so far, for the receipt.
    pub fn data_chain(&self) -> Digest32 {
        Digest32(self.chain)
    }

    /// DATA frames sealed so far, for the receipt.
    pub fn data_frames(&self) -> u32 {
        self.data_frames
    }

    /// Frames of all types sealed so far.
    pub fn frames_sent(&self) -> u64 {
        self.frames
    }

    /// PAD frames still to be sealed, counted from now to the next rung; after END or ERROR this
    /// is what is left of the answer.
    pub fn padding_due(&self) -> u64 {
        ladder::next_rung(self.frames).saturating_sub(self.frames)
    }

    /// Data bytes that a frame carries at most.
    pub fn data_capacity(&self) -> usize {
        self.class.data_capacity()
    }

    /// The class of the answer.
    pub fn class(&self) -> FrameClass {
        self.class
    }

    fn inner(&self, frame: FrameType, more: bool, data: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut inner = Zeroizing::new(Vec::with_capacity(self.class.frame_plain_len()));
        inner.push(frame.id() | if more { MORE } else { 0 });
        // At most the frame's capacity, checked by the caller.
        inner.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        inner.extend(data);
        inner.resize(self.class.frame_plain_len(), 0);
        inner
    }

    /// Seals any inner bytes without a check, for tests of the opener.
    #[cfg(test)]
    pub(crate) fn seal_raw(&mut self, inner: &[u8]) -> Vec<u8> {
        self.context.seal(inner, &[]).unwrap()
    }
}
