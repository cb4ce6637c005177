//! The answer as it leaves: a byte stream of events in, one sealed frame at a time out.
//!
//! No time and no I/O: [`crate::pacer`] decides when a frame is taken, and a frame taken when
//! nothing is ready is PAD. So the number of frames follows from the pace alone.

use std::collections::VecDeque;

use phallama_engine::Usage;
use phallama_protocol::events::{Event, EventError};
use phallama_protocol::frames::{FrameSealer, FrameType, SETTLE_EVERY_DATA_FRAMES};
use phallama_protocol::ids::Digest32;
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
        self.head(meter.model_digest(), created_unix_s);
        self.meter = Some(meter);
    }

    fn head(&mut self, model_digest: Digest32, created_unix_s: u64) {
        let head = [&created_unix_s.to_be_bytes()[..], &model_digest.0].concat();
        self.seal(FrameType::Head, &head);
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

    /// Bytes of events that wait for DATA frames.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.events.len()
    }

    /// Whether so much waits that the worker should not be read for now.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes() >= PENDING_MAX_BYTES
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

#[cfg(test)]
pub(crate) mod tests {
    use phallama_protocol::bundle::KeyBundle;
    use phallama_protocol::frames::{ClientExchange, FrameClass, Message, ladder};
    use phallama_protocol::ids::{Address, Amount, PodId, RequestId};
    use phallama_protocol::keys::{Signature, Signer};
    use phallama_protocol::refusal::Code;
    use phallama_protocol::request::{
        EpochKey, Method, Payment, RequestPlain, open_request, seal_request,
    };

    use super::*;
    use crate::admission::refuse;
    use crate::random::os_rng;

    /// An answer that has begun, its encapsulation, and its client.
    pub(crate) fn begun(class: FrameClass) -> (Outbox, Vec<u8>, ClientExchange) {
        let key = EpochKey::generate(&mut os_rng());
        let identity = Signer::generate(&mut os_rng());
        let bundle = KeyBundle {
            chain_id: 1,
            registry: Address([1; 20]),
            escrow: Address([2; 20]),
            pod_id: PodId([3; 32]),
            identity: identity.address(),
            epoch_id: 1,
            xwing_pk: Box::new(key.public_key()),
            not_before_unix_s: 0,
            not_after_unix_s: 900,
            block_seen: 0,
            evidence_hash: Digest32::default(),
            measurement: Digest32::default(),
            model_set_root: Digest32::default(),
            offers_hash: Digest32::default(),
            policy_digest: Digest32::default(),
            classes: FrameClass::ALL.to_vec(),
        };
        let bundle = bundle.sign(&identity);
        let (sealed, client) = seal_request(&bundle, &request(class), &mut os_rng()).unwrap();
        let opened = open_request(&key, &bundle, &sealed).unwrap();
        let (enc2, sealer) = opened.exchange.respond(class, &mut os_rng()).unwrap();
        let mut outbox = Outbox::new(sealer);
        outbox.head(Digest32([4; 32]), 5);
        (outbox, enc2, client)
    }

    fn request(class: FrameClass) -> RequestPlain {
        let payment = Payment {
            user: Address([5; 20]),
            epoch: 1,
            cap: Amount::ZERO,
            voucher_sig: Signature([0; 64]),
            terms_hash: Digest32::default(),
            allocation: None,
        };
        RequestPlain {
            request_id: RequestId::default(),
            class,
            salt: [6; 32],
            payment,
            method: Method::Chat,
            body: b"{}".to_vec(),
        }
    }

    pub(crate) fn failure() -> PodError {
        refuse(Code::WorkerFailed, "the worker failed")
    }

    fn content(len: usize) -> Event {
        Event::Content("x".repeat(len))
    }

    #[test]
    fn tokens_count_once_their_event_is_completely_in_frames() {
        let (mut outbox, _, _) = begun(FrameClass::Std);
        outbox.push(&content(10), 1).unwrap();
        outbox.push(&content(250), 2).unwrap();
        outbox.take_frame();
        assert_eq!(outbox.progress().tokens.completion_tokens, 0, "HEAD carries no tokens");
        outbox.take_frame();
        assert_eq!(outbox.progress().tokens.completion_tokens, 1, "the second event is cut");
        outbox.take_frame();
        assert_eq!(outbox.progress().tokens.completion_tokens, 2);
        assert_eq!(outbox.progress().data_frames, 2);
    }

    #[test]
    fn several_events_share_a_frame() {
        let (mut outbox, enc2, client) = begun(FrameClass::Std);
        for tokens in 1..=20 {
            outbox.push(&content(1), tokens).unwrap();
        }
        let mut opener = client.opener();
        opener.push(&enc2).unwrap();
        opener.push(&outbox.take_frame()).unwrap();
        assert_eq!(
            opener.push(&outbox.take_frame()).unwrap(),
            vec![Message::Event(content(1)); 20]
        );
        assert!(!outbox.has_frame());
    }

    #[test]
    fn a_frame_is_always_there_and_always_of_one_size() {
        let (mut outbox, _, _) = begun(FrameClass::Fast);
        outbox.push(&content(300), 1).unwrap();
        let sizes: Vec<usize> = (0..10).map(|_| outbox.take_frame().len()).collect();
        assert_eq!(sizes, [FrameClass::Fast.frame_wire_len(); 10]);
    }

    #[test]
    fn a_failure_drops_what_waits_and_pads_to_the_rung() {
        let (mut outbox, enc2, client) = begun(FrameClass::Std);
        outbox.push(&content(100_000), 1).unwrap();
        assert!(outbox.is_full());
        outbox.fail(&failure());
        let mut opener = client.opener();
        opener.push(&enc2).unwrap();
        let mut messages = Vec::new();
        while !outbox.is_complete() {
            messages.extend(opener.push(&outbox.take_frame()).unwrap());
        }
        opener.finish().unwrap();
        assert_eq!(opener.frames(), ladder::FIRST_RUNG);
        assert!(matches!(messages[..], [Message::Head { .. }, Message::Error(_)]));
    }
}
