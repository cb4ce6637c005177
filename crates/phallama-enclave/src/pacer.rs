//! When frames leave: at the pace of their class, whatever the answer contains.

use std::future::Future;
use std::time::Duration;

use phallama_protocol::frames::FrameClass;
use phallama_protocol::link::{self, Claim, Kind};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::connection::{HostGone, HostReader, HostWriter};
use crate::meter::Progress;
use crate::outbox::Outbox;

/// How long HEAD waits for an event to leave with, where the class has no pace. It tells the client
/// that its request was admitted.
const HEAD_WITHIN: Duration = Duration::from_millis(10);
/// Frames that go to the host in one piece, bytes, where the class has no pace.
const BURST_BYTES: usize = 64 * 1024;

/// Sends the frames of one answer.
pub(crate) struct Pacer {
    pub(crate) outbox: Outbox,
    writer: HostWriter,
    pace: Pace,
    /// Bytes that go out before the next frame: the encapsulation, and what `bulk` withholds.
    held: Vec<u8>,
    /// What the host was given: the counts up to the last frame that was written.
    handed_out: Progress,
}

enum Pace {
    /// One frame per tick, from admission to the last rung.
    Ticks(Interval),
    /// Frames leave as soon as they have something to carry, the first one then at the latest.
    Ready { first: Option<Instant> },
    /// Frames leave together at the end.
    Withheld,
}

/// What happened first.
pub(crate) enum OrClosed<T> {
    /// The future completed.
    Done(T),
    /// The host closed its sending half: the client has gone away.
    ClientGone,
}

impl Pacer {
    /// Starts the pace of `class`. `enc2` goes out with the first frame.
    pub(crate) fn new(
        class: FrameClass,
        enc2: Vec<u8>,
        outbox: Outbox,
        writer: HostWriter,
    ) -> Self {
        let pace = match class.tick_ms() {
            Some(period_ms) => Pace::ticks(period_ms.into()),
            None if class == FrameClass::Bulk => Pace::Withheld,
            None => Pace::Ready { first: Some(Instant::now() + HEAD_WITHIN) },
        };
        let handed_out = outbox.progress();
        Self { outbox, writer, pace, held: enc2, handed_out }
    }

    /// Whether frames leave without waiting for a tick or for the end.
    pub(crate) fn is_unpaced(&self) -> bool {
        matches!(self.pace, Pace::Ready { .. })
    }

    /// What was written to the host: frames that are still held do not count.
    pub(crate) fn handed_out(&self) -> Progress {
        self.handed_out
    }

    /// Whether nothing leaves before the end.
    pub(crate) fn is_withheld(&self) -> bool {
        matches!(self.pace, Pace::Withheld)
    }

    /// The way to the host, for messages between frames.
    pub(crate) fn writer(&mut self) -> &mut HostWriter {
        &mut self.writer
    }

    /// Waits for `work`, sending a frame at each tick meanwhile.
    ///
    /// # Errors
    /// [`HostGone`] when the host no longer reads; `work` is dropped.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, HostGone> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.pace.tick() => self.send_frame().await?,
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Like [`Pacer::during`], and stops when the client goes away.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn during_or_closed<T>(
        &mut self,
        work: impl Future<Output = T>,
        reader: &mut HostReader,
    ) -> Result<OrClosed<T>, HostGone> {
        let either = async {
            tokio::select! {
                biased;
                done = work => Ok(OrClosed::Done(done)),
                closed = reader.closed() => closed.map(|()| OrClosed::ClientGone),
            }
        };
        self.during(either).await?
    }

