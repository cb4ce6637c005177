//! The page that says who can hurt whom: each line of its tables names tests, and they exist.

use std::path::Path;

use anyhow::{Context, Result};

const PAGE: &str = "docs/concepts/trust.md";
/// How a line says that it has none, and why.
const NO_TEST: &str = "no test: ";

/// Appends what is wrong with the page.
pub(crate) fn faults(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let read = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    faults.extend(page_faults(&page, read));
    Ok(())
}

fn page_faults(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in page.lines().enumerate() {
        let at = format!("{PAGE}:{}", number + 1);
        let tests = tests_in(line);
        for (file, name) in &tests {
            match read(file) {
                None => faults.push(format!("{at}: there is no file {file}")),
                Some(text) if !has_test(&text, name) => {
                    faults.push(format!("{at}: {file} has no test `{name}`"));
                }
                Some(_) => {}
            }
        }
        if is_claim(page, number) && tests.is_empty() && !line.contains(NO_TEST) {
            faults.push(format!("{at}: names no test, and not why (`{NO_TEST}…`)"));
        }
    }
    faults
}

/// `file::test` in backticks.
fn tests_in(line: &str) -> Vec<(&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|text| text.rsplit_once("::"));
    named.filter(|(file, _)| Path::new(file).extension().is_some()).collect()
}

/// A line of a table that is neither its head nor the rule under it.
fn is_claim(page: &str, number: usize) -> bool {
    let mut from = page.lines().skip(number);
    let (line, next) = (from.next().unwrap_or_default(), from.next().unwrap_or_default());
    let is_rule = |line: &str| line.starts_with("|--");
    line.starts_with("| ") && !is_rule(line) && !is_rule(next)
}

fn has_test(text: &str, name: &str) -> bool {
    ["fn ", "function "].iter().any(|word| text.contains(&format!("{word}{name}(")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_TEXT: &str = "text | with `bars`\n\n| who | held by |\n|---|---|\n";

    fn check(row: &str) -> Vec<String> {
        let read = |file: &str| {
            let here = file == "a/b.rs" || file == "c/D.t.sol";
            here.then(|| "async fn holds(node: Node) {\nfunction test_it() public {".to_owned())
        };
        page_faults(&format!("{PAGE_TEXT}{row}\n"), read)
    }

    #[test]
    fn a_line_whose_tests_exist_passes_and_one_with_a_reason_for_none() {
        assert_eq!(check("| a pod | `a/b.rs::holds` `c/D.t.sol::test_it` |"), [""; 0]);
        assert_eq!(check("| a pod | no test: nobody can |"), [""; 0]);
    }

    #[test]
    fn a_line_without_a_test_and_tests_that_are_not_there_are_faults() {
        let at = "docs/concepts/trust.md:5: ";
        let without = check("| a pod | `Vec::new` |");
        assert_eq!(without, [format!("{at}names no test, and not why (`no test: …`)")]);
        let renamed = check("| a pod | `a/b.rs::hold` |");
        assert_eq!(renamed, [format!("{at}a/b.rs has no test `hold`")]);
        let moved = check("| a pod | `a/c.rs::holds` |");
        assert_eq!(moved, [format!("{at}there is no file a/c.rs")]);
    }
}
