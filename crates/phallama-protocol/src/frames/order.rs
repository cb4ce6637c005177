//! The order of frames, enforced by both sides.

use super::FrameType;

/// Which frame stands where it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// An answer starts with HEAD, or with ERROR in its place.
    #[error("answer starts with {0:?}, not with HEAD or ERROR")]
    FirstFrame(FrameType),
    /// HEAD stands first only.
    #[error("answer contains a second HEAD")]
    SecondHead,
    /// Only PAD may stand between the parts of a message.
    #[error("{got:?} stands between the parts of {started:?}")]
    Interleaved {
        /// The message that was begun.
        started: FrameType,
        /// The frame in between.
        got: FrameType,
    },
    /// Only PAD may follow END or ERROR.
    #[error("{0:?} follows the end of the answer")]
    AfterEnd(FrameType),
    /// Only SETTLE, ERROR and END have parts.
    #[error("{0:?} is marked as continued; only SETTLE, ERROR and END have parts")]
    NoParts(FrameType),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    First,
    Open,
    Ended,
}

pub(super) struct Order {
    phase: Phase,
    part: Option<FrameType>,
}

impl Order {
    pub(super) fn new() -> Self {
        Self { phase: Phase::First, part: None }
    }

    /// Whether END or ERROR is complete.
    pub(super) fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Takes the next frame; `more` is its continuation bit.
    pub(super) fn accept(&mut self, frame: FrameType, more: bool) -> Result<(), OrderError> {
        let has_parts = matches!(frame, FrameType::Settle | FrameType::Error | FrameType::End);
        if more && !has_parts {
            return Err(OrderError::NoParts(frame));
        }
        self.check_place(frame)?;
        if frame == FrameType::Pad {
            return Ok(());
        }
        self.part = more.then_some(frame);
        self.phase = match frame {
            FrameType::End | FrameType::Error if !more => Phase::Ended,
            _ => Phase::Open,
        };
        Ok(())
    }

    fn check_place(&self, frame: FrameType) -> Result<(), OrderError> {
        if let Some(started) = self.part {
            let fits = frame == started || frame == FrameType::Pad;
            return if fits {
                Ok(())
            } else {
                Err(OrderError::Interleaved { started, got: frame })
            };
        }
        match (self.phase, frame) {
            (Phase::First, FrameType::Head | FrameType::Error) => Ok(()),
            (Phase::First, other) => Err(OrderError::FirstFrame(other)),
            (Phase::Open, FrameType::Head) => Err(OrderError::SecondHead),
            (Phase::Open, _) | (Phase::Ended, FrameType::Pad) => Ok(()),
            (Phase::Ended, other) => Err(OrderError::AfterEnd(other)),
        }
    }
}
