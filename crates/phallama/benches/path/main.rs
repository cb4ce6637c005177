//! What privacy costs on the way of an answer: client library → host → enclave → worker, against
//! the same llama-server asked directly, and against a real Ollama, in the same run.
//!
//! All sides have the same program, model, slots, context and prompts; the direct one has the
//! command line and environment of the enclave's worker. Greedy, in turns; who goes first changes
//! every round. Each prompt is asked once of each side, so none finds it in its cache. Medians, and
//! ratios within rounds. The private side's client, host and embedded chain run in this process,
//! on the cores that all share.
//!
//! `tools/bench.sh path` prints a table, with `--json` one JSON
//! object, with `--quick` what a minute can tell. It needs `phallama-enclave` built in the same
//! profile. Environment: `PHALLAMA_MODEL` and `PHALLAMA_LLAMA_SERVER` (else `tools/setup.sh` gives
//! them), `PHALLAMA_OLLAMA` (without it no Ollama is asked, and this is said),
//! `PHALLAMA_BENCH_MINUTES`, `PHALLAMA_BENCH_THREADS`.

#[path = "../report/mod.rs"]
mod report;

mod direct;
mod measured;
mod ollama;
mod parts;
mod private;
mod processes;
mod prompts;
mod setting;
mod sides;

use measured::{Name, Rounds, Side};
use phallama_protocol::frames::FrameClass;
use report::{Figure, figure};

use crate::prompts::Prompts;
use crate::setting::{Failure, Setting};
use crate::sides::Sides;

const PRIVATE_TO_DIRECT: (Name, Name) = (Name::Private, Name::Direct);
const PRIVATE_TO_OLLAMA: (Name, Name) = (Name::Private, Name::Ollama);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let setting = Setting::from_environment()?;
    let sides = Sides::start(&setting).await?;
    let mut prompts = Prompts::default();
    sides.warm_up(&mut prompts).await?;
    let figures = measure(&setting, &sides, &mut prompts).await?;
    report::print(&figures);
    sides.private.stop().await
}

async fn measure(
    setting: &Setting,
    sides: &Sides,
    prompts: &mut Prompts,
) -> Result<Vec<Figure>, Failure> {
    use FrameClass::{Std, Unpaced};
    let (all, both) = (sides.names(), [Name::Direct, Name::Private]);
    let part = async |prompts: &mut Prompts, (streams, class), names: &[Name], share| {
        let budget = setting.share(share);
        let rounds = parts::streams(sides, prompts, (streams, class), names, budget).await;
        measured(&format!("{streams} streams of class {class:?}"), rounds)
    };
    let one = part(prompts, (1, Unpaced), &all, 0.14).await;
    let paced = part(prompts, (1, Std), &both, 0.09).await;
    let four = part(prompts, (4, Unpaced), &all, 0.15).await;
    let eight = part(prompts, (8, Unpaced), &all, 0.18).await;
    let sixteen = part(prompts, (16, Unpaced), &both, 0.18).await;
    let long = parts::prefill(sides, prompts, setting.share(0.08)).await;
    let long = measured("long prompts", long);
    let loaded = parts::loaded(sides, prompts, setting.share(0.1)).await;
    let loaded = measured("answers that begin beside others", loaded);
    let second = parts::second_turns(sides, prompts, setting.share(0.08)).await;
    let second = measured("second turns", second);

    let mut figures = alone(&one, &paced);
    figures.push(throughput("path.throughput_ratio_4", &four, PRIVATE_TO_DIRECT));
    figures.push(throughput("path.throughput_ratio_8", &eight, PRIVATE_TO_DIRECT));
    figures.push(throughput("path.throughput_ratio_16", &sixteen, PRIVATE_TO_DIRECT));
    figures.extend(of_private("path.tokens_per_s_4", &four, Side::tokens_per_s, "tokens/s"));
    figures.extend(of_private("path.tokens_per_s_8", &eight, Side::tokens_per_s, "tokens/s"));
    figures.extend(of_private("path.tokens_per_s_16", &sixteen, Side::tokens_per_s, "tokens/s"));
    let prefill = long.ratio(PRIVATE_TO_DIRECT, Side::prefill_per_s);
    figures.push(figure("path.prefill_ratio", prefill, "ratio"));
    figures.extend(of_private("path.prefill_per_s", &long, Side::prefill_per_s, "tokens/s"));
    let added = loaded.added(Side::first_token_overhead_ms);
    figures.push(figure("path.ttft_loaded_added_ms", added, "ms"));
    let second = second.ratio(PRIVATE_TO_DIRECT, Side::first_token_ms);
    figures.push(figure("path.turn2_ttft_ratio", second, "ratio"));
    figures.push(figure("path.same_text", same_text([&one, &paced]), "ratio"));
    figures.extend(memory()?);
    if all.contains(&Name::Ollama) {
        figures.extend(beside_ollama(&one, &four, &eight));
    }
    // Of a part that failed there is nothing to tell.
    figures.retain(|figure| figure.value.is_finite());
    Ok(figures)
}

