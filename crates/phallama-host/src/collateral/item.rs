//! The four items: how they are asked for and where an answer carries their parts.

use std::fmt;

use percent_encoding::percent_decode;
use phallama_attest::Tee;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Fault;

/// The CA that issued the platform's PCK certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// For multi-package platforms, registered as a whole.
    Platform,
    /// For single processors.
    Processor,
}

/// The platform that collateral is wanted for, as its quote says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What made the quote.
    pub tee: Tee,
    /// Processor family, 6 bytes.
    pub fmspc: [u8; 6],
    /// See [`PckCa`].
    pub ca: PckCa,
    /// The root certificate that everything must be signed under, DER.
    pub root_der: Vec<u8>,
}

/// One of the four items of a collateral set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// Revocation list of the root.
    RootCrl,
    /// Revocation list of the CA of PCK certificates.
    PckCrl,
    /// Which firmware versions are up to date.
    TcbInfo,
    /// Which quoting enclave is Intel's.
    QeIdentity,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An item with what is needed to check it. Nothing in it is trusted before
/// [`judge`](super::judge()).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// PEM chain of the signer, root last. Empty for the root's own list.
    pub issuer_chain: String,
    /// The signed JSON text, byte for byte, or the revocation list in DER.
    #[serde(with = "hex_text")]
    pub body: Vec<u8>,
    /// r ‖ s over the JSON. Empty for revocation lists, which carry their own.
    #[serde(with = "hex_text")]
    pub signature: Vec<u8>,
}

/// `{"tcbInfo":{…},"signature":"…"}`; the signature covers the inner text as it stands.
#[derive(Deserialize)]
struct TcbInfoAnswer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    signed: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct QeIdentityAnswer<'a> {
    #[serde(rename = "enclaveIdentity", borrow)]
    signed: &'a RawValue,
    signature: String,
}

impl Item {
    /// All, in the order in which the contract takes them.
    pub const ALL: [Self; 4] = [Self::RootCrl, Self::PckCrl, Self::TcbInfo, Self::QeIdentity];

    /// The words that people know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RootCrl => "root revocation list",
            Self::PckCrl => "PCK revocation list",
            Self::TcbInfo => "TCB information",
            Self::QeIdentity => "quoting-enclave identity",
        }
    }

    /// Path and query under a service's base URL (Intel, *PCS API*, version 4; the root's list is
    /// an addition of caching services).
    pub fn path(self, wanted: &Wanted) -> String {
        let tee = tee_path(wanted.tee);
        match self {
            Self::RootCrl => "sgx/certification/v4/rootcacrl".to_owned(),
            Self::PckCrl => {
                let ca = wanted.ca.as_str();
                format!("sgx/certification/v4/pckcrl?ca={ca}&encoding=der")
            }
            Self::TcbInfo => {
                let fmspc = hex::encode_upper(wanted.fmspc);
                format!("{tee}/certification/v4/tcb?fmspc={fmspc}")
            }
            Self::QeIdentity => format!("{tee}/certification/v4/qe/identity"),
        }
    }

    /// The name of its file in a cache directory.
    pub(super) fn file_name(self, wanted: &Wanted) -> String {
        let tee = tee_path(wanted.tee);
        match self {
            Self::RootCrl => "root-crl.json".to_owned(),
            Self::PckCrl => format!("pck-crl-{}.json", wanted.ca.as_str()),
            Self::TcbInfo => format!("tcb-info-{tee}-{}.json", hex::encode(wanted.fmspc)),
            Self::QeIdentity => format!("qe-identity-{tee}.json"),
        }
    }

    /// Headers that carry its issuer chain: the current name first.
    fn chain_headers(self) -> &'static [&'static str] {
        match self {
            Self::RootCrl => &[],
            Self::PckCrl => &["SGX-PCK-CRL-Issuer-Chain"],
            Self::TcbInfo => &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
            Self::QeIdentity => &["SGX-Enclave-Identity-Issuer-Chain"],
        }
    }

    /// Takes an answer apart.
    pub(super) fn document(self, headers: &HeaderMap, body: &[u8]) -> Result<Document, Fault> {
        let issuer_chain = self.issuer_chain(headers)?;
        let (body, signature) = match self {
            Self::RootCrl | Self::PckCrl => (der_or_hex(body)?, Vec::new()),
            Self::TcbInfo => {
                let TcbInfoAnswer { signed, signature } = json(body)?;
                (signed.get().into(), signature_bytes(&signature)?)
            }
            Self::QeIdentity => {
                let QeIdentityAnswer { signed, signature } = json(body)?;
                (signed.get().into(), signature_bytes(&signature)?)
            }
        };
        Ok(Document { issuer_chain, body, signature })
    }

    fn issuer_chain(self, headers: &HeaderMap) -> Result<String, Fault> {
        let names = self.chain_headers();
        let Some(header) = names.first().copied() else { return Ok(String::new()) };
        let sent = names.iter().find_map(|name| headers.get(*name));
        let sent = sent.ok_or(Fault::NoIssuerChain { header })?;
        let text = percent_decode(sent.as_bytes()).decode_utf8().map_err(Fault::malformed)?;
        Ok(text.into_owned())
    }
}

impl PckCa {
    /// As in the service's query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

/// As in the service's paths.
fn tee_path(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
    }
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(Fault::malformed)
}

fn signature_bytes(text: &str) -> Result<Vec<u8>, Fault> {
    hex::decode(text).map_err(|error| Fault::malformed(format!("`signature`: {error}")))
}

/// Caching services send lists as hex text, Intel's own sends DER. DER is never hex all through:
/// the length of a list takes more than one byte, the first of which is no ASCII.
fn der_or_hex(body: &[u8]) -> Result<Vec<u8>, Fault> {
    const SEQUENCE: u8 = 0x30;
    let der = hex::decode(body.trim_ascii()).unwrap_or_else(|_| body.to_vec());
    if der.first() != Some(&SEQUENCE) {
        return Err(Fault::malformed("a revocation list in neither DER nor hex"));
    }
    Ok(der)
}

/// Bytes as hex in JSON.
mod hex_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(de::Error::custom)
    }
}
