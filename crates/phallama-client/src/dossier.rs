//! Everything that the verdict about one pod follows from, in one document.
//!
//! A verdict is a function of a [`Dossier`], a [`TrustPolicy`] and a time. So it can be made again
//! anywhere and at any later time: without the chain, the pod, the network or a wallet. What only
//! the chain knows is then the word of whoever kept the file, and the verdict says so. The JSON
//! form is described in `docs/reference/audit-file.md`.

use phallama_attest::{Binding, Evidence, NONCE_ON_CHAIN, report_data};
use phallama_chain::{AttestedKey, MachineHolder, PodRecord};
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::ids::{Address, Digest32, PodId};
use phallama_protocol::offers::Offer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::check::{Check, Refusal, VouchedBy};
use crate::config::TrustPolicy;
use crate::error::ClientError;
use crate::verify;

/// Largest audit file that is read, in bytes: an evidence document in indented JSON with room for
/// the rest.
pub const AUDIT_FILE_MAX_BYTES: usize = 1024 * 1024;

/// Version of the JSON document.
const AUDIT_FILE_VERSION: u32 = 1;

/// What a deployment is made of, as its chain says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentFacts {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// `PodRegistry`.
    pub registry: Address,
    /// `Escrow`.
    pub escrow: Address,
    /// The contract that verifies quotes for the registry.
    pub verifier: Address,
    /// SHA-256 of the root certificate (DER) that the verifier pins.
    pub root_certificate_sha256: Digest32,
}

/// What the registry says about the machine of the presented quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// SHA-256("phallama/1 machine" ‖ 0 ‖ PPID).
    pub machine: Digest32,
    /// The pod that the machine backs, if any.
    #[serde(with = "json::holder")]
    pub holder: Option<MachineHolder>,
    /// Whether this pod's operator agreed to share the machine.
    pub shared: bool,
}

/// One pod at one moment: chain record, key bundle and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dossier {
    /// When it was gathered, in unix seconds.
    pub gathered_at_unix_s: u64,
    /// Chain and contracts.
    pub deployment: DeploymentFacts,
    /// The pod's record in the registry.
    #[serde(with = "json::Record")]
    pub record: PodRecord,
    /// The machine of the quote; `None` when the quote names none.
    pub machine: Option<MachineFacts>,
    /// Highest TCB evaluation number that whoever gathered this had seen before, for this kind of
    /// TEE under their root; 0 before any.
    pub tcb_evaluation_number_min: u32,
    /// The signed key bundle as served (spec/wire.md); empty when the pod was not asked, because
    /// its record refuses it already.
    #[serde(with = "json::bytes")]
    pub bundle: Vec<u8>,
    /// The evidence document as served (spec/attestation.md); empty when the pod was not asked.
    #[serde(with = "json::document")]
    pub evidence: Vec<u8>,
}

/// Why bytes are no audit file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DossierError {
    /// More bytes than [`AUDIT_FILE_MAX_BYTES`].
    #[error("it has {got} bytes, more than the limit of {max}")]
    TooLarge {
        /// Size in bytes.
        got: usize,
        /// [`AUDIT_FILE_MAX_BYTES`].
        max: usize,
    },
    /// Not the JSON document that `docs/reference/audit-file.md` describes.
    #[error("it is not a valid document: {detail}")]
    Malformed {
        /// What the JSON parser found, with line and column.
        detail: String,
    },
    /// A version that this program does not know.
    #[error("it has version {got}; this program reads version {supported}")]
    UnsupportedVersion {
        /// The document's version.
        got: u32,
        /// The version that is read.
        supported: u32,
    },
}

/// The verdict is for readers and is made again, never read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditFile {
    version: u32,
    dossier: Dossier,
    #[serde(default, rename = "verdict")]
    _verdict: serde::de::IgnoredAny,
}

impl Dossier {
    /// Reads what [`Audit::to_json`] writes. The recorded verdict is passed over.
    ///
    /// # Errors
    /// [`DossierError`]; unknown and missing fields are errors.
    pub fn from_json(json: &[u8]) -> Result<Self, DossierError> {
        let (got, max) = (json.len(), AUDIT_FILE_MAX_BYTES);
        if got > max {
            return Err(DossierError::TooLarge { got, max });
        }
        let file: AuditFile = serde_json::from_slice(json)
            .map_err(|error| DossierError::Malformed { detail: error.to_string() })?;
        let (got, supported) = (file.version, AUDIT_FILE_VERSION);
        if got != supported {
            return Err(DossierError::UnsupportedVersion { got, supported });
        }
        Ok(file.dossier)
    }

    /// Makes every check again at `at_unix_s`, from this document alone. What the chain says is
    /// then vouched for by the file.
    pub fn audit(self, trust: &TrustPolicy, at_unix_s: u64) -> Audit {
        let verdict = verify::appraise(&self, trust, VouchedBy::File, at_unix_s);
        let result = verdict.map(|pod| (pod.release_label().to_owned(), pod.checks().to_vec()));
        Audit { dossier: self, at_unix_s, result }
    }

    /// What the report data of the quote has to bind, as record and bundle name it.
    pub(crate) fn binding(&self, key: &AttestedKey, bundle: &KeyBundle) -> Binding {
        Binding {
            chain_id: self.deployment.chain_id,
            registry: self.deployment.registry.0,
            pod_id: self.record.pod_id.0,
            identity: key.identity.0,
            model_set_root: bundle.model_set_root.0,
            policy_digest: bundle.policy_digest.0,
        }
    }

