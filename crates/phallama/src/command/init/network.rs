//! Which chain, and whether it answers.

use std::path::Path;

use phallama_chain::{Chain, ChainConfig};
use serde::Deserialize;

use super::ask;
use crate::cli::Init;
use crate::context::{Context, approved};
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print;

/// What a network's people publish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    chain: ChainConfig,
    #[serde(default)]
    trust: Published,
}

/// Whom they would have others trust; what else could be trusted is not theirs to say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    measurements: Vec<ApprovedMeasurement>,
}

/// The network from a file, which is tried before it is taken. Returns the measurements that the
/// file names; none of them is approved by that.
pub(super) async fn settle(
    context: &mut Context,
    options: &Init,
    asks: bool,
) -> Result<Vec<ApprovedMeasurement>, CliError> {
    if options.no_network {
        return Ok(Vec::new());
    }
    if let Some(path) = &options.network {
        return take(context, path).await;
    }
    if context.config.chain.is_some() || !asks {
        return Ok(Vec::new());
    }
    print::note(
        "\nA network is a chain with its contracts: a file with a [chain] section (rpc_urls, \
         chain_id, registry, escrow, token).",
    );
    loop {
        let path = ask("file with the network (empty: later)", "")?;
        if path.is_empty() {
            return Ok(Vec::new());
        }
        match take(context, Path::new(&path)).await {
            Ok(published) => return Ok(published),
            Err(error) => print::error(&error),
        }
    }
}

async fn take(context: &mut Context, path: &Path) -> Result<Vec<ApprovedMeasurement>, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let network: Network = toml::from_str(&text)
        .map_err(|source| CliError::Config { path: path.to_owned(), source: Box::new(source) })?;
    for entry in &network.trust.measurements {
        approved(entry)?;
    }
    let chain = Chain::connect(network.chain).await?;
    let config = chain.config().clone();
    print::note(format!("network   chain {}, contracts there", config.chain_id));
    context.change(|kept| kept.chain = Some(config.clone()))?;
    Ok(network.trust.measurements)
}

/// The configured chain, where something is to be asked of it. One that does not answer is a
/// failure only when it was `needed`: everything else can be done later.
pub(super) async fn reach(
    context: &Context,
    needed: bool,
    asks: bool,
) -> Result<Option<Chain>, CliError> {
    if !needed && (!asks || context.config.chain.is_none()) {
        return Ok(None);
    }
    match context.chain().await {
        Ok(chain) => Ok(Some(chain)),
        Err(error) if needed => Err(error),
        Err(error) => {
            print::error(&error);
            print::note("What needs the chain can be done later.");
            Ok(None)
        }
    }
}
