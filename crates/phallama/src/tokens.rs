//! Tokens for apps: `phallama token create NAME`. Without any, every program on this machine may
//! ask.
//!
//! A token has 256 random bits, so its SHA-256 is all that is kept: the file `tokens.json` of the
//! home opens nothing to whoever reads it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::clock;
use crate::context::DECIMALS_MAX;
use crate::error::CliError;
use crate::home::Home;
use crate::units;

/// File inside the home.
const FILE: &str = "tokens.json";
/// What every token begins with, so that one is recognised where it should not be.
const PREFIX: &str = "phallama_";
/// Longest name, in bytes.
const NAME_MAX: usize = 64;

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Whose it is.
    pub name: String,
    /// Of the whole token, 64 hex digits.
    pub sha256: String,
    /// Unix seconds.
    pub created_at_unix_s: u64,
    /// Most that whoever shows it may spend in one day (UTC), in whole tokens of the escrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_day: Option<String>,
}

impl TokenEntry {
    /// Under what its spending is kept: another token of the same name goes on with it.
    pub fn purse(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"phallama purse\0").chain_update(&self.name).finalize().into()
    }
}

/// The tokens of a home, read again when the file has changed.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<Option<(Stamp, Arc<[TokenEntry]>)>>,
}

/// Differs whenever the file was replaced.
type Stamp = (SystemTime, u64, u64);

impl Tokens {
    /// The tokens of a home; there may be none.
    pub fn of(home: &Home) -> Self {
        Self { path: home.path(FILE), read: Mutex::default() }
    }

    /// No file, and so no tokens.
    pub fn none() -> Self {
        Self { path: PathBuf::new(), read: Mutex::default() }
    }

    /// Every entry.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::BadValue`] for a file that holds no tokens.
    pub fn entries(&self) -> Result<Arc<[TokenEntry]>, CliError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = match stamp(&self.path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Arc::new([])),
            Err(source) => return Err(CliError::File { path: self.path.clone(), source }),
        };
        if let Some((_, entries)) = read.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(entries));
        }
        let entries: Arc<[TokenEntry]> = self.parsed()?.into();
        *read = Some((stamp, Arc::clone(&entries)));
        Ok(entries)
    }

    fn parsed(&self) -> Result<Vec<TokenEntry>, CliError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| CliError::File { path: self.path.clone(), source })?;
        serde_json::from_str(&text).map_err(|error| CliError::BadValue {
            what: "file of tokens",
            got: self.path.display().to_string(),
            expected: format!("what `phallama token create` wrote ({error})"),
        })
    }

    /// The entry of this token, if there is one. Every entry is looked at, each for the same time.
    pub fn find<'a>(entries: &'a [TokenEntry], presented: &[u8]) -> Option<&'a TokenEntry> {
        let digest = hex::encode(Sha256::digest(presented));
        let same = |entry: &TokenEntry| entry.sha256.as_bytes().ct_eq(digest.as_bytes());
        entries
            .iter()
            .fold(None, |found, entry| if same(entry).into() { Some(entry) } else { found })
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len(), metadata.ino()))
}

/// Makes a token and returns it: this is the only time that it can be read.
///
/// # Errors
/// [`CliError::BadValue`] for a name that is taken or is none, [`CliError::Amount`],
/// [`CliError::File`].
pub fn create(
    home: &Home,
    name: &str,
    max_per_day: Option<&str>,
) -> Result<Zeroizing<String>, CliError> {
    let max_per_day = amount(max_per_day)?;
    let entries = Tokens::of(home).entries()?.to_vec();
    if entries.iter().any(|entry| entry.name == name) {
        let expected = "a name that no other token has (`phallama token list`)".to_owned();
        return Err(CliError::BadValue { what: "token name", got: name.to_owned(), expected });
    }
    add(home, entries, name, max_per_day)
}

/// Makes a token in place of the one that has the name, if any, with its limit.
///
/// # Errors
/// [`CliError::BadValue`] for a name that is none, [`CliError::File`].
pub fn renew(home: &Home, name: &str) -> Result<Zeroizing<String>, CliError> {
    let mut entries = Tokens::of(home).entries()?.to_vec();
    let former = entries.iter().position(|entry| entry.name == name);
    let max_per_day = former.and_then(|index| entries.remove(index).max_per_day);
    add(home, entries, name, max_per_day)
}

fn add(
    home: &Home,
    mut entries: Vec<TokenEntry>,
    name: &str,
    max_per_day: Option<String>,
) -> Result<Zeroizing<String>, CliError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        let expected = format!("1 to {NAME_MAX} letters, digits, `-`, `_` and `.`");
        return Err(CliError::BadValue { what: "token name", got: name.to_owned(), expected });
    }
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).expect("the operating system has random bytes");
    let token = Zeroizing::new(format!("{PREFIX}{}", hex::encode(secret.as_slice())));
    let sha256 = hex::encode(Sha256::digest(token.as_bytes()));
    let created_at_unix_s = clock::now_unix_s();
    entries.push(TokenEntry { name: name.to_owned(), sha256, created_at_unix_s, max_per_day });
    write(home, &entries)?;
    Ok(token)
}