    /// The binding with the report data that follows from it; `None` without a key or a bundle.
    fn binding_json(&self) -> Option<Value> {
        let key = self.record.key.as_ref()?;
        let signed = SignedBundle::decode(&self.bundle).ok()?;
        let (bundle, deployment) = (signed.bundle(), &self.deployment);
        let expected = report_data(&self.binding(key, bundle), NONCE_ON_CHAIN);
        Some(json!({
            "chain_id": deployment.chain_id, "registry": deployment.registry,
            "pod_id": self.record.pod_id, "identity": key.identity,
            "model_set_root": bundle.model_set_root, "policy_digest": bundle.policy_digest,
            "nonce": Digest32(NONCE_ON_CHAIN), "report_data": hex::encode(expected),
        }))
    }
}

/// A dossier and the verdict on it. Nothing can be sealed to a pod by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub(crate) dossier: Dossier,
    pub(crate) at_unix_s: u64,
    /// The label of the approved measurement and every check, or the refusal.
    pub(crate) result: Result<(String, Vec<Check>), Box<Refusal>>,
}

impl Audit {
    /// What was judged.
    pub fn dossier(&self) -> &Dossier {
        &self.dossier
    }

    /// The time it was judged for, in unix seconds.
    pub fn at_unix_s(&self) -> u64 {
        self.at_unix_s
    }

    /// Every check in table order.
    pub fn checks(&self) -> &[Check] {
        match &self.result {
            Ok((_, checks)) => checks,
            Err(refusal) => &refusal.checks,
        }
    }

    /// Why the pod was refused, if it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.result.as_ref().err().map(Box::as_ref)
    }

    /// The verdict as a result.
    ///
    /// # Errors
    /// [`ClientError::AttestationRejected`].
    pub fn into_result(self) -> Result<(), ClientError> {
        self.result.map(|_| ()).map_err(ClientError::AttestationRejected)
    }

    /// The document of `docs/reference/audit-file.md`: dossier and verdict.
    pub fn to_json(&self) -> Value {
        let accepted = self.result.is_ok();
        let label = self.result.as_ref().ok().map(|(label, _)| label);
        json!({
            "version": AUDIT_FILE_VERSION,
            "dossier": self.dossier,
            "verdict": {
                "accepted": accepted,
                "approved_as": label,
                "refused_by": self.refusal().map(|refusal| refusal.failed().name),
                "at_unix_s": self.at_unix_s,
                "binding": self.dossier.binding_json(),
                "checks": self.checks(),
            },
        })
    }
}

/// The JSON forms of what is not ours or not text.
mod json {
    use serde::{Deserializer, Serializer, de};

    use super::{
        Address, AttestedKey, Deserialize, Digest32, Evidence, MachineHolder, Offer, PodId,
        PodRecord, Serialize, Value,
    };

    /// A chain record.
    #[derive(Serialize, Deserialize)]
    #[serde(remote = "PodRecord", deny_unknown_fields)]
    pub(super) struct Record {
        pod_id: PodId,
        operator: Address,
        url: String,
        payout: Address,
        offers: Vec<Offer>,
        offers_hash: Digest32,
        key: Option<AttestedKey>,
        updated_at_unix_s: u64,
        retired: bool,
    }

    /// Hex without `0x`, as in evidence documents.
    pub(super) mod bytes {
        use super::{Deserialize as _, Deserializer, Serializer, de};

        pub(in super::super) fn serialize<S: Serializer>(
            bytes: &[u8],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&hex::encode(bytes))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<u8>, D::Error> {
            hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }

    /// An evidence document as the object it is; anything else that was served, as hex.
    pub(super) mod document {
        use super::{
            Deserialize as _, Deserializer, Evidence, Serialize as _, Serializer, Value, de,
        };

        pub(in super::super) fn serialize<S: Serializer>(
            served: &[u8],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let readable = Evidence::from_json(served).is_ok();
            match serde_json::from_slice::<Value>(served) {
                Ok(document) if readable => document.serialize(serializer),
                _ => serializer.serialize_str(&hex::encode(served)),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<u8>, D::Error> {
            match Value::deserialize(deserializer)? {
                Value::String(text) => hex::decode(text).map_err(de::Error::custom),
                document => serde_json::to_vec(&document).map_err(de::Error::custom),
            }
        }
    }

    /// A machine's holder: the beginning of a pod id, and until when.
    pub(super) mod holder {
        use super::{Deserialize, Deserializer, MachineHolder, Serialize, Serializer, de};

        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Holder {
            pod_prefix: String,
            until_unix_s: u64,
        }

        #[allow(clippy::ref_option, reason = "serde hands the field over like this")]
        pub(in super::super) fn serialize<S: Serializer>(
            holder: &Option<MachineHolder>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let holder = holder.map(|holder| Holder {
                pod_prefix: format!("0x{}", hex::encode(holder.pod_prefix)),
                until_unix_s: holder.until_unix_s,
            });
            holder.serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<MachineHolder>, D::Error> {
            let Some(read) = Option::<Holder>::deserialize(deserializer)? else { return Ok(None) };
            let bad = || de::Error::custom("pod_prefix is 0x and 52 hexadecimal digits");
            let digits = read.pod_prefix.strip_prefix("0x").ok_or_else(bad)?;
            let mut pod_prefix = [0; 26];
            hex::decode_to_slice(digits, &mut pod_prefix).map_err(|_| bad())?;
            Ok(Some(MachineHolder { pod_prefix, until_unix_s: read.until_unix_s }))
        }
    }
}

#[cfg(test)]
mod tests;
