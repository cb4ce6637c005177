//! What the local server costs, and how it bears load: `phallama serve` in a process of its own
//! before a pod whose worker computes nothing, with the load from another process.
//!
//! - `added`: small requests at a steady rate, every second one through the local server and the
//!   others by the client library alone, each side with a user of its own. Both pay for sealing,
//!   vouchers, durable records and the pod; what the local server takes longer is its own.
//! - `burst`: as fast as it goes over many connections, the same by the library alone, and the
//!   server's memory.
//! - `streams`: answers held open together at a word every 50 ms, each read word by word.
//! - `churn`: connections that come and go, and heads of requests that never end, beside somebody
//!   who asks all the time.
//! - `overload`: twice what the pod's queue holds, at once.
//!
//! Everything is in class `unpaced`; what pacing adds is the front end's bench.
//!
//! `tools/bench.sh local` prints a table, with `--json` one JSON
//! object; `--part NAME` runs one part, `--quick` all of them shorter. It needs `phallama`,
//! `phallama-enclave` and `phallama-fake-worker` built in the same profile. Environment:
//! `PHALLAMA_MODEL` (else `tools/setup.sh` gives it), `PHALLAMA_BENCH_RPS` (40).

#[path = "../report/mod.rs"]
mod report;
#[path = "../scripted/mod.rs"]
mod scripted;
#[path = "../stack/mod.rs"]
mod stack;

mod load;
mod server;

use std::time::Duration;

use report::{Figure, figure};
use stack::Failure;

use crate::load::{Added, Burst, Churned, Job, Order, Overloaded, Streamed};
use crate::scripted::{Load, ScriptedPod, process};
use crate::server::LocalServer;

/// Answers that the pod computes at once, where none is to wait for another.
const SLOTS: u32 = 256;
/// The same where they are to wait.
const OVERLOAD_SLOTS: u32 = 4;
/// The pod's queue as it comes (`queue_max`); one account may have half of it.
const QUEUE: u32 = 32;
/// Requests per second of both sides together.
const RATE_PER_S: u32 = 40;
/// How long the server may keep a connection that nobody uses, to a pod (90 s) or from an app.
const SETTLE: Duration = Duration::from_secs(100);

/// How much of everything.
struct Size {
    added_s: u32,
    burst_requests: u32,
    words: u32,
    turns: u32,
    connects: u32,
}

const FULL: Size =
    Size { added_s: 60, burst_requests: 5_000, words: 400, turns: 2, connects: 10_000 };
const QUICK: Size =
    Size { added_s: 15, burst_requests: 1_000, words: 100, turns: 1, connects: 2_000 };

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(job) = std::env::var_os(scripted::JOB) {
        return runtime.block_on(scripted::run(&job, load::run));
    }
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--part").skip(1);
    let only = arguments.next();
    let wanted = |part| only.as_deref().is_none_or(|only| only == part);
    let size = if std::env::args().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let mut figures = Vec::new();
    if wanted("added") {
        figures.extend(added(size.added_s).await?);
    }
    if wanted("burst") {
        figures.extend(burst(size.burst_requests).await?);
    }
    if wanted("streams") {
        figures.extend(streams(size.words, size.turns).await?);
    }
    if wanted("churn") {
        figures.extend(churn(size.connects).await?);
    }
    if wanted("overload") {
        figures.extend(overload().await?);
    }
    report::print(&figures);
    Ok(())
}

/// A pod, and the local server of a user of it.
struct Setting {
    pod: ScriptedPod,
    server: LocalServer,
}

impl Setting {
    async fn start(slots: u32) -> Result<Self, Failure> {
        let pod = ScriptedPod::start(load::USERS, slots).await?;
        let server = LocalServer::start(&pod).await?;
        Ok(Self { pod, server })
    }

    async fn load(&self, job: Job) -> Result<Load, Failure> {
        let mut load = Order::new(&self.pod, self.server.address(), job).start()?;
        load.wait_for_begin().await?;
        Ok(load)
    }
}

/// What the local server adds to a request.
async fn added(seconds: u32) -> Result<Vec<Figure>, Failure> {
    let rate_per_s =
        std::env::var("PHALLAMA_BENCH_RPS").map_or(Ok(RATE_PER_S), |text| text.parse())?;
    note(&format!("local: {rate_per_s} small requests a second for {seconds} s"));
    let setting = Setting::start(SLOTS).await?;
    let load = setting.load(Job::Added { rate_per_s, seconds }).await?;
    let (cpu, pod_cpu) = (setting.server.cpu_s()?, pod_cpu_s(&setting.pod)?);
    let Added { local, library, failed } = load.finish().await?;
    let (cpu, pod_cpu) = (setting.server.cpu_s()? - cpu, pod_cpu_s(&setting.pod)? - pod_cpu);
    setting.pod.stop().await?;
    let count = f64::from(rate_per_s * seconds);
    note(&format!(
        "local: {:.2}/{:.2} ms through the server, {:.2}/{:.2} ms without (p50/p99); a request took \
         {:.0} µs of the server and {:.0} µs of the pod",
        local.p50_ms,
        local.p99_ms,
        library.p50_ms,
        library.p99_ms,
        1e6 * cpu / (count / 2.0),
        1e6 * pod_cpu / count,
    ));
    Ok(vec![
        figure("local.added_p50_ms", local.p50_ms - library.p50_ms, "ms"),
        figure("local.added_p99_ms", local.p99_ms - library.p99_ms, "ms"),
        figure("local.p50_ms", local.p50_ms, "ms"),
        figure("local.p99_ms", local.p99_ms, "ms"),
        figure("local.failed", failed.into(), "requests"),
    ])
}

