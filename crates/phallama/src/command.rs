//! The commands, one file each.

mod audit;
pub(crate) mod balance;
mod chain;
mod close;
mod demo;
pub(crate) mod deposit;
mod disputes;
mod exit;
mod limits;
mod list;
mod pod;
pub(crate) mod pods;
mod pull;
pub(crate) mod receipts;
mod relay;
mod run;
pub(crate) mod sending;
mod serve;
mod show;
mod trust;
mod verify;
mod wallet;
mod withdraw;

use std::time::Duration;

use crate::cli::{Audit, Chain, Cli, Command, Pod, Trust, Waiting, Wallet};
use crate::context::Context;
use crate::error::CliError;
use crate::home::ApprovedMeasurement;

/// Gives up when the time of `--timeout` is over. What was begun is dropped, which cancels it.
async fn within(
    waiting: Waiting,
    command: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let Some(seconds) = waiting.timeout else { return command.await };
    let done = tokio::time::timeout(Duration::from_secs(seconds), command).await;
    done.unwrap_or(Err(CliError::TimedOut { seconds }))
}

/// Runs what was typed.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    if let Command::Demo(options) = cli.command {
        return demo::run(&cli.global, options).await;
    }
    let mut context = Context::load(cli.global)?;
    match cli.command {
        Command::Demo(_) => unreachable!("the demo has a home of its own and ran above"),
        Command::Serve(options) => serve::run(&context, options).await,
        Command::Run(options) => {
            let waiting = options.waiting;
            Box::pin(within(waiting, run::run(&context, options))).await
        }
        Command::List(options) => within(options.waiting, list::run(&context, &options)).await,
        Command::Show(options) => within(options.waiting, show::run(&context, &options)).await,
        Command::Pull(options) => within(options.waiting, pull::run(&context, &options)).await,
        Command::Stop(options) => {
            pull::stop(&context, &options);
            Ok(())
        }
        Command::Pods => pods::run(&context).await,
        Command::Verify(options) => verify::run(&context, options.pod.as_deref()).await,
        Command::Audit(Audit::Pod(options)) => audit::pod(&context, &options).await,
        Command::Audit(Audit::Receipt { file }) => receipts::audit(&context, &file),
        Command::Wallet(Wallet::New) => wallet::new(&context),
        Command::Wallet(Wallet::Show) => wallet::show(&context),
        Command::Wallet(Wallet::List) => wallet::list(&context),
        Command::Wallet(Wallet::Export { file }) => wallet::export(&context, &file),
        Command::Wallet(Wallet::Import { file, secret_key }) => {
            wallet::import(&context, &file, secret_key)
        }
        Command::Wallet(Wallet::ChangePassword { new_password_file }) => {
            wallet::change_password(&context, new_password_file.as_deref())
        }
        Command::Deposit(options) => deposit::run(&context, &options).await,
        Command::Withdraw(options) => withdraw::run(&context, &options).await,
        Command::Exit(options) => exit::run(&context, &options).await,
        Command::Close(options) => close::run(&context, &options).await,
        Command::Relay(options) => relay::run(&context, &options).await,
        Command::Balance(options) => balance::run(&context, options.all).await,
        Command::Limits(options) => limits::run(&mut context, options.change).await,
        Command::Receipts(options) => receipts::run(&context, &options).await,
        Command::Disputes(options) => disputes::run(&context, options.action).await,
        Command::Trust(Trust::Approve { measurement, policy, label }) => {
            let entry = ApprovedMeasurement { label, measurement, policy };
            trust::approve(&mut context, entry)
        }
        Command::Trust(Trust::List) => {
            trust::list(&context);
            Ok(())
        }
        Command::Pod(Pod::Up(options)) => pod::up(&context, *options).await,
        Command::Pod(Pod::Check(options)) => pod::check::run(&context, &options).await,
        Command::Pod(Pod::ShareMachine(options)) => pod::share::run(&context, &options).await,
        Command::Pod(Pod::Status) => pod::status::run(&context).await,
        Command::Pod(Pod::Earnings) => pod::earnings::run(&context).await,
        Command::Pod(Pod::Settle { dry_run }) => pod::settle::run(&context, dry_run).await,
        Command::Pod(Pod::Collect) => pod::collect::run(&context).await,
        Command::Pod(Pod::Drain { resume }) => pod::drain::run(&context, resume).await,
        Command::Pod(Pod::Models(command)) => pod::models::run(&context, command).await,
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
