//! What a pod needs: hardware, collateral, models, worker, port, gas, and a key on chain.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use phallama_chain::{Chain, PodRecord};
use phallama_host::admin::{Answer, Ask};
use phallama_host::models::file_digest;
use phallama_protocol::ids::{Address, Digest32};

use super::network::{clock_row, reached};
use super::{Row, local, report};
use crate::cli::{Global, PodDoctor};
use crate::clock;
use crate::command::pod::{admin, models};
use crate::context::Context;
use crate::error::CliError;
use crate::home::Home;
use crate::print::{Bytes, Spinner};
use crate::units;

/// Where Linux shows SGX and TDX.
const DEVICES: [(&str, &str); 2] = [("SGX", "/dev/sgx_enclave"), ("TDX", "/dev/tdx_guest")];
/// Loopback and collateral services answer within this.
const WITHIN: Duration = Duration::from_secs(10);
/// Less ether than this is soon used up, in wei: 0.005.
const GAS_LOW_WEI: u128 = 5_000_000_000_000_000;
/// An attestation that ends sooner should have been renewed by now, in seconds.
const ATTESTATION_LOW_S: u64 = 3_600;

/// Looks at everything that `phallama pod up` needs.
pub(in crate::command) async fn run(global: Global, options: &PodDoctor) -> Result<(), CliError> {
    let (home, json) = (Home::locate(&global)?, global.json);
    let waiting = Spinner::start("looking at everything");
    let mut rows = local::home(&home);
    rows.push(tee());
    match local::context(global) {
        Err(row) => rows.push(row),
        Ok(context) => {
            rows.push(Row::ok("config", home.path("config.toml").display().to_string()));
            rows.extend(collateral(&context, options).await);
            rows.extend(stored_models(&context, options));
            rows.push(worker(options.worker.as_deref()).await);
            let running = running(&context).await;
            rows.push(port(options, running.as_ref()));
            rows.extend(on_chain(&context, options).await);
        }
    }
    drop(waiting);
    report(&rows, json)
}

fn tee() -> Row {
    let found: Vec<&str> =
        DEVICES.iter().filter(|(_, path)| Path::new(path).exists()).map(|it| it.0).collect();
    if found.is_empty() {
        let paths = DEVICES.map(|(_, path)| path).join(" and no ");
        let fix = "use a machine with SGX or TDX, enabled in its firmware; a pod without one has a \
                   simulated TEE, which protects nothing";
        return Row::warn("tee", format!("no {paths}"), fix);
    }
    Row::ok("tee", format!("{} by its device", found.join(", ")))
}

/// Whether each collateral service answers with a root revocation list.
async fn collateral(context: &Context, options: &PodDoctor) -> Vec<Row> {
    let mut urls = options.collateral.pccs.clone();
    urls.extend(context.config.pod.pccs.clone());
    urls.dedup();
    if urls.is_empty() {
        return vec![Row::skip("pccs", "no collateral service is named (`--pccs`, `[pod] pccs`)")];
    }
    let mut rows = Vec::new();
    for url in urls {
        rows.push(match ask_service(&url).await {
            Ok(()) => Row::ok("pccs", url),
            Err(reason) => {
                let fix = "name another with `--pccs URL`, or start the service";
                Row::warn("pccs", format!("{url}: {reason}"), fix)
            }
        });
    }
    rows
}

async fn ask_service(url: &str) -> Result<(), String> {
    let base = url.trim_end_matches('/');
    let base = base.strip_suffix("/sgx/certification/v4").unwrap_or(base);
    let http = reqwest::Client::builder().timeout(WITHIN).build().map_err(|e| e.to_string())?;
    let asked = http.get(format!("{base}/sgx/certification/v4/rootcacrl")).send().await;
    let answer = asked.map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("HTTP {}", answer.status())) }
}

/// Every model of the store that would be served: its file is there and is the one it says.
fn stored_models(context: &Context, options: &PodDoctor) -> Vec<Row> {
    let stored = models::store(&context.home.path("pod")).and_then(|store| {
        let listed = store.list()?;
        Ok(listed.into_iter().map(|model| (store.path(&model), model)).collect::<Vec<_>>())
    });
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => return vec![Row::fail("model", &error)],
    };
    if stored.is_empty() {
        let fix = "run `phallama pod models add NAME`, or name a file with `pod up --model FILE`";
        return vec![Row::warn("model", "the store is empty", fix)];
    }
    let row = |(path, model): &(std::path::PathBuf, phallama_host::models::StoredModel)| {
        if options.no_hash {
            return Row::skip("model", format!("{}: not hashed", model.name));
        }
        match sha256(path) {
            Ok(digest) if digest == model.sha256 => {
                Row::ok("model", format!("{}: its file has the SHA-256 that it says", model.name))
            }
            Ok(_) => {
                let fix =
                    format!("run `phallama pod models remove {}` and add it again", model.name);
                Row::warn("model", format!("{}: its file was changed", model.name), fix)
            }
            Err(error) => Row::fail("model", &error),
        }
    };
    stored.iter().map(row).collect()
}

