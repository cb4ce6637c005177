//! The manifest of a registry: which blob is the model.

use serde::Deserialize;

use super::ModelError;

/// Largest manifest that is read.
pub const MANIFEST_MAX_BYTES: u64 = 1 << 20;
/// What is asked for.
pub(super) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                                 application/vnd.oci.image.manifest.v1+json";
/// Kinds of layers that are a GGUF file: Ollama's, and those of OCI model artifacts.
const MODEL_LAYERS: &[&str] = &[
    "application/vnd.ollama.image.model",
    "application/vnd.docker.ai.gguf.v3",
    "application/vnd.cnai.model.weight.v1.raw",
];

/// The one blob of a manifest that is a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelBlob {
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Its size.
    pub size_bytes: u64,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

/// Reads a manifest that came from `url`, which is named in errors.
///
/// # Errors
/// [`ModelError::Manifest`].
pub fn model_blob(json: &[u8], url: &str) -> Result<ModelBlob, ModelError> {
    let unusable = |problem: String| ModelError::Manifest { url: url.to_owned(), problem };
    let manifest: Manifest =
        serde_json::from_slice(json).map_err(|error| unusable(error.to_string()))?;
    let is_model = |layer: &&Layer| MODEL_LAYERS.contains(&layer.media_type.as_str());
    let models: Vec<&Layer> = manifest.layers.iter().filter(is_model).collect();
    let [layer] = models[..] else {
        return Err(unusable(format!("{} of its layers are GGUF files, not 1", models.len())));
    };
    let sha256 = parse_digest(&layer.digest).ok_or_else(|| {
        unusable("the model's digest is not `sha256:` with 64 hex digits".to_owned())
    })?;
    if layer.size == 0 {
        return Err(unusable("the model has no bytes".to_owned()));
    }
    Ok(ModelBlob { sha256, size_bytes: layer.size })
}

/// `sha256:` and 64 lower-case hex digits, and nothing else: the text is never used as it is.
fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !digits.bytes().all(is_hex) {
        return None;
    }
    hex::decode(digits).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(manifest: &Value) -> Result<ModelBlob, String> {
        model_blob(manifest.to_string().as_bytes(), "url").map_err(|error| error.to_string())
    }

    fn layer(digest: &str) -> Value {
        json!({ "mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 7 })
    }

    fn with_digest(digest: &str) -> Result<ModelBlob, String> {
        read(&json!({ "layers": [layer(digest)] }))
    }

    #[test]
    fn finds_the_model_among_the_layers() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let template = json!({
            "mediaType": "application/vnd.ollama.image.template", "digest": "x", "size": 1
        });
        let manifest = json!({ "schemaVersion": 2, "layers": [template, layer(&digest)] });
        let expected = ModelBlob { sha256: [0xab; 32], size_bytes: 7 };
        assert_eq!(read(&manifest), Ok(expected));
    }

    #[test]
    fn a_digest_is_no_path() {
        let hex = "ab".repeat(32);
        for digest in [
            "sha256:../../x".to_owned(),
            "sha256:../../../../../../../../../../../../../../../../../../../../../etc".to_owned(),
            format!("sha256:{}", "AB".repeat(32)),
            format!("sha256-{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{hex}00"),
            format!("sha256:{}", &hex[2..]),
            format!("sha256:{hex}\n"),
            format!(" sha256:{hex}"),
            hex,
            String::new(),
        ] {
            let error = with_digest(&digest).unwrap_err();
            assert!(error.ends_with("is not `sha256:` with 64 hex digits"), "{digest}: {error}");
        }
    }

    #[test]
    fn none_two_or_empty_models_are_not_usable() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let count = |layers: Vec<Value>| read(&json!({ "layers": layers })).unwrap_err();
        assert!(count(vec![]).contains("0 of its layers"));
        assert!(count(vec![layer(&digest), layer(&digest)]).contains("2 of its layers"));
        let empty = json!({
            "mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 0
        });
        assert!(count(vec![empty]).contains("no bytes"));
        assert!(read(&json!({ "layers": [{ "size": -1 }] })).is_err());
        assert!(read(&json!([])).is_err());
    }
}
