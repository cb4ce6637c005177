//! What each program wants in its configuration, and where.

use std::path::PathBuf;

use phallama_client::ModelListing;
use serde_json::{Value, json};

use super::edit::{self, Block};
use crate::cli::App;
use crate::error::CliError;

/// Where a program's answers are to come from.
pub(super) struct Source {
    /// `host:port` of the local server.
    pub(super) server: String,
    pub(super) model: ModelListing,
    /// What the local server wants to see, if anything.
    pub(super) token: Option<String>,
}

/// How to make one program use the local server.
pub(super) struct Recipe {
    pub(super) app: App,
    /// Its configuration file; `None` when it takes variables only.
    pub(super) path: Option<PathBuf>,
    pub(super) source: Source,
}

impl Recipe {
    pub(super) fn new(app: App, source: Source) -> Result<Self, CliError> {
        Ok(Self { app, path: path(app)?, source })
    }

    /// How to start the program.
    pub(super) fn start(&self) -> String {
        let model = &self.source.model.model;
        match self.app {
            App::Aider => "aider".to_owned(),
            App::Codex => "codex --profile phallama".to_owned(),
            App::Continue => "`cn`, or in the editor, pick the model in Continue's list".to_owned(),
            App::Llm => format!("llm -m phallama/{model}"),
            App::OpenWebui => "export them, then `open-webui serve`".to_owned(),
            App::Opencode => format!("opencode --model phallama/{model}"),
        }
    }

    /// The new text of the file that is `before` now.
    pub(super) fn write(&self, before: Option<&str>) -> Result<String, CliError> {
        let before = before.unwrap_or_default();
        let written = match self.app {
            App::Aider => self.aider(before),
            App::Codex => Ok(self.codex()),
            App::Continue => self.continues(before),
            App::Llm => self.llm(before),
            App::OpenWebui => Ok(self.open_webui()),
            App::Opencode => self.opencode(before),
        };
        let path = || self.path.clone().unwrap_or_default();
        written.map_err(|reason| CliError::AppConfig { path: path(), reason })
    }

    fn base(&self) -> String {
        format!("http://{}", self.source.server)
    }

    /// What programs that insist on a key get.
    fn key(&self) -> &str {
        self.source.token.as_deref().unwrap_or("none")
    }

    fn aider(&self, before: &str) -> Result<String, String> {
        edit::flat_yaml(
            before,
            &[
                ("openai-api-base", format!("{}/v1", self.base())),
                ("openai-api-key", self.key().to_owned()),
                ("model", quoted(&format!("openai/{}", self.source.model.model))),
            ],
        )
    }

    fn codex(&self) -> String {
        let model = &self.source.model;
        let token = self.source.token.as_deref().map(quoted);
        let token = token.map(|token| format!("experimental_bearer_token = {token}\n"));
        format!(
            "# Written by `phallama launch codex`.\nmodel = {}\n\
             model_provider = \"phallama\"\nmodel_context_window = {}\n\n\
             [model_providers.phallama]\nname = \"Phallama\"\nbase_url = \"{}/v1\"\n\
             wire_api = \"responses\"\n{}",
            quoted(&model.model),
            model.context_tokens,
            self.base(),
            token.unwrap_or_default()
        )
    }

    fn continues(&self, before: &str) -> Result<String, String> {
        let model = &self.source.model.model;
        let mut lines = vec![
            format!("- name: {}", quoted(&format!("{model} (Phallama)"))),
            "  provider: ollama".to_owned(),
            format!("  model: {}", quoted(model)),
            format!("  apiBase: {}", self.base()),
        ];
        lines.extend(self.source.token.iter().map(|token| format!("  apiKey: {token}")));
        let head = "name: Phallama\nversion: 0.0.1\nschema: v1\n";
        edit::yaml_list_under(before, "models", head, &Block(lines))
    }

