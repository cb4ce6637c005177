use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest evidence document that is decoded, in bytes of JSON.
///
/// Real ones have 20 to 60 KiB; the room is for long revocation lists.
pub const EVIDENCE_MAX_BYTES: usize = 256 * 1024;

/// Where a pod serves its evidence over HTTP.
pub const EVIDENCE_PATH: &str = "/.well-known/phallama/evidence";

/// Version of the JSON document.
const EVIDENCE_VERSION: u32 = 1;

/// A quote, and everything needed to judge it offline.
///
/// Nothing in it is trusted before verification. The serialised form is [`Evidence::to_json`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The raw quote: SGX v3, or TDX v4 or v5.
    pub quote: Vec<u8>,
    /// What the verifier needs beside the quote.
    pub collateral: Collateral,
}

/// Intel's signed statements about platforms and the quoting enclave, as Intel's provisioning
/// service (PCS v4) hands them out. Field names are those of the JSON that caching services use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// PEM chain of the CA that signed `pck_crl`, root last.
    pub pck_crl_issuer_chain: String,
    /// DER revocation list of the root CA.
    #[serde(with = "hex_bytes")]
    pub root_ca_crl: Vec<u8>,
    /// DER revocation list of the CA that issued the platform's PCK certificate.
    #[serde(with = "hex_bytes")]
    pub pck_crl: Vec<u8>,
    /// PEM chain of the signer of `tcb_info`, root last.
    pub tcb_info_issuer_chain: String,
    /// The TCB information JSON, exactly the bytes that were signed.
    pub tcb_info: String,
    /// ECDSA P-256 signature over `tcb_info`: r ‖ s, 64 bytes.
    #[serde(with = "hex_bytes")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM chain of the signer of `qe_identity`, root last.
    pub qe_identity_issuer_chain: String,
    /// The quoting enclave's identity JSON, exactly the bytes that were signed.
    pub qe_identity: String,
    /// ECDSA P-256 signature over `qe_identity`: r ‖ s, 64 bytes.
    #[serde(with = "hex_bytes")]
    pub qe_identity_signature: Vec<u8>,
    /// A copy of the PCK chain, as some caching services add it. It is never used: the quote's own
    /// chain is, and a copy that differs from it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_certificate_chain: Option<String>,
}

/// Why bytes are not an evidence document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// More bytes than [`EVIDENCE_MAX_BYTES`].
    #[error("evidence has {got} bytes, more than the limit of {max}")]
    TooLarge {
        /// Size of the document in bytes.
        got: usize,
        /// [`EVIDENCE_MAX_BYTES`].
        max: usize,
    },
    /// Not the JSON document that `spec/attestation.md` defines.
    #[error("evidence is not a valid document: {detail}")]
    Malformed {
        /// What the JSON parser found, with line and column.
        detail: String,
    },
    /// A version that this program does not know.
    #[error("evidence has version {got}; this program reads version {supported}")]
    UnsupportedVersion {
        /// The document's version.
        got: u32,
        /// The version that is read.
        supported: u32,
    },
}

#[derive(Serialize)]
struct DocumentRef<'a> {
    version: u32,
    #[serde(with = "hex_bytes")]
    quote: &'a [u8],
    collateral: &'a Collateral,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(with = "hex_bytes")]
    quote: Vec<u8>,
    collateral: Collateral,
}

