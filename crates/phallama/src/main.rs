//! The `phallama` command.

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use phallama::cli::Cli;
use phallama::print::Manner;
use phallama::{command, print};

fn main() -> ExitCode {
    let cli = parse();
    let global = &cli.global;
    print::in_manner(Manner { quiet: global.quiet, plain: global.no_color, json: global.json });
    let filter = tracing_subscriber::EnvFilter::try_from_env("PHALLAMA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Before the first HTTP client, which may be any command's.
    phallama_chain::use_ring();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the runtime starts");
    match runtime.block_on(command::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and usage errors are printed while the line is read, so their colours are settled before.
fn parse() -> Cli {
    let mut command = Cli::command();
    if std::env::args_os().any(|word| word == "--no-color") {
        command = command.color(ColorChoice::Never);
    }
    let matches = command.get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
