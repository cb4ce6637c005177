//! Processes that are killed, and what they leave behind.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A `phallama` command that runs until it is told to end, or is killed.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `phallama` with these arguments in a home; what it says is added to `home/log`.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        let log = home.join("log");
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let (out, err): (File, File) = (open().expect("a log"), open().expect("a log"));
        let child = Command::new(env!("CARGO_BIN_EXE_phallama"))
            .args(arguments)
            .env_clear()
            .env("PHALLAMA_HOME", home)
            .env("PHALLAMA_PASSWORD_FILE", home.join("password"))
            .env("PHALLAMA_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the binary runs");
        Self { child, log }
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is reaped");
    }

    /// The same for one that may have ended.
    pub(crate) fn kill_if_running(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        signal(self.child.id(), Signal::INT);
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(began.elapsed() < within, "it does not end\n{}", self.last_lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The end of its log.
    pub(crate) fn last_lines(&self) -> String {
        last_lines(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_if_running();
    }
}

/// The last lines of a log.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may be gone already.
    let _ = kill_process(pid, signal);
}

/// Processes of this program that have something to do with this place.
pub(crate) fn running(program: &str, place: &Path) -> Vec<u32> {
    let place = place.display().to_string();
    let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let own = line.split('\0').next().is_some_and(|own| own.ends_with(program));
        own && line.contains(&place)
    };
    ids.filter(named).collect()
}
