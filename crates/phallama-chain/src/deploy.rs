//! The development deployment: test token, registry, escrow.

use alloy::primitives::{Bytes, TxKind, U256};
use alloy::providers::Provider as _;
use alloy::sol_types::SolConstructor;
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;

use crate::chain::{Chain, provider};
use crate::config::{ChainConfig, TIMEOUT_MS};
use crate::contracts::{Escrow, PodRegistry, TestToken};
use crate::convert::{from_address, to_address};
use crate::error::{ChainError, from_rpc};
use crate::sender::{Sender, Tx};

/// What was deployed, and its gas.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Chain id of the endpoint.
    pub chain_id: u64,
    /// `PodRegistry`.
    pub registry: Address,
    /// `Escrow`.
    pub escrow: Address,
    /// `TestToken`.
    pub token: Address,
    /// Gas of the three transactions together.
    pub gas_used: u64,
}

impl Deployment {
    /// The configuration that uses this deployment.
    pub fn config(&self, rpc_url: &str) -> ChainConfig {
        let Self { chain_id, registry, escrow, token, .. } = *self;
        let rpc_url = rpc_url.to_owned();
        ChainConfig { rpc_url, chain_id, registry, escrow, token, timeout_ms: TIMEOUT_MS }
    }
}

/// Deploys a worthless test token with a registry and an escrow for it.
///
/// # Errors
/// As for every transaction: [`ChainError`].
pub async fn deploy(rpc_url: &str, deployer: &Signer) -> Result<Deployment, ChainError> {
    let provider = provider(rpc_url, TIMEOUT_MS)?;
    let chain_id = provider.get_chain_id().await;
    let chain_id = chain_id.map_err(|error| from_rpc(rpc_url, "eth_chainId", &error))?;
    let nowhere = Address::ZERO;
    let config =
        Deployment { chain_id, registry: nowhere, escrow: nowhere, token: nowhere, gas_used: 0 }
            .config(rpc_url);
    let sender = Sender::new(Chain::unchecked(provider, config), deployer);

    let token = create(&sender, "deploy TestToken", TestToken::BYTECODE.to_vec()).await?;
    let registry = create(&sender, "deploy PodRegistry", PodRegistry::BYTECODE.to_vec()).await?;
    let arguments =
        Escrow::constructorCall { token: to_address(token.0), registry: to_address(registry.0) };
    let code = [Escrow::BYTECODE.to_vec(), arguments.abi_encode()].concat();
    let escrow = create(&sender, "deploy Escrow", code).await?;
    let gas_used = [&token, &registry, &escrow].iter().map(|(_, tx)| tx.gas_used).sum();
    Ok(Deployment { chain_id, registry: registry.0, escrow: escrow.0, token: token.0, gas_used })
}

async fn create(
    sender: &Sender,
    what: &'static str,
    code: Vec<u8>,
) -> Result<(Address, Tx), ChainError> {
    let tx = sender.send(what, TxKind::Create, Bytes::from(code), U256::ZERO).await?;
    let reason = "the receipt names no contract".to_owned();
    let created = tx.created.ok_or(ChainError::Malformed { what, reason })?;
    Ok((from_address(created), tx))
}
