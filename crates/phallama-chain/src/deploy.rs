//! The development deployment: test token, verifier, registry, escrow.

use std::time::Duration;

use alloy::primitives::{Bytes, TxKind, U256};
use alloy::providers::{Provider as _, RootProvider};
use alloy::sol_types::SolConstructor;
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;

use crate::chain::Chain;
use crate::config::{ChainConfig, FEE_CEILING_GWEI, TIMEOUT_MS};
use crate::contracts::{AttestationVerifier, Escrow, PodRegistry, TestToken};
use crate::convert::{from_address, to_address};
use crate::endpoints::Endpoints;
use crate::error::ChainError;
use crate::sender::{Sender, Tx};

/// What was deployed, and its gas.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Chain id of the endpoint.
    pub chain_id: u64,
    /// `AttestationVerifier`.
    pub verifier: Address,
    /// `PodRegistry`.
    pub registry: Address,
    /// `Escrow`.
    pub escrow: Address,
    /// `TestToken`.
    pub token: Address,
    /// Gas of the four transactions together.
    pub gas_used: u64,
}

impl Deployment {
    /// The configuration that uses this deployment.
    pub fn config(&self, rpc_url: &str) -> ChainConfig {
        let Self { chain_id, registry, escrow, token, .. } = *self;
        let rpc_urls = vec![rpc_url.to_owned()];
        let (timeout_ms, fee_ceiling_gwei) = (TIMEOUT_MS, FEE_CEILING_GWEI);
        ChainConfig { rpc_urls, chain_id, registry, escrow, token, timeout_ms, fee_ceiling_gwei }
    }
}

/// Deploys a worthless test token, a verifier of quotes under the root certificate `root_der`
/// (X.509 in DER), a registry that asks it, and an escrow.
///
/// # Errors
/// As for every transaction: [`ChainError`]. A chain without the P-256 precompile is refused by
/// the verifier: [`ChainError::Reverted`], `NoP256Precompile`.
pub async fn deploy(
    rpc_url: &str,
    deployer: &Signer,
    root_der: &[u8],
) -> Result<Deployment, ChainError> {
    let sender = sender(rpc_url, deployer).await?;
    let token = create(&sender, "deploy TestToken", &TestToken::BYTECODE, None).await?;
    let root = AttestationVerifier::constructorCall { root: root_der.to_vec().into() };
    let verifier = create(
        &sender,
        "deploy AttestationVerifier",
        &AttestationVerifier::BYTECODE,
        Some(root.abi_encode()),
    )
    .await?;
    let asks = PodRegistry::constructorCall { verifier: to_address(verifier.0) };
    let asks = Some(asks.abi_encode());
    let registry = create(&sender, "deploy PodRegistry", &PodRegistry::BYTECODE, asks).await?;
    let uses =
        Escrow::constructorCall { token: to_address(token.0), registry: to_address(registry.0) };
    let uses = Some(uses.abi_encode());
    let escrow = create(&sender, "deploy Escrow", &Escrow::BYTECODE, uses).await?;
    Ok(Deployment {
        chain_id: sender.chain.config().chain_id,
        verifier: verifier.0,
        registry: registry.0,
        escrow: escrow.0,
        token: token.0,
        gas_used: [&token, &verifier, &registry, &escrow].iter().map(|(_, tx)| tx.gas_used).sum(),
    })
}

/// On a chain where nothing is deployed yet.
async fn sender(rpc_url: &str, deployer: &Signer) -> Result<Sender, ChainError> {
    let timeout = Duration::from_millis(TIMEOUT_MS);
    let urls = [rpc_url.to_owned()];
    let unknown = Endpoints::new(&urls, None, timeout)?;
    let ask = |provider: RootProvider| async move { provider.get_chain_id().await };
    let chain_id = unknown.any("eth_chainId", ask).await?;
    let nowhere = Address::ZERO;
    let config = ChainConfig {
        rpc_urls: urls.to_vec(),
        chain_id,
        registry: nowhere,
        escrow: nowhere,
        token: nowhere,
        timeout_ms: TIMEOUT_MS,
        fee_ceiling_gwei: FEE_CEILING_GWEI,
    };
    let endpoints = Endpoints::new(&urls, Some(chain_id), timeout)?;
    Ok(Chain::unchecked(endpoints, config).sender(deployer))
}

async fn create(
    sender: &Sender,
    what: &'static str,
    code: &Bytes,
    arguments: Option<Vec<u8>>,
) -> Result<(Address, Tx), ChainError> {
    let code = [code.to_vec(), arguments.unwrap_or_default()].concat();
    let tx = sender.send(what, TxKind::Create, Bytes::from(code), U256::ZERO).await?;
    let reason = "the receipt names no contract".to_owned();
    let created = tx.created.ok_or(ChainError::Malformed { what, reason })?;
    Ok((from_address(created), tx))
}
