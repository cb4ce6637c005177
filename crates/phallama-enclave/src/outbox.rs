//! The answer as it leaves: a byte stream of events in, one sealed frame at a time out.
//!
//! No time and no I/O: [`crate::pacer`] decides when a frame is taken, and a frame taken when
//! nothing is ready is PAD. So the number of frames follows from the pace alone.

use std::collections::VecDeque;

use phallama_engine::Usage;
use phallama_protocol::events::{Event, EventError};
use phallama_protocol::frames::{FrameSealer, FrameType, SETTLE_EVERY_DATA_FRAMES};
use phallama_protocol::refusal::PodError;

use crate::meter::{Meter, Progress};

/// Bytes of events that may wait for their frames before the worker is no longer read.
const PENDING_MAX_BYTES: usize = 64 * 1024;

/// What waits to be sent, and what was.
pub(crate) struct Outbox {
    sealer: FrameSealer,
    meter: Option<Meter>,
    /// Sealed frames in order: parts of HEAD, SETTLE, ERROR and END.
    sealed: VecDeque<Vec<u8>>,
    /// Encoded events that no DATA frame carries yet.
    events: VecDeque<u8>,
    /// Where in the stream of events which number of tokens is complete.
    marks: VecDeque<Mark>,
    pushed_bytes: u64,
    taken_bytes: u64,
    /// Counts of what was handed out: completion tokens whose events are completely inside frames
    /// that were taken.
    tokens: Usage,
    settled_data_frames: u32,
    ended: bool,
    abandoned: bool,
}

struct Mark {
    end: u64,
    completion_tokens: u32,
}

impl Outbox {
    pub(crate) fn new(sealer: FrameSealer) -> Self {
        Self {
            sealer,
            meter: None,
            sealed: VecDeque::new(),
            events: VecDeque::new(),
            marks: VecDeque::new(),
            pushed_bytes: 0,
            taken_bytes: 0,
            tokens: Usage::default(),
            settled_data_frames: 0,
            ended: false,
            abandoned: false,
        }
    }

    /// The request is admitted: HEAD is the first frame.
    pub(crate) fn begin(&mut self, meter: Meter, created_unix_s: u64) {
        let head = [&created_unix_s.to_be_bytes()[..], &meter.model_digest().0].concat();
        self.seal(FrameType::Head, &head);
        self.meter = Some(meter);
    }

    /// The worker has counted the prompt.
    pub(crate) fn count_prompt(&mut self, prompt_tokens: u32, cached_tokens: u32) {
        self.tokens.prompt_tokens = prompt_tokens;
        self.tokens.cached_tokens = cached_tokens;
    }

    /// Appends an event; with it, the answer has `completion_tokens` tokens.
    ///
    /// # Errors
    /// [`EventError::TooLong`]; nothing is appended.
    pub(crate) fn push(&mut self, event: &Event, completion_tokens: u32) -> Result<(), EventError> {
        let mut bytes = Vec::new();
        event.encode(&mut bytes)?;
        self.pushed_bytes += bytes.len() as u64;
        self.events.extend(bytes);
        self.marks.push_back(Mark { end: self.pushed_bytes, completion_tokens });
        Ok(())
    }

    /// Whether events wait for DATA frames.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether so much waits that the worker should not be read for now.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= PENDING_MAX_BYTES
    }

    /// Whether a frame other than PAD is ready.
    pub(crate) fn has_frame(&self) -> bool {
        self.has_events() || !self.sealed.is_empty()
    }

    /// Whether the answer has ended and is padded to its rung.
    pub(crate) fn is_complete(&self) -> bool {
        self.abandoned || self.ended && self.sealed.is_empty() && self.sealer.padding_due() == 0
    }

    /// The next frame: what was sealed first, else DATA, else PAD.
    pub(crate) fn take_frame(&mut self) -> Vec<u8> {
        if let Some(frame) = self.sealed.pop_front() {
            return frame;
        }
        if self.events.is_empty() {
            return self.seal_frame(FrameType::Pad, &[]);
        }
        let len = self.events.len().min(self.sealer.data_capacity());
        let data: Vec<u8> = self.events.drain(..len).collect();
        let frame = self.seal_frame(FrameType::Data, &data);
        self.note_taken(len);
        self.settle_if_due();
        frame
    }

    /// What was handed out: the counts up to the last frame taken.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            tokens: self.tokens,
            data_chain: self.sealer.data_chain(),
            data_frames: self.sealer.data_frames(),
        }
    }

    /// The meter of an answer that has begun; no interim receipt follows.
    pub(crate) fn take_meter(&mut self) -> Option<Meter> {
        self.meter.take()
    }

    /// Ends the answer with its receipt. All events have been taken.
    pub(crate) fn end(&mut self, receipt: &[u8]) {
        debug_assert!(!self.has_events(), "the receipt covers all DATA");
        self.seal(FrameType::End, receipt);
        self.ended = true;
    }

    /// Ends the answer without charge. What waited is dropped.
    pub(crate) fn fail(&mut self, error: &PodError) {
        self.events.clear();
        self.marks.clear();
        // Parts of a HEAD or SETTLE are sealed already and keep their place in the sequence.
        self.seal(FrameType::Error, &error.encode());
        self.ended = true;
        self.meter = None;
    }

    /// Nobody reads the answer any more: nothing more is sealed.
    pub(crate) fn abandon(&mut self) {
        self.events.clear();
        self.sealed.clear();
        self.abandoned = true;
    }

    fn seal(&mut self, frame: FrameType, message: &[u8]) {
        let parts = self.sealer.seal_message(frame, message);
        self.sealed.extend(parts.expect("messages have their lengths and come in their order"));
    }

    fn seal_frame(&mut self, frame: FrameType, data: &[u8]) -> Vec<u8> {
        self.sealer.seal(frame, false, data).expect("DATA and PAD fit anywhere before the end")
    }

    fn note_taken(&mut self, len: usize) {
        self.taken_bytes += len as u64;
        while self.marks.front().is_some_and(|mark| mark.end <= self.taken_bytes) {
            let mark = self.marks.pop_front().expect("the front was just seen");
            self.tokens.completion_tokens = mark.completion_tokens;
        }
    }

    fn settle_if_due(&mut self) {
        let frames = self.sealer.data_frames();
        if frames < self.settled_data_frames + SETTLE_EVERY_DATA_FRAMES {
            return;
        }
        self.settled_data_frames = frames;
        let progress = self.progress();
        if let Some(receipt) = self.meter.as_ref().map(|meter| meter.interim(&progress)) {
            self.seal(FrameType::Settle, &receipt.encode());
        }
    }
}
