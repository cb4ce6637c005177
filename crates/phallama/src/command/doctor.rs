//! `phallama doctor`, `phallama pod doctor`: one row for each thing that has to work.

mod local;
mod network;
mod pod;

use serde_json::{Value, json};

use crate::cli::Global;
use crate::error::CliError;
use crate::home::Home;
use crate::print::{self, Spinner};
use crate::schema::Schema;

pub(super) use self::pod::run as of_pod;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
    /// It was not looked at, because of something else.
    Skip,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One thing.
#[derive(Clone, Debug)]
struct Row {
    /// Stable, for programs.
    id: &'static str,
    status: Status,
    /// What was seen.
    detail: String,
    /// What to do about it.
    fix: Option<String>,
    /// What the command ends with when this is the first that failed.
    exit_code: u8,
}

impl Row {
    fn ok(id: &'static str, detail: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, detail: detail.into(), fix: None, exit_code: 0 }
    }

    fn skip(id: &'static str, detail: impl Into<String>) -> Self {
        Self { status: Status::Skip, ..Self::ok(id, detail) }
    }

    fn warn(id: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warn, fix: Some(fix.into()), ..Self::ok(id, detail) }
    }

    fn fail(id: &'static str, error: &CliError) -> Self {
        let told = print::told(error);
        let (detail, hint) = told.split_once("\n\nhint: ").unwrap_or((&told, ""));
        let fix = (!hint.is_empty()).then(|| hint.to_owned());
        let exit_code = error.exit_code();
        Self { id, status: Status::Fail, detail: detail.to_owned(), fix, exit_code }
    }
}

/// Looks at everything that `phallama run` and `phallama serve` need.
pub(super) async fn run(global: Global) -> Result<(), CliError> {
    let (home, json) = (Home::locate(&global)?, global.json);
    let waiting = Spinner::start("looking at everything");
    let mut rows = local::home(&home);
    match local::context(global) {
        Err(row) => rows.push(row),
        Ok(context) => {
            rows.push(Row::ok("config", home.path("config.toml").display().to_string()));
            rows.extend(local::trust(&context));
            let wallet = local::wallet(&context);
            rows.push(wallet);
            rows.extend(network::rows(&context).await);
            rows.push(local::server(&context).await);
        }
    }
    drop(waiting);
    report(&rows, json)
}

/// Shows the rows, and says by the exit code how it is.
fn report(rows: &[Row], as_json: bool) -> Result<(), CliError> {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    if as_json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({"id": row.id, "status": row.status.word(), "detail": row.detail,
                       "fix": row.fix})
            })
            .collect();
        print::json(Schema::Doctor, json!({"checks": rows, "failed": failed, "warned": warned}));
    } else {
        for row in rows {
            show(row);
        }
    }
    if failed == 0 && warned == 0 {
        return Ok(());
    }
    let first = rows.iter().find(|row| row.status == Status::Fail);
    let exit_code = first.map_or(DEGRADED, |row| row.exit_code);
    Err(CliError::Unwell { failed, warned, exit_code })
}

/// It works, but not as it should.
const DEGRADED: u8 = 8;
/// Columns before the detail.
const INDENT: usize = 20;

fn show(row: &Row) {
    let pad = " ".repeat(INDENT);
    let fitted =
        |text: &str, pad: &str| print::fitted(text, pad.len()).replace('\n', &format!("\n{pad}"));
    let detail = fitted(&row.detail, &pad);
    print::line(format!("{:<5} {:<13} {detail}", row.status.word(), row.id));
    if let Some(fix) = &row.fix {
        print::line(format!("{pad}fix: {}", fitted(fix, &format!("{pad}     "))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(rows: &[Row]) -> u8 {
        report(rows, true).map_or_else(|error| error.exit_code(), |()| 0)
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure_else_8_for_warnings() {
        let fail = |error: CliError| Row::fail("x", &error);
        let away = || fail(CliError::TimedOut { seconds: 1 });
        let (ok, warn) = (Row::ok("a", ""), Row::warn("b", "", ""));
        assert_eq!(exit_code(&[ok.clone(), Row::skip("s", "")]), 0);
        assert_eq!(exit_code(&[ok.clone(), warn.clone()]), 8);
        assert_eq!(exit_code(&[warn, away(), fail(CliError::NothingFree)]), 7);
        assert_eq!(exit_code(&[ok, fail(CliError::NothingFree), away()]), 5);
    }
}
