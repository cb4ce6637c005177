//! `phallama-enclave --config FILE`: runs inside the TEE.
//!
//! Flags are parsed by hand: a parser of command lines would be a fifth of the trusted code.

mod log;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use phallama_enclave::clock::Clock;
use phallama_enclave::config::{Config, TeeConfig};
use phallama_enclave::enclave::{Enclave, StartError, Starting};
use phallama_enclave::{hardening, link_server, platform};
use phallama_engine::StartProgress;
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: phallama-enclave --config FILE
       phallama-enclave --print-measurement

  --config FILE          run with this JSON configuration
  --print-measurement    print what the simulated platform measures for this executable
  --version, --help

exit codes: 0 ok, 1 could not run, 2 usage
";

enum Command {
    Run(PathBuf),
    PrintMeasurement,
    Version,
    Help,
}

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen at {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

fn main() -> ExitCode {
    // Before anything that could hold a secret, and before any worker inherits the limit.
    let exposed = hardening::forbid_dumps();
    let done = match parse(std::env::args_os().skip(1)) {
        Err(problem) => {
            say(&format!("error: {problem}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
        Ok(Command::Help) => print(USAGE),
        Ok(Command::Version) => {
            print(concat!("phallama-enclave ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Ok(Command::PrintMeasurement) => platform::simulated_measurement()
            .map_err(|error| StartError::from(error).into())
            .and_then(|measurement| print(&format!("{measurement}\n"))),
        Ok(Command::Run(path)) => run(&path, &exposed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let first = args.next().ok_or("nothing to do")?;
    let command = match first.to_str() {
        Some("--config") => Command::Run(args.next().ok_or("--config needs a file")?.into()),
        Some("--print-measurement") => Command::PrintMeasurement,
        Some("--version") => Command::Version,
        Some("--help" | "-h") => Command::Help,
        _ => return Err(format!("unknown argument `{}`", first.to_string_lossy())),
    };
    match args.next() {
        None => Ok(command),
        Some(more) => Err(format!("unexpected argument `{}`", more.to_string_lossy())),
    }
}

fn run(path: &Path, exposed: &[(&str, Errno)]) -> Result<(), RunError> {
    log::start();
    for (what, error) in exposed {
        tracing::warn!(%error, "{what} cannot be set: this process can be dumped");
    }
    let config = Config::read(path).map_err(StartError::from)?;
    if matches!(config.tee, TeeConfig::Simulated(_)) {
        say(
            "DANGER: simulated TEE: anybody can forge this evidence; whoever runs this machine reads everything\n",
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| RunError::System { what: "no runtime", source })?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Result<(), RunError> {
    let stop = stop_signal().map_err(|source| RunError::System { what: "no signals", source })?;
    let enclave = Enclave::start(config, Clock::system(), progress()).await?;
    let path = &config.link_socket;
    let listener = link_server::bind(path)
        .map_err(|source| RunError::Listen { path: path.clone(), source })?;
    tracing::info!(
        identity = %enclave.identity_address(),
        measurement = %enclave.facts().measurement,
        link = %path.display(),
        "ready"
    );
    link_server::serve(Arc::clone(&enclave), listener, stop).await;
    tracing::info!("stopping");
    enclave.drain().await;
    Ok(())
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints a line whenever the start of a model has visibly advanced.
fn progress() -> impl Fn(Starting) + Send + Sync + Clone + 'static {
    let last = Arc::new(Mutex::new(String::new()));
    move |starting| {
        let step = match starting.progress {
            StartProgress::Hashing { done_bytes, total_bytes } => {
                format!("checking weights, {} %", quarter(done_bytes, total_bytes))
            }
            StartProgress::Pulling { done_bytes, total_bytes } => {
                format!("fetching, {} %", quarter(done_bytes, total_bytes))
            }
            StartProgress::Loading { elapsed_ms } => {
                format!("loading, {} s", elapsed_ms / 1000)
            }
            StartProgress::Ready => "ready".to_owned(),
        };
        let line = format!("model {}: {step}\n", starting.model);
        let mut last = last.lock().expect("nothing panics while printing progress");
        if *last != line {
            say(&line);
            *last = line;
        }
    }
}

/// `done` of `total` in percent, in steps of 25.
fn quarter(done: u64, total: u64) -> u64 {
    done.saturating_mul(4).checked_div(total).unwrap_or(4) * 25
}

fn print(text: &str) -> Result<(), RunError> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| RunError::System { what: "cannot write to stdout", source })
}

fn say(text: &str) {
    // Without stderr there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
