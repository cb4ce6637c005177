//! What attestation on chain is made of: quotes as the contracts take them, and what the verifier
//! and the registry say about them. Layouts: `IAttestationVerifier.sol`, `IPodRegistry.sol`.

use std::fmt;

use alloy::primitives::keccak256;
use phallama_protocol::ids::{Address, Digest32};
use serde::{Deserialize, Serialize};

/// What made a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeeKind {
    /// Intel SGX, quote version 3.
    Sgx,
    /// Intel TDX, quote version 4 or 5.
    Tdx,
}

/// Intel's verdict on the security versions of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TcbStatusCode {
    /// Nothing to do.
    UpToDate,
    /// Software has to be hardened against something the platform leaves open.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The platform's configuration leaves something open.
    ConfigurationNeeded,
    /// Both of the above.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Firmware is older than it should be.
    OutOfDate,
    /// Old firmware, and a configuration that leaves something open.
    OutOfDateConfigurationNeeded,
    /// Intel no longer vouches for this level.
    Revoked,
    /// TD 1.5: launched out of date, brought up to date since.
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// TD 1.5: the same, and a configuration that leaves something open.
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
}

/// A number that stands for nothing in the contracts' enum `what`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got} is no {what}")]
pub struct UnknownCode {
    /// `Tee` or `TcbStatus`.
    pub what: &'static str,
    /// The number.
    pub got: u8,
}

/// In the order of the Solidity enum.
const TEES: [TeeKind; 2] = [TeeKind::Sgx, TeeKind::Tdx];

/// In the order of the Solidity enum, with Intel's words.
const STATUSES: [(TcbStatusCode, &str); 9] = [
    (TcbStatusCode::UpToDate, "UpToDate"),
    (TcbStatusCode::SwHardeningNeeded, "SWHardeningNeeded"),
    (TcbStatusCode::ConfigurationNeeded, "ConfigurationNeeded"),
    (TcbStatusCode::ConfigurationAndSwHardeningNeeded, "ConfigurationAndSWHardeningNeeded"),
    (TcbStatusCode::OutOfDate, "OutOfDate"),
    (TcbStatusCode::OutOfDateConfigurationNeeded, "OutOfDateConfigurationNeeded"),
    (TcbStatusCode::Revoked, "Revoked"),
    (TcbStatusCode::TdRelaunchAdvised, "TDRelaunchAdvised"),
    (TcbStatusCode::TdRelaunchAdvisedConfigurationNeeded, "TDRelaunchAdvisedConfigurationNeeded"),
];

impl From<TeeKind> for u8 {
    fn from(tee: TeeKind) -> Self {
        tee as Self
    }
}

impl TryFrom<u8> for TeeKind {
    type Error = UnknownCode;

    fn try_from(got: u8) -> Result<Self, UnknownCode> {
        TEES.get(usize::from(got)).copied().ok_or(UnknownCode { what: "Tee", got })
    }
}

impl fmt::Display for TeeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        })
    }
}

impl From<TcbStatusCode> for u8 {
    fn from(status: TcbStatusCode) -> Self {
        status as Self
    }
}

impl TryFrom<u8> for TcbStatusCode {
    type Error = UnknownCode;

    fn try_from(got: u8) -> Result<Self, UnknownCode> {
        let known = STATUSES.get(usize::from(got)).map(|(status, _)| *status);
        known.ok_or(UnknownCode { what: "TcbStatus", got })
    }
}

impl fmt::Display for TcbStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STATUSES[usize::from(u8::from(*self))].1)
    }
}

/// The key a pod signs with, as a quote that the contract verified vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedKey {
    /// The enclave's identity key; never zero.
    pub identity: Address,
    /// Seconds since 1970; from this second on clients refuse the key.
    pub expiry_unix_s: u64,
    /// What made the quote.
    pub tee: TeeKind,
    /// One that the registry accepts.
    pub tcb_status: TcbStatusCode,
    /// TCB evaluation data number that the quote was judged by.
    pub evaluation_number: u32,
    /// See [`Verdict::measurement`].
    pub measurement: Digest32,
    /// See [`Verdict::evidence`].
    pub evidence: Digest32,
}

