//! Changing text that a person wrote: only what is certain to mean the same as before, and more.

const BEGIN: &str = "# >>> phallama launch";
const END: &str = "# <<< phallama launch";

/// Lines that belong together, without indentation.
pub(super) struct Block(pub(super) Vec<String>);

impl Block {
    /// The lines between their marks, further in by so many spaces.
    fn text(&self, indent: usize) -> String {
        let marked = std::iter::once(BEGIN).chain(self.0.iter().map(String::as_str));
        let pad = " ".repeat(indent);
        marked.chain([END]).flat_map(|line| [pad.as_str(), line, "\n"]).collect()
    }
}

/// The text without what an earlier call put into it.
fn without_block(text: &str) -> Result<String, String> {
    let mut kept = String::new();
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        match line.trim() {
            BEGIN if !inside => inside = true,
            END if inside => inside = false,
            _ if inside => {}
            _ => kept.push_str(line),
        }
    }
    if inside { Err(format!("`{BEGIN}` has no `{END}` behind it")) } else { Ok(kept) }
}

fn with_newline(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// What a line says at the top level of YAML: the key, and what is behind the colon.
fn top_level(line: &str) -> Option<(&str, &str)> {
    let is_key = line.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let (key, value) = line.split_once(':').filter(|_| is_key)?;
    Some((key.trim_end(), value.split(" #").next().unwrap_or_default().trim()))
}

/// Sets keys of a file that has nothing but keys with plain values.
pub(super) fn flat_yaml(before: &str, pairs: &[(&str, String)]) -> Result<String, String> {
    let mut kept = String::new();
    for line in without_block(before)?.split_inclusive('\n') {
        match top_level(line) {
            Some((key, value)) if pairs.iter().any(|(ours, _)| *ours == key) => {
                if value.is_empty() || value.starts_with(['|', '>', '[', '{', '&']) {
                    return Err(format!("`{key}` has a value of several lines; take it out first"));
                }
            }
            _ => kept.push_str(line),
        }
    }
    let lines = pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    Ok(with_newline(kept) + &Block(lines).text(0))
}

/// Adds to a file that is one list.
pub(super) fn yaml_list(before: &str, block: &Block) -> Result<String, String> {
    let kept = without_block(before)?;
    let says = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    if kept.lines().find(says).is_some_and(|line| !line.starts_with("- ")) {
        return Err("it is no list whose entries begin with `- `".to_owned());
    }
    Ok(with_newline(kept) + &block.text(0))
}

/// Adds to the list under a key of the top level; a new file begins with `head`.
pub(super) fn yaml_list_under(
    before: &str,
    key: &str,
    head: &str,
    block: &Block,
) -> Result<String, String> {
    let kept = without_block(before)?;
    if kept.trim().is_empty() {
        return Ok(format!("{head}{key}:\n{}", block.text(2)));
    }
    let lines: Vec<&str> = kept.split_inclusive('\n').collect();
    let found = lines.iter().position(|line| top_level(line).is_some_and(|(name, _)| name == key));
    let Some(at) = found else {
        return Ok(with_newline(kept.clone()) + &format!("{key}:\n{}", block.text(2)));
    };
    match top_level(lines[at]) {
        Some((_, "")) => {}
        _ => return Err(format!("`{key}` is no list whose entries begin with `- `")),
    }
    let is_entry = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let next = lines[at + 1..].iter().find(is_entry).copied().unwrap_or_default();
    let indent = next.len() - next.trim_start().len();
    let is_list = next.trim_start().starts_with("- ");
    if !is_list && (indent > 0 || (!next.is_empty() && top_level(next).is_none())) {
        return Err(format!("`{key}` is no list whose entries begin with `- `"));
    }
    let (above, below) = lines.split_at(at + 1);
    let indent = if is_list { indent } else { 2 };
    Ok(with_newline(above.concat()) + &block.text(indent) + &below.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block(vec!["- a: 1".to_owned(), "  b: 2".to_owned()])
    }

    const MARKED: &str = "# >>> phallama launch\n- a: 1\n  b: 2\n# <<< phallama launch\n";

    #[test]
    fn a_second_time_changes_nothing() {
        let pairs = [("k", "v".to_owned())];
        for before in ["", "# mine\nother: 1\nk: old", "k: old\n"] {
            let once = flat_yaml(before, &pairs).unwrap();
            assert_eq!(flat_yaml(&once, &pairs).unwrap(), once);
        }
        for before in ["", "- x: 1\n", "# mine\n- x: 1"] {
            let once = yaml_list(before, &block()).unwrap();
            assert_eq!(yaml_list(&once, &block()).unwrap(), once);
        }
        for before in ["", "a: 1\n", "models:\n- x: 1\n", "models:\n  - x: 1\nb: 2\n"] {
            let once = yaml_list_under(before, "models", "h: 1\n", &block()).unwrap();
            assert_eq!(yaml_list_under(&once, "models", "h: 1\n", &block()).unwrap(), once);
        }
    }

    #[test]
    fn entries_have_the_indentation_of_their_list() {
        let under = |before| yaml_list_under(before, "models", "", &block()).unwrap();
        assert_eq!(under("models:\n- x: 1\n"), format!("models:\n{MARKED}- x: 1\n"));
        let deeper =
            MARKED.replace("# ", "    # ").replace("- a", "    - a").replace("  b", "      b");
        assert_eq!(under("models:\n    - x: 1\n"), format!("models:\n{deeper}    - x: 1\n"));
        assert!(under("models: # none\nrules:\n  - y\n").contains("models: # none\n  # >>>"));
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let pairs = [("k", "v".to_owned())];
        for before in ["k: |\n  text\n", "k:\n  - x\n", "k: [1,\n 2]\n"] {
            assert!(flat_yaml(before, &pairs).is_err(), "{before}");
        }
        assert!(flat_yaml("# >>> phallama launch\nk: v\n", &pairs).is_err());
        assert!(yaml_list("a: 1\n", &block()).is_err());
        assert!(yaml_list("[1, 2]\n", &block()).is_err());
        for before in ["models: [x]\n", "models: &all\n  - x\n", "models:\n  a: 1\n"] {
            assert!(yaml_list_under(before, "models", "", &block()).is_err(), "{before}");
        }
    }
}