    fn llm(&self, before: &str) -> Result<String, String> {
        let model = &self.source.model.model;
        let mut lines = vec![
            format!("- model_id: {}", quoted(&format!("phallama/{model}"))),
            format!("  model_name: {}", quoted(model)),
            format!("  api_base: {}/v1", self.base()),
        ];
        // Its keys are in a file of their own.
        let bearer = self.source.token.as_ref().map(|token| quoted(&format!("Bearer {token}")));
        lines.extend(bearer.map(|bearer| format!("  headers: {{Authorization: {bearer}}}")));
        edit::yaml_list(before, &Block(lines))
    }

    /// Its connections to Ollama take a key only in its own settings.
    fn open_webui(&self) -> String {
        let (base, key) = (self.base(), self.key());
        let ollama = match self.source.token {
            None => format!("OLLAMA_BASE_URL={base}"),
            Some(_) => "ENABLE_OLLAMA_API=false".to_owned(),
        };
        format!(
            "export {ollama}\nexport OPENAI_API_BASE_URL={base}/v1\nexport OPENAI_API_KEY={key}\n"
        )
    }

    fn opencode(&self, before: &str) -> Result<String, String> {
        let mut config: Value = match before.trim() {
            "" => json!({"$schema": "https://opencode.ai/config.json"}),
            text => serde_json::from_str(text)
                .map_err(|error| format!("it is no plain JSON ({error}); comments are not kept"))?,
        };
        let is_object = |value: &Value| value.is_object() || value.is_null();
        if !config.is_object() || !is_object(&config["provider"]) {
            return Err("it is no object with providers".to_owned());
        }
        let model = &self.source.model;
        let mut options = json!({"baseURL": format!("{}/v1", self.base())});
        if let Some(token) = &self.source.token {
            options["apiKey"] = token.as_str().into();
        }
        let limit = json!({"context": model.context_tokens, "output": model.max_output_tokens});
        config["provider"]["phallama"] = json!({
            "npm": "@ai-sdk/openai-compatible", "name": "Phallama", "options": options,
            "models": {&model.model: {"name": model.model, "limit": limit}},
        });
        Ok(format!("{config:#}\n"))
    }
}

/// A text in YAML, TOML and JSON alike.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The program's configuration file.
pub(super) fn path(app: App) -> Result<Option<PathBuf>, CliError> {
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
    use phallama_protocol::ids::{Amount, Digest32};

    use super::*;

    const ALL: [App; 6] =
        [App::Aider, App::Codex, App::Continue, App::Llm, App::OpenWebui, App::Opencode];

    fn source(token: Option<&str>) -> Source {
        let model = ModelListing {
            model: "tiny:1".to_owned(),
            pods: Vec::new(),
            weights_sha256: Digest32([0; 32]),
            input_price_per_mtok: Amount::ZERO,
            output_price_per_mtok: Amount::ZERO,
            context_tokens: 4096,
            max_output_tokens: 512,
            updated_at_unix_s: 0,
        };
        Source { server: "127.0.0.1:11434".to_owned(), model, token: token.map(str::to_owned) }
    }

    fn recipe(app: App, token: Option<&str>) -> Recipe {
        Recipe { app, path: None, source: source(token) }
    }

    fn written(app: App, before: Option<&str>) -> Result<String, String> {
        recipe(app, None).write(before).map_err(|error| error.to_string())
    }

    #[test]
    fn new_files_are_what_each_program_reads() {
        let told = |app: &App| [format!("== {app:?}\n"), written(*app, None).unwrap()];
        let text: String = ALL.iter().flat_map(told).collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_token_is_where_each_program_looks_for_a_key() {
        let told = |app: &App| {
            let text = recipe(*app, Some("phallama_00")).write(None).unwrap();
            let without = written(*app, None).unwrap();
            let more: Vec<&str> = text.lines().filter(|line| !without.contains(line)).collect();
            format!("== {app:?}\n{}\n", more.join("\n"))
        };
        insta::assert_snapshot!(ALL.iter().map(told).collect::<String>());
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
