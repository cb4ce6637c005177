//! Conversations on disk: only when the user says `/save`, readable by the user alone.

use std::path::PathBuf;

use super::session::Session;
use crate::error::CliError;
use crate::home::Home;

/// Folder of saved conversations inside the home.
const SESSIONS: &str = "sessions";
/// Longest name, in bytes.
const NAME_MAX: usize = 64;

pub(super) fn save(home: &Home, name: &str, session: &Session) -> Result<PathBuf, CliError> {
    let file = file(name)?;
    let bytes = serde_json::to_vec_pretty(session).expect("a session is a tree of plain values");
    home.write(&file, &bytes)?;
    Ok(home.path(&file))
}

/// The conversation of this name; `None` when none was saved.
pub(super) fn load(home: &Home, name: &str) -> Result<Option<Session>, CliError> {
    let Ok(file) = file(name) else { return Ok(None) };
    let path = home.path(&file);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CliError::File { path, source }),
    };
    let session = serde_json::from_slice(&bytes)
        .map_err(|error| CliError::SavedSession { path, reason: error.to_string() })?;
    Ok(Some(session))
}

fn file(name: &str) -> Result<String, CliError> {
    let plain = |c: char| c.is_alphanumeric() || "-_.:".contains(c);
    let is_plain = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(plain);
    if !is_plain || name.starts_with('.') {
        return Err(CliError::BadValue {
            what: "name of a conversation",
            got: name.to_owned(),
            expected: format!("1 to {NAME_MAX} letters, digits, `-`, `_`, `.` and `:`"),
        });
    }
    Ok(format!("{SESSIONS}/{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_conversation_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let mut session = Session::new("m");
        session.ask("hello").unwrap();
        session.answered("hi");
        save(&home, "monday", &session).unwrap();
        assert_eq!(load(&home, "monday").unwrap(), Some(session));
        assert_eq!(load(&home, "tuesday").unwrap(), None);
    }

    #[test]
    fn a_name_stays_inside_its_folder() {
        let home = Home::at("/nowhere");
        for name in ["../x", "a/b", "", ".hidden", "a\0b"] {
            assert!(save(&home, name, &Session::new("m")).is_err(), "{name}");
            assert_eq!(load(&home, name).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        home.write("sessions/x.json", b"{}").unwrap();
        let error = load(&home, "x").unwrap_err();
        assert!(error.to_string().contains("missing field `model`"), "{error}");
    }
}
