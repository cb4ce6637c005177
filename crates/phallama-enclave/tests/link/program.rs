//! The program itself: flags, start, the loud line, the link, the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use phallama_protocol::link::{Decoder, Kind, Status, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::driver::config;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phallama-enclave"));
    command.args(args);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Writes the configuration of a pod with the fake worker into `dir`.
fn write_config(dir: &Path) -> String {
    let path = dir.join("config.json");
    fs::write(&path, serde_json::to_vec(&config(dir)).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts the program and reads its lines up to the one that says it is ready.
fn start(path: &str) -> (Child, Vec<String>) {
    let mut child = program(&["--config", path]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line.starts_with("INFO ready")) {
            break;
        }
    }
    let early = child.try_wait().unwrap();
    assert!(early.is_none(), "the program ended early: {lines:?}");
    (child, lines)
}

async fn status(dir: &Path) -> Status {
    let mut stream = UnixStream::connect(dir.join("link.sock")).await.unwrap();
    stream.write_all(&encode(Kind::Status, &[]).unwrap()).await.unwrap();
    let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
    loop {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the link closed without an answer");
        if let Some(frame) = decoder.decode(&bytes[..read]).unwrap().first() {
            return frame.control().unwrap();
        }
    }
}

#[tokio::test]
async fn runs_says_what_it_is_and_stops_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, lines) = start(&write_config(dir.path()));
    assert!(lines[0].starts_with("DANGER: simulated TEE"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("DANGER")).count(), 1);
    assert!(lines.contains(&"model fake:1: ready".to_owned()), "{lines:?}");

    let printed = program(&["--print-measurement"]).output().unwrap();
    let measurement = status(dir.path()).await.measurement.to_string();
    assert_eq!(String::from_utf8(printed.stdout).unwrap().trim(), measurement);

    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");

    let stopped = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn refuses_other_weights_than_the_offered_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path());
    fs::write(dir.path().join("weights.gguf"), b"something else").unwrap();
    let output = program(&["--config", &path]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("it was not loaded"), "{}", stderr(&output));
}

#[test]
fn says_which_file_it_cannot_read() {
    let output = program(&["--config", "/nonexistent.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "error: cannot read the configuration /nonexistent.json: ";
    assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
}

#[test]
fn explains_its_flags() {
    for args in [&[][..], &["--config"], &["--conf", "x"], &["--print-measurement", "x"]] {
        let output = program(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("usage: phallama-enclave --config FILE"), "{args:?}");
    }
    let help = program(&["--help"]).output().unwrap();
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().starts_with("usage: "));
}
