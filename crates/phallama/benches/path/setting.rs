//! What both sides run on.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Answers computed at once.
pub(crate) const SLOTS: u32 = 4;
/// Tokens of one request, prompt and answer.
pub(crate) const CONTEXT_TOKENS: u32 = 1_024;
pub(crate) const MODEL_NAME: &str = "smollm2:135m";

/// The parts that are the same for both sides.
pub(crate) struct Setting {
    pub(crate) model: PathBuf,
    pub(crate) llama_server: PathBuf,
    /// Computing threads: one core is left to everything else, as the engine does by default.
    pub(crate) threads: u32,
    /// Answers counted per class.
    pub(crate) rounds: usize,
}

impl Setting {
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let rounds = match std::env::var("PHALLAMA_BENCH_ROUNDS") {
            Ok(text) => text.parse()?,
            Err(_) => 20,
        };
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self {
            model: given_or_set_up("PHALLAMA_MODEL", "model")?,
            llama_server: given_or_set_up("PHALLAMA_LLAMA_SERVER", "llama-server")?,
            threads: u32::try_from(cores - 1)?.max(1),
            rounds,
        })
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
