//! What all sides run on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use phallama_host::models::file_digest;
use phallama_protocol::ids::Digest32;

use crate::note;

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Answers computed at once, by every side.
pub(crate) const SLOTS: u32 = 16;
/// Tokens of one request, prompt and answer.
pub(crate) const CONTEXT_TOKENS: u32 = 1_024;
pub(crate) const MODEL_NAME: &str = "smollm2:135m";
/// How long a server may take to load its model.
pub(crate) const LOADED_WITHIN: Duration = Duration::from_mins(2);
/// Rounds of a part, however little time it has.
const ROUNDS_MIN: usize = 3;
/// Of all parts together, where nothing else is asked for.
const MINUTES: f64 = 8.0;
const MINUTES_QUICK: f64 = 1.0;

/// The parts that are the same for all sides.
pub(crate) struct Setting {
    pub(crate) model: PathBuf,
    pub(crate) weights_sha256: Digest32,
    pub(crate) llama_server: PathBuf,
    /// A real Ollama.
    pub(crate) ollama: Option<PathBuf>,
    /// Computing threads; absent: what the enclave takes.
    pub(crate) threads: Option<u32>,
    /// Time for all parts.
    minutes: f64,
}

impl Setting {
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let is_quick = std::env::args().any(|argument| argument == "--quick");
        let minutes = if is_quick { MINUTES_QUICK } else { MINUTES };
        let ollama = std::env::var_os("PHALLAMA_OLLAMA").map(PathBuf::from);
        if ollama.is_none() {
            note("path: NOT MEASURED: a real Ollama, because PHALLAMA_OLLAMA does not name one");
        }
        let model = given_or_set_up("PHALLAMA_MODEL", "model")?;
        let folder = tempfile::tempdir()?;
        Ok(Self {
            weights_sha256: file_digest(&model, &folder.path().join("digests.json"), |_, _| {})?,
            model,
            llama_server: given_or_set_up("PHALLAMA_LLAMA_SERVER", "llama-server")?,
            ollama,
            threads: number("PHALLAMA_BENCH_THREADS")?,
            minutes: number("PHALLAMA_BENCH_MINUTES")?.unwrap_or(minutes),
        })
    }

    /// The time of a part that is to take so much of the whole.
    pub(crate) fn share(&self, of_all: f64) -> Budget {
        let time = Duration::from_secs_f64(self.minutes * 60.0 * of_all);
        Budget { until: Instant::now() + time, rounds: 0 }
    }
}

/// How many rounds a part has time for.
pub(crate) struct Budget {
    until: Instant,
    rounds: usize,
}

impl Iterator for Budget {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.rounds >= ROUNDS_MIN && Instant::now() >= self.until {
            return None;
        }
        self.rounds += 1;
        Some(self.rounds)
    }
}

fn number<T: std::str::FromStr<Err: std::error::Error + 'static>>(
    variable: &str,
) -> Result<Option<T>, Failure> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.parse()?)),
        Err(_) => Ok(None),
    }
}

/// A path from the environment, else from the set-up script, which prints where its part is.
fn given_or_set_up(variable: &str, part: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(script).arg(part).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("tools/setup.sh {part} failed; or set {variable}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
