//! The client's side of an answer: opens frames, enforces every rule of the page, yields messages.

use std::fmt;

use zeroize::Zeroizing;

use super::order::Order;
use super::{
    ClientExchange, FrameClass, FrameType, INNER_HEADER_LEN, MORE, OrderError, ladder, next_link,
};
use crate::codec::Reader;
use crate::events::{Event, EventDecoder, EventError};
use crate::ids::Digest32;
use crate::receipt::{DecodeError, Finish, SignedReceipt};
use crate::refusal::{PodError, PodErrorError};
use crate::suite::{ENC_LEN, Receiver};

/// Why an answer is refused. After any of these the opener stays failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A frame does not authenticate: it or the encapsulation was changed, it was reordered or
    /// repeated, or it answers another request.
    #[error("frame {0} of the answer does not open")]
    Frame(u64),
    /// A type that does not exist.
    #[error("frame has the unknown type {0:#04x}")]
    UnknownType(u8),
    /// The length does not fit the frame.
    #[error("frame says it has {got} bytes of data, more than {max}")]
    Length {
        /// Most.
        max: usize,
        /// Length stated.
        got: usize,
    },
    /// A PAD with data.
    #[error("PAD frame says it has {0} bytes of data")]
    PadData(usize),
    /// A frame other than PAD without data.
    #[error("{0:?} frame has no data")]
    Empty(FrameType),
    /// A byte after the data is not zero.
    #[error("frame padding is not zero")]
    Padding,
    /// A frame stands where it may not.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// HEAD does not have 40 bytes.
    #[error("HEAD has {0} bytes, not 40")]
    HeadLength(usize),
    /// The parts of a message are longer than the message can be.
    #[error("{frame:?} is longer than {max} bytes")]
    MessageTooLong {
        /// Type of the message.
        frame: FrameType,
        /// Most.
        max: usize,
    },
    /// The event stream breaks a rule.
    #[error(transparent)]
    Events(#[from] EventError),
    /// END came inside an event.
    #[error("the event stream stops inside an event")]
    EventsIncomplete,
    /// The receipt cannot be read.
    #[error(transparent)]
    Receipt(#[from] DecodeError),
    /// A final receipt in SETTLE, or an interim one in END.
    #[error("{frame:?} carries a receipt that finished with {finish:?}")]
    ReceiptFinish {
        /// Where the receipt was.
        frame: FrameType,
        /// What it says.
        finish: Finish,
    },
    /// The receipt is about something else than what was sent and received.
    #[error("receipt states another {0} than that of this exchange")]
    ReceiptMismatch(&'static str),
    /// The error message cannot be read.
    #[error(transparent)]
    Error(#[from] PodErrorError),
    /// More bytes than the rung of the ladder allows.
    #[error("the answer goes on after its last padding frame")]
    AfterRung,
    /// The body ended before END, or before the rung.
    #[error("the answer was cut off after {0} frames")]
    Truncated(u64),
    /// More DATA frames than can be counted.
    #[error("answer is longer than its counters can count")]
    Exhausted,
}

/// One thing that the pod said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The answer begins.
    Head {
        /// The enclave's clock, set by its host: for display only.
        created_unix_s: u64,
        /// SHA-256 of the model's weights.
        model_digest: Digest32,
    },
    /// Part of the answer.
    Event(Event),
    /// An interim receipt; its chain and commitment fit what was received.
    Interim(SignedReceipt),
    /// The pod ended the answer without charge.
    Error(PodError),
    /// The answer is complete once the body ends well ([`ResponseOpener::finish`]) and the
    /// receipt verifies ([`SignedReceipt::check`]).
    End(SignedReceipt),
}

/// Reads one answer, in chunks of any size.
pub struct ResponseOpener {
    exchange: ClientExchange,
    context: Option<Receiver>,
    buffer: Vec<u8>,
    order: Order,
    part: Zeroizing<Vec<u8>>,
    events: EventDecoder,
    chain: [u8; 32],
    data_frames: u32,
    mismatched: Option<Box<SignedReceipt>>,
    frames: u64,
    wire_bytes: u64,
    end_rung: Option<u64>,
    failed: Option<OpenError>,
}

impl fmt::Debug for ResponseOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseOpener")
            .field("class", &self.class())
            .field("frames", &self.frames)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl ResponseOpener {
    pub(super) fn new(exchange: ClientExchange) -> Self {
        Self {
            exchange,
            context: None,
            buffer: Vec::new(),
            order: Order::new(),
            part: Zeroizing::default(),
            events: EventDecoder::default(),
            chain: [0; 32],
            data_frames: 0,
            mismatched: None,
            frames: 0,
            wire_bytes: 0,
            end_rung: None,
            failed: None,
        }
    }

    /// Takes the next bytes of the body and returns what became complete with them.
    ///
    /// # Errors
    /// [`OpenError`], naming the first rule that is broken; then every further call returns the
    /// same error. What the failing call had completed before is dropped with it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, OpenError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.wire_bytes =
            u64::try_from(bytes.len()).map_or(u64::MAX, |len| self.wire_bytes.saturating_add(len));
        self.take(bytes).inspect_err(|error| {
            self.buffer = Vec::new();
            self.failed = Some(error.clone());
        })
    }

    /// Says whether the body may end here. Call it at the end of the body.
    ///
    /// # Errors
    /// [`OpenError::Truncated`] before END or ERROR and the padding after it are complete; the
    /// earlier error if [`ResponseOpener::push`] failed.
    pub fn finish(&self) -> Result<(), OpenError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.end_rung == Some(self.frames) {
            Ok(())
        } else {
            Err(OpenError::Truncated(self.frames))
        }
    }

    /// Hash chain over the DATA frames opened so far.
    pub fn data_chain(&self) -> Digest32 {
        Digest32(self.chain)
    }

    /// The receipt that made [`OpenError::ReceiptMismatch`]: the frame it came in was the
    /// enclave's.
    pub fn mismatched_receipt(&self) -> Option<&SignedReceipt> {
        self.mismatched.as_deref()
    }

    /// DATA frames opened so far.
    pub fn data_frames(&self) -> u32 {
        self.data_frames
    }

    /// Frames of all types opened so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of the body taken so far.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// The class of the answer.
    pub fn class(&self) -> FrameClass {
        self.exchange.class()
    }

    /// What the receipt must say about the request.
    pub fn request_commitment(&self) -> Digest32 {
        self.exchange.request_commitment()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Message>, OpenError> {
        let mut messages = Vec::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            if self.end_rung == Some(self.frames) {
                return Err(OpenError::AfterRung);
            }
            let need = if self.context.is_some() { self.class().frame_wire_len() } else { ENC_LEN };
            let Some((unit, after)) = rest.split_at_checked(need) else { break };
            rest = after;
            self.unit(unit, &mut messages)?;
        }
        self.buffer = rest.to_vec();
        Ok(messages)
    }

    /// Takes the encapsulation, or one sealed frame.
    fn unit(&mut self, unit: &[u8], messages: &mut Vec<Message>) -> Result<(), OpenError> {
        let Some(context) = &mut self.context else {
            let context = self.exchange.receive(unit).map_err(|_| OpenError::Frame(0))?;
            self.context = Some(context);
            return Ok(());
        };
        let inner = context.open(unit, &[]).map_err(|_| OpenError::Frame(self.frames))?;
        self.frames = self.frames.checked_add(1).ok_or(OpenError::Exhausted)?;
        self.frame(&Zeroizing::new(inner), messages)
    }

    fn frame(&mut self, inner: &[u8], messages: &mut Vec<Message>) -> Result<(), OpenError> {
        let (frame, more, data) = parse_inner(inner)?;
        self.order.accept(frame, more)?;
        match frame {
            FrameType::Pad => return Ok(()),
            FrameType::Data => return self.data(data, messages),
            FrameType::Head | FrameType::Settle | FrameType::Error | FrameType::End => {}
        }
        let max = frame.message_max_len();
        if self.part.len().saturating_add(data.len()) > max {
            let error = OpenError::MessageTooLong { frame, max };
            let head = frame == FrameType::Head;
            return Err(if head { OpenError::HeadLength(data.len()) } else { error });
        }
        self.part.extend_from_slice(data);
        if !more {
            let message = std::mem::take(&mut self.part);
            messages.push(self.message(frame, &message)?);
        }
        Ok(())
    }

    fn data(&mut self, data: &[u8], messages: &mut Vec<Message>) -> Result<(), OpenError> {
        self.data_frames = self.data_frames.checked_add(1).ok_or(OpenError::Exhausted)?;
        self.chain = next_link(&self.chain, data);
        messages.extend(self.events.push(data)?.into_iter().map(Message::Event));
        Ok(())
    }

    /// A complete HEAD, SETTLE, ERROR or END.
    fn message(&mut self, frame: FrameType, bytes: &[u8]) -> Result<Message, OpenError> {
        if self.order.ended() {
            self.end_rung = Some(ladder::next_rung(self.frames));
        }
        match frame {
            FrameType::Error => Ok(Message::Error(PodError::decode(bytes)?)),
            FrameType::Settle => self.receipt(frame, bytes).map(Message::Interim),
            FrameType::End if !self.events.is_complete() => Err(OpenError::EventsIncomplete),
            FrameType::End => self.receipt(frame, bytes).map(Message::End),
            FrameType::Head | FrameType::Pad | FrameType::Data => head(bytes),
        }
    }

    /// A receipt that is about this exchange; its terms and signature are the caller's to check.
    fn receipt(&mut self, frame: FrameType, bytes: &[u8]) -> Result<SignedReceipt, OpenError> {
        let signed = SignedReceipt::decode(bytes)?;
        let receipt = &signed.receipt;
        let interim = receipt.finish == Finish::Interim;
        if interim != (frame == FrameType::Settle) {
            return Err(OpenError::ReceiptFinish { frame, finish: receipt.finish });
        }
        for (same, name) in [
            (receipt.request_commitment == self.request_commitment(), "request commitment"),
            (receipt.data_chain == self.data_chain(), "data chain"),
            (receipt.data_frames == self.data_frames, "number of DATA frames"),
        ] {
            if !same {
                self.mismatched = Some(Box::new(signed));
                return Err(OpenError::ReceiptMismatch(name));
            }
        }
        Ok(signed)
    }
}

