//! Tables, and what becomes of them where they do not fit.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use unicode_width::UnicodeWidthStr;

/// A line under the header, none between rows: short, and easy to read aloud.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Around each cell, in columns.
const PADDING: usize = 3;
/// Up to so many columns, a table's cells are broken anywhere: one of them holds long text.
const TEXT_COLUMNS: usize = 4;

/// The table as it is; narrower where the terminal is, as long as no word has to be cut; else each
/// row as lines of name and value.
pub(super) fn laid_out(
    header: &[&str],
    rows: &[Vec<String>],
    right: &[usize],
    columns: Option<usize>,
) -> String {
    let mut table = made(header, rows, right);
    let whole = table.trim_fmt();
    let Some(columns) = columns else { return whole };
    if whole.lines().all(|line| line.width() <= columns) {
        return whole;
    }
    let words: usize = (0..header.len()).map(|column| longest_word(header, rows, column)).sum();
    if header.len() > TEXT_COLUMNS && words + PADDING * header.len() > columns {
        return listed(header, rows);
    }
    let width = u16::try_from(columns).unwrap_or(u16::MAX);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.trim_fmt()
}

fn made(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(column, text)| {
            let align =
                if right.contains(&column) { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(align)
        }));
    }
    table
}

fn longest_word(header: &[&str], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
    let words = cells.chain(header.get(column).copied()).flat_map(str::split_whitespace);
    words.map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// Each row as a paragraph. A column without a name is the row's number.
fn listed(header: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> =
        header.iter().map(|name| if name.is_empty() { "#" } else { *name }).collect();
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let line = |(name, value): (&&str, &String)| {
        let pad = " ".repeat(widest.saturating_sub(name.width()));
        format!("{name}{pad}  {value}")
    };
    let paragraph =
        |row: &Vec<String>| names.iter().zip(row).map(line).collect::<Vec<_>>().join("\n");
    rows.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 5] = ["", "model", "in per 1M", "TEE", "verified"];

    fn rows() -> Vec<Vec<String>> {
        let row = ["1", "smollm2:135m", "0.10 PTEST", "SGX", "by the registry"];
        vec![row.map(str::to_owned).to_vec()]
    }

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        let whole = laid_out(&HEADER, &rows(), &[2], None);
        assert_eq!(laid_out(&HEADER, &rows(), &[2], Some(80)), whole);
        assert!(whole.contains("smollm2:135m   0.10 PTEST   SGX   by the registry"), "{whole}");
    }

    #[test]
    fn one_that_does_not_becomes_lines() {
        let lines = "#          1\nmodel      smollm2:135m\nin per 1M  0.10 PTEST\nTEE        SGX\n\
                     verified   by the registry";
        assert_eq!(laid_out(&HEADER, &rows(), &[2], Some(40)), lines);
        assert_eq!(laid_out(&HEADER, &[], &[], Some(10)), "", "nothing to list");
    }

    #[test]
    fn long_text_in_few_columns_is_broken() {
        let rows = [vec!["measurement".to_owned(), "0123456789 ".repeat(12)]];
        let shown = laid_out(&["check", "seen"], &rows, &[], Some(50));
        assert!(shown.lines().all(|line| line.width() <= 50), "{shown}");
        assert_eq!(shown.matches("0123456789").count(), 12, "{shown}");
    }
}
