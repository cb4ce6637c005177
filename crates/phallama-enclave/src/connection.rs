//! One connection of the host: link frames over the two halves of a UNIX stream.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use phallama_protocol::link::{self, Control, Decoder, Frame, Kind, LinkError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long the host may leave a frame unread before the exchange is cancelled.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Read at a time while a request comes in.
const READ_BYTES: usize = 16 * 1024;
/// Read at a time after that: the host says only what a few control messages hold.
const CONTROL_BYTES: usize = 512;

/// Why an exchange with the host cannot go on. Nothing can be charged then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostGone {
    /// The connection is closed or broken.
    #[error("the host closed the link: {0}")]
    Io(#[from] io::Error),
    /// A frame lay unread for 60 s.
    #[error("the host left a frame unread for {} s", WRITE_TIMEOUT.as_secs())]
    NotReading,
    /// The host does not speak the protocol of spec/wire.md.
    #[error("the host broke the link's protocol: {0}")]
    Protocol(#[from] LinkError),
    /// A frame that does not belong here.
    #[error("the host sent {0:?} where it has no place")]
    OutOfPlace(Kind),
    /// The host took too long to answer.
    #[error("the host did not answer {asked:?} within {} s", after.as_secs())]
    NotAnswering {
        /// What it was asked.
        asked: Kind,
        /// How long it was given.
        after: Duration,
    },
}

/// What the host sends.
pub(crate) struct HostReader {
    half: OwnedReadHalf,
    decoder: Decoder,
    ready: VecDeque<Frame>,
    /// Outside the futures that read into it, which would all carry its size.
    scratch: Vec<u8>,
}

/// What is sent to the host.
pub(crate) struct HostWriter {
    half: OwnedWriteHalf,
}

/// Both halves of a connection.
pub(crate) fn split(stream: UnixStream) -> (HostReader, HostWriter) {
    let (read, write) = stream.into_split();
    let reader = HostReader {
        half: read,
        decoder: Decoder::default(),
        ready: VecDeque::new(),
        scratch: vec![0; READ_BYTES],
    };
    (reader, HostWriter { half: write })
}

impl HostReader {
    /// Another request may follow on this connection.
    pub(crate) fn expect_request(&mut self) {
        self.scratch = vec![0; READ_BYTES];
    }

    /// The request is here: what follows is small, and an open answer needs no more room for it.
    pub(crate) fn expect_control_only(&mut self) {
        self.scratch = vec![0; CONTROL_BYTES];
    }

    /// The next frame, or `None` once the host closed its sending half between two frames.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`HostGone::Io`], [`HostGone::Protocol`].
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, HostGone> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            let read = self.half.read(&mut self.scratch).await?;
            if read == 0 {
                let cut = || HostGone::Io(io::ErrorKind::UnexpectedEof.into());
                return if self.decoder.is_complete() { Ok(None) } else { Err(cut()) };
            }
            // The decoder refuses a length above the limit before it buffers the payload.
            self.ready.extend(self.decoder.decode(&self.scratch[..read])?);
        }
    }

    /// Completes when the host closes its sending half: the client has gone away. Cancel safe.
    ///
    /// # Errors
    /// [`HostGone::OutOfPlace`] when the host sends a frame instead.
    pub(crate) async fn closed(&mut self) -> Result<(), HostGone> {
        match self.next().await? {
            None => Ok(()),
            Some(frame) => Err(HostGone::OutOfPlace(frame.kind)),
        }
    }
}

impl HostWriter {
    /// Passes response bytes on, if there are any, and the encoded frames `more` in one piece with
    /// them.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn out_and(&mut self, bytes: &[u8], more: &[u8]) -> Result<(), HostGone> {
        let mut frames = Vec::new();
        if !bytes.is_empty() {
            frames = link::encode(Kind::Out, bytes)?;
        }
        frames.extend(more);
        if frames.is_empty() { Ok(()) } else { self.write(&frames).await }
    }

    /// Sends a frame with a raw or empty payload.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn raw(&mut self, kind: Kind, payload: &[u8]) -> Result<(), HostGone> {
        let frame = link::encode(kind, payload)?;
        self.write(&frame).await
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// [`HostGone`].
    pub(crate) async fn control<T: Control>(&mut self, message: &T) -> Result<(), HostGone> {
        let frame = link::encode_control(message)?;
        self.write(&frame).await
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), HostGone> {
        let written = timeout(WRITE_TIMEOUT, self.half.write_all(frame)).await;
        Ok(written.map_err(|_| HostGone::NotReading)??)
    }
}
