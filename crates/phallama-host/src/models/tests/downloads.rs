//! Downloads that come whole in the end.

use super::server::{Reply, Server};
use super::{Bench, FetchProgress, ModelError, model, read, sha256};
use phallama_protocol::ids::Digest32;
use serde_json::json;

const LEN: usize = 100_000;
const ETAG: &str = "\"one\"";

#[tokio::test]
async fn a_file_behind_a_url_is_fetched_hashed_and_named() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, _| Reply::file(asked, &sent, ETAG)).await;
    let bench = Bench::new();
    let stored = bench.add(&server.url("/m.gguf?token=secret")).await.unwrap();
    assert_eq!((stored.sha256, stored.size_bytes), (Digest32(sha256(&file)), LEN as u64));
    assert_eq!(stored.source, server.url("/m.gguf"));
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(bench.store.list().unwrap(), [stored]);
    assert_eq!(bench.files("partial"), [""; 0]);
    let steps = bench.steps.lock().unwrap();
    let (done_bytes, total_bytes) = (LEN as u64, Some(LEN as u64));
    assert_eq!(steps.last(), Some(&FetchProgress::Fetching { done_bytes, total_bytes }));
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_is_gone_on_with() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, _| Reply::file(asked, &sent, ETAG).cut(30_000)).await;
    let mut bench = Bench::new();
    bench.policy.tries = 2;
    let stored = bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(server.ranges(), [None, Some(30_000), Some(60_000), Some(90_000)]);
    assert_eq!(server.asked()[1].if_range.as_deref(), Some(ETAG));
}

#[tokio::test]
async fn what_an_earlier_run_has_left_is_hashed_and_gone_on_with() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, before| {
        Reply::file(asked, &sent, ETAG).cut(if before == 0 { 40_000 } else { LEN })
    })
    .await;
    let mut bench = Bench::new();
    bench.policy.tries = 1;
    let error = bench.add(&server.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::Cut { got_bytes: 40_000, .. }), "{error}");
    assert_eq!(bench.files("partial").len(), 2, "the bytes, and where they are from");
    let stored = bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(server.ranges(), [None, Some(40_000)]);
    let hashed = FetchProgress::Hashing { done_bytes: 40_000, total_bytes: 40_000 };
    assert!(bench.steps.lock().unwrap().contains(&hashed));
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let (old, new) = (model(LEN, 0), model(LEN + 5, 9));
    let (was, is) = (old.clone(), new.clone());
    let server = Server::start(move |asked, before| match before {
        0 => Reply::file(asked, &was, ETAG).cut(40_000),
        _ => Reply::file(asked, &is, "\"two\""),
    })
    .await;
    let bench = Bench::new();
    let stored = bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), new);
    assert_eq!(server.ranges(), [None, Some(40_000)]);
}

#[tokio::test]
async fn without_a_validator_only_a_file_with_a_known_digest_is_gone_on_with() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, before| {
        let reply = match asked.from {
            Some(from) => Reply::range(&sent, from),
            // A weak tag says only that it means the same.
            None => Reply::status(200).header("etag", "W/\"x\"").body(&sent),
        };
        reply.cut(if before % 2 == 0 { 40_000 } else { LEN })
    })
    .await;
    let bench = Bench::new();
    let stored = bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(server.ranges(), [None, None]);
    bench.store.remove("m:1").unwrap();
    bench.add_checked(&server.url("/m"), Some(sha256(&file))).await.unwrap();
    assert_eq!(server.ranges()[2..], [None, Some(40_000)]);
}

#[tokio::test]
async fn a_server_that_cannot_go_on_is_asked_for_the_whole() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, before| match (before, asked.from) {
        (0, _) => Reply::file(asked, &sent, ETAG).cut(40_000),
        (_, Some(_)) => Reply::status(416).body(b""),
        _ => Reply::file(asked, &sent, ETAG),
    })
    .await;
    let bench = Bench::new();
    let stored = bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(server.ranges(), [None, Some(40_000), None]);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
    let file = model(LEN, 0);
    let server = Server::start(move |asked, before| match before {
        0 | 1 => Reply::status(503).body(b"busy"),
        _ => Reply::file(asked, &file, ETAG),
    })
    .await;
    let bench = Bench::new();
    bench.add(&server.url("/m")).await.unwrap();
    assert_eq!(server.asked().len(), 3);
    let gone = Server::start(|_, _| Reply::status(404).body(b"")).await;
    let error = bench.add(&gone.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::Status { status: 404, .. }), "{error}");
    assert_eq!(gone.asked().len(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server =
        Server::start(|_, _| Reply::status(200).body(&model(LEN, 0)).cut(10).hangs()).await;
    let mut bench = Bench::new();
    (bench.policy.tries, bench.policy.stall_timeout) = (1, std::time::Duration::from_millis(300));
    let error = bench.add(&server.url("/m")).await.unwrap_err();
    assert!(matches!(error, ModelError::Stalled { .. }), "{error}");
}

/// A registry with one model.
async fn registry(file: Vec<u8>) -> Server {
    let digest = format!("sha256:{}", hex::encode(sha256(&file)));
    Server::start(move |asked, _| match asked.path.as_str() {
        "/v2/library/tiny/manifests/1" => Reply::status(200).body(
            json!({ "layers": [{
                "mediaType": "application/vnd.ollama.image.model",
                "digest": digest, "size": file.len(),
            }]})
            .to_string()
            .as_bytes(),
        ),
        path if path == format!("/v2/library/tiny/blobs/{digest}") => {
            Reply::file(asked, &file, ETAG)
        }
        _ => Reply::status(404).body(b""),
    })
    .await
}

#[tokio::test]
async fn a_model_of_a_registry_is_fetched_by_its_digest() {
    let file = model(LEN, 0);
    let server = registry(file.clone()).await;
    let bench = Bench::new();
    let stored = bench.add(&format!("{}/tiny:1", server.authority)).await.unwrap();
    assert_eq!(read(&bench.store.path(&stored)), file);
    assert_eq!(bench.files("blobs"), [format!("sha256-{}", hex::encode(sha256(&file)))]);
    assert_eq!(stored.source, format!("{}/library/tiny:1", server.authority));
}

#[tokio::test]
async fn two_at_once_fetch_it_once() {
    let file = model(LEN, 0);
    let server = registry(file.clone()).await;
    let bench = Bench::new();
    let source = format!("{}/tiny:1", server.authority);
    let (one, other) = tokio::join!(bench.add(&source), bench.add(&source));
    assert_eq!(one.unwrap().sha256, other.unwrap().sha256);
    let blobs = server.asked().into_iter().filter(|asked| asked.path.contains("/blobs/"));
    assert_eq!(blobs.count(), 1);
    assert_eq!(bench.files("partial"), [""; 0]);
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn two_at_once_from_a_url_do_not_mix() {
    let file = model(LEN, 0);
    let sent = file.clone();
    let server = Server::start(move |asked, before| {
        Reply::file(asked, &sent, ETAG).cut(if before == 0 { 50_000 } else { LEN })
    })
    .await;
    let bench = Bench::new();
    let url = server.url("/m");
    let (one, other) = tokio::join!(bench.add(&url), bench.add(&url));
    for stored in [one.unwrap(), other.unwrap()] {
        assert_eq!(read(&bench.store.path(&stored)), file);
    }
}
