//! Tells systemd that a service is ready, if it asked to be told (`Type=notify`).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `READY=1` to the socket that the environment names. Nobody may listen: that is no failure.
pub(crate) fn ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = tell(path.as_encoded_bytes(), b"READY=1\n") {
        tracing::warn!(%error, "systemd could not be told that the service is ready");
    }
}

fn tell(path: &[u8], what: &[u8]) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let at = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(String::from_utf8_lossy(path).as_ref())?,
    };
    socket.send_to_addr(what, &at).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_the_file_system_or_without_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let name = format!("phallama test {}", dir.path().display());
        let abstract_one =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        tell(path.to_str().unwrap().as_bytes(), b"READY=1\n").unwrap();
        tell(format!("@{name}").as_bytes(), b"READY=1\n").unwrap();
        for socket in [listening, abstract_one] {
            let mut got = [0; 16];
            let length = socket.recv(&mut got).unwrap();
            assert_eq!(&got[..length], b"READY=1\n");
        }
    }
}
