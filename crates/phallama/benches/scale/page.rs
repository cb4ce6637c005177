//! `docs/scale.md` and its plots: written, or held against what a run gives.

use std::collections::BTreeMap;

use crate::simulation::gas::{Failure, root};
use crate::{Results, plots, tables};

const PAGE: &str = "docs/scale.md";

/// Files by their path, with what they should hold. Tables go between the page's markers.
pub(crate) struct Page {
    tables: BTreeMap<&'static str, String>,
    plots: BTreeMap<&'static str, String>,
}

impl Page {
    pub(crate) fn of(results: &Results) -> Self {
        Self { tables: tables::all(results), plots: plots::all(results) }
    }

    pub(crate) fn write_or_check(&self, check: bool) -> Result<(), Failure> {
        let known = std::fs::read_to_string(root().join(PAGE))?;
        let mut files = vec![(PAGE.to_owned(), self.with_tables(&known)?)];
        for (name, svg) in &self.plots {
            files.push((format!("docs/scale/{name}.svg"), svg.clone()));
        }
        for (path, text) in files {
            let file = root().join(&path);
            if !check {
                std::fs::create_dir_all(file.parent().ok_or("a file in a folder")?)?;
                std::fs::write(file, text)?;
            } else if std::fs::read_to_string(file)? != text {
                return Err(format!("{path} is not what a run gives: run tools/scale.sh").into());
            }
        }
        Ok(())
    }

    fn with_tables(&self, page: &str) -> Result<String, Failure> {
        let mut page = page.to_owned();
        for (name, table) in &self.tables {
            let begin = format!("<!-- table: {name} -->\n");
            let end = "<!-- end -->";
            let (before, rest) =
                page.split_once(&begin).ok_or_else(|| format!("{PAGE}: no marker `{name}`"))?;
            let (_, after) = rest.split_once(end).ok_or_else(|| format!("{PAGE}: no end"))?;
            page = format!("{before}{begin}{table}{end}{after}");
        }
        Ok(page)
    }
}
