//! `phallama chain`: a development chain, and the development deployment on any chain.

use std::net::SocketAddr;
use std::path::Path;

use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig, Deployment};
use phallama_devchain::{ChainOptions, DevChain, dev_account};
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use tokio::net::TcpListener;

use super::sending::DEVELOPMENT_OWNER;
use crate::context::{Context, key_file, key_text};
use crate::error::CliError;
use crate::print;

/// File of the operator's key on a development chain.
pub(crate) const DEVELOPMENT_OPERATOR: &str = "dev-operator.key";
/// What a development owner gets, in smallest units: 1,000 whole tokens of 6 decimals.
const MINTED: u64 = 1_000_000_000;
/// Gas money on a foreign development chain, in wei.
const GAS_MONEY_WEI: u128 = 1_000_000_000_000_000_000;

/// Accounts of a development chain, by index.
#[derive(Clone, Copy)]
pub(crate) enum Developer {
    Deployer = 0,
    Operator = 1,
    Owner = 2,
}

pub(crate) fn developer(who: Developer) -> Signer {
    let (_, secret) = dev_account(who as u32);
    Signer::from_bytes(&secret).expect("a development account is a valid scalar")
}

/// Starts the embedded chain; it runs as long as the runtime does.
pub(crate) async fn start(listen: SocketAddr) -> Result<String, CliError> {
    let failed = |source| CliError::Bind { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tokio::spawn(phallama_devchain::serve(DevChain::new(ChainOptions::default()), listener));
    Ok(format!("http://{address}"))
}

pub(super) async fn up(context: &mut Context, listen: SocketAddr) -> Result<(), CliError> {
    let rpc_url = start(listen).await?;
    configure(context, &[rpc_url], &developer(Developer::Deployer), &development_root()).await?;
    report(context);
    print::note("The chain lives as long as this command. Ctrl-C ends it.");
    crate::signal::interrupted().await;
    Ok(())
}

pub(super) async fn deploy(
    context: &mut Context,
    rpc_urls: &[String],
    path: &Path,
    root_certificate: Option<&Path>,
) -> Result<(), CliError> {
    let deployer = key_file(path)?;
    let root_der = match root_certificate {
        Some(path) => std::fs::read(path)
            .map_err(|source| CliError::File { path: path.to_owned(), source })?,
        None => development_root(),
    };
    configure(context, rpc_urls, &deployer, &root_der).await?;
    report(context);
    Ok(())
}

/// The root of simulated platforms, DER. Its key is public: a deployment under it proves nothing.
pub(crate) fn development_root() -> Vec<u8> {
    DevelopmentRoot::from_seed(DEVELOPMENT_SEED).root_der().to_vec()
}

/// Deploys through the first endpoint, mints the test token for the owner, gives both accounts gas
/// money, and writes their keys and the configuration.
pub(crate) async fn configure(
    context: &mut Context,
    rpc_urls: &[String],
    deployer: &Signer,
    root_der: &[u8],
) -> Result<Deployment, CliError> {
    let (owner, operator) = (developer(Developer::Owner), developer(Developer::Operator));
    let first = rpc_urls.first().map_or("", String::as_str);
    let deployment = phallama_chain::deploy(first, deployer, root_der).await?;
    let config = ChainConfig { rpc_urls: rpc_urls.to_vec(), ..deployment.config(first) };
    let chain = Chain::connect(config.clone()).await?;
    let sender = chain.sender(deployer);
    sender.mint_test_token(owner.address(), Amount::from(MINTED)).await?;
    for account in [owner.address(), operator.address()] {
        if chain.ether_balance(account).await? < GAS_MONEY_WEI {
            sender.send_ether(account, GAS_MONEY_WEI).await?;
        }
    }
    context.home.write(DEVELOPMENT_OWNER, key_text(&owner).as_bytes())?;
    context.home.write(DEVELOPMENT_OPERATOR, key_text(&operator).as_bytes())?;
    context.change(|kept| kept.chain = Some(config.clone()))?;
    Ok(deployment)
}

fn report(context: &Context) {
    // As a network's file: `phallama init --network FILE` takes it elsewhere.
    let network = std::collections::BTreeMap::from([("chain", &context.config.chain)]);
    print::line(toml::to_string_pretty(&network).unwrap_or_default());
    print::note(format!("Written to {}", context.home.path("config.toml").display()));
}
