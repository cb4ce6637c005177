//! What was in a file before we wrote to it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::App;
use crate::error::CliError;
use crate::home::Home;

/// The files of one program's configuration before and after, in the home.
pub(super) struct Kept<'a> {
    home: &'a Home,
    /// Folder of the program inside the home.
    folder: String,
}

/// A program's configuration as text; `None` when there is none.
///
/// # Errors
/// [`CliError::AppConfig`]: what cannot be read is not written either.
pub(super) fn read(path: &Path) -> Result<Option<String>, CliError> {
    let refused = |reason: String| CliError::AppConfig { path: path.to_owned(), reason };
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(format!("it cannot be read ({error})"))),
        Ok(bytes) => {
            let text = String::from_utf8(bytes);
            text.map(Some).map_err(|_| refused("it is no UTF-8 text".to_owned()))
        }
    }
}

/// Whether somebody else than the owner may read a file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

impl<'a> Kept<'a> {
    pub(super) fn of(home: &'a Home, app: App) -> Self {
        Self { home, folder: format!("launch/{app:?}").to_ascii_lowercase() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path(&self.name(name))
    }

    pub(super) fn is_there(&self) -> bool {
        self.file("path").exists()
    }

    /// Keeps what was there, then writes. What is ours already is written again over the same.
    pub(super) fn write(
        &self,
        path: &Path,
        before: Option<&str>,
        after: &[u8],
    ) -> Result<(), CliError> {
        let is_ours = self.is_there()
            && fs::read(self.file("after")).ok().as_deref() == before.map(str::as_bytes);
        if !is_ours {
            self.forget()?;
            if let Some(before) = before {
                self.home.write(&self.name("before"), before.as_bytes())?;
            }
        }
        self.home.write(&self.name("after"), after)?;
        self.home.write(&self.name("path"), path.as_os_str().as_encoded_bytes())?;
        replace(path, after)
    }

    /// Puts back what was there. A file that was changed since is changed only with `yes`.
    pub(super) fn restore(&self, yes: bool) -> Result<PathBuf, CliError> {
        let unused = |source| CliError::File { path: self.file("path"), source };
        let path = match fs::read_to_string(self.file("path")) {
            Ok(path) => PathBuf::from(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = "it was not written by `phallama launch`".to_owned();
                return Err(CliError::AppConfig { path: self.file(""), reason });
            }
            Err(source) => return Err(unused(source)),
        };
        let (now, ours) = (fs::read(&path).ok(), fs::read(self.file("after")).ok());
        if now != ours && !yes {
            let reason = "it was changed since; `--yes` puts the old one back all the same";
            return Err(CliError::AppConfig { path, reason: reason.to_owned() });
        }
        match fs::read(self.file("before")) {
            Ok(before) => replace(&path, &before)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&path)?,
            Err(source) => return Err(unused(source)),
        }
        self.forget()?;
        Ok(path)
    }

    fn forget(&self) -> Result<(), CliError> {
        for name in ["path", "after", "before"] {
            remove(&self.file(name))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CliError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, through a link to where it really is, with its permissions.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let write = || {
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = fs::metadata(&real).map_or(0o600, |meta| meta.permissions().mode());
        let mut name = real.file_name().unwrap_or_default().to_owned();
        name.push(".phallama-new");
        let partial = real.with_file_name(name);
        fs::write(&partial, bytes)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(mode))?;
        fs::rename(&partial, &real)
    };
    write().map_err(|source| CliError::File { path: real.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        home: Home,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        Place { dir, home }
    }

    #[test]
    fn the_exact_bytes_come_back_with_link_and_permissions() {
        let Place { dir, home } = place();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        let before = "\u{feff}a: 1\r\n\r\n# no newline at the end";
        fs::write(&real, before).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let kept = Kept::of(&home, App::Aider);
        kept.write(&link, Some(before), b"ours").unwrap();
        // Twice: the first backup is the one that counts.
        kept.write(&link, Some("ours"), b"ours too").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"ours too");
        kept.restore(false).unwrap();
        assert_eq!(fs::read(&real).unwrap(), before.as_bytes());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(kept.restore(false).is_err(), "there is nothing to put back any more");
    }

    #[test]
    fn a_file_that_was_not_there_is_removed() {
        let Place { dir, home } = place();
        let path = dir.path().join("new/config");
        let kept = Kept::of(&home, App::Llm);
        kept.write(&path, None, b"ours").unwrap();
        kept.restore(false).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_changed_since_is_kept_unless_that_is_wanted() {
        let Place { dir, home } = place();
        let path = dir.path().join("config");
        let kept = Kept::of(&home, App::Opencode);
        kept.write(&path, None, b"ours").unwrap();
        fs::write(&path, "ours, and theirs").unwrap();
        let said = kept.restore(false).unwrap_err().to_string();
        assert!(said.contains("changed since"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), b"ours, and theirs");
        kept.restore(true).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let Place { dir, .. } = place();
        let path = dir.path().join("config");
        fs::write(&path, b"\xff\xfe").unwrap();
        for path in [path, dir.path().to_owned()] {
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains("was not changed"), "{said}");
        }
    }
}
