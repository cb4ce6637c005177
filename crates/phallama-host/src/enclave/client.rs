//! Questions to the enclave outside of exchanges. Each takes its own connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use phallama_protocol::ids::Address;
use phallama_protocol::link::{
    BatchRow, BatchSigned, CloseSigned, Control, Frame, Head, Kind, Refused, SignBatch, SignClose,
    Status,
};

use super::{LinkReader, LinkWriter, connect};
use crate::error::EnclaveError;

/// Signing 100 rows takes milliseconds; a quote can take seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Asks the enclave behind a UNIX socket.
#[derive(Clone, Debug)]
pub struct EnclaveClient {
    socket: PathBuf,
}

impl EnclaveClient {
    /// For the enclave that listens at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The key bundle's bytes (spec/wire.md).
    pub async fn bundle(&self) -> Result<Vec<u8>, EnclaveError> {
        let answer = self.ask(Kind::Bundle, |mut to| async move {
            to.raw(Kind::Bundle, &[]).await?;
            Ok(to)
        });
        answer.await.map(|frame| frame.payload)
    }

    /// Evidence JSON over a verifier's nonce; all zero for the evidence registered on chain.
    pub async fn evidence(&self, nonce: [u8; 32]) -> Result<Vec<u8>, EnclaveError> {
        let answer = self.ask(Kind::Evidence, |mut to| async move {
            to.raw(Kind::Evidence, &nonce).await?;
            Ok(to)
        });
        answer.await.map(|frame| frame.payload)
    }

    /// How the enclave is.
    pub async fn status(&self) -> Result<Status, EnclaveError> {
        let answer = self.ask(Kind::Status, |mut to| async move {
            to.raw(Kind::Status, &[]).await?;
            Ok(to)
        });
        Ok(answer.await?.control()?)
    }

    /// One signature over the rows that the enclave stands for.
    pub async fn sign_batch(&self, rows: Vec<BatchRow>) -> Result<BatchSigned, EnclaveError> {
        self.control(Kind::BatchSigned, SignBatch { rows }).await
    }

    /// A signature over the final amount of a channel.
    pub async fn sign_close(&self, user: Address, epoch: u32) -> Result<CloseSigned, EnclaveError> {
        self.control(Kind::CloseSigned, SignClose { user, epoch }).await
    }

    /// Tells the enclave about a block; there is no answer.
    pub async fn head(&self, block: u64) -> Result<(), EnclaveError> {
        let (_reader, mut writer) = connect(&self.socket).await?;
        writer.control(&Head { block }).await?;
        writer.close().await
    }

    async fn control<Q: Control, A: Control>(
        &self,
        expected: Kind,
        question: Q,
    ) -> Result<A, EnclaveError> {
        let answer = self.ask(expected, |mut to| async move {
            to.control(&question).await?;
            Ok(to)
        });
        Ok(answer.await?.control()?)
    }

    /// Connects, lets `send` ask, and returns the one answer of the expected kind.
    async fn ask<F>(
        &self,
        expected: Kind,
        send: impl FnOnce(LinkWriter) -> F,
    ) -> Result<Frame, EnclaveError>
    where
        F: Future<Output = Result<LinkWriter, EnclaveError>>,
    {
        let exchange = async {
            let (mut from, to) = connect(&self.socket).await?;
            let _open = send(to).await?;
            answer(&mut from, expected).await
        };
        let waited_ms = ANSWER_WITHIN.as_millis();
        let late = EnclaveError::Timeout { kind: expected, waited_ms };
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Err(late))
    }
}

async fn answer(from: &mut LinkReader, expected: Kind) -> Result<Frame, EnclaveError> {
    let frame = from.next().await?.ok_or(EnclaveError::Closed(expected))?;
    if frame.kind == Kind::Refused {
        let refused: Refused = frame.control()?;
        return Err(EnclaveError::Refused(refused.code));
    }
    if frame.kind != expected {
        let got = frame.kind;
        return Err(phallama_protocol::link::LinkError::Unexpected { expected, got }.into());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Digest32;
    use phallama_protocol::link::{self, Decoder, WorkerState};
    use phallama_protocol::refusal::Code;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// An enclave side that reads one frame and answers with fixed bytes; returns the frame.
    fn scripted(
        answer: Vec<u8>,
    ) -> (EnclaveClient, tokio::task::JoinHandle<Frame>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("enclave.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut decoder = Decoder::default();
            let mut bytes = [0; 1024];
            let asked = loop {
                let read = stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "the host closed before it asked");
                if let Some(frame) = decoder.decode(&bytes[..read]).unwrap().pop() {
                    break frame;
                }
            };
            stream.write_all(&answer).await.unwrap();
            asked
        });
        (EnclaveClient::new(socket), asked, folder)
    }

    #[tokio::test]
    async fn status_is_asked_with_an_empty_frame() {
        let status = Status {
            identity: Address([1; 20]),
            measurement: Digest32([2; 32]),
            in_flight: 1,
            queued: 2,
            slots: 3,
            worker: WorkerState::Ready,
            epoch_id: 4,
            models: Vec::new(),
        };
        let (client, asked, _folder) = scripted(link::encode_control(&status).unwrap());
        assert_eq!(client.status().await.unwrap(), status);
        asked.await.unwrap().empty(Kind::Status).unwrap();
    }

    #[tokio::test]
    async fn evidence_is_asked_with_the_raw_nonce() {
        let (client, asked, _folder) = scripted(link::encode(Kind::Evidence, b"{}").unwrap());
        assert_eq!(client.evidence([5; 32]).await.unwrap(), b"{}");
        assert_eq!(asked.await.unwrap().payload, [5; 32]);
    }

    #[tokio::test]
    async fn refusal_closing_and_other_answers_are_told_apart() {
        let refused = Refused { code: Code::Internal, retry_after_ms: 0 };
        let (client, _asked, _folder) = scripted(link::encode_control(&refused).unwrap());
        let error = client.bundle().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Refused(Code::Internal)), "{error}");

        let (client, _asked, _folder) = scripted(Vec::new());
        let error = client.bundle().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Closed(Kind::Bundle)), "{error}");

        let (client, _asked, _folder) = scripted(link::encode(Kind::Done, &[]).unwrap());
        let error = client.bundle().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Link(_)), "{error}");
    }

    #[tokio::test]
    async fn missing_enclave_is_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let client = EnclaveClient::new(folder.path().join("nobody.sock"));
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, EnclaveError::Unreachable(_)), "{error}");
    }
}
