//! Items on disk, one file each, so that a pod survives its collateral services.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Document, Item, Wanted};
use crate::private;

/// A directory of items. Files are whole or absent; what is in them is judged again at every use.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// An item with where and when it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cached {
    /// URL of the service.
    pub(super) from: String,
    pub(super) fetched_at_unix_s: u64,
    pub(super) document: Document,
}

impl Cache {
    /// A cache in `dir`, which is made when missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> io::Result<Self> {
        private::dir(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The item, if there is one that can be read.
    pub(super) fn load(&self, item: Item, wanted: &Wanted) -> Option<Cached> {
        let bytes = std::fs::read(self.path(item, wanted)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the item.
    pub(super) fn store(&self, item: Item, wanted: &Wanted, cached: &Cached) -> io::Result<()> {
        let path = self.path(item, wanted);
        let partial = path.with_extension("partial");
        let mut file = private::empty_file(&partial)?;
        file.write_all(&serde_json::to_vec(cached)?)?;
        file.sync_all()?;
        std::fs::rename(partial, path)
    }

    fn path(&self, item: Item, wanted: &Wanted) -> PathBuf {
        self.dir.join(item.file_name(wanted))
    }
}
