//! What privacy costs on the way of an answer: client library → host → enclave → worker, against
//! the same llama-server asked directly, in the same run.
//!
//! Same binary, model, flags and prompts, greedy, in turns; whichever goes first changes every
//! round. Each prompt is asked once of each side, so neither finds it in its cache. Medians.
//!
//! `cargo bench --profile dev -p phallama --bench path` prints a table, with `-- --json` one JSON
//! object. It needs `phallama-enclave` built in the same profile. Environment: `PHALLAMA_MODEL` and
//! `PHALLAMA_LLAMA_SERVER` (else `tools/setup.sh` gives them), `PHALLAMA_BENCH_ROUNDS` (20).

#[path = "../report/mod.rs"]
mod report;

mod direct;
mod measured;
mod private;
mod prompts;
mod setting;

use measured::{Side, Summary};
use phallama_protocol::frames::FrameClass;
use report::{Figure, figure};

use crate::direct::Direct;
use crate::private::Private;
use crate::prompts::Prompts;
use crate::setting::{Failure, Setting};

/// Streams at a time in the second part.
const STREAMS: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let setting = Setting::from_environment()?;
    note("path: starting llama-server twice, a chain and a pod");
    let direct = Direct::start(&setting).await?;
    let private = Private::start(&setting).await?;
    let mut prompts = Prompts::default();

    let unpaced = rounds(&setting, &direct, &private, &mut prompts, FrameClass::Unpaced).await?;
    let std = rounds(&setting, &direct, &private, &mut prompts, FrameClass::Std).await?;
    let many = streams(&setting, &direct, &private, &mut prompts).await?;
    let mut figures = figures(&unpaced, &std);
    figures.push(figure("path.throughput_ratio_4", many.ratio(Side::tokens_per_s), "ratio"));
    figures.push(figure("memory.enclave_mib", private.enclave_memory_mib()?, "MiB"));
    report::print(&figures);
    private.stop().await?;
    Ok(())
}

fn figures(unpaced: &Summary, std: &Summary) -> Vec<Figure> {
    vec![
        figure("path.direct_tokens_per_s", unpaced.direct(Side::tokens_per_s), "tokens/s"),
        figure("path.tokens_per_s", unpaced.private(Side::tokens_per_s), "tokens/s"),
        figure("path.throughput_ratio_1", unpaced.ratio(Side::tokens_per_s), "ratio"),
        figure("path.direct_ttft_ms", unpaced.direct(Side::first_token_ms), "ms"),
        figure("path.ttft_added_ms", unpaced.added(Side::first_token_overhead_ms), "ms"),
        figure("path.std_ttft_added_ms", std.added(Side::first_token_overhead_ms), "ms"),
        figure("path.std_last_token_added_ms", std.added(Side::last_token_ms), "ms"),
        figure("path.std_total_added_ms", std.added(Side::total_ms), "ms"),
        figure("wire.bytes_ratio_to_sse", std.ratio(Side::bytes_down), "ratio"),
        figure("wire.unpaced_bytes_ratio_to_sse", unpaced.ratio(Side::bytes_down), "ratio"),
        figure("wire.sse_bytes", std.direct(Side::bytes_down), "B"),
        figure("wire.bytes_down", std.private(Side::bytes_down), "B"),
        figure("wire.bytes_up", std.private(Side::bytes_up), "B"),
    ]
}

/// One answer at a time, the two sides in turns.
async fn rounds(
    setting: &Setting,
    direct: &Direct,
    private: &Private,
    prompts: &mut Prompts,
    class: FrameClass,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    // The first round warms caches up and is not counted.
    for round in 0..=setting.rounds {
        let prompt = prompts.next();
        let (plain, sealed) = if round % 2 == 0 {
            let plain = direct.ask(&prompt, 0).await?;
            (plain, private.ask(&prompt, class).await?)
        } else {
            let sealed = private.ask(&prompt, class).await?;
            (direct.ask(&prompt, 0).await?, sealed)
        };
        if round > 0 {
            note(&format!("path: {class:?} {round}/{}: {plain} | {sealed}", setting.rounds));
            summary.push(plain, sealed);
        }
    }
    Ok(summary)
}

/// Several answers at a time, not paced.
async fn streams(
    setting: &Setting,
    direct: &Direct,
    private: &Private,
    prompts: &mut Prompts,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let rounds = setting.rounds.div_ceil(3);
    for round in 0..=rounds {
        let four: Vec<String> = (0..STREAMS).map(|_| prompts.next()).collect();
        let plain = || {
            let asked = four.iter().enumerate().map(|(slot, prompt)| direct.ask(prompt, slot));
            futures::future::try_join_all(asked)
        };
        let sealed = || {
            let asked = four.iter().map(|prompt| private.ask(prompt, FrameClass::Unpaced));
            futures::future::try_join_all(asked)
        };
        let (plain, sealed) = if round % 2 == 0 {
            let plain = plain().await?;
            (plain, sealed().await?)
        } else {
            let sealed = sealed().await?;
            (plain().await?, sealed)
        };
        if round > 0 {
            let (plain, sealed) = (Side::together(&plain), Side::together(&sealed));
            note(&format!("path: {STREAMS} streams {round}/{rounds}: {plain} | {sealed}"));
            summary.push(plain, sealed);
        }
    }
    Ok(summary)
}

/// Progress goes to stderr, so that stdout stays JSON.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}
