//! `phallama init`: from nothing to a home that can be used.

mod approval;
mod money;
mod network;

use std::io::{BufRead as _, IsTerminal as _};

use phallama_client::{ClientError, Keystore, ScryptCost};
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;
use serde_json::json;
use zeroize::Zeroizing;

use self::money::Deposited;
use crate::cli::Init;
use crate::context::{self, Context, DECIMALS_MAX};
use crate::error::CliError;
use crate::home::Config;
use crate::print;
use crate::schema::Schema;

/// The user key; unlocked when it was made now.
struct Wallet {
    user: Address,
    key: Option<Signer>,
}

/// Whether a home has been set up.
pub(super) fn is_done(context: &Context) -> bool {
    context.home.path("config.toml").exists() || context.keystore().is_ok()
}

pub(super) async fn run(context: &mut Context, options: Init) -> Result<(), CliError> {
    let asks = std::io::stdin().is_terminal() && !options.yes;
    // What cannot be meant is refused before anything is made.
    let approved = approval::typed(&options)?;
    context.home.create()?;
    print::note(format!("home      {}", context.home.dir().display()));
    let wallet = wallet(context, asks)?;
    let made_word = if wallet.key.is_some() { "made now" } else { "there already" };
    print::note(format!("user key  {}, {made_word}", wallet.user));
    let published = network::settle(context, &options, asks).await?;
    limits(context, &options, asks)?;
    approval::named(context, &options, approved, &published)?;
    let chain = network::reach(context, options.deposit.is_some(), asks).await?;
    let mut deposited = None;
    if let Some(chain) = &chain {
        if asks {
            approval::asked(context, chain, published).await?;
        }
        deposited = money::deposit(context, &options, chain, &wallet, asks).await?;
    }
    told(context, &wallet, deposited.as_ref());
    Ok(())
}

fn told(context: &Context, wallet: &Wallet, deposited: Option<&Deposited>) {
    if !context.global.json {
        print::line(next(&context.config, deposited.is_some()));
        return;
    }
    let (limits, trust) = (&context.config.limits, &context.config.trust);
    print::json(
        Schema::Init,
        json!({
            "home": context.home.dir(), "user": wallet.user, "wallet_made": wallet.key.is_some(),
            "chain_id": context.config.chain.as_ref().map(|chain| chain.chain_id),
            "limits": {"per_day": limits.per_day, "per_request": limits.per_request},
            "measurements": trust.measurements,
            "deposited": deposited.map(|deposited| deposited.amount),
        }),
    );
}

/// The user key, which is made when there is none. The password never comes from an argument.
fn wallet(context: &Context, asks: bool) -> Result<Wallet, CliError> {
    if let Ok(keystore) = context.keystore() {
        return Ok(Wallet { user: keystore.address(), key: None });
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
    let (keystore, key) = created.map_err(ClientError::from)?;
    Ok(Wallet { user: keystore.address(), key: Some(key) })
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

/// What may be spent. What is not valid is not written.
fn limits(context: &mut Context, options: &Init, asks: bool) -> Result<(), CliError> {
    let mut limits = context.config.limits.clone();
    if asks && options.per_day.is_none() && options.per_request.is_none() {
        print::note("\nThis machine never spends more than this, in whole tokens:");
        limits.per_day = ask("most per day (UTC)", &limits.per_day)?;
        limits.per_request = ask("most per request", &limits.per_request)?;
    }
    limits.per_day = options.per_day.clone().unwrap_or(limits.per_day);
    limits.per_request = options.per_request.clone().unwrap_or(limits.per_request);
    context::limits(&limits, DECIMALS_MAX)?;
    context.change(|config| config.limits = limits.clone())
}

/// One line from the user; what stands in brackets when it is empty.
fn ask(what: &str, otherwise: &str) -> Result<String, CliError> {
    let shown = if otherwise.is_empty() { String::new() } else { format!(" [{otherwise}]") };
    let answer = typed(&format!("{what}{shown}: "))?;
    Ok(if answer.is_empty() { otherwise.to_owned() } else { answer })
}

/// Yes or no; no when nothing is typed.
fn agrees(question: &str) -> Result<bool, CliError> {
    Ok(matches!(typed(&format!("{question}? [y/N] "))?.as_str(), "y" | "Y" | "yes"))
}

fn typed(prompt: &str) -> Result<String, CliError> {
    print::prompt(prompt);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|source| CliError::Input { what: "answer", source })?;
    Ok(answer.trim().to_owned())
}

/// What to do now: only what is not done yet, then what can be done.
fn next(config: &Config, has_deposited: bool) -> String {
    let mut steps = Vec::new();
    if config.chain.is_none() {
        steps.push(("phallama init --network FILE", "the network, once you have its file"));
        steps.push(("phallama chain up", "or one of your own on this machine, to try it"));
    }
    if config.trust.measurements.is_empty() {
        steps.push(("phallama trust approve DIGEST", "an enclave program that you accept"));
    }
    if !has_deposited {
        steps.push(("phallama deposit AMOUNT", "money to spend"));
    }
    steps.extend([
        ("phallama list", "models and prices"),
        ("phallama run MODEL", "talk with one"),
        ("phallama serve", "for your apps"),
        ("phallama doctor", "whether everything works"),
    ]);
    let rows = steps.iter().map(|(command, what)| format!("\n  {command:32} {what}"));
    format!("\nNext:{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_not_named_again() {
        let mut config = Config::default();
        assert!(next(&config, false).contains("--network FILE"));
        config.trust.measurements.push(crate::home::ApprovedMeasurement {
            label: String::new(),
            measurement: "00".repeat(32),
            policy: None,
        });
        let said = next(&config, true);
        assert!(!said.contains("approve") && !said.contains("deposit"), "{said}");
        assert!(said.contains("phallama run MODEL"), "{said}");
    }
}
