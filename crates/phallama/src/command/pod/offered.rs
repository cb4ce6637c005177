//! Which models a pod offers, from the command line or the configuration.

use std::path::{Path, PathBuf};

use phallama_host::config::{EmbeddingsSettings, FileSettings, LoadSettings, ModelSettings};
use phallama_host::models::file_digest;
use phallama_protocol::ids::Digest32;

use super::Place;
use super::models::store;
use crate::cli::{PodUp, Pooling};
use crate::error::CliError;
use crate::home::PodModel;
use crate::print::Bytes;
use crate::units;

/// Name of a single file that was given none.
const DEFAULT_NAME: &str = "smollm2:135m";

/// The models of the command line, else those `listed` in the configuration.
pub(super) fn models(
    options: &PodUp,
    listed: &[PodModel],
    place: &Place,
) -> Result<Vec<ModelSettings>, CliError> {
    let typed = typed(options)?;
    let models = if typed.is_empty() { listed } else { &typed };
    if models.is_empty() {
        return Err(CliError::BadValue {
            what: "choice of models",
            got: "none".to_owned(),
            expected: "`--model FILE|NAME`, or `[[pod.models]]` in config.toml".to_owned(),
        });
    }
    let is_only = models.len() == 1;
    models.iter().map(|model| settings(model, is_only, place)).collect()
}

/// What the command line says of each model.
fn typed(options: &PodUp) -> Result<Vec<PodModel>, CliError> {
    let count = options.models.len();
    let (terms, purpose) = (&options.terms, &options.purpose);
    let pooling = purpose.pooling.map_or("model", Pooling::as_str);
    check_count("--name", options.names.len(), count, count)?;
    check_count("--input-price", terms.input_price.len(), count, 1)?;
    check_count("--output-price", terms.output_price.len(), count, 1)?;
    check_count("--context", terms.context.len(), count, 1)?;
    check_count("--max-output", terms.max_output.len(), count, 1)?;
    check_count("--projector", purpose.projectors.len(), count, count)?;
    check_count("--draft-model", purpose.drafts.len(), count, count)?;
    let models = options.models.iter().enumerate();
    let typed = models.map(|(index, model)| PodModel {
        model: model.clone(),
        name: options.names.get(index).cloned(),
        input_price: of(&terms.input_price, index).clone(),
        output_price: of(&terms.output_price, index).clone(),
        context: *of(&terms.context, index),
        max_output: *of(&terms.max_output, index),
        lazy: terms.lazy,
        keep_alive: terms.keep_alive,
        projector: purpose.projectors.get(index).cloned(),
        embeddings: purpose.embeddings.then(|| pooling.to_owned()),
        draft_model: purpose.drafts.get(index).cloned(),
    });
    Ok(typed.collect())
}

/// An option is given for each model, or, up to `shared` times, for all of them.
fn check_count(
    option: &'static str,
    got: usize,
    models: usize,
    shared: usize,
) -> Result<(), CliError> {
    if models == 0 || got == models || got == 0 || (got == 1 && shared == 1) {
        return Ok(());
    }
    Err(CliError::BadValue {
        what: "number of options",
        got: format!("{option} {got} times"),
        expected: format!("once for each of the {models} models, in the same order"),
    })
}

/// The value of a model, or the one of all. Prices and lengths have a default, so there is one.
fn of<T>(values: &[T], index: usize) -> &T {
    values.get(index).unwrap_or(&values[0])
}

fn settings(model: &PodModel, is_only: bool, place: &Place) -> Result<ModelSettings, CliError> {
    let (stored_name, model_path, weights_sha256) = find(&model.model, place)?;
    let fallback = is_only.then(|| DEFAULT_NAME.to_owned());
    let name = model.name.clone().or(stored_name).or(fallback);
    Ok(ModelSettings {
        model: name.ok_or_else(|| CliError::BadValue {
            what: "model",
            got: model.model.clone(),
            expected: "a name to offer it under: `--name NAME` for each model".to_owned(),
        })?,
        model_path,
        weights_sha256,
        input_price_per_mtok: units::parse(&model.input_price, place.decimals)?,
        output_price_per_mtok: units::parse(&model.output_price, place.decimals)?,
        context_tokens: model.context,
        max_output_tokens: model.max_output,
        load: model.lazy.then_some(LoadSettings::Request),
        keep_alive_s: model.keep_alive,
        projector: model.projector.as_deref().map(|path| companion(path, place)).transpose()?,
        draft: model.draft_model.as_deref().map(|path| companion(path, place)).transpose()?,
        embeddings: model.embeddings.as_deref().map(embeddings).transpose()?,
    })
}

/// A file that the worker reads beside the weights.
fn companion(path: &Path, place: &Place) -> Result<FileSettings, CliError> {
    let (path, sha256) = hashed(path, place)?;
    Ok(FileSettings { path, sha256 })
}

fn embeddings(pooling: &str) -> Result<EmbeddingsSettings, CliError> {
    match pooling {
        "model" => Ok(EmbeddingsSettings { pooling: None }),
        "mean" | "cls" | "last" => Ok(EmbeddingsSettings { pooling: Some(pooling.to_owned()) }),
        other => Err(CliError::BadValue {
            what: "pooling of embeddings",
            got: other.to_owned(),
            expected: "mean, cls, last, or model for what the file says".to_owned(),
        }),
    }
}

/// A file, or a model of the store: its name there, where it lies, and its digest.
fn find(model: &str, place: &Place) -> Result<(Option<String>, PathBuf, Digest32), CliError> {
    let path = Path::new(model);
    if path.is_file() {
        let (path, digest) = hashed(path, place)?;
        return Ok((None, path, digest));
    }
    let store = store(&place.state_dir)?;
    let stored = store.find(model)?;
    let path = super::absolute(&store.path(&stored))?;
    Ok((Some(stored.name), path, stored.sha256))
}

fn hashed(path: &Path, place: &Place) -> Result<(PathBuf, Digest32), CliError> {
    let path = super::absolute(path)?;
    let bar = Bytes::start("hashing the weights");
    let cache = place.state_dir.join("digests.json");
    let digest = file_digest(&path, &cache, |done, total| bar.at(done, Some(total)))?;
    Ok((path, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_given_once_for_all_or_once_for_each() {
        let price = |got, models| check_count("--input-price", got, models, 1);
        price(1, 1).unwrap();
        price(1, 3).unwrap();
        price(3, 3).unwrap();
        let error = price(2, 3).unwrap_err().to_string();
        assert!(error.contains("--input-price 2 times"), "{error}");
        // Two models cannot share a name.
        check_count("--name", 0, 2, 2).unwrap();
        check_count("--name", 2, 2, 2).unwrap();
        check_count("--name", 1, 2, 2).unwrap_err();
    }

    #[test]
    fn a_pooling_is_one_that_the_enclave_knows() {
        assert_eq!(embeddings("model").unwrap().pooling, None);
        assert_eq!(embeddings("cls").unwrap().pooling.as_deref(), Some("cls"));
        let error = embeddings("max").unwrap_err().to_string();
        assert!(error.contains("max"), "{error}");
    }
}
