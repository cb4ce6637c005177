//! `kill -9`, at any moment: nobody loses more than an answer's reserve, and everything goes on.
//!
//! Real processes: a pod with its enclave and the scripted worker, two users with a local server
//! each, apps that ask all the time. A pod is killed while it answers, a local server while it
//! asks, and a pod at each of five moments of a settlement, which are found between it and the
//! chain. After every kill:
//!
//! - the journal opens, holds every amount that an app was told, and exceeds what apps were told by
//!   at most one reserve for each request that was open;
//! - each app was told of an error, or was cut off by the death of its own local server; no answer
//!   ended cleanly without being whole;
//! - the pod serves again by itself, with one enclave and one worker.
//!
//! At the end the pod settles: the contract has paid what the journal says, once; users have paid
//! what the pod has earned, to the smallest unit; receipts account for all of it but what lost
//! answers cost.
//!
//! `PHALLAMA_KILL_RUNS` (200) kills; the nightly run makes more. The result is
//! `target/kill.json`.
#![allow(clippy::print_stderr)] // Progress of minutes.

mod apps;
mod moment;
mod process;
#[path = "../../../../tests/disk/random.rs"]
mod random;
mod restored;
mod run;
mod stack;

use serde_json::json;

const RESULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/kill.json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_moment_lose_nobody_more_than_an_answers_reserve() {
    let kills = std::env::var("PHALLAMA_KILL_RUNS").ok();
    let kills = kills.map_or(200, |text| text.parse().expect("PHALLAMA_KILL_RUNS is a number"));
    let mut run = run::Run::start(kills).await;
    while run.kills() < kills {
        run.kill().await;
    }
    let report = run.finish().await;
    let result = json!({
        "runs": report.kills,
        "lost_above_one_increment": report.lost_above_one_increment,
        "server_kills": report.server.len(),
        "settlement_kills": report.settlement,
        "pod_starts": report.pod.len(),
        "pod_restart_ms_median": median(&report.pod),
        "pod_restart_ms_max": report.pod.iter().max(),
        "server_restart_ms_median": median(&report.server),
        "answers": report.answers,
    });
    std::fs::write(RESULT, format!("{result:#}\n")).expect("written");
    eprintln!("kill: {result}");
    assert_eq!(report.lost_above_one_increment, 0);
    assert!(median(&report.pod) <= 5_000, "a pod takes too long to come back: {result}");
}

fn median(milliseconds: &[u64]) -> u64 {
    let mut sorted = milliseconds.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}
