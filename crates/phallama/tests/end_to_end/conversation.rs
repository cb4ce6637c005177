//! A conversation at a real terminal, which `script` (util-linux) gives to the command.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::stack::{MODEL, Options, Stack};

/// Far more than a loaded machine needs for one answer.
const WITHIN: Duration = Duration::from_mins(2);
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// What appeared since the last thing that was waited for.
    seen: String,
}

impl Terminal {
    fn open(stack: &Stack, command: &str) -> Self {
        // Ctrl-C reaches the whole foreground, also a shell in between, which would end by it.
        let typed = format!("exec {} {command}", env!("CARGO_BIN_EXE_phallama"));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &typed, "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("HOME", stack.dir.path())
            .env("PHALLAMA_HOME", stack.dir.path())
            .env("PHALLAMA_PASSWORD_FILE", stack.dir.path().join("password"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script runs");
        let keys = child.stdin.take().expect("piped");
        let screen = child.stdout.take().expect("piped");
        Self { child, keys, screen, seen: String::new() }
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("the terminal is there");
        self.keys.flush().await.expect("the terminal is there");
    }

    /// Reads until this appears, and forgets everything up to it.
    async fn until(&mut self, text: &str) {
        let appears = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    self.seen.drain(..at + text.len());
                    return;
                }
                let mut bytes = [0; 4096];
                let read = self.screen.read(&mut bytes).await.expect("the terminal is there");
                assert!(read > 0, "ended before `{text}`: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        let appeared = tokio::time::timeout(WITHIN, appears).await;
        assert!(appeared.is_ok(), "`{text}` does not appear: {}", self.seen);
    }

    async fn exit_code(mut self) -> Option<i32> {
        // The keyboard stays there until the end: without one, `script` ends the command itself.
        let code = self.child.wait().await.expect("it ends").code();
        drop(self.keys);
        code
    }
}

fn has_script() -> bool {
    let found = std::path::Path::new("/usr/bin/script").exists();
    if !found {
        eprintln!(
            "NOT TESTED: conversations at a terminal; `script` (util-linux) is not installed"
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_an_answer_and_the_conversation_goes_on() {
    if !has_script() {
        return;
    }
    let stack = Stack::start(Options::scripted()).await;
    let mut terminal = Terminal::open(&stack, &format!("run {MODEL}"));
    terminal.until(">>> ").await;
    terminal.press("/set verbose\r").await;
    terminal.until("times, pod and cost after each answer").await;
    terminal.press("say hello there\r").await;
    terminal.until("receipt:").await;
    terminal.until(">>> ").await;
    terminal.press("slow 500 20\r").await;
    terminal.until("t3 ").await;
    terminal.press(CTRL_C).await;
    terminal.until("stopped; what had been answered is charged").await;
    terminal.press("say \"\"\"one\r").await;
    terminal.until("... ").await;
    terminal.press("two\"\"\"\r").await;
    terminal.until("receipt:").await;
    terminal.until(">>> ").await;
    terminal.press("/save talk\r").await;
    terminal.until("readable by you alone").await;
    terminal.until(">>> ").await;
    terminal.press(CTRL_D).await;
    assert_eq!(terminal.exit_code().await, Some(0));
    assert!(!stack.dir.path().join("history").exists(), "what was typed stays in memory");
    let saved = std::fs::read_to_string(stack.dir.path().join("sessions/talk.json"));
    let saved: serde_json::Value = serde_json::from_str(&saved.expect("saved")).expect("JSON");
    let messages = saved["messages"].as_array().expect("a list");
    assert_eq!(messages[1]["content"], "hello there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_has_is_said_before_the_first_message() {
    if !has_script() {
        return;
    }
    let stack = Stack::start(Options::scripted()).await;
    let mut terminal = Terminal::open(&stack, "run nobody-has-this");
    terminal.until("no pod offers the model").await;
    assert_eq!(terminal.exit_code().await, Some(4));
}
