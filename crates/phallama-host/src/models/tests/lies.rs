//! Servers that say one thing and send another, or point where they should not.

use serde_json::{Value, json};

use super::server::{Reply, Server};
use super::{Bench, ModelError, model, sha256};

const LEN: usize = 50_000;

/// A registry that says `manifest` and sends `blob`.
async fn registry(manifest: Value, blob: Reply) -> Server {
    Server::start(move |asked, _| {
        if asked.path.contains("/manifests/") {
            Reply::status(200).body(manifest.to_string().as_bytes())
        } else {
            blob.clone()
        }
    })
    .await
}

fn manifest(digest: &str, size: usize) -> Value {
    let media_type = "application/vnd.ollama.image.model";
    json!({ "layers": [{ "mediaType": media_type, "digest": digest, "size": size }] })
}

fn digest(file: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(file)))
}

async fn refused(server: &Server) -> ModelError {
    let bench = Bench::new();
    let error = bench.add(&format!("{}/tiny", server.authority)).await.unwrap_err();
    assert_eq!(bench.files("blobs"), [""; 0]);
    assert_eq!(bench.store.list().unwrap(), []);
    error
}

#[tokio::test]
async fn a_blob_of_another_size_than_its_manifest_says_is_refused() {
    let file = model(LEN, 0);
    for size in [LEN - 1, LEN + 1] {
        let blob = Reply::status(200).body(&file);
        let error = refused(&registry(manifest(&digest(&file), size), blob).await).await;
        let ModelError::Size { got_bytes, expected_bytes, .. } = error else { panic!("{error}") };
        assert_eq!((got_bytes, expected_bytes), (LEN as u64, size as u64));
    }
}

#[tokio::test]
async fn a_blob_that_does_not_end_is_cut_at_the_size_of_its_manifest() {
    let file = model(LEN, 0);
    let blob = Reply::status(200).body_of_unknown_length(&file.repeat(3));
    let error = refused(&registry(manifest(&digest(&file), LEN), blob).await).await;
    let ModelError::TooLarge { max_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(max_bytes, LEN as u64);
}

#[tokio::test]
async fn a_blob_of_another_digest_is_not_kept() {
    let (file, other) = (model(LEN, 0), model(LEN, 1));
    let blob = Reply::status(200).body(&other);
    let server = registry(manifest(&digest(&file), LEN), blob).await;
    let bench = Bench::new();
    let error = bench.add(&format!("{}/tiny", server.authority)).await.unwrap_err();
    let ModelError::Digest { got, expected, .. } = error else { panic!("{error}") };
    assert_eq!((got.0, expected.0), (sha256(&other), sha256(&file)));
    bench.assert_empty();
}

#[tokio::test]
async fn a_digest_that_the_operator_named_is_held_against_file_and_manifest() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |_, _| Reply::status(200).body(&sent)).await;
    let bench = Bench::new();
    let error = bench.add_checked(&server.url("/m"), Some([7; 32])).await.unwrap_err();
    assert!(matches!(error, ModelError::Digest { .. }), "{error}");
    bench.assert_empty();
    let server = registry(manifest(&digest(&file), LEN), Reply::status(200).body(&file)).await;
    let source = format!("{}/tiny", server.authority);
    let error = bench.add_checked(&source, Some([7; 32])).await.unwrap_err();
    assert!(matches!(error, ModelError::Digest { .. }), "{error}");
    assert_eq!(server.asked().len(), 1, "the blob was not asked for");
}

