//! Which addresses a download may come from.
//!
//! A URL, a redirect or a name's answer can point at services that only this machine reaches: cloud
//! metadata at 169.254.169.254, a router, a database on loopback. Addresses are checked after they
//! were resolved, and the connection is made to the very addresses that were checked, so an answer
//! that changes between the two helps nobody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// An address that is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotPublic {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is at {}, which is not public", self.host, self.address)
    }
}

impl std::error::Error for NotPublic {}

/// Whether anybody on the internet could reach `address` as well.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// All but the special-purpose blocks of RFC 6890 and its successors.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Loopback and private networks: where a mirror of one's own may be. What is neither public nor
/// private is never asked: metadata services and routers are on link-local addresses.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_loopback() || address.is_private() || (a == 100 && (64..=127).contains(&b))
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

/// Global unicast (2000::/3) without what is reserved in it or carries an IPv4 address; and the
/// IPv4 addresses behind a translator (RFC 6052).
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4(Ipv4Addr::new(high[0], high[1], low[0], low[1]))
        }
        [0x2001, 0..=0x01ff | 0xdb8, ..] | [0x2002 | 0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names, and refuses those that lead to an address which is not public.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) allow_private: bool,
}

impl Guard {
    /// Checks a host that is an address already; those are never resolved.
    pub(super) fn check_literal(self, host: &str) -> Result<(), NotPublic> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(address) => self.check(host, address),
            Err(_) => Ok(()),
        }
    }

    fn check(self, host: &str, address: IpAddr) -> Result<(), NotPublic> {
        if is_public(address) || (self.allow_private && is_private(address)) {
            return Ok(());
        }
        Err(NotPublic { host: host.to_owned(), address })
    }

    /// The checked addresses of an answer. One bad address spoils all: nobody honest mixes them.
    fn checked(self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
        found.iter().try_for_each(|found| self.check(host, found.ip()))?;
        Ok(found)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let checked: Addrs = Box::new(guard.checked(name.as_str(), found)?.into_iter());
            Ok(checked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn what_only_this_machine_or_its_network_reaches_is_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn the_rest_of_the_internet_is() {
        for address in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn one_private_address_among_public_ones_spoils_the_answer() {
        let found: Vec<SocketAddr> =
            vec!["1.1.1.1:0".parse().unwrap(), "10.0.0.1:0".parse().unwrap()];
        let guard = Guard { allow_private: false };
        let refused = guard.checked("rebind.example", found.clone()).unwrap_err();
        assert_eq!(refused.address.to_string(), "10.0.0.1");
        let open = Guard { allow_private: true };
        assert_eq!(open.checked("rebind.example", found.clone()).unwrap(), found);
    }

    #[test]
    fn link_local_addresses_are_never_asked() {
        let open = Guard { allow_private: true };
        for host in ["127.0.0.1", "10.0.0.1", "192.168.7.7", "100.64.0.1", "[::1]", "[fd00::1]"] {
            open.check_literal(host).unwrap();
        }
        for host in
            ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "224.0.0.1", "[::ffff:a9fe:a9fe]"]
        {
            open.check_literal(host).unwrap_err();
        }
    }
}
