//! `phallama init`: from nothing to a home that can be used.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use phallama_chain::{Chain, ChainConfig};
use phallama_client::{ClientError, Keystore, ScryptCost};
use phallama_protocol::ids::Address;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Init;
use crate::context::{self, Context};
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

/// Of the token, while no chain says how many: enough for any.
const DECIMALS: u8 = 18;

/// A file with the section, as a configuration has it.
#[derive(Deserialize)]
struct Network {
    chain: ChainConfig,
}

/// Whether a home has been set up.
pub(super) fn is_done(context: &Context) -> bool {
    context.home.path("config.toml").exists() || context.keystore().is_ok()
}

pub(super) async fn run(context: &mut Context, options: Init) -> Result<(), CliError> {
    let asks = std::io::stdin().is_terminal() && !options.yes;
    context.home.create()?;
    print::note(format!("home      {}", context.home.dir().display()));
    let (user, made) = wallet(context, asks)?;
    let made_word = if made { "made now" } else { "there already" };
    print::note(format!("user key  {user}, {made_word}"));
    network(context, &options, asks).await?;
    limits(context, options, asks)?;
    if context.global.json {
        let limits = &context.config.limits;
        print::json(
            Schema::Init,
            json!({
                "home": context.home.dir(), "user": user, "wallet_made": made,
                "chain_id": context.config.chain.as_ref().map(|chain| chain.chain_id),
                "limits": {"per_day": limits.per_day, "per_request": limits.per_request},
            }),
        );
        return Ok(());
    }
    print::line(next(context));
    Ok(())
}

/// The user key, which is made when there is none. The password never comes from an argument.
fn wallet(context: &Context, asks: bool) -> Result<(Address, bool), CliError> {
    if let Ok(keystore) = context.keystore() {
        return Ok((keystore.address(), false));
    }
    let path = context.keystore_path()?;
    if context.global.password_file.is_none() && !asks {
        return Err(CliError::NoPassword);
    }
    let password = match &context.global.password_file {
        Some(_) => context.password("")?,
        None => chosen(context)?,
    };
    let created = Keystore::create(&path, &password, ScryptCost::STANDARD);
    Ok((created.map_err(ClientError::from)?.0.address(), true))
}

/// A password that was typed twice alike.
fn chosen(context: &Context) -> Result<Zeroizing<String>, CliError> {
    print::note(
        "\nA user key is made for this machine. It can only spend on inference; withdrawals go to \
         the wallet that deposits. Its file is encrypted with a password.",
    );
    loop {
        let first = context.password("password of the user key: ")?;
        let second = context.password("the same again: ")?;
        if !first.is_empty() && *first == *second {
            return Ok(first);
        }
        print::note("they differ, or are empty; once more");
    }
}

/// The network from a file, which is tried before it is taken.
async fn network(context: &mut Context, options: &Init, asks: bool) -> Result<(), CliError> {
    if options.no_network {
        return Ok(());
    }
    if let Some(path) = &options.network {
        return take_network(context, path).await;
    }
    if context.config.chain.is_some() || !asks {
        return Ok(());
    }
    print::note(
        "\nA network is a chain with its contracts: a file with a [chain] section (rpc_urls, \
         chain_id, registry, escrow, token).",
    );
    loop {
        let path = ask("file with the network (empty: later)", "")?;
        if path.is_empty() {
            return Ok(());
        }
        match take_network(context, Path::new(&path)).await {
            Ok(()) => return Ok(()),
            Err(error) => print::error(&error),
        }
    }
}

async fn take_network(context: &mut Context, path: &Path) -> Result<(), CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let network: Network = toml::from_str(&text)
        .map_err(|source| CliError::Config { path: path.to_owned(), source: Box::new(source) })?;
    let chain = Chain::connect(network.chain).await?;
    let config = chain.config().clone();
    print::note(format!("network   chain {}, contracts there", config.chain_id));
    context.change(|kept| kept.chain = Some(config.clone()))
}

/// What may be spent. What is not valid is not written.
fn limits(context: &mut Context, options: Init, asks: bool) -> Result<(), CliError> {
    let mut limits = context.config.limits.clone();
    if asks && options.per_day.is_none() && options.per_request.is_none() {
        print::note("\nThis machine never spends more than this, in whole tokens:");
        limits.per_day = ask("most per day (UTC)", &limits.per_day)?;
        limits.per_request = ask("most per request", &limits.per_request)?;
    }
    limits.per_day = options.per_day.unwrap_or(limits.per_day);
    limits.per_request = options.per_request.unwrap_or(limits.per_request);
    context::limits(&limits, DECIMALS)?;
    context.change(|config| config.limits = limits.clone())
}

/// One line from the user; what stands in brackets when it is empty.
fn ask(what: &str, otherwise: &str) -> Result<String, CliError> {
    let shown = if otherwise.is_empty() { String::new() } else { format!(" [{otherwise}]") };
    print::prompt(&format!("{what}{shown}: "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|source| CliError::Input { what: "answer", source })?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { otherwise.to_owned() } else { answer.to_owned() })
}

/// What to do now.
fn next(context: &Context) -> String {
    let network = if context.config.chain.is_some() {
        ""
    } else {
        "  phallama init --network FILE     the network, once you have its file\n  \
         phallama chain up                a network of your own on this machine, to try it\n"
    };
    let trust = if context.config.trust.measurements.is_empty() {
        "  phallama trust approve DIGEST    an enclave program that you accept\n"
    } else {
        ""
    };
    format!(
        "\nNext:\n{network}{trust}  phallama deposit AMOUNT          money to spend\n  \
         phallama list                    models and prices\n  \
         phallama run MODEL               talk with one\n  \
         phallama serve                   for your apps\n  \
         phallama doctor                  whether everything works"
    )
}