#[tokio::test]
async fn a_manifest_cannot_name_a_path() {
    for digest in ["sha256:../../x", "sha256:..%2f..%2fx", "../../../../etc/passwd"] {
        let server = registry(manifest(digest, LEN), Reply::status(200).body(b"GGUF")).await;
        let bench = Bench::new();
        let error = bench.add(&format!("{}/tiny", server.authority)).await.unwrap_err();
        assert!(matches!(error, ModelError::Manifest { .. }), "{error}");
        assert_eq!(server.asked().len(), 1, "nothing else was asked for");
        bench.assert_empty();
    }
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read_to_it() {
    let server =
        Server::start(|_, _| Reply::status(200).body_of_unknown_length(&vec![b' '; (1 << 20) + 1]))
            .await;
    let error = refused(&server).await;
    assert!(matches!(error, ModelError::TooLarge { max_bytes: 0x10_0000, .. }), "{error}");
}

#[tokio::test]
async fn nobody_is_asked_in_a_private_network_unless_it_is_allowed() {
    let server = Server::start(|_, _| Reply::status(200).body(&model(LEN, 0))).await;
    let mut bench = Bench::new();
    bench.policy.danger_allow_private_address = false;
    let by_name = server.url("/m").replace("127.0.0.1", "localhost");
    let mapped = server.url("/m").replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let as_number = server.url("/m").replace("127.0.0.1", "2130706433");
    let registry = format!("{}/tiny", server.authority);
    for source in [server.url("/m"), by_name, mapped, as_number, registry] {
        let error = bench.add(&source).await.unwrap_err();
        let ModelError::PrivateAddress { address, .. } = &error else {
            panic!("{source}: {error}")
        };
        assert!(address.to_canonical().is_loopback(), "{source}: {error}");
    }
    assert_eq!(server.asked(), [], "nobody connected");
    bench.assert_empty();
}

#[tokio::test]
async fn a_redirect_to_a_metadata_service_is_not_followed() {
    for target in ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "//0.0.0.0/"] {
        let server =
            Server::start(move |_, _| Reply::status(302).header("location", target).body(b""))
                .await;
        // Not even where private networks are allowed.
        let bench = Bench::new();
        let error = bench.add(&server.url("/m")).await.unwrap_err();
        assert!(matches!(error, ModelError::PrivateAddress { .. }), "{target}: {error}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn redirects_are_followed_to_an_end_and_not_in_circles() {
    let file = model(LEN, 0);
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/m" => Reply::status(307).header("location", "/elsewhere/m").body(b""),
        "/elsewhere/m" => Reply::status(200).body(&file),
        "/file" => Reply::status(302).header("location", "file:///etc/passwd").body(b""),
        "/nowhere" => Reply::status(302).body(b""),
        _ => Reply::status(302).header("location", "/circle").body(b""),
    })
    .await;
    let bench = Bench::new();
    bench.add(&server.url("/m")).await.unwrap();
    let error = bench.add(&server.url("/circle")).await.unwrap_err();
    assert!(matches!(error, ModelError::Redirects { max: 5, .. }), "{error}");
    let error = bench.add(&server.url("/file")).await.unwrap_err();
    assert!(matches!(error, ModelError::Url { .. }), "{error}");
    let error = bench.add(&server.url("/nowhere")).await.unwrap_err();
    assert!(matches!(error, ModelError::Answer { .. }), "{error}");
}

#[tokio::test]
async fn another_range_than_was_asked_for_is_not_put_in_its_place() {
    let file = model(LEN, 0);
    let server = Server::start(move |asked, before| match before {
        0 => Reply::file(asked, &file, "\"one\"").cut(20_000),
        1 => Reply::range(&file, 30_000),
        _ => Reply::file(asked, &file, "\"one\""),
    })
    .await;
    let bench = Bench::new();
    let error = bench.add(&server.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::Answer { .. }), "{error}");
    bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(server.ranges(), [None, Some(20_000), None], "it began anew");
}

#[tokio::test]
async fn sizes_above_the_limit_or_the_disk_are_refused_before_a_byte_comes() {
    let stated = |len: u64| {
        Server::start(move |_, _| {
            Reply::status(200).header("content-length", &len.to_string()).hangs()
        })
    };
    let mut bench = Bench::new();
    let error = bench.add(&stated(1 << 40).await.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { got_bytes: 0x100_0000_0000, .. }), "{error}");
    bench.policy.max_bytes = u64::MAX;
    let error = bench.add(&stated(1 << 60).await.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::NoSpace { .. }), "{error}");
    bench.policy.max_bytes = 1_000;
    let endless =
        Server::start(|_, _| Reply::status(200).body_of_unknown_length(&model(LEN, 0))).await;
    let error = bench.add(&endless.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { max_bytes: 1_000, .. }), "{error}");
}

#[tokio::test]
async fn pages_compressed_bytes_and_credentials_are_refused() {
    let server = Server::start(|asked, _| match asked.path.as_str() {
        "/page" => Reply::status(200).body(b"<html>sign in</html>"),
        _ => Reply::status(200).header("content-encoding", "gzip").body(b"GGUF"),
    })
    .await;
    let bench = Bench::new();
    let error = bench.add(&server.url("/page")).await.unwrap_err();
    assert!(error.to_string().ends_with("it begins with \"<htm\""), "{error}");
    let error = bench.add(&server.url("/gzip")).await.unwrap_err();
    assert!(matches!(error, ModelError::Answer { .. }), "{error}");
    let with_password = server.url("/m").replace("//", "//user:secret@");
    let error = bench.add(&with_password).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(matches!(error, ModelError::Url { .. }), "{error}");
}
