//! Where configuration, keys and state lie, and what the configuration says.

use std::path::{Path, PathBuf};

use phallama_chain::ChainConfig;
use phallama_host::config::Policy;
use serde::{Deserialize, Serialize};

use crate::cli::{BackendKind, Global};
use crate::error::CliError;

/// The folder that holds everything: `config.toml`, `user.json`, `state/`, `pod/`.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// `config.toml`. Every section is optional; unknown keys are errors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The chain and its contracts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainConfig>,
    /// What to accept from pods.
    pub trust: TrustConfig,
    /// Which pods to ask.
    pub pods: PodsConfig,
    /// Most to spend.
    pub limits: LimitsConfig,
    /// Conversations at the terminal.
    pub run: RunConfig,
    /// The local server.
    pub serve: ServeConfig,
    /// A pod on this machine.
    #[serde(skip_serializing_if = "PodSettings::is_default")]
    pub pod: PodSettings,
}

/// `[pod]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodSettings {
    /// Collateral services, asked in turn; `--pccs` goes first.
    pub pccs: Vec<String>,
    /// Registry that models come from when their names have no host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// What the pod risks and when it acts; amounts in the token's smallest unit.
    pub policy: Policy,
    /// What computes, unless the command line says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<PodBackend>,
    /// What `pod up` serves when the command line names no model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<PodModel>,
}

/// `[pod.backend]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodBackend {
    /// `llama-server`, `ollama` or `openai`.
    pub kind: BackendKind,
    /// The Ollama executable, if the pod is to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Where it listens, if it runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Store of the Ollama that the pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models_dir: Option<PathBuf>,
    /// Have Ollama fetch a model that it does not have.
    #[serde(default)]
    pub pull: bool,
    /// Let Ollama reuse what one account has asked when another asks, who can tell.
    #[serde(default)]
    pub danger_share_cache: bool,
}

/// `[[pod.models]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodModel {
    /// GGUF file, or a model of the store.
    pub model: String,
    /// Name under which it is offered; its name in the store when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Price per million prompt tokens, in whole tokens.
    pub input_price: String,
    /// Price per million completion tokens, in whole tokens.
    pub output_price: String,
    /// Context length, in tokens.
    pub context: u32,
    /// Longest answer, in tokens.
    pub max_output: u32,
    /// Load it when it is first asked, instead of before the pod is ready.
    #[serde(default)]
    pub lazy: bool,
    /// Unload it when nobody has asked for so long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<u64>,
    /// GGUF file of the multimodal projector, for a model that takes images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projector: Option<PathBuf>,
    /// Offer it for embeddings, and for nothing else, with this pooling: `mean`, `cls` or `last`;
    /// `model` leaves it to the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<String>,
    /// GGUF file of a small model that guesses ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_model: Option<PathBuf>,
}

impl Config {
    /// The configuration that a table is.
    ///
    /// # Errors
    /// Which key is wrong, and how.
    pub fn deserialize_table(table: toml::Table) -> Result<Self, String> {
        table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

impl PodSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[trust]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// Accept the development root instead of Intel's: anybody can make such quotes.
    pub danger_accept_simulated_tee: bool,
    /// TCB statuses to accept beside `UpToDate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcb: Vec<AcceptedStatus>,
    /// Approved enclave programs.
    pub measurements: Vec<ApprovedMeasurement>,
}

/// One TCB status and the advisories that may come with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedStatus {
    /// Intel's name, e.g. `SWHardeningNeeded`.
    pub status: String,
    /// `INTEL-SA-…`; any other advisory is refused.
    pub advisories: Vec<String>,
}

/// One approved enclave program or trust domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedMeasurement {
    /// A name for it, e.g. the release.
    pub label: String,
    /// MRENCLAVE (SGX), or the digest of a trust domain (TDX): 64 hex digits.
    pub measurement: String,
    /// The policy digest it must run under: worker program, arguments, limits. 64 hex digits;
    /// without it the check is skipped, and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// `[pods]`: which pods to ask (`docs/guides/choosing-pods.md`). An empty list allows all.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodsConfig {
    /// Kinds of TEE: `sgx`, `tdx`.
    pub tee: Vec<String>,
    /// Addresses of operators.
    pub operators: Vec<String>,
    /// Pods, by their whole ids.
    pub only: Vec<String>,
    /// Most per million prompt tokens, in whole tokens of the escrow, or [`NO_LIMIT`].
    pub max_input_price: String,
    /// Most per million completion tokens.
    pub max_output_price: String,
    /// Pods up to this many times the price of the cheapest one share the requests.
    pub share_factor: f64,
}

