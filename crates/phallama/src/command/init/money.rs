//! The first deposit.

use phallama_chain::Chain;
use phallama_protocol::ids::Amount;

use super::{Wallet, ask};
use crate::cli::Init;
use crate::command::sending::{DEVELOPMENT_OWNER, owner_of};
use crate::command::wallet::put_in;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::{print, units};

/// What a development owner, whose tokens are worth nothing, is proposed to deposit.
const PROPOSED: &str = "5";

/// What was put into the escrow.
pub(super) struct Deposited {
    pub(super) amount: Amount,
}

/// Deposits what was said, or what is answered to the question.
pub(super) async fn deposit(
    context: &Context,
    options: &Init,
    chain: &Chain,
    wallet: &Wallet,
    asks: bool,
) -> Result<Option<Deposited>, CliError> {
    let file = options.owner_key_file.as_deref();
    let is_development = file.is_none() && context.home.path(DEVELOPMENT_OWNER).exists();
    let meta = chain.token_meta().await?;
    let said = match &options.deposit {
        Some(said) => said.clone(),
        // Without the owner's key there is nothing to ask.
        None if !asks || (file.is_none() && !is_development) => return Ok(None),
        None => {
            print::note(
                "\nMoney in the escrow is spent by the user key, and returns to the wallet that \
                 deposits.",
            );
            let proposed = if is_development { PROPOSED } else { "" };
            ask(&format!("deposit now, in {}", meta.symbol), proposed)?
        }
    };
    if said.is_empty() || said == "0" {
        return Ok(None);
    }
    let amount = units::parse(&said, meta.decimals)?;
    let owner = owner_of(&context.home, file)?;
    let unlocked;
    let user = match &wallet.key {
        Some(key) => key,
        None => {
            unlocked = context.user()?;
            &unlocked
        }
    };
    let tx = put_in(chain, &owner, user, amount).await?;
    let (shown, gas) = (money(amount, &meta), tx.gas_used);
    print::note(format!("deposited {shown} from {} ({gas} gas)", owner.address()));
    Ok(Some(Deposited { amount }))
}
