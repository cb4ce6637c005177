//! When frames leave: at the pace of their class, whatever the answer contains.

use std::future::Future;
use std::time::Duration;

use phallama_protocol::frames::FrameClass;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::connection::{HostGone, HostReader, HostWriter};
use crate::outbox::Outbox;

/// Frames that go to the host in one piece, bytes, where the class has no pace.
const BURST_BYTES: usize = 64 * 1024;

/// Sends the frames of one answer.
pub(crate) struct Pacer {
    pub(crate) outbox: Outbox,
    writer: HostWriter,
    pace: Pace,
    /// Bytes that go out before the next frame: the encapsulation, and what `bulk` withholds.
    held: Vec<u8>,
}

enum Pace {
    /// One frame per tick, from admission to the last rung.
    Ticks(Interval),
    /// Frames leave as soon as they have something to carry.
    Ready,
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
            None => Pace::Ready,
        };
        Self { outbox, writer, pace, held: enc2 }
    }

    /// Whether frames leave without waiting for a tick or for the end.
    pub(crate) fn is_unpaced(&self) -> bool {
        matches!(self.pace, Pace::Ready)
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

    /// Sends until no event waits for its frame: at the pace, or at once. `bulk` seals its frames
    /// and keeps them.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn drain(
        &mut self,
        reader: &mut HostReader,
    ) -> Result<OrClosed<()>, HostGone> {
        self.advance(reader, Outbox::has_frame).await
    }

    /// Makes room in a full outbox.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn relieve(
        &mut self,
        reader: &mut HostReader,
    ) -> Result<OrClosed<()>, HostGone> {
        match self.pace {
            // Nothing leaves before the end; the answer is bounded by its token limit.
            Pace::Withheld => Ok(OrClosed::Done(())),
            _ => self.advance(reader, Outbox::is_full).await,
        }
    }

    /// Sends the rest of an answer that has ended, up to its rung.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn finish(&mut self, reader: &mut HostReader) -> Result<(), HostGone> {
        self.advance(reader, |outbox| !outbox.is_complete()).await?;
        self.flush().await
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
                let frame = self.outbox.take_frame();
                self.held.extend(frame);
                if self.is_unpaced() && self.held.len() >= BURST_BYTES {
                    self.flush().await?;
                }
            }
        }
        if self.is_unpaced() {
            self.flush().await?;
        }
        Ok(OrClosed::Done(()))
    }

    async fn send_frame(&mut self) -> Result<(), HostGone> {
        let frame = self.outbox.take_frame();
        self.held.extend(frame);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), HostGone> {
        for piece in self.held.chunks(BURST_BYTES) {
            self.writer.out(piece).await?;
        }
        self.held.clear();
        Ok(())
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
            Self::Ready | Self::Withheld => std::future::pending().await,
        }
    }
}
