//! Measured figures: `docs/figures.json` is the one place that holds them, pages quote them between
//! markers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// One measured figure.
#[derive(Serialize, Deserialize)]
struct Figure {
    value: f64,
    unit: String,
    conditions: String,
    date: String,
}

type Figures = BTreeMap<String, Figure>;

const PAGES: &[&str] = &["README.md"];
const BEGIN: &str = "<!-- figures: begin (cargo xtask figures) -->\n";
const END: &str = "<!-- figures: end -->";

fn read(root: &Path) -> Result<Figures> {
    let path = root.join("docs/figures.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Records one figure, dated today.
pub(crate) fn set(
    root: &Path,
    name: &str,
    value: &str,
    unit: &str,
    conditions: &str,
) -> Result<()> {
    let mut figures = read(root)?;
    let value = value.parse().with_context(|| format!("{name}: `{value}` is not a number"))?;
    let date = std::process::Command::new("date").args(["-u", "+%F"]).output()?.stdout;
    let date = String::from_utf8(date)?.trim().to_owned();
    let figure = Figure { value, unit: unit.to_owned(), conditions: conditions.to_owned(), date };
    figures.insert(name.to_owned(), figure);
    let text = serde_json::to_string_pretty(&figures)? + "\n";
    std::fs::write(root.join("docs/figures.json"), text)?;
    write(root)
}

/// Puts the current figures between the markers of every page that quotes them.
pub(crate) fn write(root: &Path) -> Result<()> {
    let table = table(&read(root)?)?;
    for page in PAGES {
        let path = root.join(page);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        std::fs::write(path, with_table(&text, &table).with_context(|| (*page).to_owned())?)?;
    }
    Ok(())
}

/// Fails when a page quotes anything else than the measured figures.
pub(crate) fn check(root: &Path) -> Result<()> {
    let table = table(&read(root)?)?;
    for page in PAGES {
        let text = std::fs::read_to_string(root.join(page)).with_context(|| (*page).to_owned())?;
        if with_table(&text, &table)? != text {
            bail!("{page} quotes stale figures: run `cargo xtask figures`");
        }
    }
    Ok(())
}

fn with_table(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no begin marker for the figures")?;
    let (_, after) = rest.split_once(END).context("no end marker for the figures")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn table(figures: &Figures) -> Result<String> {
    let mut out = String::from("| figure | value | unit | conditions |\n|---|---:|---|---|\n");
    for (name, figure) in figures {
        let Figure { value, unit, conditions, .. } = figure;
        writeln!(out, "| `{name}` | {value} | {unit} | {conditions} |")?;
    }
    Ok(out)
}
