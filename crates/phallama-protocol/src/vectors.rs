//! The vectors of `vectors/`: ours are recomputed here and compared with what is committed
//! (`UPDATE_VECTORS=1 cargo test -p phallama-protocol vectors` writes them anew); those of the
//! contracts and the official ones are read.

mod billing;
mod official;
mod receipt;
mod wire;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::testing::Edit;

/// How the keys of the vectors are made, for other implementations.
const RNG: &str = "A generator named L yields the blocks SHA-256('phallama test rng' || 0 || L || 0 \
                   || i as 8 bytes), i = 0, 1, ... A signer named L is the first 32 bytes of \
                   generator L. An X-Wing key pair is HPKE's DeriveKeyPair of the next 32 bytes; an \
                   encapsulation takes the next 64. digest(L) is SHA-256(L).";

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "vectors", name].iter().collect()
}

fn load(name: &str) -> Value {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Compares `computed` with the committed file, or writes it when asked to.
fn check_committed(name: &str, computed: &Value) {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(computed).unwrap() + "\n";
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), text).unwrap();
    }
    // Not assert_eq: a megabyte of difference helps nobody.
    assert!(
        load(name) == *computed,
        "vectors/{name} differs from what the code computes; if that is meant, run \
         UPDATE_VECTORS=1 cargo test -p phallama-protocol vectors"
    );
}

/// The variants of an error, outermost first: `Order.AfterEnd.End`.
fn error_name(error: &impl std::fmt::Debug) -> String {
    let shown = format!("{error:?}");
    let name = shown.split(|c: char| !c.is_ascii_alphabetic() && c != '(').next().unwrap();
    name.trim_end_matches('(').replace('(', ".")
}

fn edits<E: std::fmt::Debug>(cases: &[(&'static str, Edit, E)]) -> Vec<Value> {
    cases
        .iter()
        .map(|(name, edit, error)| {
            json!({"name": name, "edit": edit.to_json(), "error": error_name(error)})
        })
        .collect()
}
