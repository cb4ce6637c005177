//! Which chain, which contracts.

use phallama_protocol::eip712::Domain;
use phallama_protocol::ids::Address;
use serde::{Deserialize, Serialize};

/// EVM endpoints and the deployment to use on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC over HTTP, e.g. `http://127.0.0.1:8545`. One is trusted. Of two or more, two have
    /// to agree on everything that decides about money, and with three or more one may fail.
    pub rpc_urls: Vec<String>,
    /// EIP-155 chain id that the endpoints must report.
    pub chain_id: u64,
    /// `PodRegistry`.
    pub registry: Address,
    /// `Escrow`.
    pub escrow: Address,
    /// The ERC-20 that the escrow holds.
    pub token: Address,
    /// Limit for one call, in milliseconds, whatever number of endpoints is asked for it.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// The most that a transaction of ours may offer per gas, in gwei.
    #[serde(default = "default_fee_ceiling_gwei")]
    pub fee_ceiling_gwei: u64,
}

impl ChainConfig {
    /// The EIP-712 domain of this deployment's escrow.
    pub fn domain(&self) -> Domain {
        Domain { chain_id: self.chain_id, escrow: self.escrow }
    }
}

/// Limit for one call unless configured, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 10_000;

fn default_timeout_ms() -> u64 {
    TIMEOUT_MS
}

/// The most that is offered per gas unless configured, in gwei: far above what a rollup asks, and
/// what Ethereum asks on a busy day.
pub(crate) const FEE_CEILING_GWEI: u64 = 50;

fn default_fee_ceiling_gwei() -> u64 {
    FEE_CEILING_GWEI
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = r#""chain_id":1,"registry":"0x00000000000000000000000000000000000000aa",
        "escrow":"0x00000000000000000000000000000000000000bb","token":"0x00000000000000000000000000000000000000cc""#;

    #[test]
    fn limits_have_defaults() {
        let text = format!(r#"{{"rpc_urls":["http://127.0.0.1:1","http://127.0.0.1:2"],{REST}}}"#);
        let config = serde_json::from_str::<ChainConfig>(&text).unwrap();
        assert_eq!(config.rpc_urls, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        assert_eq!((config.timeout_ms, config.fee_ceiling_gwei), (10_000, 50));
    }

    #[test]
    fn refuses_an_unknown_key() {
        let text = format!(r#"{{"rpc_url":"http://127.0.0.1:1",{REST}}}"#);
        let error = serde_json::from_str::<ChainConfig>(&text).unwrap_err();
        assert!(error.to_string().contains("unknown field `rpc_url`"), "{error}");
    }
}
