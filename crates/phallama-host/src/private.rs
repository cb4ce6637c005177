//! Directories and files of the pod, for its own user only: journal and log say who asked when.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// On directories that belong to everybody, such as /tmp.
const STICKY: u32 = 0o1000;

/// Makes `path` a directory of mode 0700, with those above it that are missing.
///
/// # Errors
/// What the system says; [`io::ErrorKind::PermissionDenied`] for a directory that is shared.
pub(crate) fn dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & STICKY != 0 {
        let problem = "the directory is shared with others; choose one of its own inside it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    if mode & 0o777 != DIR_MODE {
        fs::set_permissions(path, Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// Opens `path` for writing with mode 0600, whatever it had before; keeps what is in it.
///
/// # Errors
/// What the system says.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// The same, emptied.
///
/// # Errors
/// What the system says.
pub(crate) fn empty_file(path: &Path) -> io::Result<File> {
    let file = file(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Opens `path` for appending whole lines, with mode 0600.
///
/// # Errors
/// What the system says.
pub(crate) fn appended_file(path: &Path) -> io::Result<File> {
    use std::io::{Read as _, Seek as _, Write as _};
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
    if file.seek(io::SeekFrom::End(0))? > 0 {
        file.seek(io::SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // A line that was cut by a power failure.
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// Opens a UNIX socket that only the pod's own user can connect to; one of an earlier start goes.
///
/// # Errors
/// What the system says.
pub(crate) fn socket(path: &Path) -> io::Result<tokio::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(FILE_MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn nobody_else_can_enter_or_read() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("a/state");
        dir(&state).unwrap();
        assert_eq!((mode(&home.path().join("a")), mode(&state)), (0o700, 0o700));
        file(&state.join("new")).unwrap();
        assert_eq!(mode(&state.join("new")), 0o600);
    }

    #[test]
    fn what_was_open_to_others_is_closed_and_keeps_its_content() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        dir(home.path()).unwrap();
        assert_eq!(mode(home.path()), 0o700);
        let old = home.path().join("old");
        fs::write(&old, "kept").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
        file(&old).unwrap();
        assert_eq!((mode(&old), fs::read_to_string(&old).unwrap()), (0o600, "kept".to_owned()));
        empty_file(&old).unwrap();
        assert_eq!((mode(&old), fs::read_to_string(&old).unwrap()), (0o600, String::new()));
    }

    #[test]
    fn a_directory_of_everybody_is_not_taken() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(dir(home.path()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(mode(home.path()), 0o1777);
    }
}