/// What a quote binds its enclave to, beside chain, registry and pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBinding {
    /// The enclave's identity key; not zero.
    pub identity: Address,
    /// Root of the models it serves (spec/attestation.md).
    pub model_set_root: Digest32,
    /// Digest of the policy it runs under (spec/wire.md).
    pub policy_digest: Digest32,
}

/// A quote cut into the parts that the contract checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteParts {
    /// Header and body, what the attestation key signed: 432 bytes (SGX v3), 632 (TDX v4), 638,
    /// 702 or 939 (TDX v5).
    pub signed: Vec<u8>,
    /// 608 bytes: signature 64 | attestation key 64 | QE report 384 | its signature 64 | QE
    /// authentication data 32.
    pub auth: Vec<u8>,
}

/// What a verified PCK certificate says about its machine; names the certificate to a contract
/// that remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pck {
    /// SHA-256 of the certificate's signed part.
    pub tbs_hash: Digest32,
    /// Public key, P-256, big endian.
    pub x: [u8; 32],
    /// Public key, P-256, big endian.
    pub y: [u8; 32],
    /// [`key_id`] of the CA that signed it.
    pub issuer: Digest32,
    /// Serial number, big endian.
    pub serial: [u8; 32],
    /// SHA-256("phallama/1 machine" ‖ 0 ‖ PPID): one value per machine.
    pub machine: Digest32,
    /// Platform instance id; zero for certificates of the Processor CA.
    pub instance: [u8; 16],
    /// Security versions of the 16 components.
    pub cpu_svn: [u8; 16],
    /// Processor family.
    pub fmspc: [u8; 6],
    /// Provisioning enclave.
    pub pce_id: [u8; 2],
    /// Security version of the provisioning enclave.
    pub pce_svn: u16,
    /// First second of validity, since 1970.
    pub not_before_unix_s: u64,
    /// Last second of validity, since 1970.
    pub not_after_unix_s: u64,
}

/// By which the contracts know CAs and signers: Keccak-256 of their public key x ‖ y.
pub fn key_id(key: &[u8; 64]) -> Digest32 {
    Digest32(keccak256(key).0)
}

/// What a quote that passed every check of the contract says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What made the quote.
    pub tee: TeeKind,
    /// Platform, TDX module and quoting enclave together; never `Revoked`.
    pub tcb_status: TcbStatusCode,
    /// The lower of the two TCB evaluation data numbers used.
    pub evaluation_number: u32,
    /// Seconds since 1970: from this second on the verdict needs newer collateral.
    pub expiry_unix_s: u64,
    /// SGX: MRENCLAVE. TDX: a digest of all registers of the TD (spec/attestation.md).
    pub measurement: Digest32,
    /// See [`Pck::machine`].
    pub machine: Digest32,
    /// SHA-256(signed ‖ QE report ‖ tbs hash): names the quote.
    pub evidence: Digest32,
    /// First 32 bytes of the report data.
    pub report_data: Digest32,
    /// Last 32 bytes of the report data.
    pub nonce: Digest32,
}

/// The pod that a machine backs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineHolder {
    /// First 26 bytes of its id.
    pub pod_prefix: [u8; 26],
    /// Until then, seconds since 1970, no other pod may use the machine without consent.
    pub until_unix_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_intels_word() {
        for code in 0..9 {
            let status = TcbStatusCode::try_from(code).unwrap();
            assert_eq!(u8::from(status), code);
            assert_eq!(serde_json::to_value(status).unwrap(), status.to_string());
        }
        for code in 0..2 {
            assert_eq!(u8::from(TeeKind::try_from(code).unwrap()), code);
        }
    }

    #[test]
    fn refuses_a_code_beyond_the_enum() {
        let of_tee = TeeKind::try_from(2).unwrap_err();
        assert_eq!(of_tee, UnknownCode { what: "Tee", got: 2 });
        let of_status = TcbStatusCode::try_from(9).unwrap_err();
        assert_eq!(of_status.to_string(), "9 is no TcbStatus");
    }
}