/// What a part has measured; one that fails takes nothing from the others.
fn measured(part: &str, rounds: Result<Rounds, Failure>) -> Rounds {
    rounds.unwrap_or_else(|error| {
        note(&format!("path: NOT MEASURED: {part}: {error}"));
        Rounds::default()
    })
}

fn alone(unpaced: &Rounds, std: &Rounds) -> Vec<Figure> {
    let (direct, private) = (Name::Direct, Name::Private);
    let of =
        |rounds: &Rounds, name, value: fn(&Side) -> f64| rounds.of(name, value).unwrap_or(f64::NAN);
    let ratio = |rounds: &Rounds| rounds.ratio(PRIVATE_TO_DIRECT, Side::bytes_down);
    vec![
        figure("path.direct_tokens_per_s", of(unpaced, direct, Side::tokens_per_s), "tokens/s"),
        figure("path.tokens_per_s", of(unpaced, private, Side::tokens_per_s), "tokens/s"),
        figure(
            "path.throughput_ratio_1",
            unpaced.ratio(PRIVATE_TO_DIRECT, Side::tokens_per_s),
            "ratio",
        ),
        figure("path.direct_ttft_ms", of(unpaced, direct, Side::first_token_ms), "ms"),
        figure("path.ttft_added_ms", unpaced.added(Side::first_token_overhead_ms), "ms"),
        figure("path.std_ttft_added_ms", std.added(Side::first_token_overhead_ms), "ms"),
        figure("path.std_last_token_added_ms", std.added(Side::last_token_ms), "ms"),
        figure("path.std_total_added_ms", std.added(Side::total_ms), "ms"),
        figure("wire.bytes_ratio_to_sse", ratio(std), "ratio"),
        figure("wire.unpaced_bytes_ratio_to_sse", ratio(unpaced), "ratio"),
        figure("wire.sse_bytes", of(std, direct, Side::bytes_down), "B"),
        figure("wire.bytes_down", of(std, private, Side::bytes_down), "B"),
        figure("wire.bytes_up", of(std, private, Side::bytes_up), "B"),
    ]
}

fn throughput(name: &'static str, rounds: &Rounds, of: (Name, Name)) -> Figure {
    figure(name, rounds.ratio(of, Side::tokens_per_s), "ratio")
}

fn of_private(
    name: &'static str,
    rounds: &Rounds,
    value: fn(&Side) -> f64,
    unit: &'static str,
) -> Option<Figure> {
    Some(figure(name, rounds.of(Name::Private, value)?, unit))
}

fn beside_ollama(one: &Rounds, four: &Rounds, eight: &Rounds) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.push(throughput("ollama.throughput_ratio_1", one, PRIVATE_TO_OLLAMA));
    figures.push(throughput("ollama.throughput_ratio_4", four, PRIVATE_TO_OLLAMA));
    figures.push(throughput("ollama.throughput_ratio_8", eight, PRIVATE_TO_OLLAMA));
    // The other way round, so that above 1 is better in every row.
    let first = one.ratio((Name::Ollama, Name::Private), Side::first_token_ms);
    figures.push(figure("ollama.ttft_ratio", first, "ratio"));
    figures
}

/// The part of the prompts whose answers are the same, one at a time.
#[expect(clippy::cast_precision_loss, reason = "prompts are counted in tens")]
fn same_text<const N: usize>(parts: [&Rounds; N]) -> f64 {
    let counted = parts.map(Rounds::same_text);
    let same: usize = counted.iter().map(|(same, _)| same).sum();
    let all: usize = counted.iter().map(|(_, all)| all).sum();
    same as f64 / all as f64
}

fn memory() -> Result<Vec<Figure>, Failure> {
    let enclave = processes::enclave()?;
    let peak = processes::peak_mib(enclave)? + processes::peak_mib(std::process::id())?;
    Ok(vec![
        figure("memory.enclave_mib", processes::resident_mib(enclave)?, "MiB"),
        figure("path.peak_mib", peak, "MiB"),
    ])
}

/// Progress goes to stderr, so that stdout stays JSON.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}