/// Sets or lifts what may be spent with a token in one day, also for servers that run.
///
/// # Errors
/// [`CliError::BadValue`] for an unknown name, [`CliError::Amount`], [`CliError::File`].
pub fn limit(home: &Home, name: &str, max_per_day: Option<&str>) -> Result<(), CliError> {
    let max_per_day = amount(max_per_day)?;
    let mut entries = Tokens::of(home).entries()?.to_vec();
    let entry = entries.iter_mut().find(|entry| entry.name == name).ok_or_else(|| unknown(name))?;
    entry.max_per_day = max_per_day;
    write(home, &entries)
}

/// An amount that can be one, whatever decimals the token has.
fn amount(max_per_day: Option<&str>) -> Result<Option<String>, CliError> {
    let Some(text) = max_per_day else { return Ok(None) };
    units::parse(text, DECIMALS_MAX)?;
    Ok(Some(text.to_owned()))
}

fn unknown(name: &str) -> CliError {
    let expected = "one of those that `phallama token list` shows".to_owned();
    CliError::BadValue { what: "token name", got: name.to_owned(), expected }
}

/// Makes a token void, also for servers that run. How many are left.
///
/// # Errors
/// [`CliError::BadValue`] for an unknown name, [`CliError::File`].
pub fn revoke(home: &Home, name: &str) -> Result<usize, CliError> {
    let mut entries = Tokens::of(home).entries()?.to_vec();
    let before = entries.len();
    entries.retain(|entry| entry.name != name);
    if entries.len() == before {
        return Err(unknown(name));
    }
    write(home, &entries)?;
    Ok(entries.len())
}

fn write(home: &Home, entries: &[TokenEntry]) -> Result<(), CliError> {
    home.create()?;
    let json = serde_json::to_vec_pretty(entries).expect("entries are plain values");
    home.write(FILE, &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_it_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let tokens = Tokens::of(&home);
        assert!(tokens.entries().unwrap().is_empty());
        let (one, two) = (create(&home, "one", None).unwrap(), create(&home, "two", None).unwrap());
        let knows =
            |token: &str| Tokens::find(&tokens.entries().unwrap(), token.as_bytes()).is_some();
        assert!(knows(&one) && knows(&two));
        assert!(!knows("") && !knows(&one[1..]) && !knows(&format!("{}0", *one)));
        assert_eq!(revoke(&home, "one").unwrap(), 1);
        assert!(!knows(&one) && knows(&two), "a server that runs notices");
    }

    #[test]
    fn a_renewed_token_is_the_only_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let other = create(&home, "other", None).unwrap();
        let (old, new) = (renew(&home, "app").unwrap(), renew(&home, "app").unwrap());
        let entries = Tokens::of(&home).entries().unwrap();
        let knows = |token: &str| Tokens::find(&entries, token.as_bytes()).is_some();
        assert!(knows(&new) && knows(&other) && !knows(&old));
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn the_file_holds_no_token_and_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let token = create(&home, "app", None).unwrap();
        let text = std::fs::read_to_string(home.path(FILE)).unwrap();
        assert!(!text.contains(token.trim_start_matches(PREFIX)), "{text}");
        let mode = std::fs::metadata(home.path(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn names_are_plain_and_used_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        create(&home, "app", None).unwrap();
        for bad in ["", "app", "a b", "a\n", "ä", &"x".repeat(NAME_MAX + 1)] {
            let error = create(&home, bad, None).unwrap_err();
            assert!(matches!(error, CliError::BadValue { what: "token name", .. }), "{bad:?}");
        }
        assert!(matches!(revoke(&home, "no"), Err(CliError::BadValue { .. })));
    }

    #[test]
    fn a_limit_is_an_amount_and_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let token = create(&home, "app", Some("0.5")).unwrap();
        let of = |token: &str| {
            let entries = Tokens::of(&home).entries().unwrap();
            let entry = Tokens::find(&entries, token.as_bytes()).unwrap();
            (entry.purse(), entry.max_per_day.clone())
        };
        let before = of(&token);
        assert_eq!(before.1.as_deref(), Some("0.5"));
        let renewed = renew(&home, "app").unwrap();
        assert_eq!(of(&renewed), before, "what was spent, and what may be");
        limit(&home, "app", None).unwrap();
        assert_eq!(Tokens::of(&home).entries().unwrap()[0].max_per_day, None);
        for bad in ["", "much", "-1", "1e3"] {
            assert!(matches!(limit(&home, "app", Some(bad)), Err(CliError::Amount(_))), "{bad}");
            assert!(matches!(create(&home, "b", Some(bad)), Err(CliError::Amount(_))), "{bad}");
        }
        assert!(matches!(limit(&home, "no", None), Err(CliError::BadValue { .. })));
    }

    #[test]
    fn a_file_that_holds_no_tokens_is_an_error_and_not_no_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.write(FILE, b"{}").unwrap();
        let error = Tokens::of(&home).entries().unwrap_err();
        assert!(matches!(error, CliError::BadValue { what: "file of tokens", .. }), "{error}");
    }
}