impl Evidence {
    /// The JSON document: `{"version":1,"quote":"<hex>","collateral":{…}}`, binary fields in
    /// lower-case hex.
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`] when no reader would accept the result.
    pub fn to_json(&self) -> Result<Vec<u8>, EvidenceError> {
        let document = DocumentRef {
            version: EVIDENCE_VERSION,
            quote: &self.quote,
            collateral: &self.collateral,
        };
        let json = serde_json::to_vec(&document).map_err(malformed)?;
        within_limit(&json)?;
        Ok(json)
    }

    /// Reads what [`to_json`](Self::to_json) writes. The size is checked before parsing.
    ///
    /// # Errors
    /// [`EvidenceError`]; unknown and missing fields are errors.
    pub fn from_json(json: &[u8]) -> Result<Self, EvidenceError> {
        within_limit(json)?;
        let Document { version, quote, collateral } =
            serde_json::from_slice(json).map_err(malformed)?;
        if version != EVIDENCE_VERSION {
            let supported = EVIDENCE_VERSION;
            return Err(EvidenceError::UnsupportedVersion { got: version, supported });
        }
        Ok(Self { quote, collateral })
    }

    /// SHA-256 of the raw quote: the registry and key bundles name it to pin what a location
    /// serves.
    ///
    /// It is an integrity pin, never an id: parts of a quote are not signed, so the same genuine
    /// report can come as different bytes.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.quote).into()
    }
}

fn within_limit(json: &[u8]) -> Result<(), EvidenceError> {
    if json.len() > EVIDENCE_MAX_BYTES {
        return Err(EvidenceError::TooLarge { got: json.len(), max: EVIDENCE_MAX_BYTES });
    }
    Ok(())
}

// By value, because that is the shape `map_err` hands over.
#[allow(clippy::needless_pass_by_value)]
fn malformed(error: serde_json::Error) -> EvidenceError {
    EvidenceError::Malformed { detail: error.to_string() }
}

/// Bytes as a hex string in JSON.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S, B>(bytes: &B, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        B: AsRef<[u8]> + ?Sized,
    {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Vec<u8>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        let chain = String::from("-----BEGIN CERTIFICATE-----\n");
        Evidence {
            quote: vec![3, 0, 0xff],
            collateral: Collateral {
                pck_crl_issuer_chain: chain.clone(),
                root_ca_crl: vec![0x30, 1],
                pck_crl: vec![0x30, 2],
                tcb_info_issuer_chain: chain.clone(),
                tcb_info: r#"{"id":"SGX"}"#.to_owned(),
                tcb_info_signature: vec![1; 64],
                qe_identity_issuer_chain: chain,
                qe_identity: r#"{"id":"QE"}"#.to_owned(),
                qe_identity_signature: vec![2; 64],
                pck_certificate_chain: None,
            },
        }
    }

    fn edited(from: &str, to: &str) -> Result<Evidence, EvidenceError> {
        let json = String::from_utf8(evidence().to_json().unwrap()).unwrap();
        assert!(json.contains(from), "the edit `{from}` must change the document");
        Evidence::from_json(json.replacen(from, to, 1).as_bytes())
    }

    fn detail(result: Result<Evidence, EvidenceError>) -> String {
        match result {
            Err(EvidenceError::Malformed { detail }) => detail,
            other => panic!("expected a malformed document, got {other:?}"),
        }
    }

    #[test]
    fn json_round_trips() {
        let json = evidence().to_json().unwrap();
        assert!(json.starts_with(br#"{"version":1,"quote":"0300ff","collateral":{"#));
        assert_eq!(Evidence::from_json(&json), Ok(evidence()));
    }

    #[test]
    fn rejects_an_unknown_version() {
        let error = EvidenceError::UnsupportedVersion { got: 2, supported: 1 };
        assert_eq!(edited(r#""version":1"#, r#""version":2"#), Err(error));
    }

    #[test]
    fn rejects_an_unknown_field() {
        let found = detail(edited(r#""version":1"#, r#""version":1,"debug":true"#));
        assert!(found.contains("unknown field `debug`"), "{found}");
    }

    #[test]
    fn rejects_a_missing_field() {
        let found = detail(edited(r#""pck_crl":"3002","#, ""));
        assert!(found.contains("missing field `pck_crl`"), "{found}");
    }

    #[test]
    fn rejects_a_quote_that_is_not_hex() {
        let found = detail(edited("0300ff", "0300fg"));
        assert!(found.contains("Invalid character 'g'"), "{found}");
    }

    #[test]
    fn rejects_bytes_after_the_document() {
        let mut json = evidence().to_json().unwrap();
        json.push(b'x');
        let found = detail(Evidence::from_json(&json));
        assert!(found.contains("trailing characters"), "{found}");
    }

    #[test]
    fn rejects_documents_over_the_limit_in_both_directions() {
        let error =
            EvidenceError::TooLarge { got: EVIDENCE_MAX_BYTES + 1, max: EVIDENCE_MAX_BYTES };
        assert_eq!(Evidence::from_json(&vec![b' '; EVIDENCE_MAX_BYTES + 1]), Err(error));
        let mut large = evidence();
        large.quote = vec![0; EVIDENCE_MAX_BYTES];
        assert!(matches!(large.to_json(), Err(EvidenceError::TooLarge { .. })));
    }

    #[test]
    fn hash_covers_the_quote_alone() {
        let mut other = evidence();
        other.collateral.pck_crl.clear();
        assert_eq!(other.hash(), evidence().hash());
        other.quote.push(0);
        assert_ne!(other.hash(), evidence().hash());
    }
}
