//! `phallama pod models`

use std::path::Path;

use phallama_host::models::{FetchPolicy, FetchProgress, ModelStore, Source, StoredModel};
use phallama_protocol::ids::Digest32;
use serde_json::{Value, json};

use crate::cli::{ModelsAdd, PodModels};
use crate::context::Context;
use crate::error::CliError;
use crate::print::Bytes;
use crate::schema::Schema;
use crate::{clock, print};

/// The store inside a pod's folder.
pub(in crate::command) fn store(pod_dir: &Path) -> Result<ModelStore, CliError> {
    Ok(ModelStore::open(pod_dir.join("models"))?)
}

pub(in crate::command) async fn run(context: &Context, command: PodModels) -> Result<(), CliError> {
    let store = store(&context.home.path("pod"))?;
    match command {
        PodModels::Add(options) => add(context, &store, &options).await,
        PodModels::List => list(context, &store),
        PodModels::Remove { name } => {
            let removed = store.remove(&name)?;
            if context.global.json {
                let model = document(&removed.model);
                let removed = json!({"removed": model, "freed_bytes": removed.freed_bytes});
                print::json(Schema::PodModelRemoved, removed);
            } else {
                print::line(format!("removed {name}, {} free again", size(removed.freed_bytes)));
            }
            Ok(())
        }
    }
}

async fn add(context: &Context, store: &ModelStore, options: &ModelsAdd) -> Result<(), CliError> {
    let stored = if Path::new(&options.model).is_file() {
        add_file(store, options)?
    } else {
        add_remote(context, store, options).await?
    };
    if context.global.json {
        print::json(Schema::PodModel, document(&stored));
    } else {
        let StoredModel { name, sha256, size_bytes, .. } = &stored;
        print::line(format!("{name}  {}  sha256 {}", size(*size_bytes), hex::encode(sha256.0)));
        print::note(format!("To serve it, run `phallama pod up --model {name}`"));
    }
    Ok(())
}

fn add_file(store: &ModelStore, options: &ModelsAdd) -> Result<StoredModel, CliError> {
    let path = Path::new(&options.model);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = options.name.as_ref().unwrap_or(&stem);
    let bar = Bytes::start("copying");
    let stored = store.add_file(path, name, |step| told(&bar, step))?;
    drop(bar);
    match sha256(options)? {
        Some(expected) if expected != stored.sha256 => {
            store.remove(name)?;
            Err(CliError::BadValue {
                what: "sha256 of this file",
                got: hex::encode(expected.0),
                expected: hex::encode(stored.sha256.0),
            })
        }
        _ => Ok(stored),
    }
}

async fn add_remote(
    context: &Context,
    store: &ModelStore,
    options: &ModelsAdd,
) -> Result<StoredModel, CliError> {
    let registry = options.registry.as_ref().or(context.config.pod.registry.as_ref());
    let source = Source::parse(&options.model, registry.map(String::as_str))?;
    let name = options.name.clone().or_else(|| source.default_name());
    let name = name.ok_or_else(|| CliError::BadValue {
        what: "model name",
        got: source.shown(),
        expected: "`--name NAME`, because this has none that could be offered".to_owned(),
    })?;
    if options.danger_allow_private_address {
        print::warning(
            "servers on this machine and in private networks are ASKED: a redirect can reach what \
             nobody else can",
        );
    }
    let policy = FetchPolicy {
        danger_allow_private_address: options.danger_allow_private_address,
        max_bytes: options.max_size.saturating_mul(1 << 30),
        ..FetchPolicy::default()
    };
    let bar = Bytes::start(&name);
    let report = |step| told(&bar, step);
    Ok(store.add_remote(&source, &name, sha256(options)?, policy, report).await?)
}

fn sha256(options: &ModelsAdd) -> Result<Option<Digest32>, CliError> {
    let Some(text) = &options.sha256 else { return Ok(None) };
    let digits = text.trim_start_matches("0x");
    let bytes = hex::decode(digits).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(|bytes| Some(Digest32(bytes))).ok_or_else(|| CliError::BadValue {
        what: "sha256",
        got: text.clone(),
        expected: "64 hex digits".to_owned(),
    })
}

/// Shows one step of a download or copy.
pub(super) fn told(bar: &Bytes, step: FetchProgress) {
    match step {
        FetchProgress::Waiting => bar.say("waiting for another download of the same"),
        FetchProgress::Hashing { done_bytes, total_bytes } => bar.at(done_bytes, Some(total_bytes)),
        FetchProgress::Fetching { done_bytes, total_bytes } => bar.at(done_bytes, total_bytes),
        FetchProgress::Retrying { reason, in_ms } => {
            bar.say(&format!("{reason}; tried again in {in_ms} ms"));
        }
    }
}

fn list(context: &Context, store: &ModelStore) -> Result<(), CliError> {
    let models = store.list()?;
    if context.global.json {
        let models: Vec<_> = models.iter().map(document).collect();
        print::json(Schema::PodModels, json!({"models": models}));
        return Ok(());
    }
    if models.is_empty() {
        print::note("The store is empty. To fill it, run `phallama pod models add NAME|URL|FILE`");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            let digest = hex::encode(&model.sha256.0[..6]);
            let added = clock::rfc3339(model.added_unix_s);
            vec![model.name.clone(), size(model.size_bytes), digest, added, model.source.clone()]
        })
        .collect();
    print::line(print::table(&["model", "size", "sha256", "added", "from"], &rows, &[1]));
    Ok(())
}

fn document(model: &StoredModel) -> Value {
    json!({
        "name": model.name,
        "sha256": hex::encode(model.sha256.0),
        "size_bytes": model.size_bytes,
        "source": model.source,
        "added_unix_s": model.added_unix_s,
    })
}

/// Bytes in decimal units, as disks are sold.
fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let unit = units.into_iter().find(|(_, unit)| bytes >= *unit);
    match unit {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1_000, 98_362_432, 19_851_350_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.3 MB", "19.8 GB"]);
    }
}
