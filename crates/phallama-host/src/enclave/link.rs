//! One connection to the enclave: link frames over the two halves of a UNIX stream (spec/wire.md).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use phallama_protocol::link::{self, Control, Decoder, Frame, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::error::EnclaveError;

/// Read at a time: many paced frames, some pieces of a burst. Every open answer has such a buffer.
const READ_BYTES: usize = 4 * 1024;

/// Connections that wait for another exchange, most.
const IDLE_MAX: usize = 32;

/// Connections for exchanges: one whose exchange is complete carries the next.
pub struct Links {
    socket: PathBuf,
    idle: Mutex<Vec<(LinkReader, LinkWriter)>>,
}

impl Links {
    /// To the enclave that listens at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::new(Vec::new()) }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One that waits, or a new one. Those to an enclave that has ended are dropped.
    pub(crate) async fn take(&self) -> Result<(LinkReader, LinkWriter), EnclaveError> {
        loop {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut from, to)) = waiting else { return connect(&self.socket).await };
            if from.is_quiet() {
                return Ok((from, to));
            }
        }
    }

    /// Keeps one whose exchange is complete.
    pub(crate) fn keep(&self, link: (LinkReader, LinkWriter)) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
    }
}

/// Opens a connection.
pub(crate) async fn connect(socket: &Path) -> Result<(LinkReader, LinkWriter), EnclaveError> {
    let stream = UnixStream::connect(socket).await.map_err(EnclaveError::Unreachable)?;
    Ok(split(stream))
}

fn split(stream: UnixStream) -> (LinkReader, LinkWriter) {
    let (read, write) = stream.into_split();
    let bytes = vec![0; READ_BYTES];
    let decoder = Decoder::default();
    (LinkReader { read, decoder, ready: VecDeque::new(), bytes }, LinkWriter { write })
}

pub(crate) struct LinkReader {
    read: OwnedReadHalf,
    decoder: Decoder,
    ready: VecDeque<Frame>,
    bytes: Vec<u8>,
}

impl LinkReader {
    /// Whether the connection is open and the enclave has said nothing more.
    fn is_quiet(&mut self) -> bool {
        let would_block = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        let nothing_read = self.ready.is_empty() && self.decoder.is_complete();
        nothing_read && self.read.try_read(&mut self.bytes).is_err_and(would_block)
    }

    /// The next frame; `None` when the enclave has closed the connection between frames. Dropping
    /// the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, EnclaveError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            let read = self.read.read(&mut self.bytes).await.map_err(EnclaveError::Unreachable)?;
            if read == 0 {
                let cut = || EnclaveError::Unreachable(std::io::ErrorKind::UnexpectedEof.into());
                return if self.decoder.is_complete() { Ok(None) } else { Err(cut()) };
            }
            self.ready.extend(self.decoder.decode(&self.bytes[..read])?);
        }
    }

    /// Whether the end of the exchange came together with the frame before it; takes it then.
    pub(crate) fn take_done(&mut self) -> Result<bool, EnclaveError> {
        match self.ready.pop_front_if(|next| next.kind == Kind::Done) {
            Some(done) => Ok(done.empty(Kind::Done).map(|()| true)?),
            None => Ok(false),
        }
    }
}

pub(crate) struct LinkWriter {
    write: OwnedWriteHalf,
}

impl LinkWriter {
    /// Sends a frame with raw bytes.
    pub(crate) async fn raw(&mut self, kind: Kind, payload: &[u8]) -> Result<(), EnclaveError> {
        self.write(&link::encode(kind, payload)?).await
    }

    /// Sends a control message.
    pub(crate) async fn control<T: Control>(&mut self, message: &T) -> Result<(), EnclaveError> {
        self.write(&link::encode_control(message)?).await
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), EnclaveError> {
        self.write.write_all(frame).await.map_err(EnclaveError::Unreachable)
    }

