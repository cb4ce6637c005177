//! The UNIX socket on which the host speaks to the enclave.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use phallama_protocol::link::{
    EvidenceRequest, Frame, Head, Kind, LinkError, Refused, SignBatch, SignClose,
};
use phallama_protocol::refusal::Code;
use tokio::net::{UnixListener, UnixStream};

use crate::connection::{HostGone, HostReader, HostWriter, split};
use crate::enclave::Enclave;
use crate::{exchange, settlement};

/// How often epochs that are over are looked for when nobody asks for anything.
const ERASE_EVERY: Duration = Duration::from_secs(5);
/// Wait after a connection could not be accepted, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens at `path`, for this user only. A stale socket there is replaced.
///
/// The socket is made in a directory that only this user can enter and moved to its place when its
/// permissions are set: there is no moment at which others could connect.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] when somebody still listens there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // Short: paths of sockets are.
    let dir = path.with_file_name(format!(".{}", std::process::id()));
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    let bound = bind_in(&dir, path);
    let removed = fs::remove_dir_all(&dir);
    let listener = bound?;
    removed?;
    Ok(listener)
}

fn bind_in(dir: &Path, path: &Path) -> io::Result<UnixListener> {
    let inside = dir.join("s");
    let listener = UnixListener::bind(&inside)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&inside, path)?;
    Ok(listener)
}

/// Serves the host until `stop` completes. Running exchanges go on: see [`Enclave::drain`].
pub async fn serve(enclave: Arc<Enclave>, listener: UnixListener, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut erase = tokio::time::interval(ERASE_EVERY);
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = erase.tick() => enclave.erase_old_epochs(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(Arc::clone(&enclave), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of the host");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(enclave: Arc<Enclave>, stream: UnixStream) {
    let (reader, writer) = split(stream);
    if let Err(error) = converse(&enclave, reader, writer).await {
        tracing::debug!(%error, "connection of the host ended");
    }
}

/// Answers control messages and sealed requests, one after the other, until the host closes.
async fn converse(
    enclave: &Arc<Enclave>,
    mut reader: HostReader,
    mut writer: HostWriter,
) -> Result<(), HostGone> {
    while let Some(frame) = reader.next().await? {
        if frame.kind == Kind::Sealed {
            (reader, writer) = exchange::serve(enclave, frame.payload, reader, writer).await?;
        } else {
            control(enclave, &frame, &mut writer).await?;
        }
    }
    Ok(())
}

async fn control(
    enclave: &Enclave,
    frame: &Frame,
    writer: &mut HostWriter,
) -> Result<(), HostGone> {
    match frame.kind {
        Kind::Bundle => {
            frame.empty(Kind::Bundle)?;
            writer.raw(Kind::Bundle, enclave.bundle().bytes()).await
        }
        Kind::Evidence => evidence(enclave, frame, writer).await,
        Kind::Status => {
            frame.empty(Kind::Status)?;
            writer.control(&enclave.status()).await
        }
        Kind::Head => {
            enclave.see_block(frame.control::<Head>()?.block);
            Ok(())
        }
        Kind::SignBatch => {
            let batch = frame.control::<SignBatch>()?;
            writer.control(&settlement::sign_batch(enclave, &batch).await).await
        }
        Kind::SignClose => match settlement::sign_close(enclave, frame.control::<SignClose>()?) {
            Ok(signed) => writer.control(&signed).await,
            Err(refused) => writer.control(&refused).await,
        },
        other => Err(HostGone::OutOfPlace(other)),
    }
}

async fn evidence(
    enclave: &Enclave,
    frame: &Frame,
    writer: &mut HostWriter,
) -> Result<(), HostGone> {
    let wrong = LinkError::NotEmpty { kind: Kind::Evidence, got: frame.payload.len() };
    let nonce = EvidenceRequest::try_from(frame.payload.as_slice()).map_err(|_| wrong)?;
    match enclave.evidence(nonce).await {
        Ok(json) => writer.raw(Kind::Evidence, &json).await,
        Err(error) => {
            tracing::warn!(%error, "no evidence for a verifier");
            writer.control(&Refused { code: Code::Internal, retry_after_ms: 0 }).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_link_is_for_this_user_only_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enclave.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists(), "a socket outlives its listener");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        let (_client, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        accepted.unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
