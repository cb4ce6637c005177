//! What each program wants in its configuration, and where.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::edit::{self, Block};
use crate::cli::App;
use crate::error::CliError;

/// How to make one program use the local server.
pub(super) struct Recipe {
    app: App,
    /// Its configuration file; `None` when it takes variables only.
    pub(super) path: Option<PathBuf>,
    /// How to start it.
    pub(super) start: String,
    /// `http://host:port` of the local server.
    base: String,
    model: String,
}

impl Recipe {
    pub(super) fn new(app: App, server: &str, model: &str) -> Result<Self, CliError> {
        let start = match app {
            App::Aider => "aider".to_owned(),
            App::Codex => "codex --profile phallama".to_owned(),
            App::Continue => "in the editor, pick the model in Continue's list".to_owned(),
            App::Llm => format!("llm -m phallama/{model}"),
            App::OpenWebui => "export them, then `open-webui serve`".to_owned(),
            App::Opencode => format!("opencode --model phallama/{model}"),
        };
        let (base, model) = (format!("http://{server}"), model.to_owned());
        Ok(Self { app, path: path(app)?, start, base, model })
    }

    /// The new text of the file that is `before` now.
    pub(super) fn write(&self, before: Option<&str>, path: &Path) -> Result<String, CliError> {
        let (base, model) = (&self.base, &self.model);
        let text = quoted(model);
        let before = before.unwrap_or_default();
        let written = match self.app {
            App::Aider => edit::flat_yaml(
                before,
                &[
                    ("openai-api-base", format!("{base}/v1")),
                    ("openai-api-key", "none".to_owned()),
                    ("model", quoted(&format!("openai/{model}"))),
                ],
            ),
            App::Codex => Ok(format!(
                "# Written by `phallama launch codex`.\nmodel = {text}\n\
                 model_provider = \"phallama\"\n\n[model_providers.phallama]\n\
                 name = \"Phallama\"\nbase_url = \"{base}/v1\"\nwire_api = \"responses\"\n"
            )),
            App::Continue => edit::yaml_list_under(
                before,
                "models",
                "name: Phallama\nversion: 0.0.1\nschema: v1\n",
                &Block(vec![
                    format!("- name: {}", quoted(&format!("{model} (Phallama)"))),
                    "  provider: ollama".to_owned(),
                    format!("  model: {text}"),
                    format!("  apiBase: {base}"),
                ]),
            ),
            App::Llm => edit::yaml_list(
                before,
                &Block(vec![
                    format!("- model_id: {}", quoted(&format!("phallama/{model}"))),
                    format!("  model_name: {text}"),
                    format!("  api_base: {base}/v1"),
                ]),
            ),
            App::OpenWebui => Ok(format!(
                "export OLLAMA_BASE_URL={base}\nexport OPENAI_API_BASE_URL={base}/v1\n\
                 export OPENAI_API_KEY=none\n"
            )),
            App::Opencode => opencode(before, base, model),
        };
        written.map_err(|reason| CliError::AppConfig { path: path.to_owned(), reason })
    }
}

/// A text in YAML, TOML and JSON alike.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn opencode(before: &str, base: &str, model: &str) -> Result<String, String> {
    let mut config: Value = match before.trim() {
        "" => json!({"$schema": "https://opencode.ai/config.json"}),
        text => serde_json::from_str(text)
            .map_err(|error| format!("it is no plain JSON ({error}); comments are not kept"))?,
    };
    let is_object = |value: &Value| value.is_object() || value.is_null();
    if !config.is_object() || !is_object(&config["provider"]) {
        return Err("it is no object with providers".to_owned());
    }
    config["provider"]["phallama"] = json!({
        "npm": "@ai-sdk/openai-compatible", "name": "Phallama",
        "options": {"baseURL": format!("{base}/v1")}, "models": {model: {"name": model}},
    });
    Ok(format!("{config:#}\n"))
}

fn path(app: App) -> Result<Option<PathBuf>, CliError> {
    let set = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let home = set("HOME").ok_or(CliError::NoHome)?;
    let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    Ok(match app {
        App::Aider => Some(home.join(".aider.conf.yml")),
        App::Codex => {
            let dir = set("CODEX_HOME").unwrap_or_else(|| home.join(".codex"));
            Some(dir.join("phallama.config.toml"))
        }
        App::Continue => Some(home.join(".continue/config.yaml")),
        App::Llm => {
            let dir = set("LLM_USER_PATH").unwrap_or_else(|| config.join("io.datasette.llm"));
            Some(dir.join("extra-openai-models.yaml"))
        }
        App::OpenWebui => None,
        App::Opencode => Some(config.join("opencode/opencode.json")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(app: App, before: Option<&str>) -> Result<String, String> {
        let recipe = Recipe::new(app, "127.0.0.1:11434", "tiny:1").unwrap();
        recipe.write(before, Path::new("f")).map_err(|error| error.to_string())
    }

    #[test]
    fn new_files_are_what_each_program_reads() {
        let all = [App::Aider, App::Codex, App::Continue, App::Llm, App::OpenWebui, App::Opencode];
        let told = |app: &App| [format!("== {app:?}\n"), written(*app, None).unwrap()];
        let text: String = all.iter().flat_map(told).collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_other_providers_say_stays() {
        let before = r#"{"provider":{"other":{"npm":"x"}},"theme":"dark"}"#;
        let after: Value =
            serde_json::from_str(&written(App::Opencode, Some(before)).unwrap()).unwrap();
        assert_eq!(
            (&after["provider"]["other"]["npm"], &after["theme"]),
            (&json!("x"), &json!("dark"))
        );
        let again = written(App::Opencode, Some(&after.to_string())).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), after);
    }

    #[test]
    fn json_that_cannot_be_kept_whole_is_refused() {
        for before in ["{ // comment\n}", "[]", "{\"provider\": []}"] {
            let said = written(App::Opencode, Some(before)).unwrap_err();
            assert!(said.contains("was not changed"), "{said}");
        }
    }
}
