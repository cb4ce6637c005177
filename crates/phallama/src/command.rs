//! The commands, one file each.

mod audit;
mod balance;
mod chain;
mod demo;
mod pod;
mod pods;
mod receipts;
mod run;
mod serve;
mod trust;
mod verify;
mod wallet;

use crate::cli::{Audit, Chain, Cli, Command, Pod, Trust, Wallet};
use crate::context::Context;
use crate::error::CliError;
use crate::home::ApprovedMeasurement;

/// Runs what was typed.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    if let Command::Demo(options) = cli.command {
        return demo::run(&cli.global, options).await;
    }
    let mut context = Context::load(cli.global)?;
    match cli.command {
        Command::Demo(_) => unreachable!("the demo has a home of its own and ran above"),
        Command::Serve(options) => serve::run(&context, &options).await,
        Command::Run(options) => run::run(&context, options).await,
        Command::Pods => pods::run(&context).await,
        Command::Verify(options) => verify::run(&context, options.pod.as_deref()).await,
        Command::Audit(Audit::Pod(options)) => audit::pod(&context, &options).await,
        Command::Wallet(Wallet::New) => wallet::new(&context),
        Command::Wallet(Wallet::Show) => wallet::show(&context),
        Command::Deposit(options) => wallet::deposit(&context, &options).await,
        Command::Withdraw(options) => wallet::withdraw(&context, &options).await,
        Command::Balance => balance::run(&context).await,
        Command::Receipts(options) => receipts::run(&context, options.number).await,
        Command::Trust(Trust::Approve { measurement, policy, label }) => {
            let entry = ApprovedMeasurement { label, measurement, policy };
            trust::approve(&mut context, entry)
        }
        Command::Trust(Trust::List) => {
            trust::list(&context);
            Ok(())
        }
        Command::Pod(Pod::Up(options)) => pod::up(&context, options).await,
        Command::Pod(Pod::Check(options)) => pod::check::run(&context, &options).await,
        Command::Pod(Pod::ShareMachine(options)) => pod::share::run(&context, &options).await,
        Command::Chain(Chain::Up { listen }) => chain::up(&mut context, listen).await,
        Command::Chain(Chain::Deploy { rpc_url, key_file, root_certificate }) => {
            let root = root_certificate.as_deref();
            chain::deploy(&mut context, &rpc_url, &key_file, root).await
        }
        Command::Config => {
            crate::print::line(toml::to_string_pretty(&context.config).unwrap_or_default());
            Ok(())
        }
    }
}