fn head(bytes: &[u8]) -> Result<Message, OpenError> {
    let mut input = Reader::new(bytes);
    let error = |_| OpenError::HeadLength(bytes.len());
    let created_unix_s = input.u64().map_err(error)?;
    let model_digest = Digest32(input.array().map_err(error)?);
    Ok(Message::Head { created_unix_s, model_digest })
}

/// `type 1 | len 2 | data len | zeros`: the type, its continuation bit and the data.
fn parse_inner(inner: &[u8]) -> Result<(FrameType, bool, &[u8]), OpenError> {
    let got = inner.len();
    let Some(([kind, len @ ..], rest)) = inner.split_first_chunk::<INNER_HEADER_LEN>() else {
        return Err(OpenError::Length { max: 0, got });
    };
    let id = kind & !MORE;
    let frame = FrameType::from_u8(id).ok_or(OpenError::UnknownType(*kind))?;
    let len = usize::from(u16::from_be_bytes(*len));
    let Some((data, padding)) = rest.split_at_checked(len) else {
        return Err(OpenError::Length { max: rest.len(), got: len });
    };
    if frame == FrameType::Pad && len != 0 {
        return Err(OpenError::PadData(len));
    }
    if frame != FrameType::Pad && len == 0 {
        return Err(OpenError::Empty(frame));
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Padding);
    }
    Ok((frame, kind & MORE != 0, data))
}
