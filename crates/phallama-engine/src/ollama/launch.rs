//! From nothing, or from a running Ollama, to one that has the offered model in memory.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};
use tokio::process::Command;

use super::request::{Target, wash_body};
use super::server::{OllamaServer, ShownModel};
use super::store;
use crate::address::Address;
use crate::backend::{OllamaBackend, OllamaPlace};
use crate::config::WorkerFacts;
use crate::process::{Process, Spawner, command, private_dir};
use crate::weights::check_weights;
use crate::worker::{Kept, Progress, Worker, wait_ready};
use crate::{EngineConfig, EngineError, Serves, StartProgress};

/// A prompt for finding out whether it is remembered. It has many tokens in any vocabulary.
const PROBE: &str = "one two three four five six seven eight nine ten eleven twelve thirteen \
                     fourteen fifteen sixteen seventeen eighteen nineteen twenty";
/// Tokens that every prompt may begin with.
const COMMON_TOKENS: u64 = 2;
/// How long the engine's own short prompts may take on a busy machine.
const PROBE_TIMEOUT: Duration = Duration::from_mins(2);

/// Brings up the model of `config`, whose weights were checked before.
pub(crate) async fn launch(
    config: &EngineConfig,
    ollama: &OllamaBackend,
    spawner: &Spawner,
    progress: &Progress,
) -> Result<Worker, EngineError> {
    let (mut process, address) = match &ollama.place {
        OllamaPlace::Running { address } => (None, *address),
        OllamaPlace::Supervised { models_dir } => {
            let (process, address) = start(config, models_dir.as_deref(), spawner).await?;
            (Some(process), address)
        }
    };
    let at = Address::Tcp(address);
    wait_ready(config, process.as_mut(), &at, progress).await?;
    if let Some(process) = &process {
        process.discard_stderr();
    }
    let server = OllamaServer::at(address)?;
    let target = Target::of(config, ollama);
    let manifest_digest = find(config, ollama, &server, &target, progress).await?;
    let shown = server.show(&target.model).await?;
    check_files(config, &server, &target, &shown).await?;
    let mut facts = facts(config, &server, &target, &shown)?;
    facts.build = server.version().await.map(|version| format!("ollama {version}"));
    load(config, &server, &target, &mut facts).await?;
    if !ollama.danger_share_cache && matches!(config.serves, Serves::Answers { .. }) {
        check_isolation(&server, &target).await?;
    }
    progress(StartProgress::Ready);
    let kept = Kept { server, model: target.model, manifest_digest };
    Ok(Worker::new(process, at, None, facts, Some(kept)))
}

/// Whether the server still has the model that was checked.
pub(crate) async fn recheck(kept: &Kept) -> bool {
    let models = kept.server.models().await.unwrap_or_default();
    let same = |digest: &str| digest == kept.manifest_digest;
    models.iter().any(|model| model.name == kept.model && same(&model.digest))
}

/// Starts the program on a port of its own.
async fn start(
    config: &EngineConfig,
    models_dir: Option<&Path>,
    spawner: &Spawner,
) -> Result<(Process, SocketAddr), EngineError> {
    let dir = &config.socket_dir;
    private_dir(dir)?;
    let models = match models_dir {
        Some(models_dir) => models_dir.to_owned(),
        None => {
            let own = dir.join("ollama-models");
            store::write(&own, &config.model_path, config.weights_sha256)?;
            own
        }
    };
    let address = free_port()
        .map_err(|source| EngineError::WorkerNotRunnable { path: config.worker.clone(), source })?;
    let command = serve_command(config, address, &models);
    let process = Process::spawn(&config.worker, command, spawner).await?;
    Ok((process, address))
}

/// A port that nobody listens on. Somebody may take it before the program does; then the program
/// ends, and the next start finds another one.
fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn serve_command(config: &EngineConfig, address: SocketAddr, models: &Path) -> Command {
    // TERM, not KILL: it then ends the llama-server that it has started.
    let mut command = command(&config.worker, "TERM", ["serve".into()]);
    let slots = config.slots.max(1).to_string();
    let variables: [(&str, OsString); 14] = [
        ("OLLAMA_HOST", address.to_string().into()),
        ("OLLAMA_MODELS", models.into()),
        ("HOME", config.socket_dir.clone().into()),
        ("OLLAMA_NUM_PARALLEL", slots.into()),
        ("OLLAMA_MAX_LOADED_MODELS", "1".into()),
        ("OLLAMA_CONTEXT_LENGTH", config.context_tokens.to_string().into()),
        ("OLLAMA_KEEP_ALIVE", "-1".into()),
        ("OLLAMA_NOHISTORY", "1".into()),
        // It would delete what it takes for left over, in a store that is not its own.
        ("OLLAMA_NOPRUNE", "1".into()),
        ("OLLAMA_NO_CLOUD", "1".into()),
        ("OLLAMA_LOAD_TIMEOUT", format!("{}s", config.start_timeout.as_secs()).into()),
        // For its llama-server: no prompt of one slot is kept for another.
        ("LLAMA_ARG_CACHE_RAM", "0".into()),
        ("LLAMA_ARG_CTX_CHECKPOINTS", "0".into()),
        ("LLAMA_ARG_ENDPOINT_SLOTS", "0".into()),
    ];
    command.envs(variables).current_dir(&config.socket_dir);
    command
}

