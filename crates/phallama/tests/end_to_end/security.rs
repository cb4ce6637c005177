//! Who may use the local server, and what bad requests do to it: nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phallama::home::Home;
use phallama::tokens;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stack::{MODEL, Options, Stack};

const CHAT: &str = "/v1/chat/completions";

/// Sends bytes as they are; everything that comes back until the server closes.
async fn raw(stack: &Stack, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(stack.server).await.expect("it listens");
    // It may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(30), read).await.expect("it closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with these headers and this body, after which the connection closes.
async fn send(stack: &Stack, headers: &str, body: &[u8]) -> String {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        stack.server,
        body.len()
    );
    raw(stack, &[head.as_bytes(), body].concat()).await
}

fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status: {answer}"))
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn question(text: &str) -> Value {
    json!({
        "model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 16,
    })
}

async fn still_answers(stack: &Stack) {
    let (code, body) = stack.post(CHAT, &question("say hello")).await;
    assert_eq!(code, 200, "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_on_loopback_only() {
    let stack = Stack::start(Options::scripted()).await;
    let port = format!(":{:04X}", stack.server.port());
    let mut found = Vec::new();
    for (table, loopback) in [("/proc/net/tcp", "0100007F"), ("/proc/net/tcp6", "")] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A is LISTEN.
            if fields[1].ends_with(&port) && fields[3] == "0A" {
                assert_eq!(fields[1], format!("{loopback}{port}"), "{table}: {line}");
                found.push(fields[1].to_owned());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_exists_is_needed_by_every_api() {
    let stack = Stack::start(Options::scripted()).await;
    still_answers(&stack).await;
    let home = Home::at(stack.dir.path());
    let token = tokens::create(&home, "app", None).expect("made");
    for path in [CHAT, "/api/chat", "/v1/messages", "/v1/responses"] {
        let (code, body) = stack.post(path, &question("say hello")).await;
        assert_eq!(code, 401, "{path}");
        assert!(body.expect("whole").contains("phallama token create"), "{path}");
    }
    let answer = send(&stack, "", question("say hello").to_string().as_bytes()).await;
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
    let bearer = format!("authorization: Bearer {}\r\n", *token);
    let key = format!("x-api-key: {}\r\n", *token);
    for headers in [bearer, key] {
        let answer = send(&stack, &headers, question("say hello").to_string().as_bytes()).await;
        assert_eq!(status(&answer), 200, "{answer}");
    }
    tokens::revoke(&home, "app").expect("there");
    still_answers(&stack).await;
}

/// The token that a file has after this text.
fn token_in(stack: &Stack, file: &str, before: &str) -> String {
    let text = std::fs::read_to_string(stack.dir.path().join(file)).expect("written");
    let (_, rest) = text.split_once(before).expect("it has a token");
    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

async fn code_with(stack: &Stack, token: &str) -> u16 {
    let header = format!("authorization: Bearer {token}\r\n");
    status(&send(stack, &header, question("say hello").to_string().as_bytes()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_a_server_that_wants_tokens_and_launch_brings_one() {
    const FILE: &str = ".config/io.datasette.llm/extra-openai-models.yaml";
    let stack = Stack::start(Options::scripted()).await;
    let home = Home::at(stack.dir.path());
    let listen = stack.server.to_string();
    assert!(stack.phallama(&["config", "set", "serve.listen", &listen]).await.status.success());
    let server = async || stack.phallama_json(&["status"]).await["server"].clone();
    let before = server().await;
    assert_eq!((&before["state"], &before["needs_token"]), (&json!("running"), &json!(false)));
    let launch: &[&str] = &["launch", "llm", "--model", MODEL];
    let written = stack.phallama_json(launch).await["contents"].to_string();
    assert!(!written.contains("Bearer"), "{written}");

    tokens::create(&home, "mine", None).expect("made");
    let after = server().await;
    assert_eq!((&after["state"], &after["needs_token"]), (&json!("running"), &json!(true)));
    let checks = stack.phallama(&["doctor", "--json"]).await;
    let checks: Value = serde_json::from_slice(&checks.stdout).expect("JSON");
    let rows = checks["checks"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["id"] == "server").expect("a row about the server");
    assert_eq!(row["status"], "ok", "{row}");

    let shown = stack.phallama_json(&[launch, &["--dry-run"]].concat()).await;
    assert!(shown["contents"].as_str().expect("text").contains("Bearer TOKEN"), "{shown}");
    stack.phallama_json(launch).await;
    let first = token_in(&stack, FILE, "Bearer ");
    assert_eq!(code_with(&stack, &first).await, 200);
    stack.phallama_json(launch).await;
    let second = token_in(&stack, FILE, "Bearer ");
    assert_eq!((code_with(&stack, &first).await, code_with(&stack, &second).await), (401, 200));
    stack.phallama_json(&["launch", "llm", "--restore"]).await;
    assert_eq!(code_with(&stack, &second).await, 401, "its token goes with its configuration");
    let kept = tokens::Tokens::of(&home).entries().expect("read");
    assert_eq!(kept.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_credentials_are_refused_and_shown_to_nobody() {
    let stack = Stack::start(Options::scripted()).await;
    tokens::create(&Home::at(stack.dir.path()), "app", None).expect("made");
    let body = question("say hello").to_string();
    for odd in ["Bearer '; DROP TABLE canary; --", "Bearer \"canary\"", "Bearer canary\u{e9}"] {
        let headers = format!("authorization: {odd}\r\n");
        let answer = send(&stack, &headers, body.as_bytes()).await;
        assert_eq!(status(&answer), 401, "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
    let long = format!("authorization: Bearer {}\r\n", "canary".repeat(11_000));
    let answer = send(&stack, &long, body.as_bytes()).await;
    // The connection may be reset before the refusal is read.
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    let answer = send(&stack, "authorization: Bearer a\0b\r\n", body.as_bytes()).await;
    assert_eq!(status(&answer), 400, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_made_to_hurt_are_refused() {
    let stack = Stack::start(Options::scripted()).await;
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    let deep = format!("{{\"model\": \"{MODEL}\", \"messages\": {deep}}}");
    let surrogate = question("SURROGATE").to_string().replace("SURROGATE", "\\ud800");
    // The head of a gzip file, and what would be a long run of one byte.
    let packed = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 4_096]].concat();
    for (what, headers, body) in [
        ("1,000 deep", "", deep.as_bytes()),
        ("a lone surrogate", "", surrogate.as_bytes()),
        ("a packed body", "content-encoding: gzip\r\n", &packed),
        ("no JSON", "", b"\xff\xfe"),
    ] {
        let answer = send(&stack, headers, body).await;
        assert!((400..500).contains(&status(&answer)), "{what}: {answer}");
        assert!(answer.contains("No prompt was sent"), "{what}: {answer}");
    }
    // The last of equal keys counts, here and in what is sealed.
    let twice = question("say hello").to_string().replacen('{', "{\"model\":\"other\",", 1);
    let answer = send(&stack, "", twice.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{answer}");
    still_answers(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_requests_are_closed_within_ten_seconds() {
    let stack = Stack::start(Options::scripted()).await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(stack.server).await.expect("it listens");
        stream.write_all(b"POST /api/chat HTTP/1.1\r\nhost: local").await.expect("taken");
        open.push(stream);
    }
    let began = Instant::now();
    still_answers(&stack).await;
    for mut stream in open {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut rest));
        let _ = closed.await.expect("closed");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("local.sock");
    let first = phallama::server::bind_socket(&path).expect("bound");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = phallama::server::bind_socket(&path).expect_err("somebody listens");
    assert_eq!(taken.exit_code(), 2, "{taken}");
    drop(first);
    phallama::server::bind_socket(&path).expect("what is left behind is replaced");
    let names: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_a_flag_and_a_token() {
    let stack = Stack::start(Options::scripted()).await;
    let refused = async |arguments: &[&str]| {
        let output = stack.phallama(arguments).await;
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let said = refused(&["serve", "--listen", "0.0.0.0:0"]).await;
    assert!(said.contains("is not a loopback address"), "{said}");
    let said = refused(&["serve", "--listen", "0.0.0.0:0", "--danger-allow-remote"]).await;
    assert!(said.contains("there is no token"), "{said}");
}

/// Everything that our crates log in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A canary in 200 prompts: nobody writes it down.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_in_no_file_and_no_log() {
    const CANARY: &str = "xylophone-kumquat-7731";
    let (log, filter) = (Log::default(), tracing_subscriber::EnvFilter::new("phallama=trace"));
    let writer = log.clone();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone()).init();
    let stack = Stack::start(Options::scripted()).await;
    for n in 0..200 {
        let path = ["/v1/chat/completions", "/api/chat", "/v1/messages"][n % 3];
        let mut body = question(&format!("say {CANARY} {n}"));
        body["stream"] = false.into();
        let (code, text) = stack.post(path, &body).await;
        assert_eq!(code, 200, "{text:?}");
        assert!(text.expect("whole").contains(CANARY), "the scripted worker says it");
    }
    let logged = log.0.lock().expect("no panic").clone();
    assert!(!logged.is_empty(), "requests are logged");
    assert!(!holds(&logged, CANARY), "the log");
    let mut looked_at = 0;
    let mut folders = vec![stack.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("listed");
            let kind = entry.file_type().expect("known");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).expect("readable");
                looked_at += 1;
                assert!(!holds(&bytes, CANARY), "{}", entry.path().display());
            }
        }
    }
    assert!(looked_at > 3, "configuration, keystore, ledger, journal: {looked_at}");
}
