//! The file of the records.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use redb::{ConcurrencyMode, Database};

use super::{LedgerError, storage};

/// How the records are opened: several processes may write.
pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::MultiWriter);
    builder
}

/// Makes the folder, for its owner alone, if there is none.
pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.recursive(true).create(dir)
}

/// Opens the file, or makes it.
pub(super) fn open(path: &Path) -> Result<Database, LedgerError> {
    if !path.exists() {
        make(path)?;
    }
    keep_private(path)?;
    builder().create(path).map_err(storage)
}

/// Takes the file out of others' reach: it says which pods were asked, when, and for how much.
fn keep_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Makes empty records that appear whole or not at all: redb makes a database in several writes,
/// and for ever refuses a file that was left between them.
fn make(path: &Path) -> io::Result<()> {
    // Processes that start at the same time each make one; the first to name it wins.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => drop(builder().create(&new).map_err(io::Error::other)?),
    }
    keep_private(&new)?;
    File::open(&new)?.sync_all()?;
    match fs::hard_link(&new, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => fs::remove_file(&new)?,
    }
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn records_that_a_crash_left_half_made_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.redb");
        fs::write(path.with_extension(format!("{}.new", std::process::id())), [0; 8_192]).unwrap();
        drop(Ledger::open(dir.path()).unwrap());
        drop(Ledger::open(dir.path()).unwrap());
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ledger.redb"]);
    }

    #[test]
    fn processes_that_start_together_share_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.redb");
        let first = open(&path).unwrap();
        // The second one found no file and is late.
        make(&path).unwrap();
        let second = open(&path).unwrap();
        drop((first, second));
    }
}
