//! `phallama wallet`

use std::path::{Path, PathBuf};

use phallama_chain::{Chain, Tx};
use phallama_client::{ClientError, Keystore, ScryptCost};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::{Address, Amount as TokenAmount};
use phallama_protocol::keys::Signer;
use serde_json::json;

use crate::context::{Context, USER_KEYSTORE, WALLETS, key_file};
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(super) fn new(context: &Context) -> Result<(), CliError> {
    let path = free_place(context)?;
    let password = context.password("choose a password for the user key: ")?;
    context.home.create()?;
    let keystore =
        Keystore::create(&path, &password, ScryptCost::STANDARD).map_err(ClientError::from)?.0;
    shown(context, &keystore);
    print::note("It can only spend on inference; withdrawals go to the wallet that deposits.");
    Ok(())
}

/// Where the chosen wallet is not yet.
fn free_place(context: &Context) -> Result<PathBuf, CliError> {
    let path = context.keystore_path()?;
    if path.exists() { Err(CliError::WalletExists { path }) } else { Ok(path) }
}

pub(super) fn import(context: &Context, file: &Path, secret_key: bool) -> Result<(), CliError> {
    let path = free_place(context)?;
    let keystore = if secret_key {
        let signer = key_file(file)?;
        let password = context.password("choose a password for the user key: ")?;
        context.home.create()?;
        Keystore::import(&path, &signer, &password, ScryptCost::STANDARD)
    } else {
        let foreign = Keystore::open(file).map_err(ClientError::from)?;
        let password = context.password("password of the keystore: ")?;
        // A key that cannot be unlocked is worth nothing here.
        foreign.unlock(&password).map_err(ClientError::from)?;
        context.home.create()?;
        foreign.copy_to(&path)
    };
    shown(context, &keystore.map_err(ClientError::from)?);
    Ok(())
}

pub(super) fn export(context: &Context, file: &Path) -> Result<(), CliError> {
    let copy = context.keystore()?.copy_to(file).map_err(ClientError::from)?;
    shown(context, &copy);
    Ok(())
}

pub(super) fn change_password(context: &Context, new: Option<&Path>) -> Result<(), CliError> {
    let keystore = context.keystore()?;
    let old = context.password("old password of the user key: ")?;
    let new = Context::password_from(new, "new password of the user key: ")?;
    let changed =
        keystore.change_password(&old, &new, ScryptCost::STANDARD).map_err(ClientError::from)?;
    shown(context, &changed);
    Ok(())
}

/// Every wallet of the home, the unnamed one first.
pub(super) fn list(context: &Context) -> Result<(), CliError> {
    let mut wallets = Vec::new();
    let unnamed = context.home.path(USER_KEYSTORE);
    if unnamed.exists() {
        wallets.push((None, unnamed));
    }
    let folder = context.home.path(WALLETS);
    let mut named: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|source| CliError::File { path: folder, source })?,
    };
    named.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    named.sort();
    for path in named {
        wallets.push((path.file_stem().map(|name| name.to_string_lossy().into_owned()), path));
    }
    let mut rows = Vec::new();
    for (name, path) in wallets {
        rows.push((name, Keystore::open(&path).map_err(ClientError::from)?.address()));
    }
    if context.global.json {
        let wallets: Vec<_> =
            rows.iter().map(|(name, user)| json!({"name": name, "user": user})).collect();
        print::json(Schema::Wallets, json!({"wallets": wallets}));
        return Ok(());
    }
    let row = |(name, user): &(Option<String>, Address)| {
        vec![name.clone().unwrap_or_else(|| "(unnamed)".to_owned()), user.to_string()]
    };
    print::line(print::table(
        &["wallet", "user key"],
        &rows.iter().map(row).collect::<Vec<_>>(),
        &[],
    ));
    Ok(())
}

pub(super) fn show(context: &Context) -> Result<(), CliError> {
    shown(context, &context.keystore()?);
    Ok(())
}

fn shown(context: &Context, keystore: &Keystore) {
    let address = keystore.address();
    if context.global.json {
        let wallet = json!({"user": address, "keystore": keystore.path()});
        print::json(Schema::Wallet, wallet);
    } else {
        print::line(format!("user key  {address}\nkeystore  {}", keystore.path().display()));
    }
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