/// Has the model fetched if it is not there and that is wanted; returns the digest of its manifest.
async fn find(
    config: &EngineConfig,
    ollama: &OllamaBackend,
    server: &OllamaServer,
    target: &Target,
    progress: &Progress,
) -> Result<String, EngineError> {
    let digest = async || {
        let models = server.models().await?;
        let found = models.into_iter().find(|model| model.name == target.model);
        Ok::<_, EngineError>(found.map(|model| model.digest))
    };
    if let Some(digest) = digest().await? {
        return Ok(digest);
    }
    if ollama.pull {
        let report = |step: super::PullProgress| {
            let (done_bytes, total_bytes) = (step.completed, step.total);
            progress(StartProgress::Pulling { done_bytes, total_bytes });
        };
        server.pull(&target.model, config.stall_timeout, report).await?;
    }
    let problem = "it has no model of this name; `ollama list` shows which it has";
    digest().await?.ok_or_else(|| server.cannot_serve(&target.model, problem))
}

/// Holds what the server would load against the offer: by the names of the files, which are their
/// digests, and by the files themselves where they can be read from here.
async fn check_files(
    config: &EngineConfig,
    server: &OllamaServer,
    target: &Target,
    shown: &ShownModel,
) -> Result<(), EngineError> {
    if shown.weights_sha256 != config.weights_sha256 {
        return Err(EngineError::BackendWeights {
            model: target.model.clone(),
            expected: config.weights_sha256,
            got: shown.weights_sha256,
        });
    }
    let problem = |problem| Err(server.cannot_serve(&target.model, problem));
    if shown.has_additions {
        return problem("it adds an adapter or a draft model, which are not offered");
    }
    let offered = match &config.serves {
        Serves::Answers { projector, .. } => projector.as_ref().map(|file| file.sha256),
        Serves::Embeddings { .. } => None,
    };
    if shown.projectors_sha256.iter().any(|sha256| Some(*sha256) != offered) {
        return problem("it has a projector, and another one or none is offered");
    }
    let is_ours = |path: &Path| {
        let same = |left: &Path, right: &Path| {
            Some(left.canonicalize().ok()? == right.canonicalize().ok()?)
        };
        same(path, &config.model_path) == Some(true)
    };
    if fs::File::open(&shown.weights_path).is_err() || is_ours(&shown.weights_path) {
        return Ok(());
    }
    check_weights(&shown.weights_path, config.weights_sha256, |_, _| {}).await.map(drop)
}

/// What the model can do, held against what it is offered for.
fn facts(
    config: &EngineConfig,
    server: &OllamaServer,
    target: &Target,
    shown: &ShownModel,
) -> Result<WorkerFacts, EngineError> {
    let can = |word: &str| shown.capabilities.iter().any(|capability| capability == word);
    let problem = match &config.serves {
        Serves::Answers { draft: Some(_), .. } => {
            "a draft model is offered, which Ollama cannot be given"
        }
        Serves::Answers { projector: Some(_), .. } if !can("vision") => {
            "it is offered for images, and Ollama has no projector for it"
        }
        Serves::Embeddings { pooling: Some(_) } => "Ollama takes the pooling of the model's file",
        Serves::Embeddings { .. } if !can("embedding") => "it makes no embeddings there",
        Serves::Answers { .. } if !can("completion") => "it makes no answers there",
        _ => {
            return Ok(WorkerFacts {
                images: can("vision"),
                audio: can("audio"),
                chat_template: true,
                tools: Some(can("tools")),
                thinking: Some(can("thinking")),
                infill: Some(can("insert")),
                ..WorkerFacts::default()
            });
        }
    };
    Err(server.cannot_serve(&target.model, problem))
}

/// Has the model loaded with the context that is offered.
async fn load(
    config: &EngineConfig,
    server: &OllamaServer,
    target: &Target,
    facts: &mut WorkerFacts,
) -> Result<(), EngineError> {
    let (path, mut body) = ("/api/generate", target.load());
    let path = match config.serves {
        Serves::Answers { .. } => path,
        Serves::Embeddings { .. } => {
            body["input"] = json!([]);
            "/api/embed"
        }
    };
    match server.ask(path, &body, config.start_timeout).await {
        Ok(_) => {}
        Err(EngineError::WorkerRefused { message, .. }) => {
            return Err(server.cannot_serve(&target.model, message.reveal()));
        }
        Err(other) => return Err(other),
    }
    let loaded = server.loaded().await?;
    let loaded = loaded.into_iter().find(|model| model.name == target.model);
    let Some(loaded) = loaded else {
        return Err(server.cannot_serve(&target.model, "it does not stay loaded"));
    };
    let (expected, got) = (config.context_tokens, loaded.context_length);
    if got < expected {
        return Err(EngineError::WorkerFallsShort { what: "tokens of context", expected, got });
    }
    facts.context_tokens = Some(got);
    facts.slots = Some(config.slots);
    Ok(())
}

/// Asks the same twice, as one account and as another, with what keeps them apart in between.
async fn check_isolation(server: &OllamaServer, target: &Target) -> Result<(), EngineError> {
    let mut last = Value::Null;
    for body in [target.raw(PROBE), wash_body(target), target.raw(PROBE)] {
        last = server.ask("/api/generate", &body, PROBE_TIMEOUT).await?;
    }
    let Some(cached) = last["prompt_eval_cached_count"].as_u64() else {
        let problem = "it does not say what it takes from its cache; v0.34 does";
        return Err(server.cannot_serve(&target.model, problem));
    };
    if cached > COMMON_TOKENS {
        let cached_tokens = u32::try_from(cached).unwrap_or(u32::MAX);
        return Err(EngineError::CacheShared { address: server.address(), cached_tokens });
    }
    Ok(())
}
