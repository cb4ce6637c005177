//! Figures of a bench: a table for people, or one JSON object for `tools/figures.sh`.

use serde_json::{Map, Value};

/// One measured figure.
pub(crate) struct Figure {
    /// As in `docs/figures.json`.
    pub(crate) name: &'static str,
    /// In the unit that the name or the table's last column says.
    pub(crate) value: f64,
    /// For the table.
    pub(crate) unit: &'static str,
}

/// A figure.
pub(crate) fn figure(name: &'static str, value: f64, unit: &'static str) -> Figure {
    Figure { name, value, unit }
}

/// Prints to stdout: one JSON object, name to value, with `--json`, else a table.
#[expect(clippy::print_stdout, reason = "printing is what a bench is for")]
pub(crate) fn print(figures: &[Figure]) {
    if std::env::args().any(|argument| argument == "--json") {
        let object: Map<String, Value> =
            figures.iter().map(|f| (f.name.to_owned(), Value::from(f.value))).collect();
        println!("{}", Value::Object(object));
        return;
    }
    for Figure { name, value, unit } in figures {
        println!("{name:<36} {value:>14.3} {unit}");
    }
}
