//! Lines that a person types.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{History as _, MemHistory};
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::slash::{PARAMETERS, PARTS, SETTINGS, WORDS};
use crate::error::CliError;
use crate::home::{self, Home};
use crate::print;

/// Begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";
/// Longest message, in bytes: more than any model reads.
const MESSAGE_MAX_BYTES: usize = 4 << 20;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A message or a command; quotation marks of several lines are still around it.
    Text(String),
    /// Ctrl-C: the line was dropped.
    Dropped,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The line editor with what was typed before. That is private: it stays in memory unless the user
/// says `/set history`.
pub(super) struct Editor {
    lines: rustyline::Editor<Words, MemHistory>,
    /// Where lines are kept too, and the file once it is open.
    path: PathBuf,
    kept: Option<File>,
}

impl Editor {
    pub(super) fn new(home: &Home) -> Result<Self, CliError> {
        let config = rustyline::Config::builder().auto_add_history(false).build();
        let lines = rustyline::Editor::with_history(config, MemHistory::new());
        let mut lines = lines.map_err(not_read)?;
        lines.set_helper(Some(Words { hints: true }));
        Ok(Self { lines, path: home.path("history"), kept: None })
    }

    /// The next message or command.
    pub(super) fn read(&mut self) -> Result<Typed, CliError> {
        self.hint(true);
        let mut text = match self.lines.readline(">>> ") {
            Ok(line) => line,
            Err(error) => return ended(error),
        };
        self.hint(false);
        while text.matches(QUOTES).count() % 2 == 1 && text.len() < MESSAGE_MAX_BYTES {
            match self.lines.readline("... ") {
                Ok(line) => {
                    text.push('\n');
                    text.push_str(&line);
                }
                Err(error) => return ended(error),
            }
        }
        if !text.trim().is_empty() {
            self.remember(&text)?;
        }
        Ok(Typed::Text(text))
    }

    fn hint(&mut self, hints: bool) {
        if let Some(words) = self.lines.helper_mut() {
            words.hints = hints;
        }
    }

    fn remember(&mut self, text: &str) -> Result<(), CliError> {
        self.lines.add_history_entry(text).map_err(not_read)?;
        let Some(file) = &mut self.kept else { return Ok(()) };
        let line = serde_json::Value::from(text).to_string();
        let path = &self.path;
        writeln!(file, "{line}").map_err(|source| CliError::File { path: path.clone(), source })
    }

    /// Keeps what is typed from now on in a file, and knows what was kept before; or stops that.
    /// Returns the file.
    pub(super) fn keep(&mut self, keep: bool) -> Result<&PathBuf, CliError> {
        if !keep {
            self.kept = None;
            return Ok(&self.path);
        }
        let failed = |source| CliError::File { path: self.path.clone(), source };
        let file = home::append_private(&self.path).map_err(failed)?;
        let before = File::open(&self.path).map_err(failed)?;
        self.lines.clear_history().map_err(not_read)?;
        for line in BufReader::new(before).lines() {
            // A line that was cut by a full disk is none.
            if let Ok(text) = serde_json::from_str::<String>(&line.map_err(failed)?) {
                self.lines.history_mut().add_owned(text).map_err(not_read)?;
            }
        }
        self.kept = Some(file);
        Ok(&self.path)
    }
}

fn ended(error: ReadlineError) -> Result<Typed, CliError> {
    match error {
        ReadlineError::Interrupted => Ok(Typed::Dropped),
        ReadlineError::Eof => Ok(Typed::End),
        other => Err(not_read(other)),
    }
}

fn not_read(error: ReadlineError) -> CliError {
    let source = match error {
        ReadlineError::Io(source) => source,
        other => std::io::Error::other(other.to_string()),
    };
    CliError::Input { what: "prompt", source }
}

/// Completes commands, and says what to do at an empty line.
struct Words {
    /// A message begins here.
    hints: bool,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(line.get(..pos).unwrap_or_default()))
    }
}

/// Where the word under the cursor begins, and what it may become.
fn complete(before: &str) -> (usize, Vec<String>) {
    let start = before.rfind(' ').map_or(0, |space| space + 1);
    let (said, begun) = before.split_at(start);
    let parameters = PARAMETERS.map(|(name, _)| name);
    let words: &[&str] = match said.trim() {
        "" if begun.starts_with('/') => &WORDS,
        "/set" => &SETTINGS,
        "/set parameter" => &parameters,
        "/show" => &PARTS,
        "/?" | "/help" => &["set", "show", "shortcuts"],
        _ => &[],
    };
    let fits = words.iter().filter(|word| word.starts_with(begun));
    (start, fits.map(|word| (*word).to_owned()).collect())
}

impl Hinter for Words {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        (self.hints && line.is_empty()).then(|| "Send a message (/? for help)".to_owned())
    }
}

impl Highlighter for Words {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        format!("{}{hint}{}", print::dim(), print::plain()).into()
    }
}

impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(before: &str) -> String {
        complete(before).1.join(" ")
    }

    #[test]
    fn completes_commands_and_what_follows_them() {
        assert_eq!(completed("/s"), "/save /set /show");
        assert_eq!(completed("/set no"), "nohistory nowordwrap noformat nothink");
        assert_eq!(completed("/set parameter top"), "top_p top_k");
        assert_eq!(completed("/show i"), "info");
        assert_eq!(completed("hello /s"), "");
        assert_eq!(complete("/set pa").0, 5);
    }
}
