use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use phallama_protocol::link::{self, Control, Decoder, Frame, Kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// The socket of an enclave that a test plays.
pub(crate) struct ScriptedEnclave {
    listener: UnixListener,
    folder: tempfile::TempDir,
}

/// The enclave's end of one connection.
pub(crate) struct EnclaveSide {
    stream: UnixStream,
    decoder: Decoder,
    ready: VecDeque<Frame>,
}

impl ScriptedEnclave {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("enclave.sock")).unwrap();
        Self { listener, folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("enclave.sock")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn accept(&self) -> EnclaveSide {
        let (stream, _) = self.listener.accept().await.unwrap();
        EnclaveSide { stream, decoder: Decoder::default(), ready: VecDeque::new() }
    }
}

impl EnclaveSide {
    /// The host's next frame; `None` when it has closed its sending half.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut bytes = vec![0; 65_536];
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let read = self.stream.read(&mut bytes).await.unwrap();
            if read == 0 {
                return None;
            }
            self.ready.extend(self.decoder.decode(&bytes[..read]).unwrap());
        }
    }

    /// The host's next frame, which must be of this kind.
    pub(crate) async fn expect(&mut self, kind: Kind) -> Frame {
        let frame = self.next().await.expect("the host closed the connection");
        assert_eq!(frame.kind, kind);
        frame
    }

    pub(crate) async fn raw(&mut self, kind: Kind, payload: &[u8]) {
        self.stream.write_all(&link::encode(kind, payload).unwrap()).await.unwrap();
    }

    /// The last bytes of an answer and its end, in one piece.
    pub(crate) async fn end(&mut self, payload: &[u8]) {
        let out = link::encode(Kind::Out, payload).unwrap();
        let done = link::encode(Kind::Done, &[]).unwrap();
        self.stream.write_all(&[out, done].concat()).await.unwrap();
    }

    pub(crate) async fn control<T: Control>(&mut self, message: &T) {
        self.stream.write_all(&link::encode_control(message).unwrap()).await.unwrap();
    }
}
