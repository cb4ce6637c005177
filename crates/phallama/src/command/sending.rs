//! What every command that moves money shares: who sends, what it costs, asking, sending, telling.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use phallama_chain::{Call, Chain, ChainError, Gas, Sender, Tx};
use phallama_client::{Client, RelayError, SignedAction, UserKey};
use phallama_protocol::keys::Signer;
use serde_json::{Value, json};

use crate::cli::Sending;
use crate::context::{Context, key_file};
use crate::error::CliError;
use crate::home::Home;
use crate::schema::Schema;
use crate::{print, units};

/// File of the owner's key on a development chain.
pub(crate) const DEVELOPMENT_OWNER: &str = "dev-owner.key";
const ETHER_DECIMALS: u8 = 18;

/// Who sends.
pub(super) enum By {
    /// The owner itself.
    Owner(Signer),
    /// Somebody who pays the gas for what is signed.
    Gas(Signer),
}

impl By {
    /// The account for gas when one is named, else the owner.
    pub(super) fn of(context: &Context, sending: &Sending) -> Result<Self, CliError> {
        match &sending.gas_key_file {
            Some(path) => Ok(Self::Gas(key_file(path)?)),
            None => owner(context, sending).map(Self::Owner),
        }
    }

    pub(super) fn sender(&self, chain: &Chain) -> Sender {
        let (Self::Owner(signer) | Self::Gas(signer)) = self;
        chain.sender(signer)
    }

    /// The client that this needs: signing takes the user key, the owner's transactions do not.
    pub(super) async fn client(&self, context: &Context) -> Result<Client, CliError> {
        match self {
            Self::Owner(_) => context.accountant().await,
            Self::Gas(_) => context.client().await,
        }
    }
}

/// The owner's key: from its file, or a development chain's.
pub(super) fn owner(context: &Context, sending: &Sending) -> Result<Signer, CliError> {
    owner_of(&context.home, sending.owner_key_file.as_deref())
}

/// The same for a file that is named elsewhere.
pub(crate) fn owner_of(home: &Home, file: Option<&Path>) -> Result<Signer, CliError> {
    let development = home.path(DEVELOPMENT_OWNER);
    match file {
        Some(path) => key_file(path),
        None if development.exists() => key_file(&development),
        None => Err(CliError::NoKeyFile { who: "owner", option: "--owner-key-file" }),
    }
}

/// The client for a deposit by `payer`: the user key is unlocked only to open the account.
pub(super) async fn depositing(context: &Context) -> Result<Client, CliError> {
    let user = context.keystore()?.address();
    let chain = context.chain().await?;
    let key = if chain.account(user).await?.owner.is_some() {
        UserKey::Locked(user)
    } else {
        UserKey::Unlocked(context.user()?)
    };
    context.client_on(chain, key).await
}

/// Writes a signed action to a file that only its owner can read and that was not there.
pub(super) fn sign_into(
    context: &Context,
    path: &Path,
    signed: &SignedAction,
) -> Result<(), CliError> {
    use std::io::Write as _;
    let text = format!("{}\n", signed.to_json());
    crate::home::new_private(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| CliError::File { path: path.to_owned(), source })?;
    if context.global.json {
        print::json(Schema::Signed, json!({"signed": path, "sent": false}));
    } else {
        print::line(format!("signed  {}", path.display()));
        print::note("Nothing was sent. Anybody can send it: `phallama relay FILE`");
    }
    Ok(())
}

/// The call of a signed action.
pub(super) fn call_of(signed: &SignedAction, chain: &Chain) -> Result<Call, CliError> {
    signed.call(chain).map_err(|error| match error {
        RelayError::Call(error) => error.into(),
        other => CliError::Signed { source: other },
    })
}