    /// Cancels the exchange: the enclave may still send a claim.
    pub(crate) async fn close(&mut self) -> Result<(), EnclaveError> {
        self.write.shutdown().await.map_err(EnclaveError::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::link::{Admitted, LinkError};

    use super::*;

    fn pair() -> (LinkReader, LinkWriter, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = split(ours);
        (reader, writer, theirs)
    }

    #[tokio::test]
    async fn frames_come_out_of_pieces_of_any_size() {
        let (mut reader, _writer, mut enclave) = pair();
        let bytes = [
            link::encode(Kind::Out, &[7; 300]).unwrap(),
            link::encode_control(&Admitted { cumulative: 5.into() }).unwrap(),
            link::encode(Kind::Done, &[]).unwrap(),
        ]
        .concat();
        let sent = tokio::spawn(async move {
            for piece in bytes.chunks(3) {
                enclave.write_all(piece).await.unwrap();
            }
        });
        let out = reader.next().await.unwrap().unwrap();
        assert_eq!((out.kind, out.payload), (Kind::Out, vec![7; 300]));
        let admitted: Admitted = reader.next().await.unwrap().unwrap().control().unwrap();
        assert_eq!(admitted.cumulative, 5.into());
        reader.next().await.unwrap().unwrap().empty(Kind::Done).unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        sent.await.unwrap();
    }

    #[tokio::test]
    async fn links_are_used_again_while_the_enclave_is_there_and_silent() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("enclave.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let links = Links::new(socket);
        let accepted = async || listener.accept().await.unwrap().0;
        let (first, mut enclave) = tokio::join!(links.take(), accepted());
        links.keep(first.unwrap());
        let (_from, mut to) = links.take().await.unwrap();
        to.raw(Kind::Stored, &[]).await.unwrap();
        let mut bytes = [0; 5];
        enclave.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[0], link::encode(Kind::Stored, &[]).unwrap()[0], "on the same connection");

        for ends in [false, true] {
            let (link, mut enclave) = tokio::join!(links.take(), accepted());
            let (from, to) = link.unwrap();
            if ends {
                drop(enclave);
            } else {
                enclave.write_all(&[1]).await.unwrap();
            }
            from.read.readable().await.unwrap();
            links.keep((from, to));
        }
        let (last, _enclave) = tokio::join!(links.take(), accepted());
        last.unwrap();
    }

    #[tokio::test]
    async fn end_inside_a_frame_is_an_error() {
        let (mut reader, _writer, mut enclave) = pair();
        enclave.write_all(&link::encode(Kind::Out, &[7; 300]).unwrap()[..200]).await.unwrap();
        drop(enclave);
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Unreachable(_)), "{error}");
    }

    #[tokio::test]
    async fn unknown_kind_and_oversize_are_refused() {
        let (mut reader, _writer, mut enclave) = pair();
        enclave.write_all(&[99, 0, 0, 0, 0]).await.unwrap();
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Link(LinkError::UnknownKind(99))), "{error}");

        let (mut reader, _writer, mut enclave) = pair();
        enclave.write_all(&[7, 0xff, 0, 0, 0]).await.unwrap();
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Link(LinkError::TooLong { .. })), "{error}");
    }

    #[tokio::test]
    async fn written_frames_decode_and_closing_ends_our_half_only() {
        let (mut reader, mut writer, mut enclave) = pair();
        writer.control(&Admitted { cumulative: 5.into() }).await.unwrap();
        writer.raw(Kind::Stored, &[]).await.unwrap();
        writer.close().await.unwrap();
        let mut bytes = Vec::new();
        enclave.read_to_end(&mut bytes).await.unwrap();
        let frames = Decoder::default().decode(&bytes).unwrap();
        assert_eq!(frames[0].control::<Admitted>().unwrap().cumulative, 5.into());
        frames[1].empty(Kind::Stored).unwrap();

        enclave.write_all(&link::encode(Kind::Done, &[]).unwrap()).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().kind, Kind::Done);
    }
}
