//! What computes for a pod, from the command line or the configuration.

use std::path::{Path, PathBuf};

use phallama_host::config::BackendSettings;

use super::absolute;
use crate::cli::{BackendKind, BackendOptions};
use crate::error::CliError;
use crate::home::PodBackend;
use crate::print;

/// The program to run, empty where none is, and what it is if it is not llama-server.
pub(super) fn chosen(
    worker: Option<&Path>,
    options: &BackendOptions,
    configured: Option<PodBackend>,
) -> Result<(PathBuf, Option<BackendSettings>), CliError> {
    let backend = typed(options).or(configured);
    match backend {
        Some(backend) if backend.kind != BackendKind::LlamaServer => other(backend),
        Some(_) | None => {
            let missing = || needed("llama-server", "`--worker FILE`");
            Ok((absolute(worker.ok_or_else(missing)?)?, None))
        }
    }
}

/// What the command line says, if it says anything.
fn typed(options: &BackendOptions) -> Option<PodBackend> {
    let kind = options.backend?;
    let url = match kind {
        BackendKind::OpenAi => &options.openai_url,
        BackendKind::Ollama | BackendKind::LlamaServer => &options.ollama_url,
    };
    Some(PodBackend {
        kind,
        program: options.ollama.clone(),
        url: url.clone(),
        models_dir: options.ollama_models.clone(),
        pull: options.ollama_pull,
        danger_share_cache: options.danger_share_cache,
    })
}

fn other(backend: PodBackend) -> Result<(PathBuf, Option<BackendSettings>), CliError> {
    let PodBackend { kind, program, url, models_dir, pull, danger_share_cache } = backend;
    if danger_share_cache {
        print::warning(
            "DANGER: accounts share a prompt cache: one can find out what another has asked",
        );
    }
    if kind == BackendKind::OpenAi {
        let url = url.ok_or_else(|| needed("a server with OpenAI's API", "`--openai-url URL`"))?;
        print::warning(
            "whether accounts are kept apart in its prompt cache is up to the server (`cache_salt`)",
        );
        return Ok((PathBuf::new(), Some(BackendSettings::OpenAi { url })));
    }
    let path = match (&url, &program) {
        (None, Some(program)) => absolute(program)?,
        (Some(_), None) => PathBuf::new(),
        _ => return Err(needed("Ollama", "either `--ollama FILE` or `--ollama-url URL`")),
    };
    let models_dir = models_dir.map(|dir| absolute(&dir)).transpose()?;
    let settings = BackendSettings::Ollama { url, models_dir, pull, danger_share_cache };
    Ok((path, Some(settings)))
}

fn needed(got: &str, expected: &str) -> CliError {
    CliError::BadValue {
        what: "backend",
        got: got.to_owned(),
        expected: format!("{expected}, or the same in `[pod.backend]` of config.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:1";

    fn options(kind: BackendKind) -> BackendOptions {
        BackendOptions { backend: Some(kind), ..BackendOptions::default() }
    }

    fn expected(options: &BackendOptions) -> String {
        let Err(CliError::BadValue { expected, .. }) = chosen(None, options, None) else {
            panic!("it lacks something")
        };
        expected
    }

    #[test]
    fn without_a_backend_llama_server_is_needed() {
        let here = Path::new("/bin/sh");
        let none = BackendOptions::default();
        assert_eq!(chosen(Some(here), &none, None).unwrap().1, None);
        assert!(expected(&none).starts_with("`--worker FILE`"));
        assert!(expected(&options(BackendKind::LlamaServer)).starts_with("`--worker FILE`"));
    }

    #[test]
    fn an_ollama_is_run_or_runs_already() {
        let both = "either `--ollama FILE` or `--ollama-url URL`";
        assert!(expected(&options(BackendKind::Ollama)).starts_with(both));
        let run = BackendOptions { ollama: Some("/bin/sh".into()), ..options(BackendKind::Ollama) };
        let (path, backend) = chosen(None, &run, None).unwrap();
        assert!(path.is_absolute());
        assert!(matches!(backend, Some(BackendSettings::Ollama { url: None, .. })));
        let runs = BackendOptions { ollama_url: Some(URL.into()), ..options(BackendKind::Ollama) };
        let (path, backend) = chosen(Some(Path::new("/bin/sh")), &runs, None).unwrap();
        assert_eq!(path, Path::new(""), "llama-server is not needed");
        assert!(matches!(backend, Some(BackendSettings::Ollama { url: Some(_), .. })));
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let toml = format!("kind = \"openai\"\nurl = \"{URL}\"");
        let configured: PodBackend = toml::from_str(&toml).unwrap();
        let none = BackendOptions::default();
        let openai = Some(BackendSettings::OpenAi { url: URL.to_owned() });
        assert_eq!(chosen(None, &none, Some(configured.clone())).unwrap().1, openai);
        let typed = options(BackendKind::LlamaServer);
        let worker = Some(Path::new("/bin/sh"));
        assert_eq!(chosen(worker, &typed, Some(configured)).unwrap().1, None);
        assert!(expected(&options(BackendKind::OpenAi)).starts_with("`--openai-url URL`"));
    }
}
