//! Where a model is fetched from: what an operator types or pastes, the manifest that a registry
//! sends, and the addresses that a name leads to. The first byte chooses.
//!
//! Oracle: a name leads to its own repository under `/v2/` and to nothing else; a manifest gives a
//! digest that its own text holds; an address is public if and only if it is in every spelling.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use phallama_host::models::Source;
use phallama_host::models::address::is_public;
use phallama_host::models::manifest::model_blob;
use phallama_protocol::offers::check_model_name;

fuzz_target!(|data: &[u8]| {
    let Some((parser, bytes)) = data.split_first() else { return };
    match parser % 3 {
        0 => source(&String::from_utf8_lossy(bytes)),
        1 => manifest(bytes),
        _ => address(bytes),
    }
});

fn source(text: &str) {
    let Ok(source) = Source::parse(text, Some("registry.example")) else { return };
    if let Some(name) = source.default_name() {
        check_model_name(&name).expect("a name to offer it under is one of an offer");
    }
    let shown = source.shown();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    match source {
        Source::Url(url) => {
            assert!(matches!(url.scheme(), "http" | "https"));
            let end = url.path().len();
            assert!(shown.ends_with(url.path()) && shown.len() > end, "{shown}");
        }
        Source::Registry(_) => {
            let (place, _) = shown.rsplit_once(':').expect("a tag");
            let (host, repository) = place.split_once('/').expect("a host");
            assert!(!host.is_empty() && !repository.contains("..") && !repository.contains("//"));
        }
    }
}

fn manifest(json: &[u8]) {
    let Ok(blob) = model_blob(json, "url") else { return };
    assert!(blob.size_bytes > 0);
    // A JSON string may spell any character as an escape; then the digits are elsewhere.
    let text = String::from_utf8_lossy(json);
    assert!(text.contains(&hex::encode(blob.sha256)) || text.contains("\\u"));
}

fn address(bytes: &[u8]) {
    if let Some(octets) = bytes.first_chunk::<4>() {
        let v4 = Ipv4Addr::from(*octets);
        let public = is_public(IpAddr::V4(v4));
        assert!(!is_public(IpAddr::V6(v4.to_ipv6_mapped())), "nobody has such an address");
        let [high, low] = [[octets[0], octets[1]], [octets[2], octets[3]]].map(u16::from_be_bytes);
        let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
        assert_eq!(is_public(IpAddr::V6(translated)), public);
        assert!(!(public && (v4.is_loopback() || v4.is_private() || v4.is_link_local())));
    }
    if let Some(octets) = bytes.first_chunk::<16>() {
        let v6 = Ipv6Addr::from(*octets);
        let inside = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
        assert!(!(is_public(IpAddr::V6(v6)) && (inside || v6.is_multicast())));
    }
}
