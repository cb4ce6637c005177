//! What the store calls its files.

use std::os::unix::fs::PermissionsExt as _;

use super::{Bench, ModelError, model, read, sha256};

#[test]
fn a_file_is_copied_named_and_private() {
    let bench = Bench::new();
    let (file, content) = (bench.dir.path().join("own.gguf"), model(10_000, 0));
    std::fs::write(&file, &content).unwrap();
    let stored = bench.store.add_file(&file, "own:1", |_| ()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let path = bench.store.path(&stored);
    assert_eq!((stored.sha256.0, read(&path)), (sha256(&content), content));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bench.store.find("own:1").unwrap(), stored);
    assert_eq!(bench.files("partial"), [""; 0]);
}

#[test]
fn a_file_that_is_no_model_leaves_nothing() {
    let bench = Bench::new();
    let file = bench.dir.path().join("page.html");
    std::fs::write(&file, "<html>").unwrap();
    let error = bench.store.add_file(&file, "own:1", |_| ()).unwrap_err();
    assert!(matches!(error, ModelError::NotGguf { .. }), "{error}");
    std::fs::remove_file(&file).unwrap();
    bench.assert_empty();
}

#[test]
fn a_name_moves_to_the_file_that_was_added_last_and_files_go_with_their_last_name() {
    let bench = Bench::new();
    let add = |seed, name| {
        let file = bench.dir.path().join("x.gguf");
        std::fs::write(&file, model(1_000, seed)).unwrap();
        bench.store.add_file(&file, name, |_| ()).unwrap()
    };
    let one = add(1, "a");
    add(1, "b");
    assert_eq!(bench.files("blobs").len(), 1, "one file under two names");
    let two = add(2, "a");
    assert_ne!(one.sha256, two.sha256);
    let names: Vec<String> =
        bench.store.list().unwrap().into_iter().map(|model| model.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(bench.store.remove("b").unwrap().freed_bytes, 1_000);
    assert_eq!(bench.files("blobs"), [format!("sha256-{}", hex::encode(two.sha256.0))]);
    let error = bench.store.remove("b").unwrap_err().to_string();
    assert_eq!(error, "no model `b` is in the store; it has a");
}

#[test]
fn names_are_those_of_offers() {
    let bench = Bench::new();
    for name in ["", "../x", "A", "a b", &"x".repeat(65)] {
        // `..` and `/` are allowed in names of offers, and never reach a path.
        let file = bench.dir.path().join("x.gguf");
        std::fs::write(&file, model(100, 0)).unwrap();
        match bench.store.add_file(&file, name, |_| ()) {
            Ok(stored) => assert_eq!((stored.name.as_str(), name), ("../x", "../x")),
            Err(error) => assert!(matches!(error, ModelError::Name { .. }), "{error}"),
        }
    }
    assert_eq!(bench.files("blobs").len(), 1);
    assert_eq!(std::fs::read_dir(bench.dir.path()).unwrap().count(), 2, "nothing climbed out");
}

#[test]
fn a_damaged_index_is_not_overwritten() {
    let bench = Bench::new();
    let index = bench.dir.path().join("models/models.json");
    for text in ["", "{", r#"{"version":2,"models":[]}"#, r#"{"version":1,"models":[],"x":1}"#] {
        std::fs::write(&index, text).unwrap();
        let file = bench.dir.path().join("x.gguf");
        std::fs::write(&file, model(100, 0)).unwrap();
        let error = bench.store.add_file(&file, "a", |_| ()).unwrap_err();
        assert!(matches!(error, ModelError::Index { .. }), "{text}: {error}");
        assert_eq!(std::fs::read_to_string(&index).unwrap(), text);
    }
}