    /// Takes frames until no event waits for one: at the pace, or at once. Those that have no pace
    /// are held for what is said next.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn drain(
        &mut self,
        reader: &mut HostReader,
    ) -> Result<OrClosed<()>, HostGone> {
        self.advance(reader, Outbox::has_frame).await
    }

    /// Like [`Pacer::drain`], and sends them.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn drain_and_flush(
        &mut self,
        reader: &mut HostReader,
    ) -> Result<OrClosed<()>, HostGone> {
        let drained = self.drain(reader).await?;
        self.flush_unpaced(drained).await
    }

    /// Hands a claim to the host, after the frames that it pays for. What `bulk` withholds stays.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn claim(&mut self, claim: &Claim) -> Result<(), HostGone> {
        if self.is_withheld() {
            return self.writer.control(claim).await;
        }
        self.flush_but_last().await?;
        self.writer.out_and(&self.held, &link::encode_control(claim)?).await?;
        self.note_flushed();
        Ok(())
    }

    /// Makes room in a full outbox.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn relieve(
        &mut self,
        reader: &mut HostReader,
    ) -> Result<OrClosed<()>, HostGone> {
        // Of a withheld answer nothing leaves before the end; it is bounded by its token limit.
        if self.is_withheld() || !self.outbox.is_full() {
            return Ok(OrClosed::Done(()));
        }
        let relieved = self.advance(reader, Outbox::is_full).await?;
        self.flush_unpaced(relieved).await
    }

    /// Sends the rest of an answer that has ended, up to its rung, and that it is complete.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn finish(&mut self, reader: &mut HostReader) -> Result<(), HostGone> {
        self.advance(reader, |outbox| !outbox.is_complete()).await?;
        self.flush_but_last().await?;
        self.writer.out_and(&self.held, &link::encode(Kind::Done, &[])?).await
    }

    /// The way to the host, for another exchange.
    pub(crate) fn into_writer(self) -> HostWriter {
        self.writer
    }

    /// Drops what was not written: nobody reads the answer any more.
    pub(crate) fn abandon(&mut self) {
        self.outbox.abandon();
        self.held.clear();
    }

    /// Takes frames while `more` says so.
    async fn advance(
        &mut self,
        reader: &mut HostReader,
        more: impl Fn(&Outbox) -> bool,
    ) -> Result<OrClosed<()>, HostGone> {
        while more(&self.outbox) {
            if let Pace::Ticks(ticks) = &mut self.pace {
                tokio::select! {
                    biased;
                    _ = ticks.tick() => self.send_frame().await?,
                    closed = reader.closed() => return closed.map(|()| OrClosed::ClientGone),
                }
            } else {
                // Nobody reads what is taken after the client has left.
                tokio::select! {
                    biased;
                    closed = reader.closed() => return closed.map(|()| OrClosed::ClientGone),
                    () = std::future::ready(()) => {}
                }
                self.take_frame();
                if self.is_unpaced() && self.held.len() >= BURST_BYTES {
                    self.flush().await?;
                }
            }
        }
        Ok(OrClosed::Done(()))
    }

    async fn flush_unpaced(&mut self, advanced: OrClosed<()>) -> Result<OrClosed<()>, HostGone> {
        if self.is_unpaced() && matches!(advanced, OrClosed::Done(())) {
            self.flush().await?;
        }
        Ok(advanced)
    }

    async fn send_frame(&mut self) -> Result<(), HostGone> {
        self.take_frame();
        self.flush().await
    }

    fn take_frame(&mut self) {
        self.held.extend(self.outbox.take_frame());
        if let Pace::Ready { first } = &mut self.pace {
            *first = None;
        }
    }

    async fn flush(&mut self) -> Result<(), HostGone> {
        self.flush_but_last().await?;
        self.writer.out_and(&self.held, &[]).await?;
        self.note_flushed();
        Ok(())
    }

    /// Leaves one piece, which goes with what follows it.
    async fn flush_but_last(&mut self) -> Result<(), HostGone> {
        while self.held.len() > BURST_BYTES {
            let piece: Vec<u8> = self.held.drain(..BURST_BYTES).collect();
            self.writer.out_and(&piece, &[]).await?;
        }
        Ok(())
    }

    fn note_flushed(&mut self) {
        self.held.clear();
        self.handed_out = self.outbox.progress();
    }
}

