//! `phallama pod`

pub(super) mod admin;
mod backend;
pub(super) mod check;
pub(super) mod collect;
pub(super) mod drain;
pub(super) mod earnings;
pub(super) mod models;
mod offered;
pub(super) mod settle;
pub(super) mod share;
pub(super) mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phallama_chain::ChainConfig;
use phallama_host::config::{
    CollateralSettings, EnclaveSettings, ModelSettings, Policy, TeeSettings, WorkerSettings,
};
use phallama_host::{Pod, PodConfig, PodProgress};
use phallama_protocol::keys::Signer;

use super::chain::DEVELOPMENT_OPERATOR;
use super::pods::short;
use crate::cli::{CollateralOptions, PodUp};
use crate::context::{Context, key_file};
use crate::error::CliError;
use crate::home::{PodBackend, PodModel};
use crate::print::Progress;
use crate::{clock, notify, print, signal, units};

/// Distinguishes several pods of one operator.
const SALT: [u8; 32] = *b"phallama pod 1                  ";

pub(super) async fn up(context: &Context, options: PodUp) -> Result<(), CliError> {
    let operator = operator(context, options.operator_key_file.as_deref())?;
    let chain = context.chain_config()?;
    let decimals = context.chain().await?.token_meta().await?.decimals;
    let accepted = context.config.trust.danger_accept_simulated_tee;
    let state_dir = context.home.path("pod");
    let (pccs, policy) = (pccs(context, &options.collateral), policy(context, &chain));
    let backend = context.config.pod.backend.clone();
    let place = Place { state_dir, decimals, accepted, pccs, policy, backend };
    let listed = &context.config.pod.models;
    // From here on, so that a pod that is ready never ends without settling.
    let mut interrupts = signal::Interrupts::watch();
    let pod = tokio::select! {
        pod = start(&options, listed, chain, operator, place) => pod?,
        stop = interrupts.next() => return Err(CliError::Interrupted(stop)),
    };
    print::line(format!("pod  {}\nURL  {}", pod.pod_id(), pod.url()));
    print::note("Ctrl-C settles what is open and ends the pod.");
    notify::ready();
    interrupts.next().await;
    print::note("finishing open answers and settling; Ctrl-C again ends the pod at once");
    let settled = tokio::select! {
        settled = pod.shutdown() => settled?,
        stop = interrupts.next() => return Err(CliError::Interrupted(stop)),
    };
    for settlement in &settled {
        let paid = units::show(settlement.paid, decimals);
        print::note(format!(
            "settled {paid} in {} rows ({} gas)",
            settlement.rows, settlement.gas_used
        ));
    }
    Ok(())
}

/// Where a pod lives and what it may do there.
pub(crate) struct Place {
    pub(crate) state_dir: PathBuf,
    /// Of the escrow's token.
    pub(crate) decimals: u8,
    /// The simulated TEE was asked for by name.
    pub(crate) accepted: bool,
    /// Collateral services.
    pub(crate) pccs: Vec<String>,
    /// What it risks and when it acts.
    pub(crate) policy: Policy,
    /// What computes, unless the command line says.
    pub(crate) backend: Option<PodBackend>,
}

/// EIP-155 id of development chains, which make blocks only when there are transactions.
const DEVELOPMENT_CHAIN_ID: u64 = 31_337;
/// Elsewhere no new block for this long is a fault, in seconds.
const BLOCK_STALE_S: u64 = 120;

fn policy(context: &Context, chain: &ChainConfig) -> Policy {
    let mut policy = context.config.pod.policy.clone();
    if chain.chain_id != DEVELOPMENT_CHAIN_ID {
        policy.block_stale_s.get_or_insert(BLOCK_STALE_S);
    }
    policy
}

/// Collateral services: those of the command line, then those of the configuration.
fn pccs(context: &Context, options: &CollateralOptions) -> Vec<String> {
    let mut urls = options.pccs.clone();
    for url in &context.config.pod.pccs {
        if !urls.contains(url) {
            urls.push(url.clone());
        }
    }
    urls
}

/// Starts a pod with progress on stderr. It serves the models of the command line, else those
/// `listed` in the configuration.
pub(crate) async fn start(
    options: &PodUp,
    listed: &[PodModel],
    chain: ChainConfig,
    operator: Signer,
    place: Place,
) -> Result<Pod, CliError> {
    if !place.accepted {
        return Err(CliError::SimulatedNotAccepted);
    }
    print::warning("this pod's TEE is SIMULATED: its operator can read every prompt");
    check_url(options)?;
    let models = offered::models(options, listed, &place)?;
    let names: Vec<&str> = models.iter().map(|model| model.model.as_str()).collect();
    let names = names.join(", ");
    let progress = Arc::new(Progress::start("starting the pod"));
    let config = config(options, models, chain, operator, place)?;
    let steps = Arc::clone(&progress);
    let starting = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&starting);
    let report = move |step| match step {
        PodProgress::EnclaveLog(line) if !still.load(Ordering::Relaxed) => {
            tracing::info!("enclave: {line}");
        }
        PodProgress::Remark(text) => print::warning(text),
        PodProgress::Refused(refusal) => {
            print::warning(format!(
                "{refusal}\n  It is tried again every minute. {}",
                refusal.hint()
            ));
        }
        step => steps.step(&told(step)),
    };
    let pod = Pod::start(config, report).await?;
    starting.store(false, Ordering::Relaxed);
    let short = short(&pod.pod_id().to_string());
    progress.done(&format!("pod {short} serves {names} at {}", pod.url()));
    Ok(pod)
}

