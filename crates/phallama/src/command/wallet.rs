//! `phallama wallet`, `deposit`, `withdraw`.

use phallama_chain::{Chain, Tx};
use phallama_client::{ClientError, Keystore, ScryptCost};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::Amount as TokenAmount;
use phallama_protocol::keys::Signer;
use serde_json::json;

use crate::cli::Amount;
use crate::context::{Context, USER_KEYSTORE, key_file, money};
use crate::error::CliError;
use crate::{print, units};

/// File of the owner's key on a development chain.
pub(crate) const DEVELOPMENT_OWNER: &str = "dev-owner.key";

pub(super) fn new(context: &Context) -> Result<(), CliError> {
    let path = context.home.path(USER_KEYSTORE);
    if path.exists() {
        return Err(CliError::WalletExists { path });
    }
    let password = context.password("choose a password for the user key: ")?;
    context.home.create()?;
    let keystore =
        Keystore::create(&path, &password, ScryptCost::STANDARD).map_err(ClientError::from)?.0;
    shown(context, &keystore);
    print::note("It can only spend on inference; withdrawals go to the wallet that deposits.");
    Ok(())
}

pub(super) fn show(context: &Context) -> Result<(), CliError> {
    shown(context, &context.keystore()?);
    Ok(())
}

fn shown(context: &Context, keystore: &Keystore) {
    let address = keystore.address();
    if context.global.json {
        print::json(&json!({"user": address, "keystore": keystore.path()}));
    } else {
        print::line(format!("user key  {address}\nkeystore  {}", keystore.path().display()));
    }
}

pub(super) async fn deposit(context: &Context, options: &Amount) -> Result<(), CliError> {
    let owner = owner(context, options)?;
    let user = context.user()?;
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    let amount = units::parse(&options.amount, meta.decimals)?;
    let tx = put_in(&chain, &owner, &user, amount).await?;
    let free = chain.account(user.address()).await?.free;
    moved(context, "deposited", &money(amount, &meta), &money(free, &meta), tx.gas_used);
    Ok(())
}

/// Deposits from the owner's wallet, opening the user's account for that owner if it is not open.
pub(super) async fn put_in(
    chain: &Chain,
    owner: &Signer,
    user: &Signer,
    amount: TokenAmount,
) -> Result<Tx, CliError> {
    let sender = chain.sender(owner);
    let (user_address, owner_address) = (user.address(), sender.address());
    if chain.account(user_address).await?.owner.is_some() {
        return Ok(sender.deposit(user_address, amount).await?);
    }
    let opening = OpenAccount { user: user_address, owner: owner_address };
    let signature = user.sign(&opening.digest(&chain.domain()));
    Ok(sender.open_and_deposit(user_address, owner_address, &signature, amount).await?)
}

pub(super) async fn withdraw(context: &Context, options: &Amount) -> Result<(), CliError> {
    let owner = owner(context, options)?;
    let user = context.keystore()?.address();
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    let amount = units::parse(&options.amount, meta.decimals)?;
    let tx = chain.sender(&owner).withdraw(user, amount).await?;
    let free = chain.account(user).await?.free;
    moved(context, "withdrawn", &money(amount, &meta), &money(free, &meta), tx.gas_used);
    Ok(())
}

fn moved(context: &Context, what: &str, amount: &str, free: &str, gas: u64) {
    if context.global.json {
        print::json(&json!({what: amount, "free": free, "gas_used": gas}));
    } else {
        print::line(format!("{what}  {amount}\nfree       {free}\ngas        {gas}"));
    }
}

fn owner(context: &Context, options: &Amount) -> Result<Signer, CliError> {
    let development = context.home.path(DEVELOPMENT_OWNER);
    match &options.owner_key_file {
        Some(path) => key_file(path),
        None if development.exists() => key_file(&development),
        None => Err(CliError::NoKeyFile { who: "owner", option: "--owner-key-file" }),
    }
}
