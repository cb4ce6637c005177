//! `phallama demo`: the other commands put together, with everything on this machine.

mod ask;
mod ledger;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use phallama_client::{Client, ClientError, Keystore, ScryptCost};
use phallama_host::Pod;
use phallama_host::config::Policy;
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;

use self::ledger::Balances;
use super::chain::{Developer, developer, development_root};
use super::pod::Place;
use super::verify::check_table;
use crate::cli::{
    BackendOptions, CollateralOptions, Demo, Global, PodUp, PurposeOptions, TermsOptions,
};
use crate::context::{Context, USER_KEYSTORE, money};
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print::Progress;
use crate::tokens::Tokens;
use crate::{print, server, signal};

const MODEL: &str = "smollm2:135m";
/// In smallest units: 5 whole test tokens.
const DEPOSIT: u64 = 5_000_000;
const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Everything that runs while the demo does.
struct Stage {
    context: Context,
    pod: Pod,
    client: Arc<Client>,
    user: Signer,
    before: Balances,
}

pub(super) async fn run(global: &Global, options: Demo) -> Result<(), CliError> {
    let folder = tempfile::Builder::new().prefix("phallama-demo-").tempdir();
    let folder = folder.map_err(|source| CliError::File { path: std::env::temp_dir(), source })?;
    let mut global = global.clone();
    global.home = Some(folder.path().to_owned());
    global.danger_accept_simulated_tee = true;
    let stage = set_up(global, &options).await?;

    let listen = options.listen.unwrap_or(SocketAddr::new(LOOPBACK.ip(), server::DEFAULT_PORT));
    let listener = server::bind(listen, false).await?;
    let address = listener.local_addr().map_err(CliError::Server)?;
    let client = Arc::clone(&stage.client);
    let page = server::Page::new(&stage.context, Arc::clone(&client), None)?;
    let guard = server::Guard::own(address, Tokens::of(&stage.context.home));
    let local_server = tokio::spawn(server::serve(listener, client, Some(page), guard));
    print::note(format!("  ✓ phallama serve answers at http://{address}"));

    let answers = [
        ask::openai(address, MODEL, &options.prompt).await?,
        ask::ollama(address, MODEL, "Say hello in one short sentence.").await?,
    ];
    ledger::show(&stage, &answers).await?;
    if !options.once {
        print::note(invitation(address, folder.path()));
        signal::interrupted().await;
    }
    local_server.abort();
    stage.pod.shutdown().await?;
    Ok(())
}

/// What to try while the demo stays up.
fn invitation(address: SocketAddr, home: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let programs = program.parent().unwrap_or(Path::new(".")).display().to_string();
    let home = home.display();
    format!(
        "\nThe demo stays up. Point your apps at it:\n\n  \
         export OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY=none\n  \
         export OLLAMA_HOST={address}\n\nLook around from another terminal:\n\n  \
         export PATH={programs}:$PATH PHALLAMA_HOME={home} PHALLAMA_PASSWORD_FILE={home}/password\n  \
         phallama pods; phallama verify; phallama run {MODEL} hello; phallama balance\n\n\
         In a browser: http://{address}/ui/ (the wallet's password is `demo`)\n\n\
         Ctrl-C ends it."
    )
}

async fn set_up(global: Global, options: &Demo) -> Result<Stage, CliError> {
    let mut context = Context::load(global)?;
    let decimals = chain(&mut context, options).await?;
    let chain = context.chain_config()?;
    let state_dir = context.home.path("pod");
    let policy = Policy::default();
    let place =
        Place { state_dir, decimals, accepted: true, pccs: Vec::new(), policy, backend: None };
    let operator = developer(Developer::Operator);
    let pod = super::pod::start(&pod_options(options), &[], chain, operator, place).await?;
    approve_build(&mut context, &pod).await?;

    let user = wallet(&context)?;
    let before = deposit(&context, &user, &pod).await?;
    let client = Arc::new(context.client_for(user.clone()).await?);
    let verified = client.verify(pod.pod_id()).await?;
    print::note("\nWhat was verified before a prompt may leave this machine:\n");
    print::line(check_table(verified.checks()));
    Ok(Stage { context, pod, client, user, before })
}

