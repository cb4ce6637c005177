//! `phallama config`

use std::process::Command;

use serde_json::{Value, json};

use crate::cli::ConfigAction;
use crate::context::{self, Context};
use crate::error::CliError;
use crate::home::Config;
use crate::print;
use crate::schema::Schema;
use crate::settings::{self, Settings};

pub(super) fn run(context: &Context, action: Option<ConfigAction>) -> Result<(), CliError> {
    match action {
        None => show(context, false),
        Some(ConfigAction::Show { origin }) => show(context, origin),
        Some(ConfigAction::Get { key }) => get(context, &key),
        Some(ConfigAction::Set { key, value }) => set(context, &key, &value),
        Some(ConfigAction::Path) => {
            print::line(context.home.path("config.toml").display());
            Ok(())
        }
        Some(ConfigAction::Edit) => edit(context),
    }
}

fn show(context: &Context, with_origin: bool) -> Result<(), CliError> {
    let settings = Settings::read(&context.home, std::env::vars(), &context.global)?;
    if context.global.json {
        let value = |(key, value, origin): (String, toml::Value, settings::Origin)| json!({"key": key, "value": value, "origin": origin.to_string()});
        let values: Vec<Value> = settings.values().into_iter().map(value).collect();
        let path = context.home.path("config.toml");
        print::json(Schema::Config, json!({"path": path, "values": values}));
        return Ok(());
    }
    if !with_origin {
        print::line(toml::to_string_pretty(&settings.config).unwrap_or_default().trim_end());
        return Ok(());
    }
    let row = |(key, value, origin): (String, toml::Value, settings::Origin)| {
        vec![key, value.to_string(), origin.to_string()]
    };
    let rows: Vec<_> = settings.values().into_iter().map(row).collect();
    print::line(print::table(&["key", "value", "from"], &rows, &[]));
    Ok(())
}

fn get(context: &Context, key: &str) -> Result<(), CliError> {
    let values = settings::leaves(&settings::table_of(&context.config));
    let value = values.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let value = value.ok_or_else(|| no_key(key, &values))?;
    if context.global.json {
        print::json(Schema::ConfigValue, json!({"key": key, "value": value}));
        return Ok(());
    }
    match value {
        toml::Value::String(text) => print::line(text),
        other => print::line(other),
    }
    Ok(())
}

fn no_key(key: &str, values: &[(String, toml::Value)]) -> CliError {
    let section = key.split('.').next().unwrap_or_default();
    let near = values.iter().map(|(name, _)| name.as_str());
    let near: Vec<&str> = near.clone().filter(|name| name.starts_with(section)).collect();
    let all = values.iter().map(|(name, _)| name.as_str()).collect();
    CliError::BadValue {
        what: "key of the configuration",
        got: key.to_owned(),
        expected: format!("one of {}", if near.is_empty() { all } else { near }.join(", ")),
    }
}

fn set(context: &Context, key: &str, value: &str) -> Result<(), CliError> {
    let mut table = context.home.table()?;
    let refused = |reason: String| CliError::BadValue {
        what: "value of the configuration",
        got: format!("{key} = {value}"),
        expected: format!("a key that is known and a value that it takes ({reason})"),
    };
    settings::put(&mut table, key, value).map_err(refused)?;
    let config = Config::deserialize_table(table).map_err(refused)?;
    context::meaningful(&config)?;
    context.home.write_config(&config)?;
    print::note(format!("{key} is set in {}", context.home.path("config.toml").display()));
    Ok(())
}

/// Lets the user change a copy, and takes it when it is valid.
fn edit(context: &Context) -> Result<(), CliError> {
    let named = |variable| std::env::var(variable).ok().filter(|name| !name.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let path = context.home.path("config.toml");
    let copy = "config.edit.toml";
    let before = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(CliError::File { path, source }),
    };
    context.home.write(copy, &before)?;
    let failed = |reason: String| CliError::Editor { editor: editor.clone(), reason };
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let ended = Command::new(program).args(words).arg(context.home.path(copy)).status();
    let ended = ended.map_err(|error| failed(error.to_string()))?;
    if !ended.success() {
        return Err(failed(format!("it ended with {ended}; nothing was changed")));
    }
    let copy_path = context.home.path(copy);
    let file = |source| CliError::File { path: copy_path.clone(), source };
    let after = std::fs::read_to_string(&copy_path).map_err(file)?;
    // What is not valid stays in the copy, so that no work is lost.
    let config: Config = toml::from_str(&after)
        .map_err(|source| CliError::Config { path: copy_path.clone(), source: Box::new(source) })?;
    context::meaningful(&config)?;
    context.home.write("config.toml", after.as_bytes())?;
    std::fs::remove_file(&copy_path).map_err(file)
}