impl Default for PodsConfig {
    fn default() -> Self {
        Self {
            tee: Vec::new(),
            operators: Vec::new(),
            only: Vec::new(),
            max_input_price: NO_LIMIT.to_owned(),
            max_output_price: NO_LIMIT.to_owned(),
            share_factor: 1.5,
        }
    }
}

/// `[limits]`, in whole tokens, or [`NO_LIMIT`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Most one request may reserve.
    pub per_request: String,
    /// Most that may be spent in one day (UTC).
    pub per_day: String,
    /// Most one pod can draw in one epoch of its channel.
    pub per_pod: String,
    /// Most that is believed to have been claimed in a channel that this wallet has no records of.
    pub unrecorded: String,
}

/// How the configuration says that there is no limit.
pub const NO_LIMIT: &str = "none";

/// `[run]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Keep what is typed in the file `history`, unencrypted. Without it, it stays in memory.
    pub history: bool,
}

/// `[serve]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// Loopback address; when the default port is taken, 11535 is tried.
    pub listen: String,
    /// Frame class: `std`, `fast`, `bulk` or `unpaced`.
    pub class: String,
    /// Names that the server answers to, beside its own: `NAME` or `NAME:PORT`.
    pub hosts: Vec<String>,
    /// Web pages that may use it, beside its own: `http://localhost:3000`.
    pub origins: Vec<String>,
    /// Let nobody ask without a token.
    pub require_token: bool,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let [per_request, per_day, unrecorded] = ["1", "10", "0"].map(str::to_owned);
        Self { per_request, per_day, per_pod: NO_LIMIT.to_owned(), unrecorded }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:11434".to_owned(),
            class: "std".to_owned(),
            hosts: Vec::new(),
            origins: Vec::new(),
            require_token: false,
        }
    }
}

impl Home {
    /// `--home`, else `PHALLAMA_HOME` (through clap), else `$XDG_CONFIG_HOME/phallama`, else
    /// `~/.config/phallama`.
    pub fn locate(global: &Global) -> Result<Self, CliError> {
        let dir = match &global.home {
            Some(dir) => dir.clone(),
            None => default_dir()?,
        };
        Ok(Self { dir })
    }

    /// A home in a given folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Makes the folder, readable by its owner only.
    pub fn create(&self) -> Result<(), CliError> {
        create_private(&self.dir)
            .map_err(|source| CliError::File { path: self.dir.clone(), source })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path inside the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads `config.toml`; the defaults when there is none.
    pub fn config(&self) -> Result<Config, CliError> {
        let path = self.path("config.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::default());
            }
            Err(source) => return Err(CliError::File { path, source }),
        };
        toml::from_str(&text).map_err(|source| CliError::Config { path, source: Box::new(source) })
    }

    /// What `config.toml` says, without defaults.
    pub fn table(&self) -> Result<toml::Table, CliError> {
        let path = self.path("config.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(CliError::File { path, source }),
        };
        toml::from_str(&text).map_err(|source| CliError::Config { path, source: Box::new(source) })
    }

    /// Writes `config.toml`.
    pub fn write_config(&self, config: &Config) -> Result<(), CliError> {
        let text =
            toml::to_string_pretty(config).expect("a configuration is a table of plain values");
        self.write("config.toml", text.as_bytes())
    }

    /// Writes a file that only its owner can read, whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let path = self.path(name);
        write_private(&path, bytes).map_err(|source| CliError::File { path, source })
    }
}

fn default_dir() -> Result<PathBuf, CliError> {
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    from("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| from("HOME").map(|home| Path::new(&home).join(".config")))
        .map(|dir| dir.join("phallama"))
        .ok_or(CliError::NoHome)
}

fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A new file that only its owner can read; one that is there already is an error.
pub fn new_private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file that only its owner can read, to add to.
pub fn append_private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        create_private(parent)?;
    }
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        create_private(parent)?;
    }
    let partial = path.with_extension("partial");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn without_a_file_the_defaults_are_strict() {
        let dir = tempfile::tempdir().unwrap();
        let config = Home::at(dir.path()).config().unwrap();
        assert!(!config.trust.danger_accept_simulated_tee);
        assert!(config.trust.tcb.is_empty());
        assert!(config.trust.measurements.is_empty());
        assert_eq!(config.serve.class, "std");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.write("config.toml", b"[serve]\nlisen = \"127.0.0.1:1\"\n").unwrap();
        let error = home.config().unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("listen"), "{error}");
    }

    #[test]
    fn files_are_private_to_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("new"));
        home.write("secret", b"x").unwrap();
        let mode = std::fs::metadata(home.path("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