/// The chain: embedded, or the endpoint that was named. Returns the token's decimals.
async fn chain(context: &mut Context, options: &Demo) -> Result<u8, CliError> {
    let progress = Progress::start("starting a chain and deploying the contracts");
    let is_embedded = options.rpc_url.is_empty();
    let rpc_urls = if is_embedded {
        vec![super::chain::start(LOOPBACK).await?]
    } else {
        options.rpc_url.clone()
    };
    let deployer = developer(Developer::Deployer);
    let root = development_root();
    let deployment = super::chain::configure(context, &rpc_urls, &deployer, &root).await?;
    let kind = if is_embedded { "embedded chain" } else { "endpoint" };
    let rpc_url = rpc_urls.join(", ");
    progress.done(&format!(
        "{kind} {rpc_url}: verifier {} under the development root, registry {}, escrow {}, \
         test token {} ({} gas)",
        deployment.verifier,
        deployment.registry,
        deployment.escrow,
        deployment.token,
        deployment.gas_used
    ));
    Ok(context.chain().await?.token_meta().await?.decimals)
}

fn pod_options(options: &Demo) -> PodUp {
    PodUp {
        models: vec![options.model.to_string_lossy().into_owned()],
        names: vec![MODEL.to_owned()],
        worker: Some(options.worker.clone()),
        backend: BackendOptions::default(),
        listen: LOOPBACK,
        url: None,
        terms: TermsOptions {
            input_price: vec!["0.10".to_owned()],
            output_price: vec!["0.40".to_owned()],
            context: vec![4096],
            max_output: vec![1024],
            lazy: false,
            keep_alive: None,
        },
        purpose: PurposeOptions::default(),
        slots: 4,
        threads: None,
        memory: None,
        stall_timeout: None,
        collateral: CollateralOptions::default(),
        operator_key_file: None,
        enclave: None,
    }
}

/// The demo approves the enclave program it has just built, with the worker it was told to run, as
/// a user would approve a release.
async fn approve_build(context: &mut Context, pod: &Pod) -> Result<(), CliError> {
    let url = format!("{}/.well-known/phallama/keys", pod.url());
    let failed = |reason: String| CliError::DemoRequest { url: url.clone(), reason };
    let response = reqwest::get(&url).await.map_err(|error| failed(error.to_string()))?;
    let bytes = response.bytes().await.map_err(|error| failed(error.to_string()))?;
    let signed = SignedBundle::decode(&bytes).map_err(|error| failed(error.to_string()))?;
    let bundle = signed.bundle();
    let approved = ApprovedMeasurement {
        label: format!("phallama-enclave {} of this checkout", env!("CARGO_PKG_VERSION")),
        measurement: hex::encode(bundle.measurement.0),
        policy: Some(hex::encode(bundle.policy_digest.0)),
    };
    context.change(|config| {
        // Other terminals use this home without the demo's flags.
        config.trust.danger_accept_simulated_tee = true;
        config.trust.measurements = vec![approved.clone()];
    })
}

/// A throw-away user key, in an encrypted keystore like any other.
fn wallet(context: &Context) -> Result<Signer, CliError> {
    let path = context.home.path(USER_KEYSTORE);
    let password = "demo";
    context.home.write("password", password.as_bytes())?;
    let created = Keystore::create(&path, password, ScryptCost::LIGHT);
    let (keystore, user) = created.map_err(ClientError::from)?;
    print::note(format!("  ✓ user key {} in an encrypted keystore", keystore.address()));
    Ok(user)
}

async fn deposit(context: &Context, user: &Signer, pod: &Pod) -> Result<Balances, CliError> {
    let chain = context.chain().await?;
    let owner = developer(Developer::Owner);
    let before = Balances::read(&chain, user.address(), owner.address(), pod.pod_id()).await?;
    let amount = Amount::from(DEPOSIT);
    let tx = super::wallet::put_in(&chain, &owner, user, amount).await?;
    let shown = money(amount, &chain.token_meta().await?);
    print::note(format!("  ✓ deposited {shown} ({} gas)", tx.gas_used));
    Ok(before)
}
