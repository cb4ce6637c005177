//! The commands, one file each.

mod audit;
pub(crate) mod balance;
mod chain;
mod close;
mod config;
mod demo;
pub(crate) mod deposit;
mod disputes;
mod doctor;
mod exit;
mod init;
mod launch;
mod limits;
mod list;
mod local;
mod manual;
mod pod;
pub(crate) mod pods;
mod ps;
mod pull;
pub(crate) mod receipts;
mod relay;
mod run;
pub(crate) mod sending;
mod serve;
mod show;
mod status;
mod token;
mod trust;
mod verify;
mod wallet;
mod withdraw;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::cli::{Audit, Chain, Cli, Command, Global, Init, Pod, Trust, Waiting, Wallet};
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
    let global = cli.global;
    match cli.command {
        None => begin(global).await,
        // What needs no home that is in order.
        Some(Command::Demo(options)) => demo::run(&global, options).await,
        Some(Command::Doctor(options)) => {
            Box::pin(within(options.waiting, doctor::run(global))).await
        }
        Some(Command::Pod(Pod::Doctor(options))) => doctor::of_pod(global, &options).await,
        Some(Command::Completion(options)) => {
            manual::completion(&options);
            Ok(())
        }
        Some(Command::Man(options)) => manual::man(&options),
        Some(command) => Box::pin(in_home(&mut Context::load(global)?, command)).await,
    }
}

/// Somebody who types nothing else for the first time is asked what is needed.
async fn begin(global: Global) -> Result<(), CliError> {
    let mut context = Context::load(global)?;
    if init::is_done(&context) || !std::io::stdin().is_terminal() {
        return Err(CliError::NoCommand);
    }
    init::run(&mut context, Init::default()).await
}

async fn in_home(context: &mut Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(_) | Command::Doctor(_) | Command::Completion(_) | Command::Man(_) => {
            unreachable!("these need no home and ran before")
        }
        Command::Init(options) => init::run(context, options).await,
        Command::Serve(options) => serve::run(context, options).await,
        Command::Run(options) => {
            Box::pin(within(options.waiting, run::run(context, options))).await
        }
        Command::List(options) => within(options.waiting, list::run(context, &options)).await,
        Command::Show(options) => within(options.waiting, show::run(context, &options)).await,
        Command::Pull(options) => within(options.waiting, pull::run(context, &options)).await,
        Command::Ps(options) => within(options.waiting, ps::run(context)).await,
        Command::Status(options) => within(options.waiting, status::run(context)).await,
        Command::Stop(options) => {
            pull::stop(context, &options);
            Ok(())
        }
        Command::Pods => pods::run(context).await,
        Command::Verify(options) => verify::run(context, options.pod.as_deref()).await,
        Command::Audit(Audit::Pod(options)) => audit::pod(context, &options).await,
        Command::Audit(Audit::Receipt { file }) => receipts::audit(context, &file),
        Command::Wallet(command) => of_wallet(context, command),
        Command::Token(command) => token::run(context, &command).await,
        Command::Deposit(options) => deposit::run(context, &options).await,
        Command::Withdraw(options) => withdraw::run(context, &options).await,
        Command::Exit(options) => exit::run(context, &options).await,
        Command::Close(options) => close::run(context, &options).await,
        Command::Relay(options) => relay::run(context, &options).await,
        Command::Balance(options) => balance::run(context, options.all).await,
        Command::Limits(options) => limits::run(context, options.change).await,
        Command::Receipts(options) => receipts::run(context, &options).await,
        Command::Disputes(options) => disputes::run(context, options.action).await,
        Command::Trust(command) => of_trust(context, command),
        Command::Pod(command) => of_pod(context, command).await,
        Command::Chain(command) => of_chain(context, command).await,
        Command::Launch(options) => launch::run(context, &options).await,
        Command::Config(options) => config::run(context, options.action),
    }
}

fn of_wallet(context: &Context, command: Wallet) -> Result<(), CliError> {
    match command {
        Wallet::New => wallet::new(context),
        Wallet::Show => wallet::show(context),
        Wallet::List => wallet::list(context),
        Wallet::Export { file } => wallet::export(context, &file),
        Wallet::Import { file, secret_key } => wallet::import(context, &file, secret_key),
        Wallet::ChangePassword { new_password_file } => {
            wallet::change_password(context, new_password_file.as_deref())
        }
    }
}

fn of_trust(context: &mut Context, command: Trust) -> Result<(), CliError> {
    match command {
        Trust::Approve { measurement, policy, label } => {
            trust::approve(context, ApprovedMeasurement { label, measurement, policy })
        }
        Trust::List => {
            trust::list(context);
            Ok(())
        }
    }
}

async fn of_pod(context: &Context, command: Pod) -> Result<(), CliError> {
    match command {
        Pod::Doctor(_) => unreachable!("it needs no home that is in order and ran before"),
        Pod::Up(options) => pod::up(context, *options).await,
        Pod::Check(options) => pod::check::run(context, &options).await,
        Pod::ShareMachine(options) => pod::share::run(context, &options).await,
        Pod::Status => pod::status::run(context).await,
        Pod::Earnings => pod::earnings::run(context).await,
        Pod::Settle { dry_run } => pod::settle::run(context, dry_run).await,
        Pod::Collect => pod::collect::run(context).await,
        Pod::Drain { resume } => pod::drain::run(context, resume).await,
        Pod::Models(command) => pod::models::run(context, command).await,
    }
}

async fn of_chain(context: &mut Context, command: Chain) -> Result<(), CliError> {
    match command {
        Chain::Up { listen } => chain::up(context, listen).await,
        Chain::Deploy { rpc_url, key_file, root_certificate } => {
            chain::deploy(context, &rpc_url, &key_file, root_certificate.as_deref()).await
        }
    }
}
