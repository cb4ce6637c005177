//! The development deployment: test token, verifier, registry, escrow.

use alloy::primitives::{Bytes, TxKind, U256};
use alloy::providers::Provider as _;
use alloy::sol_types::SolConstructor;
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;

use crate::chain::{Chain, provider};
use crate::config::{ChainConfig, TIMEOUT_MS};
use crate::contracts::{AttestationVerifier, Escrow, PodRegistry, TestToken};
use crate::convert::{from_address, to_address};
use crate::error::{ChainError, from_rpc};
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
        let rpc_url = rpc_url.to_owned();
        ChainConfig { rpc_url, chain_id, registry, escrow, token, timeout_ms: TIMEOUT_MS }
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
    let provider = provider(rpc_url, TIMEOUT_MS)?;
    let chain_id = provider.get_chain_id().await;
    let chain_id = chain_id.map_err(|error| from_rpc(rpc_url, "eth_chainId", &error))?;
    let nowhere = Address::ZERO;
    let config = ChainConfig {
        rpc_url: rpc_url.to_owned(),
        chain_id,
        registry: nowhere,
        escrow: nowhere,
        token: nowhere,
        timeout_ms: TIMEOUT_MS,
    };
    Ok(Sender::new(Chain::unchecked(provider, config), deployer))
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
