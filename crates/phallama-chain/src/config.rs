//! Which chain, which contracts.

use phallama_protocol::eip712::Domain;
use phallama_protocol::ids::Address;
use serde::{Deserialize, Serialize};

/// An EVM endpoint and the deployment to use on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC over HTTP, e.g. `http://127.0.0.1:8545`.
    pub rpc_url: String,
    /// EIP-155 chain id that the endpoint must report.
    pub chain_id: u64,
    /// `PodRegistry`.
    pub registry: Address,
    /// `Escrow`.
    pub escrow: Address,
    /// The ERC-20 that the escrow holds.
    pub token: Address,
    /// Limit for one JSON-RPC call, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

impl ChainConfig {
    /// The EIP-712 domain of this deployment's escrow.
    pub fn domain(&self) -> Domain {
        Domain { chain_id: self.chain_id, escrow: self.escrow }
    }
}

/// Limit for one JSON-RPC call unless configured, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 10_000;

fn default_timeout_ms() -> u64 {
    TIMEOUT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_unknown_key() {
        let text = r#"{"rpc_url":"http://127.0.0.1:1","chain_id":1,"registry":"0x00000000000000000000000000000000000000aa",
            "escrow":"0x00000000000000000000000000000000000000bb","token":"0x00000000000000000000000000000000000000cc","rpc":1}"#;
        let error = serde_json::from_str::<ChainConfig>(text).unwrap_err();
        assert!(error.to_string().contains("unknown field `rpc`"), "{error}");
    }
}