/// Read to its end, not remembered from an earlier time.
fn sha256(path: &Path) -> Result<Digest32, CliError> {
    let bar = Bytes::start("hashing the weights");
    let unused = |source| CliError::File { path: std::env::temp_dir(), source };
    let nowhere = tempfile::tempdir().map_err(unused)?;
    let cache = nowhere.path().join("digests.json");
    Ok(file_digest(path, &cache, |done, total| bar.at(done, Some(total)))?)
}

/// Whether llama-server starts and says what it is.
async fn worker(path: Option<&Path>) -> Row {
    let Some(path) = path else {
        return Row::skip("worker", "no llama-server is named (`--worker`, PHALLAMA_LLAMA_SERVER)");
    };
    let fix = "name one that runs here with `--worker FILE`";
    let mut command = tokio::process::Command::new(path);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(WITHIN, command.output()).await {
        Err(_) => Row::warn("worker", format!("{} does not end", path.display()), fix),
        Ok(Err(error)) => Row::warn("worker", format!("{}: {error}", path.display()), fix),
        Ok(Ok(output)) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let version = said.lines().find(|line| line.contains("version"));
            match version.filter(|_| output.status.success()) {
                Some(version) => Row::ok("worker", format!("{}: {version}", path.display())),
                None => Row::warn("worker", format!("{} is no worker", path.display()), fix),
            }
        }
    }
}

/// How the pod of this home is, when one runs.
async fn running(context: &Context) -> Option<phallama_host::status::PodStatus> {
    match admin::ask(context, Ask::Status).await {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    }
}

/// The port is free, or the pod that has it is well. Whether others reach it only they can say.
fn port(options: &PodDoctor, running: Option<&phallama_host::status::PodStatus>) -> Row {
    if let Some(status) = running {
        let url = &status.url;
        if status.health.ready {
            return Row::ok("port", format!("the pod runs and serves at {url}"));
        }
        let fix = "run `phallama pod status` for the reason";
        return Row::warn("port", format!("the pod runs at {url} and does not serve"), fix);
    }
    match TcpListener::bind(options.listen) {
        Ok(_) => Row::ok("port", format!("{} is free; no pod runs", options.listen)),
        Err(error) => {
            let fix = "end what listens there, or use `pod up --listen ADDR`";
            Row::warn("port", format!("{}: {error}", options.listen), fix)
        }
    }
}

async fn on_chain(context: &Context, options: &PodDoctor) -> Vec<Row> {
    let chain = match context.chain().await {
        Ok(chain) => chain,
        Err(error) => {
            let skipped =
                ["clock", "gas", "attestation"].map(|id| Row::skip(id, "needs the chain"));
            return std::iter::once(Row::fail("chain", &error)).chain(skipped).collect();
        }
    };
    let mut rows = vec![reached(&chain).await, clock_row(&chain).await];
    match crate::command::pod::operator(context, options.operator_key_file.as_deref()) {
        Err(CliError::NoKeyFile { option, .. }) => {
            let needs = format!("needs the operator's key: `{option} FILE`");
            rows.extend(["gas", "attestation"].map(|id| Row::skip(id, needs.clone())));
        }
        Err(error) => rows.push(Row::fail("gas", &error)),
        Ok(operator) => {
            rows.push(gas(&chain, operator.address()).await);
            rows.push(attestation(&chain, operator.address()).await);
        }
    }
    rows
}

async fn gas(chain: &Chain, operator: Address) -> Row {
    match chain.ether_balance(operator).await {
        Err(error) => Row::fail("gas", &error.into()),
        Ok(wei) => {
            let detail = format!("operator {operator} has {} ETH", units::show_units(wei, 18));
            if wei < GAS_LOW_WEI {
                return Row::warn("gas", detail, format!("send ether to {operator}"));
            }
            Row::ok("gas", detail)
        }
    }
}

/// The operator's pods, and how long the registry still vouches for their keys.
async fn attestation(chain: &Chain, operator: Address) -> Row {
    let pods = match chain.pods().await {
        Ok(pods) => pods,
        Err(error) => return Row::fail("attestation", &error.into()),
    };
    let own = pods.iter().filter(|pod| pod.operator == operator && !pod.retired);
    let soonest = own.min_by_key(|pod| pod.key.map_or(0, |key| key.expiry_unix_s));
    soonest.map_or_else(
        || Row::skip("attestation", "no pod of this operator is registered"),
        |pod| judge_attestation(pod, clock::now_unix_s()),
    )
}

fn judge_attestation(pod: &PodRecord, now_unix_s: u64) -> Row {
    let id = crate::command::pods::short(&pod.pod_id.to_string());
    let fix = "the pod renews it by itself while it runs: see `phallama pod status` and its log";
    let Some(key) = pod.key else {
        return Row::warn("attestation", format!("pod {id} has no key on chain"), fix);
    };
    let left_s = key.expiry_unix_s.saturating_sub(now_unix_s);
    let detail = format!("pod {id}: the registry vouches for {} more", clock::duration(left_s));
    if left_s < ATTESTATION_LOW_S {
        return Row::warn("attestation", detail, fix);
    }
    Row::ok("attestation", detail)
}
