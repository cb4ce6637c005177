//! The only place that prints: answers to stdout, everything else to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod broken;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::error::CliError;
use crate::schema::Schema;

/// How the command line talks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// No remarks and no progress; warnings, errors and questions stay.
    pub quiet: bool,
    /// No colours.
    pub plain: bool,
    /// Failures as JSON.
    pub json: bool,
}

static MANNER: OnceLock<Manner> = OnceLock::new();
/// Less than this is not broken any more, in columns.
const LEAST_ROOM: usize = 20;
/// What moves on the terminal now; what else is said goes above it.
static MOVING: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Says once, at the start, how to talk. `NO_COLOR` (no-color.org) is heeded too.
pub fn in_manner(mut manner: Manner) {
    manner.plain |= std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    MANNER.get_or_init(|| manner);
}

fn manner() -> Manner {
    MANNER.get().copied().unwrap_or_default()
}

/// Begins faint text, where that can be seen.
pub fn dim() -> &'static str {
    if manner().plain { "" } else { "\x1b[2m" }
}

/// Ends faint text.
pub fn plain() -> &'static str {
    if manner().plain { "" } else { "\x1b[0m" }
}

/// Columns of the terminal that stdout is.
pub fn stdout_columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(width.0).max(1))
}

/// Columns of the terminal that stderr is.
fn stderr_columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stderr())?;
    Some(usize::from(width.0).max(1))
}

/// Text for a person, on stderr: broken between words where a terminal would break inside them.
fn say(text: &str) {
    let broken = stderr_columns().map(|columns| broken::broken(text, columns));
    let text = broken.as_deref().unwrap_or(text);
    let moving = MOVING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match moving {
        Some(bar) => bar.suspend(|| eprintln!("{text}")),
        None => eprintln!("{text}"),
    }
}

/// One line of an answer, on stdout.
pub fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// Part of a streamed answer, on stdout, at once.
pub fn piece(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone away (`| head`) is no failure of ours.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// A question, on stderr, with the cursor left behind it.
pub fn prompt(text: &str) {
    eprint!("{text}");
    let _ = std::io::stderr().flush();
}

/// One JSON object, on stdout.
pub fn json(schema: Schema, value: Value) {
    println!("{:#}", schema.stamp(value));
}

/// A document whose form is its own, on stdout (docs/reference/audit-file.md).
pub fn document(value: &Value) {
    println!("{value:#}");
}

/// A remark, on stderr.
pub fn note(text: impl std::fmt::Display) {
    if !manner().quiet {
        say(&text.to_string());
    }
}

/// Part of a text that is not the answer, on stderr, at once.
pub fn side(text: &str) {
    if !manner().quiet {
        prompt(text);
    }
}

/// A warning, on stderr.
pub fn warning(text: impl std::fmt::Display) {
    say(&format!("warning: {text}"));
}

/// A failure with its hint, on stderr; with `--json` one line for programs.
pub fn error(error: &CliError) {
    if manner().json {
        eprintln!("{}", Schema::Error.stamp(error.as_json()));
        return;
    }
    say(&format!("error: {}", told(error)));
}

/// What a person is told.
pub fn told(error: &CliError) -> String {
    let explained = match error {
        CliError::Client(error) => Some(error.explain(None)),
        CliError::Priced { error, token } => Some(error.explain(Some(token))),
        _ => None,
    };
    if let Some(explained) = explained {
        return explained.to_string();
    }
    let hint = error.hint().map(|hint| format!("\n\nhint: {hint}"));
    format!("{error}{}", hint.unwrap_or_default())
}

/// A table; columns named in `right` are aligned to the right. On a terminal it fits.
pub fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    table::laid_out(header, rows, right, stdout_columns())
}

/// Text for stdout that follows `taken` columns, broken between words where a terminal would break
/// inside them.
pub fn fitted(text: &str, taken: usize) -> String {
    let room = |columns: usize| columns.saturating_sub(taken).max(LEAST_ROOM);
    stdout_columns().map_or_else(|| text.to_owned(), |it| broken::broken(text, room(it)))
}

fn shows_progress() -> bool {
    std::io::stderr().is_terminal() && !manner().quiet
}

/// From now on the bar stays below what is said.
fn moves(bar: &ProgressBar) {
    *MOVING.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
}

fn rests(bar: Option<&ProgressBar>) {
    if let Some(bar) = bar {
        bar.finish_and_clear();
        *MOVING.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Something that turns on a terminal until it is dropped.
pub struct Spinner(Option<ProgressBar>);

impl Spinner {
    /// Starts with what is waited for.
    pub fn start(what: &str) -> Self {
        Self(shows_progress().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            let bar = bar.with_style(style.expect("the template is constant and valid"));
            bar.enable_steady_tick(Duration::from_millis(120));
            moves(&bar);
            bar
        }))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        rests(self.0.as_ref());
    }
}

/// Progress on stderr: a spinner on a terminal, a line per step elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts with a first step.
    pub fn start(step: &str) -> Self {
        let bar = shows_progress().then(|| {
            let style = ProgressStyle::with_template("{spinner} ({elapsed}) {wide_msg}");
            let bar = ProgressBar::new_spinner();
            let bar = bar.with_style(style.expect("the template is constant and valid"));
            bar.enable_steady_tick(Duration::from_millis(120));
            moves(&bar);
            bar
        });
        let progress = Self { bar };
        progress.step(step);
        progress
    }

    /// The next step.
    pub fn step(&self, step: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(step.to_owned()),
            None => note(format!("  … {step}")),
        }
    }

    /// Ends with what was reached.
    pub fn done(&self, result: &str) {
        rests(self.bar.as_ref());
        note(format!("  ✓ {result}"));
    }
}

/// How far many bytes are: a bar with rate and time left on a terminal, a line per tenth elsewhere.
pub struct Bytes {
    bar: Option<ProgressBar>,
    what: String,
    told: AtomicU64,
}

impl Bytes {
    /// Starts at nothing; `what` is going on.
    pub fn start(what: &str) -> Self {
        let bar = shows_progress().then(|| {
            let template =
                "{msg} {percent:>3} % {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(0).with_message(what.to_owned());
            let bar = bar.with_style(style.expect("the template is constant and valid"));
            moves(&bar);
            bar
        });
        Self { bar, what: what.to_owned(), told: AtomicU64::new(0) }
    }

    /// So many bytes are done.
    pub fn at(&self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
            return;
        }
        let Some(total) = total.filter(|total| *total > 0) else { return };
        let tenth = done.saturating_mul(10) / total;
        if self.told.swap(tenth, Ordering::Relaxed) < tenth {
            note(format!("  … {}, {} %", self.what, tenth * 10));
        }
    }

    /// Something else than bytes is to be said.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => note(format!("  … {text}")),
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        rests(self.bar.as_ref());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        rests(self.bar.as_ref());
    }
}
