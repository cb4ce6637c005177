//! Where a worker listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::EngineError;

/// Where a worker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket in a directory that only we can enter.
    Unix(PathBuf),
    /// A port of this machine.
    Tcp(SocketAddr),
}

impl Address {
    /// The value of the header `host`.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "worker".to_owned(),
            Self::Tcp(address) => address.to_string(),
        }
    }
}

/// The address that `url` names: `http://127.0.0.1:PORT`, with `localhost` or `[::1]` too, and with
/// nothing behind it but `/` or `/v1`. Prompts go there in the clear, so it has to be this machine:
/// what leaves it leaves what the evidence speaks of.
///
/// # Errors
/// [`EngineError::BackendUrl`].
pub fn loopback_address(url: &str) -> Result<SocketAddr, EngineError> {
    let wrong = |problem| EngineError::BackendUrl { url: url.to_owned(), problem };
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or_else(|| wrong("it has to begin with `http://`"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !["", "v1", "v1/"].contains(&path) {
        return Err(wrong("only `/` or `/v1` may follow the port"));
    }
    let named = authority.strip_prefix("localhost:").map(str::parse);
    let address = match named {
        Some(port) => port.ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        None => authority.parse().ok(),
    };
    let address: SocketAddr =
        address.ok_or_else(|| wrong("an IP address of this machine and a port are expected"))?;
    check_loopback(address)?;
    Ok(address)
}

/// # Errors
/// [`EngineError::BackendUrl`].
pub(crate) fn check_loopback(address: SocketAddr) -> Result<(), EngineError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let problem = "it is not an address of this machine, and prompts would leave it in the clear";
    Err(EngineError::BackendUrl { url: format!("http://{address}"), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_taken() {
        for (url, expected) in [
            ("http://127.0.0.1:11434", "127.0.0.1:11434"),
            ("http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
            ("http://127.3.2.1:8000/v1/", "127.3.2.1:8000"),
            ("http://localhost:80/", "127.0.0.1:80"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(loopback_address(url).unwrap(), expected.parse().unwrap(), "{url}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        for (url, reason) in [
            ("https://127.0.0.1:1", "begin with `http://`"),
            ("127.0.0.1:1", "begin with `http://`"),
            ("http://127.0.0.1:1/api", "may follow the port"),
            ("http://127.0.0.1:1/v1?x", "may follow the port"),
            ("http://127.0.0.1", "and a port"),
            ("http://localhost:x", "and a port"),
            ("http://localhost.example:1", "and a port"),
            ("http://user@127.0.0.1:1", "and a port"),
            ("http://10.0.0.1:8000", "not an address of this machine"),
            ("http://0.0.0.0:8000", "not an address of this machine"),
            ("http://[::ffff:10.0.0.1]:8000", "not an address of this machine"),
        ] {
            let error = loopback_address(url).unwrap_err();
            assert!(error.to_string().contains(reason), "{url}: {error}");
            assert_eq!(error.fault(), crate::Fault::Operator);
        }
    }
}
