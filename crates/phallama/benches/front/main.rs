//! What a pod's front end costs: host and enclave with a worker that computes nothing.
//!
//! Three parts, each with the load from a process of its own, so that only the pod is counted:
//!
//! - `rps`: small requests one after the other from many clients at once. Requests per second of
//!   the pod's processor time, beside what the same cryptography allows when it is called in a
//!   loop, in the same run.
//! - `pacing`: when each word of the same answer arrives, in each frame class, and the bytes of it.
//! - `streams`: paced streams held open together: late and lost frames, and memory per stream.
//!
//! `tools/bench.sh front` prints a table, with `--json` one JSON
//! object; `--part NAME` runs one part. It needs `phallama-enclave` and `phallama-fake-worker`
//! built in the same profile. Environment: `PHALLAMA_MODEL` (else `tools/setup.sh` gives it),
//! `PHALLAMA_BENCH_STREAMS` (1000), `PHALLAMA_BENCH_STREAM_S` (600).

#[path = "../report/mod.rs"]
mod report;
#[path = "../scripted/mod.rs"]
mod scripted;
#[path = "../stack/mod.rs"]
mod stack;

mod crypto;
mod load;

use std::time::Duration;

use report::{Figure, figure};
use stack::Failure;
use tokio::time::Instant;

use crate::load::{Job, Order, Paced, Served, Streamed};
use crate::scripted::{ScriptedPod, process};

/// Clients at once in the first part.
const CLIENTS: u32 = 64;
/// How often they ask, and for how long each time. What a processor does in a second changes from
/// minute to minute on shared machines, so each time has the cryptography measured around it.
const ROUNDS: usize = 5;
const LOAD_S: u64 = 8;

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
    let mut figures = Vec::new();
    if wanted("rps") {
        figures.extend(requests().await?);
    }
    if wanted("pacing") {
        figures.extend(pacing().await?);
    }
    if wanted("streams") {
        figures.extend(streams().await?);
    }
    report::print(&figures);
    Ok(())
}

/// Processor time per request, and what of it cryptography alone would take: medians of the rounds.
async fn requests() -> Result<Vec<Figure>, Failure> {
    note("front: 64 clients, small requests");
    let pod = ScriptedPod::start(CLIENTS, CLIENTS).await?;
    let (mut rates, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = crypto::request_s();
    for _ in 0..ROUNDS {
        let mut load =
            Order::at(&pod, Job::Requests { clients: CLIENTS, seconds: LOAD_S }).start()?;
        load.wait_for_begin().await?;
        let began = cpu_s(&pod)?;
        let served: Served = load.finish().await?;
        let [host, enclave] = since(began, cpu_s(&pod)?);
        let after = crypto::request_s();
        let crypto_s = f64::midpoint(before, after);
        before = after;
        let requests = f64::from(served.requests);
        let per_cpu_s = requests / (host + enclave);
        note(&format!(
            "front: {requests} requests in {:.1} s; each took {:.0} µs of the host and {:.0} µs of \
             the enclave, of which {:.0} µs are cryptography: {:.2}",
            served.seconds,
            1e6 * host / requests,
            1e6 * enclave / requests,
            1e6 * crypto_s,
            per_cpu_s * crypto_s
        ));
        rates.push(per_cpu_s);
        limits.push(1.0 / crypto_s);
        ratios.push(per_cpu_s * crypto_s);
    }
    pod.stop().await?;
    Ok(vec![
        figure("host.sealed_rps", median(rates), "requests/s"),
        figure("host.sealed_rps_crypto_limit", median(limits), "requests/s"),
        figure("host.sealed_rps_ratio_to_crypto", median(ratios), "ratio"),
    ])
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// When words arrive, class by class.
async fn pacing() -> Result<Vec<Figure>, Failure> {
    note("front: the same answer in every class");
    let pod = ScriptedPod::start(1, 4).await?;
    let mut load = Order::at(&pod, Job::Pacing { rounds: 10 }).start()?;
    load.wait_for_begin().await?;
    let Paced { std, fast, bulk, unpaced_bytes } = load.finish().await?;
    pod.stop().await?;
    Ok(vec![
        figure("pacing.added_ms_mean", std.mean_ms, "ms"),
        figure("pacing.added_ms_p95", std.p95_ms, "ms"),
        figure("pacing.bytes", std.bytes, "B"),
        figure("pacing.fast_added_ms_mean", fast.mean_ms, "ms"),
        figure("pacing.fast_added_ms_p95", fast.p95_ms, "ms"),
        figure("pacing.fast_bytes", fast.bytes, "B"),
        figure("pacing.bulk_added_ms_mean", bulk.mean_ms, "ms"),
        figure("pacing.bulk_added_ms_p95", bulk.p95_ms, "ms"),
        figure("pacing.bulk_bytes", bulk.bytes, "B"),
        figure("pacing.unpaced_bytes", unpaced_bytes, "B"),
    ])
}

/// Many paced streams at once, for a long time.
async fn streams() -> Result<Vec<Figure>, Failure> {
    let count = from_environment("PHALLAMA_BENCH_STREAMS", 1_000)?;
    let seconds = from_environment("PHALLAMA_BENCH_STREAM_S", 600)?;
    note(&format!("front: {count} paced streams for {seconds} s"));
    let pod = ScriptedPod::start(count, count + 16).await?;
    let before = memory_kib(&pod)?;
    let mut load = Order::at(&pod, Job::Streams { count, seconds: seconds.into() }).start()?;
    load.wait_for_begin().await?;
    let cpu = cpu_s(&pod)?;
    let peak = peak_kib(&pod, Duration::from_secs(seconds.into())).await?;
    let [host, enclave] = since(cpu, cpu_s(&pod)?);
    let Streamed { frames, lost, late, longest_gap_ms } = load.finish().await?;
    pod.stop().await?;
    Ok(vec![
        figure("host.streams", count.into(), "streams"),
        figure("host.stream_kib", (peak - before) / f64::from(count), "KiB"),
        figure("host.stream_frames", frames, "frames"),
        figure("host.stream_frames_lost", lost, "frames"),
        figure("host.stream_frames_late", late, "frames"),
        figure("host.stream_longest_gap_ms", longest_gap_ms, "ms"),
        figure("host.stream_cores", (host + enclave) / f64::from(seconds), "cores"),
    ])
}

/// Processor time so far of host and enclave, in seconds.
fn cpu_s(pod: &ScriptedPod) -> Result<[f64; 2], Failure> {
    let [host, enclave] = pod.processes();
    Ok([process::cpu_s(host)?, process::cpu_s(enclave)?])
}

/// Resident memory of host and enclave.
fn memory_kib(pod: &ScriptedPod) -> Result<f64, Failure> {
    let [host, enclave] = pod.processes();
    Ok(process::memory_kib(host)? + process::memory_kib(enclave)?)
}

/// The most of it during `time`.
async fn peak_kib(pod: &ScriptedPod, time: Duration) -> Result<f64, Failure> {
    let (end, mut peak) = (Instant::now() + time, 0.0_f64);
    while Instant::now() < end {
        peak = peak.max(memory_kib(pod)?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(peak)
}

fn since(began: [f64; 2], now: [f64; 2]) -> [f64; 2] {
    [now[0] - began[0], now[1] - began[1]]
}

fn from_environment(name: &str, default: u32) -> Result<u32, Failure> {
    std::env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

/// Progress goes to stderr, so that stdout stays JSON.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}
