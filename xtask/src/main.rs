//! Repository automation.
//!
//! - `cargo xtask tidy`: the rules of the house that no compiler checks.
//! - `cargo xtask figures [--check]`: writes the figures of `docs/figures.json` into the pages that
//!   quote them.

mod figures;
mod tidy;
mod trust;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(&root()),
        ["figures"] => figures::write(&root()),
        ["figures", "--check"] => figures::check(&root()),
        ["figures", "set", name, value, unit, conditions] => {
            figures::set(&root(), name, value, unit, conditions)
        }
        _ => bail!(
            "usage: cargo xtask tidy | figures [--check] | figures set NAME VALUE UNIT CONDITIONS"
        ),
    }
}

/// The repository's root: the parent of this crate's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// The files git knows or would add, relative to the root.
fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("running git ls-files")?;
    let listing = String::from_utf8(output.stdout).context("git ls-files printed no UTF-8")?;
    let mut files: Vec<PathBuf> =
        listing.split('\0').filter(|p| !p.is_empty()).map(Into::into).collect();
    files.retain(|file| root.join(file).is_file());
    files.sort();
    files.dedup();
    Ok(files)
}