/// Processor time of host and enclave.
fn pod_cpu_s(pod: &ScriptedPod) -> Result<f64, Failure> {
    let [host, enclave] = pod.processes();
    Ok(process::cpu_s(host)? + process::cpu_s(enclave)?)
}

/// As fast as it goes.
async fn burst(requests: u32) -> Result<Vec<Figure>, Failure> {
    note(&format!("local: {requests} requests over 200 connections"));
    let setting = Setting::start(SLOTS).await?;
    let load = setting.load(Job::Burst { connections: 200, requests }).await?;
    let (burst, peak_kib): (Burst, f64) = setting.server.watch(load.finish()).await?;
    let resident_kib = setting.server.memory_kib()?;
    setting.pod.stop().await?;
    note(&format!(
        "local: {:.0} requests/s through the server, {:.0} without; at most {:.0} MiB",
        burst.local_per_s,
        burst.library_per_s,
        peak_kib / 1_024.0
    ));
    Ok(vec![
        figure("local.burst_per_s", burst.local_per_s, "requests/s"),
        figure("local.burst_ratio", burst.local_per_s / burst.library_per_s, "ratio"),
        figure("local.burst_failed", burst.local_failed.into(), "requests"),
        figure("local.rss_mib", resident_kib / 1_024.0, "MiB"),
    ])
}

/// Many answers at once, word by word.
async fn streams(words: u32, turns: u32) -> Result<Vec<Figure>, Failure> {
    let count = 200;
    note(&format!("local: {count} streams of {words} words"));
    let setting = Setting::start(SLOTS).await?;
    let load = setting.load(Job::Streams { count, words, turns }).await?;
    let before_kib = setting.server.memory_kib()?;
    let (streamed, peak_kib): (Streamed, f64) = setting.server.watch(load.finish()).await?;
    setting.pod.stop().await?;
    let Streamed { local, library, heard } = streamed;
    note(&format!(
        "local: first word {:.1} ms, gap {:.1} ms through the server; {:.1} and {:.1} ms without \
         (p99)",
        local.first_p99_ms, local.gap_p99_ms, library.first_p99_ms, library.gap_p99_ms
    ));
    Ok(vec![
        figure("local.streams", count.into(), "streams"),
        figure("local.streams_lost", heard.lost.into(), "words"),
        figure("local.streams_duplicated", heard.duplicated.into(), "words"),
        figure("local.streams_reordered", heard.reordered.into(), "words"),
        figure("local.streams_added_ttft_p99_ms", local.first_p99_ms - library.first_p99_ms, "ms"),
        figure("local.streams_added_gap_p99_ms", local.gap_p99_ms - library.gap_p99_ms, "ms"),
        figure("local.stream_kib", (peak_kib - before_kib) / f64::from(count), "KiB"),
    ])
}

/// Connections that come, stay without a word, and go.
async fn churn(connects: u32) -> Result<Vec<Figure>, Failure> {
    let half_open = 500;
    note(&format!("local: {connects} connections at 200/s, {half_open} half-open heads"));
    let setting = Setting::start(SLOTS).await?;
    let load = setting.load(Job::Churn { connects, half_open }).await?;
    let before = setting.server.files()?;
    let churned: Churned = load.finish().await?;
    let after = setting.server.files_settled(before, SETTLE).await?;
    setting.pod.stop().await?;
    note(&format!(
        "local: others' p50/p99 {:.1}/{:.1} ms, before {:.1}/{:.1} ms; files {before} before, \
         {after} after",
        churned.others.p50_ms,
        churned.others.p99_ms,
        churned.others_before.p50_ms,
        churned.others_before.p99_ms
    ));
    let ratio = churned.others.p99_ms / churned.others_before.p99_ms;
    Ok(vec![
        figure("local.churn_failed", churned.failed.into(), "connections"),
        figure("local.churn_files_left", f64::from(after) - f64::from(before), "files"),
        figure("local.half_open_s", churned.half_open_longest_s, "s"),
        figure("local.half_open_left", churned.half_open_left.into(), "connections"),
        figure("local.churn_others_failed", churned.others_failed.into(), "requests"),
        figure("local.churn_others_p99_ratio", ratio, "ratio"),
    ])
}

/// Twice what may wait.
async fn overload() -> Result<Vec<Figure>, Failure> {
    let requests = 2 * QUEUE;
    note(&format!("local: {requests} requests at once, {OVERLOAD_SLOTS} slots, queue of {QUEUE}"));
    let setting = Setting::start(OVERLOAD_SLOTS).await?;
    let load = setting.load(Job::Overload { busy: OVERLOAD_SLOTS, requests }).await?;
    let told: Overloaded = load.finish().await?;
    let paid = paid(&setting.pod).await?;
    setting.pod.stop().await?;
    note(&format!("local: {} answered; paid {paid}, told {} units", told.answered, told.cost));
    Ok(vec![
        figure("local.overload_refused", told.refused.into(), "requests"),
        figure("local.overload_answered", told.answered.into(), "requests"),
        figure("local.overload_failed", told.failed.into(), "requests"),
        figure("local.overload_burst_refusal_max_ms", told.refusal_max_ms, "ms"),
        figure("local.overload_refusal_max_ms", told.single_refusal_max_ms, "ms"),
        figure("local.overload_charged", units(paid)? - units(told.cost)?, "units"),
    ])
}

/// What the pod has of the local server's user when everything is settled, in smallest units.
async fn paid(pod: &ScriptedPod) -> Result<u128, Failure> {
    pod.pod().settle_now().await?;
    let user = stack::user(load::LOCAL_USER).address();
    Ok(pod.chain().channel(user, pod.pod().pod_id()).await?.claimed.value())
}

fn units(amount: u128) -> Result<f64, Failure> {
    Ok(f64::from(u32::try_from(amount)?))
}

/// Progress goes to stderr, so that stdout stays JSON.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}