/// `0.0.0.0` is every address of this machine, and none that could be listed.
fn check_url(options: &PodUp) -> Result<(), CliError> {
    if options.url.is_some() || !options.listen.ip().is_unspecified() {
        return Ok(());
    }
    Err(CliError::BadValue {
        what: "URL of a pod",
        got: format!("http://{}", options.listen),
        expected: "one that users reach it by, given with --url or PHALLAMA_POD_URL".to_owned(),
    })
}

/// A step of the pod's life in words.
fn told(step: PodProgress) -> String {
    match step {
        PodProgress::ChainConnected { block, .. } => format!("the chain answers (block {block})"),
        PodProgress::EnclaveStarting => "the enclave program starts".to_owned(),
        PodProgress::EnclaveLog(line) => format!("enclave: {line}"),
        PodProgress::EnclaveReady { identity, measurement, took_ms } => format!(
            "the enclave is ready after {took_ms} ms: identity {identity}, measurement {measurement}"
        ),
        PodProgress::EnclaveRestarting { reason, in_ms } => {
            format!("the enclave ended ({reason}) and is started again in {in_ms} ms")
        }
        PodProgress::Registered { what, gas_used, .. } => {
            format!("on chain: {what} ({gas_used} gas)")
        }
        PodProgress::Appraised { appraisal } => format!(
            "this machine's TCB status is {}, by TCB evaluation number {}; collateral until {}",
            appraisal.tcb_status,
            appraisal.evaluation_number,
            clock::rfc3339(appraisal.expires_at_unix_s)
        ),
        PodProgress::Attested { until_unix_s } => format!(
            "the registry has verified the quote and vouches for the key until {}",
            clock::rfc3339(until_unix_s)
        ),
        PodProgress::Remark(text) => text,
        PodProgress::Refused(refusal) => refusal.to_string(),
        PodProgress::Listening { url } => format!("listening at {url}"),
    }
}

fn config(
    options: &PodUp,
    models: Vec<ModelSettings>,
    chain: ChainConfig,
    operator: Signer,
    place: Place,
) -> Result<PodConfig, CliError> {
    let (path, backend) =
        backend::chosen(options.worker.as_deref(), &options.backend, place.backend)?;
    let worker = WorkerSettings {
        path,
        backend,
        args: Vec::new(),
        slots: Some(options.slots),
        threads: options.threads,
        queue_max: None,
        memory_budget_bytes: options.memory.map(|gib| gib.saturating_mul(1 << 30)),
        stall_timeout_s: options.stall_timeout,
        ..WorkerSettings::default()
    };
    let seed = operator.address().to_string();
    let enclave = EnclaveSettings {
        program: enclave_program(options)?,
        program_args: Vec::new(),
        models,
        worker,
        tee: TeeSettings::Simulated { platform_seed: seed },
        danger_accept_simulated_tee: place.accepted,
        policy: None,
    };
    Ok(PodConfig {
        listen: options.listen,
        public_url: options.url.clone(),
        chain,
        payout: operator.address(),
        operator,
        salt: SALT,
        state_dir: place.state_dir,
        enclave,
        collateral: CollateralSettings { pccs: place.pccs, timeout_ms: None },
        policy: place.policy,
    })
}

/// The enclave program: named, or beside this executable.
fn enclave_program(options: &PodUp) -> Result<PathBuf, CliError> {
    if let Some(path) = &options.enclave {
        return absolute(path);
    }
    let this = std::env::current_exe()
        .map_err(|source| CliError::File { path: "phallama".into(), source })?;
    absolute(&this.with_file_name("phallama-enclave"))
}

/// The enclave program runs in another folder, so its paths have to be absolute; and there.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    path.canonicalize().map_err(|source| CliError::File { path: path.to_owned(), source })
}

pub(super) fn operator(context: &Context, named: Option<&Path>) -> Result<Signer, CliError> {
    let development = context.home.path(DEVELOPMENT_OPERATOR);
    match named {
        Some(path) => key_file(path),
        None if development.exists() => key_file(&development),
        None => Err(CliError::NoKeyFile { who: "operator", option: "--operator-key-file" }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        up: PodUp,
    }

    #[test]
    fn every_address_of_a_machine_is_no_url_to_be_listed() {
        let checked = |words: &str| {
            let words = std::iter::once("up").chain(words.split_whitespace());
            check_url(&Words::parse_from(words).up)
        };
        for listen in ["0.0.0.0:11811", "[::]:11811"] {
            let error = checked(&format!("--listen {listen}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`http://{listen}` is not a valid URL")), "{error}");
            checked(&format!("--listen {listen} --url https://pod.example.org")).unwrap();
        }
        checked("--listen 192.0.2.1:11811").unwrap();
    }
}
