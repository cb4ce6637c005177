//! `cargo xtask tidy`: arrows between crates, sizes, names, and the absences that ARCHITECTURE.md
//! promises.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What each crate may depend on among ours. Development dependencies are free: tests build whole
/// stacks.
const ARROWS: &[(&str, &[&str])] = &[
    ("phallama-protocol", &[]),
    ("phallama-attest", &[]),
    ("phallama-engine", &[]),
    ("phallama-devchain", &[]),
    ("phallama-chain", &["phallama-protocol"]),
    ("phallama-enclave", &["phallama-engine", "phallama-attest", "phallama-protocol"]),
    ("phallama-host", &["phallama-chain", "phallama-attest", "phallama-protocol"]),
    ("phallama-client", &["phallama-chain", "phallama-attest", "phallama-protocol"]),
    (
        "phallama-model",
        &[
            "phallama-chain",
            "phallama-client",
            "phallama-enclave",
            "phallama-host",
            "phallama-protocol",
        ],
    ),
    (
        "phallama",
        &[
            "phallama-client",
            "phallama-host",
            "phallama-chain",
            "phallama-attest",
            "phallama-protocol",
            // Only for `phallama demo` and `phallama chain up`.
            "phallama-devchain",
        ],
    ),
];

/// Crates that must not be in the enclave's tree: public HTTP, TLS, JSON-RPC and the verifier stay
/// outside.
const ENCLAVE_ABSENT: &[&str] =
    &["alloy", "axum", "reqwest", "rustls", "ring", "openssl", "native-tls", "dcap-qvl", "redb"];

const PRODUCTION_LINES_MAX: usize = 600;
const LINE_WIDTH_MAX: usize = 100;
const VAGUE_FILE_NAMES: &[&str] =
    &["utils", "util", "helpers", "common", "types", "manager", "misc"];

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    arrows(root, &mut faults)?;
    enclave_absences(root, &mut faults)?;
    files(root, &mut faults)?;
    pages(root, &mut faults)?;
    crate::trust::faults(root, &mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    bail!("tidy found {} fault(s):\n  {}", faults.len(), faults.join("\n  "))
}

fn arrows(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let mut known = BTreeSet::new();
    for (name, allowed) in ARROWS {
        known.insert((*name).to_owned());
        let path = root.join("crates").join(name).join("Cargo.toml");
        let manifest =
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for dependency in normal_dependencies(&manifest) {
            if dependency.starts_with("phallama") && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            faults.push(format!("crates/{name} has no line in xtask's table of arrows"));
        }
    }
    Ok(())
}

/// Names under `[dependencies]`, in either form (`name = …`, `name.workspace = …`,
/// `[dependencies.name]`).
fn normal_dependencies(manifest: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            header.trim_end_matches(']').clone_into(&mut section);
            found.extend(section.strip_prefix("dependencies.").map(str::to_owned));
        } else if section == "dependencies" {
            let end = line.find(['.', '=', ' ']).unwrap_or(0);
            found.extend((end > 0 && !line.starts_with('#')).then(|| line[..end].to_owned()));
        }
    }
    found
}

fn enclave_absences(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let tree = cargo_tree(root, &["--package", "phallama-enclave"])?;
    for name in ENCLAVE_ABSENT.iter().filter(|name| tree.contains(**name)) {
        faults.push(format!(
            "{name} is in the enclave's dependency tree (cargo tree -p phallama-enclave -i {name})"
        ));
    }
    Ok(())
}

/// Names of the packages in a normal dependency tree.
pub(crate) fn cargo_tree(root: &Path, selection: &[&str]) -> Result<BTreeSet<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(selection)
        // The selection's own tree, not what it would share with the rest of the workspace.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .current_dir(root)
        .output()
        .context("running cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn files(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    for file in crate::tracked_files(root)? {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if !matches!(extension, "rs" | "sol") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(&file))?;
        let shown = file.display();
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if VAGUE_FILE_NAMES.contains(&stem) {
            faults.push(format!("{shown}: a file named after no noun"));
        }
        let production = production_lines(&text);
        let is_test =
            file.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "test");
        if production > PRODUCTION_LINES_MAX && !is_test {
            faults.push(format!(
                "{shown}: {production} lines of production code, at most {PRODUCTION_LINES_MAX}"
            ));
        }
        for (number, line) in text.lines().enumerate() {
            let at = format!("{shown}:{}", number + 1);
            // forge fmt and rustfmt see to the rest; what they leave is text in quotes.
            let text = line.contains('"') || line.trim_end().ends_with('\\');
            if extension == "rs" && line.chars().count() > LINE_WIDTH_MAX && !text {
                faults.push(format!("{at}: wider than {LINE_WIDTH_MAX} columns"));
            }
            if is_test {
                test_line_faults(&at, line, faults);
            }
        }
    }
    Ok(())
}

fn test_line_faults(at: &str, line: &str, faults: &mut Vec<String>) {
    let (ignored, naps) = (concat!("#[", "ignore"), concat!("thread::", "sleep("));
    if line.trim_start().starts_with(ignored) {
        faults.push(format!("{at}: an ignored test"));
    }
    if line.contains(naps) {
        faults.push(format!("{at}: sleeping as synchronisation"));
    }
}

/// Lines before the first in-file test module.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests =
        |pair: &[&str]| pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod ");
    let inline = |pair: &[&str]| is_tests(pair) && pair[1].trim_end().ends_with('{');
    lines.windows(2).position(inline).unwrap_or(lines.len())
}

/// Every crate stands in the code map, and the figures quoted are the figures measured.
fn pages(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for (name, _) in ARROWS {
        if !map.contains(&format!("`{name}`")) {
            faults.push(format!("ARCHITECTURE.md does not name `{name}`"));
        }
    }
    if let Err(error) = crate::figures::check(root) {
        faults.push(error.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_dependency_and_no_development_one() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\n# note = 1\na = \"1\"\nb.workspace = true\n\
                        c = { version = \"1\" }\n[dependencies.d]\nversion = \"1\"\n[dev-dependencies]\ne = \"1\"\n";
        assert_eq!(normal_dependencies(manifest), ["a", "b", "c", "d"]);
    }

    #[test]
    fn counts_production_lines_up_to_the_test_module() {
        assert_eq!(production_lines("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
        assert_eq!(production_lines("#[cfg(test)]\nmod tests;\na\n"), 3);
    }
}