/// Shows what is about to happen, asks, and sends the calls one after the other. `None`: it was a
/// dry run, and everything is said.
pub(super) async fn carry_out(
    context: &Context,
    sender: &Sender,
    says: &str,
    calls: &[Call],
    sending: &Sending,
) -> Result<Option<Vec<Tx>>, CliError> {
    if sending.dry_run {
        dry_run(context, sender, says, calls).await?;
        return Ok(None);
    }
    agree(says, sender, sending)?;
    let mut mined = Vec::with_capacity(calls.len());
    for call in calls {
        mined.push(sender.send_call(call).await?);
    }
    Ok(Some(mined))
}

/// Asks whether to send, unless that was said before.
pub(super) fn agree(says: &str, sender: &Sender, sending: &Sending) -> Result<(), CliError> {
    if sending.yes { Ok(()) } else { confirm(&format!("{says}, sent by {}", sender.address())) }
}

async fn dry_run(
    context: &Context,
    sender: &Sender,
    says: &str,
    calls: &[Call],
) -> Result<(), CliError> {
    let mut estimates = Vec::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        estimates.push(match sender.gas(call).await {
            Ok(gas) => Some(gas),
            // It may only be possible after the one before it.
            Err(ChainError::Reverted { .. }) if index > 0 => None,
            Err(error) => return Err(error.into()),
        });
    }
    if context.global.json {
        let calls: Vec<Value> = calls.iter().zip(&estimates).map(call_json).collect();
        let planned = json!({"dry_run": true, "from": sender.address(), "calls": calls});
        print::json(Schema::PlannedCalls, planned);
        return Ok(());
    }
    print::line(format!("would {says}\nfrom  {}", sender.address()));
    let row = |(call, gas): (&Call, &Option<Gas>)| {
        let unknown = || "after the one before".to_owned();
        let units = gas.map_or_else(unknown, |gas| gas.gas.to_string());
        let fee = gas.map_or_else(String::new, |gas| ether(u128::from(gas.gas) * gas.price_wei));
        vec![call.what.to_owned(), call.to.to_string(), units, fee]
    };
    let rows: Vec<_> = calls.iter().zip(&estimates).map(row).collect();
    print::line(print::table(&["call", "contract", "gas", "fee"], &rows, &[2, 3]));
    print::note("Nothing was sent.");
    Ok(())
}

fn call_json((call, gas): (&Call, &Option<Gas>)) -> Value {
    json!({
        "call": call.what, "to": call.to, "data": format!("0x{}", hex::encode(&call.data)),
        "gas": gas.map(|gas| gas.gas),
        "fee_wei": gas.map(|gas| (u128::from(gas.gas) * gas.price_wei).to_string()),
    })
}

/// Asks on a terminal; elsewhere `--yes` has to be given.
fn confirm(says: &str) -> Result<(), CliError> {
    let says = says.to_owned();
    if !std::io::stdin().is_terminal() {
        return Err(CliError::NotConfirmed { says });
    }
    print::prompt(&format!("{says}? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|source| CliError::Input { what: "answer", source })?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::NotConfirmed { says }),
    }
}

/// What happened: facts for people, the same and more for programs.
pub(super) fn report(context: &Context, facts: &[(&str, String)], mut json: Value, mined: &[Tx]) {
    let gas: u64 = mined.iter().map(|tx| tx.gas_used).sum();
    let fee: u128 =
        mined.iter().map(|tx| u128::from(tx.gas_used) * tx.effective_gas_price_wei).sum();
    let hashes: Vec<String> =
        mined.iter().map(|tx| format!("0x{}", hex::encode(tx.hash))).collect();
    if context.global.json {
        json["gas_used"] = gas.into();
        json["fee_wei"] = fee.to_string().into();
        json["transactions"] = hashes.into();
        print::json(Schema::Sent, json);
        return;
    }
    for (name, value) in facts {
        print::line(format!("{name:12} {value}"));
    }
    print::line(format!("{:12} {gas} ({})", "gas", ether(fee)));
    for hash in hashes {
        print::line(format!("{:12} {hash}", "transaction"));
    }
}

fn ether(wei: u128) -> String {
    format!("{} ETH", units::show_units(wei, ETHER_DECIMALS))
}
