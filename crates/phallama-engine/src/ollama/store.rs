//! A store of Ollama's with one model in it, written without Ollama: `ollama create` would need a
//! program to quantise with, and would copy the weights.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::EngineError;

/// Name of the model in a store of ours. The offered one may be no name for Ollama.
pub(super) const OWN_NAME: &str = "served:latest";
const MANIFEST: &str = "manifests/registry.ollama.ai/library/served/latest";

/// Writes the store at `dir`, anew at every start: manifest, configuration, and a link to the
/// weights, whose digest the caller has checked.
///
/// # Errors
/// [`EngineError::BackendDir`].
pub(super) fn write(dir: &Path, weights: &Path, sha256: [u8; 32]) -> Result<(), EngineError> {
    let written = write_files(dir, weights, &hex(&sha256));
    written.map_err(|source| EngineError::BackendDir { path: dir.to_owned(), source })
}

fn write_files(dir: &Path, weights: &Path, weights_hex: &str) -> io::Result<()> {
    if let Err(error) = fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let blobs = dir.join("blobs");
    let manifest_path = dir.join(MANIFEST);
    let manifests = manifest_path.parent().expect("it has folders");
    for path in [&blobs, manifests] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    symlink(weights.canonicalize()?, blobs.join(format!("sha256-{weights_hex}")))?;
    let config = json!({
        "model_format": "gguf", "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{weights_hex}")] },
    })
    .to_string();
    let config_hex = hex(&Sha256::digest(&config).into());
    fs::write(blobs.join(format!("sha256-{config_hex}")), &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": format!("sha256:{config_hex}"), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.ollama.image.model",
            "digest": format!("sha256:{weights_hex}"), "size": fs::metadata(weights)?.len(),
        }],
    });
    fs::write(manifest_path, manifest.to_string())
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The digest that a blob's file name says.
pub(super) fn digest_of_name(name: &str) -> Option<[u8; 32]> {
    let hex = name.strip_prefix("sha256-").or_else(|| name.strip_prefix("sha256:"))?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_a_blob_s_name_and_nothing_else_is_one() {
        let name = format!("sha256-{}", "0a".repeat(32));
        assert_eq!(digest_of_name(&name), Some([10; 32]));
        assert_eq!(digest_of_name(&hex(&[10; 32])), None);
        for wrong in ["sha256-", "sha256-0a", &format!("sha256-{}", "é".repeat(32))] {
            assert_eq!(digest_of_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_file_is_where_its_digest_says() {
        let dir = tempfile::tempdir().unwrap();
        let weights = dir.path().join("weights.gguf");
        fs::write(&weights, b"weights").unwrap();
        let sha256: [u8; 32] = Sha256::digest(b"weights").into();
        let store = dir.path().join("store");
        for _ in 0..2 {
            write(&store, &weights, sha256).unwrap();
        }
        for entry in fs::read_dir(store.join("blobs")).unwrap() {
            let entry = entry.unwrap();
            let content = fs::read(entry.path()).unwrap();
            let named = digest_of_name(entry.file_name().to_str().unwrap());
            assert_eq!(named, Some(Sha256::digest(content).into()));
        }
        let manifest = fs::read(store.join(MANIFEST)).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], format!("sha256:{}", hex(&sha256)));
    }
}