impl Pace {
    /// The first tick is now. A tick that comes late moves the following ones: two frames are
    /// never closer than the period, so a stall of the machine or of the host is not followed by a
    /// burst whose size tells how long it lasted.
    fn ticks(period_ms: u64) -> Self {
        let mut ticks = interval(Duration::from_millis(period_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Ticks(ticks)
    }

    async fn tick(&mut self) {
        match self {
            Self::Ticks(ticks) => {
                ticks.tick().await;
            }
            Self::Ready { first: Some(at) } => sleep_until(*at).await,
            Self::Ready { first: None } | Self::Withheld => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};

    use phallama_protocol::events::Event;
    use phallama_protocol::frames::{ResponseOpener, ladder};
    use phallama_protocol::ids::{Address, Amount, Digest32};
    use phallama_protocol::keys::Signature;
    use phallama_protocol::link::Decoder;
    use tokio::net::UnixStream;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::connection::split;
    use crate::outbox::tests::{begun, failure};

    /// An answer on its way to a host in the same thread, which reads what has been written so far
    /// without waiting: the paused clock only moves when the pacer waits.
    struct Bench {
        pacer: Pacer,
        reader: HostReader,
        host: std::os::unix::net::UnixStream,
        decoder: Decoder,
        opener: ResponseOpener,
    }

    impl Bench {
        async fn new(class: FrameClass) -> Self {
            let (enclave, host) = UnixStream::pair().unwrap();
            // Before any timer exists, so that waiting for it moves no clock.
            enclave.writable().await.unwrap();
            let (reader, writer) = split(enclave);
            let (outbox, enc2, client) = begun(class);
            let pacer = Pacer::new(class, enc2, outbox, writer);
            let (decoder, opener) = (Decoder::default(), client.opener());
            Self { pacer, reader, host: host.into_std().unwrap(), decoder, opener }
        }

        /// Lengths of the pieces that have come since the last call.
        fn arrived(&mut self) -> Vec<usize> {
            let mut bytes = vec![0; 1 << 20];
            let read = match self.host.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                read => read.unwrap(),
            };
            let mut frames = self.decoder.decode(&bytes[..read]).unwrap();
            frames.retain(|frame| frame.kind != Kind::Done);
            for frame in &frames {
                assert_eq!(frame.kind, Kind::Out);
                self.opener.push(&frame.payload).unwrap();
            }
            frames.iter().map(|frame| frame.payload.len()).collect()
        }

        async fn work(&mut self, ms: u64) {
            self.pacer.during(sleep(Duration::from_millis(ms))).await.unwrap();
        }

        fn push(&mut self, bytes: usize) {
            self.pacer.outbox.push(&Event::Content("x".repeat(bytes)), 1).unwrap();
        }

        async fn fail(&mut self) {
            self.pacer.outbox.fail(&failure());
            self.pacer.finish(&mut self.reader).await.unwrap();
        }
    }

    /// What the wire shows of an answer that computes for two seconds and yields `contents[i]`
    /// bytes after `i` tenths of a second: pieces per tenth, their sizes, and the total time.
    async fn traffic(class: FrameClass, contents: &[usize]) -> (Vec<Vec<usize>>, Duration) {
        let began = Instant::now();
        let mut bench = Bench::new(class).await;
        // Looks between the ticks.
        bench.work(25).await;
        let mut seen = vec![bench.arrived()];
        for tenth in 0..20 {
            if let Some(bytes) = contents.get(tenth).filter(|bytes| **bytes > 0) {
                bench.push(*bytes);
            }
            bench.work(100).await;
            seen.push(bench.arrived());
        }
        bench.fail().await;
        seen.push(bench.arrived());
        bench.opener.finish().unwrap();
        (seen, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_wire_shows_of_a_paced_answer_does_not_depend_on_its_content() {
        for class in [FrameClass::Std, FrameClass::Fast] {
            let silent = traffic(class, &[]).await;
            assert_eq!(traffic(class, &[0, 3, 0, 0, 500]).await, silent, "{class:?}");
            assert_eq!(traffic(class, &[60_000]).await, silent, "{class:?}");
            assert_eq!(traffic(class, &[10; 20]).await, silent, "{class:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_frame_leaves_per_tick_from_admission_to_the_rung() {
        let (seen, took) = traffic(FrameClass::Std, &[7; 20]).await;
        let frame = FrameClass::Std.frame_wire_len();
        assert_eq!(seen[0], [1120 + frame], "the encapsulation comes with the first frame");
        assert!(seen[1..21].iter().all(|pieces| *pieces == [frame]), "{seen:?}");
        let frames: usize = seen.iter().map(Vec::len).sum();
        assert_eq!(frames as u64, ladder::next_rung(22));
        assert_eq!(took, Duration::from_millis(100 * (frames as u64 - 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_not_followed_by_a_burst() {
        let mut bench = Bench::new(FrameClass::Std).await;
        bench.work(250).await;
        assert_eq!(bench.arrived().len(), 3);
        sleep(Duration::from_secs(5)).await;
        bench.work(250).await;
        assert_eq!(bench.arrived().len(), 3, "at 0, 100 and 200 ms after the stall");
    }

    #[tokio::test]
    async fn unpaced_frames_leave_together_as_soon_as_they_are_drained() {
        let mut bench = Bench::new(FrameClass::Unpaced).await;
        bench.push(300);
        bench.push(300);
        assert_eq!(bench.arrived(), [] as [usize; 0]);
        bench.pacer.drain_and_flush(&mut bench.reader).await.unwrap();
        let frame = FrameClass::Unpaced.frame_wire_len();
        assert_eq!(bench.arrived(), [1120 + 4 * frame], "HEAD and three DATA");
    }

    #[tokio::test]
    async fn the_last_unpaced_frames_leave_with_the_claim_and_withheld_ones_after_it() {
        for (class, expected) in [
            (FrameClass::Unpaced, &[Kind::Out, Kind::Claim][..]),
            (FrameClass::Bulk, &[Kind::Claim]),
        ] {
            let mut bench = Bench::new(class).await;
            bench.push(300);
            bench.pacer.drain(&mut bench.reader).await.unwrap();
            assert_eq!(bench.arrived(), [] as [usize; 0]);
            bench.pacer.claim(&claim()).await.unwrap();
            let mut bytes = vec![0; 1 << 16];
            let read = bench.host.read(&mut bytes).unwrap();
            let kinds = bench.decoder.decode(&bytes[..read]).unwrap();
            assert_eq!(kinds.iter().map(|frame| frame.kind).collect::<Vec<_>>(), expected);
            assert_eq!(bench.pacer.handed_out().data_frames > 0, class == FrameClass::Unpaced);
        }
    }

    fn claim() -> Claim {
        Claim {
            user: Address([1; 20]),
            epoch: 0,
            cap: Amount::from(1),
            voucher_sig: Signature([2; 64]),
            seq: 1,
            cumulative: Amount::from(1),
            receipt_hash: Digest32([3; 32]),
            settlement_sig: Signature([4; 64]),
            prompt_tokens: 1,
            completion_tokens: 1,
        }
    }

    #[tokio::test]
    async fn bulk_frames_leave_only_at_the_end() {
        let mut bench = Bench::new(FrameClass::Bulk).await;
        bench.push(300);
        bench.pacer.drain(&mut bench.reader).await.unwrap();
        assert_eq!(bench.arrived(), [] as [usize; 0]);
        bench.fail().await;
        let rung = usize::try_from(ladder::FIRST_RUNG).unwrap();
        assert_eq!(bench.arrived(), [1120 + rung * FrameClass::Bulk.frame_wire_len()]);
        bench.opener.finish().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_wait() {
        let mut bench = Bench::new(FrameClass::Unpaced).await;
        bench.host.shutdown(std::net::Shutdown::Write).unwrap();
        let never = std::future::pending::<()>();
        let ended = bench.pacer.during_or_closed(never, &mut bench.reader).await.unwrap();
        assert!(matches!(ended, OrClosed::ClientGone));
    }

    #[tokio::test]
    async fn frames_that_were_not_written_are_not_handed_out() {
        let mut bench = Bench::new(FrameClass::Unpaced).await;
        assert_eq!(bench.pacer.handed_out().data_frames, 0);
        bench.push(10);
        bench.pacer.drain_and_flush(&mut bench.reader).await.unwrap();
        let given = bench.pacer.handed_out();
        assert_eq!((given.data_frames, given.tokens.completion_tokens), (1, 1));

        // A frame of a burst that has not left, and one that nobody has taken.
        bench.pacer.outbox.push(&Event::Content("held".to_owned()), 2).unwrap();
        bench.pacer.take_frame();
        bench.pacer.outbox.push(&Event::Content("waiting".to_owned()), 3).unwrap();
        bench.host.shutdown(std::net::Shutdown::Write).unwrap();
        bench.reader.closed().await.unwrap();
        let drained = bench.pacer.drain(&mut bench.reader).await.unwrap();
        assert!(matches!(drained, OrClosed::ClientGone));
        assert_eq!(bench.pacer.outbox.progress().data_frames, 2);
        let after = bench.pacer.handed_out();
        assert_eq!((after.data_frames, after.tokens.completion_tokens), (1, 1));
        assert_eq!(after.data_chain, given.data_chain);

        bench.arrived();
        bench.pacer.abandon();
        bench.pacer.finish(&mut bench.reader).await.unwrap();
        assert_eq!(bench.arrived(), [] as [usize; 0], "what is not charged does not leave");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_read_for_a_minute_is_given_up() {
        let mut bench = Bench::new(FrameClass::Std).await;
        let began = Instant::now();
        let forever = sleep(Duration::from_secs(1_000_000));
        let error = bench.pacer.during(forever).await.unwrap_err();
        assert!(matches!(error, HostGone::NotReading), "{error}");
        assert!(began.elapsed() > Duration::from_mins(1));
    }
}
