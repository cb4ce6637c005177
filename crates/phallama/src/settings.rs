//! The configuration in force, and where each of its values comes from: a flag, else the
//! environment, else `config.toml`, else the default.
//!
//! A variable names a key by its path: `PHALLAMA_LIMITS__PER_DAY` is `limits.per_day`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::cli::Global;
use crate::error::CliError;
use crate::home::{Config, Home};

/// What variables of the configuration begin with.
const PREFIX: &str = "PHALLAMA_";
/// What is between the parts of a key in a variable.
const SEPARATOR: &str = "__";
/// The key that a flag of every command sets.
const SIMULATED: &str = "trust.danger_accept_simulated_tee";
const SIMULATED_FLAG: &str = "--danger-accept-simulated-tee";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line, or the variable that stands for it.
    Flag(&'static str),
    /// A variable.
    Environment(String),
    /// `config.toml`.
    File,
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(variable) => f.write_str(variable),
            Self::File => f.write_str("config.toml"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A configuration and the origins of what is not a default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is in force.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Settings {
    /// Reads file, `variables` and flags.
    ///
    /// # Errors
    /// [`CliError::Config`], [`CliError::File`], [`CliError::Variable`].
    pub fn read(
        home: &Home,
        variables: impl Iterator<Item = (String, String)>,
        global: &Global,
    ) -> Result<Self, CliError> {
        // The file alone first: its errors name lines.
        let mut table = table_of(&home.config()?);
        let file = home.table()?;
        let in_file = leaves(&file).into_iter().map(|(key, _)| (key, Origin::File));
        let mut origins: BTreeMap<String, Origin> = in_file.collect();
        let mut named: Vec<_> =
            variables.filter_map(|(name, text)| Some((key_of(&name)?, name, text))).collect();
        named.sort();
        for (key, variable, text) in named {
            put(&mut table, &key, &text)
                .map_err(|reason| CliError::Variable { variable: variable.clone(), reason })?;
            origins.insert(key, Origin::Environment(variable));
        }
        let mut config: Config = table.try_into().map_err(|error: toml::de::Error| {
            let variable = format!("{PREFIX}…");
            CliError::Variable { variable, reason: error.message().to_owned() }
        })?;
        if global.danger_accept_simulated_tee {
            config.trust.danger_accept_simulated_tee = true;
            origins.insert(SIMULATED.to_owned(), Origin::Flag(SIMULATED_FLAG));
        }
        Ok(Self { config, origins })
    }

    /// Each value in force with its key and origin, by key.
    pub fn values(&self) -> Vec<(String, Value, Origin)> {
        let of = |key: &str| self.origins.get(key).cloned().unwrap_or(Origin::Default);
        leaves(&table_of(&self.config))
            .into_iter()
            .map(|(key, value)| {
                let origin = of(&key);
                (key, value, origin)
            })
            .collect()
    }
}

/// The key that a variable names, if it names one.
fn key_of(variable: &str) -> Option<String> {
    let path = variable.strip_prefix(PREFIX)?;
    path.contains(SEPARATOR).then(|| path.replace(SEPARATOR, ".").to_ascii_lowercase())
}

/// The configuration as a table.
pub fn table_of(config: &Config) -> Table {
    Table::try_from(config).expect("a configuration is a table of plain values")
}

/// Every value that is no table, with its key.
pub fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => found.push((name.clone(), value.clone())),
        }
    }
    found
}

/// Sets a key to what was written: a text, or any other value in TOML's notation, whichever the key
/// takes. Keys that belong together may come one after the other.
///
/// # Errors
/// Why the key does not take it.
pub fn put(table: &mut Table, key: &str, text: &str) -> Result<(), String> {
    let as_toml = toml::from_str::<Table>(&format!("value = {text}"));
    let as_toml = as_toml.ok().and_then(|mut table| table.remove("value"));
    let mut refused = String::new();
    for value in [Some(Value::String(text.to_owned())), as_toml].into_iter().flatten() {
        let mut changed = table.clone();
        set(&mut changed, key, value)?;
        match Config::deserialize_table(changed.clone()) {
            Err(reason) if !reason.starts_with("missing field") => refused = reason,
            _ => {
                *table = changed;
                return Ok(());
            }
        }
    }
    Err(refused)
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().unwrap_or_default();
    let mut inner = table;
    for part in path {
        let entry = inner.entry(part).or_insert_with(|| Value::Table(Table::new()));
        inner = entry.as_table_mut().ok_or_else(|| format!("`{part}` holds no other keys"))?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn read(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Settings, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.write("config.toml", file.as_bytes()).unwrap();
        let words = [&["phallama"], flags, &["pods"]].concat();
        let global = Cli::try_parse_from(words).unwrap().global;
        let variables = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        Settings::read(&home, variables, &global)
    }

    fn origin(settings: &Settings, key: &str) -> String {
        let values = settings.values();
        let (_, value, origin) = values.iter().find(|(name, ..)| name == key).expect("a key");
        format!("{value} {origin}")
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let file = "[limits]\nper_day = \"3\"\nper_request = \"2\"\n[trust]\n\
                    danger_accept_simulated_tee = false\n";
        let variables = [("PHALLAMA_LIMITS__PER_DAY", "5"), ("PHALLAMA_LOG", "info")];
        let settings = read(file, &variables, &["--danger-accept-simulated-tee"]).unwrap();
        assert_eq!(origin(&settings, "limits.per_day"), "\"5\" PHALLAMA_LIMITS__PER_DAY");
        assert_eq!(origin(&settings, "limits.per_request"), "\"2\" config.toml");
        assert_eq!(origin(&settings, "limits.per_pod"), "\"none\" default");
        assert_eq!(
            origin(&settings, "trust.danger_accept_simulated_tee"),
            "true --danger-accept-simulated-tee"
        );
        assert_eq!(settings.config.limits.per_day, "5");
    }

    #[test]
    fn a_variable_is_a_text_or_whatever_its_key_takes() {
        let variables = [
            ("PHALLAMA_RUN__HISTORY", "true"),
            ("PHALLAMA_POD__PCCS", "[\"http://127.0.0.1:1\"]"),
            ("PHALLAMA_CHAIN__CHAIN_ID", "7"),
            ("PHALLAMA_CHAIN__RPC_URLS", "[\"http://127.0.0.1:1\"]"),
            ("PHALLAMA_CHAIN__REGISTRY", "0x00000000000000000000000000000000000000aa"),
            ("PHALLAMA_CHAIN__ESCROW", "0x00000000000000000000000000000000000000bb"),
            ("PHALLAMA_CHAIN__TOKEN", "0x00000000000000000000000000000000000000cc"),
        ];
        let config = read("", &variables, &[]).unwrap().config;
        assert!(config.run.history);
        assert_eq!(config.pod.pccs, ["http://127.0.0.1:1"]);
        assert_eq!(config.chain.unwrap().chain_id, 7);
    }

    #[test]
    fn a_variable_that_no_key_takes_is_an_error_that_names_it() {
        for (variable, text, part) in [
            ("PHALLAMA_LIMITS__PER_DAI", "5", "unknown field `per_dai`"),
            ("PHALLAMA_RUN__HISTORY", "perhaps", "expected a boolean"),
            ("PHALLAMA_CHAIN__CHAIN_ID", "7", "missing field"),
        ] {
            let error = read("", &[(variable, text)], &[]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("PHALLAMA_"), "{error}");
        }
    }
}
