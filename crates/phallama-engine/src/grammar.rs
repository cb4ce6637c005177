//! GBNF grammars, which the worker parses recursively and follows at every token.

use crate::RequestError;
use crate::fields::{at_most_bytes, unsupported};

const GRAMMAR_MAX_BYTES: usize = 64 * 1024;
const GROUPS_MAX: usize = 64;
/// Rules that name one another in a row are followed recursively.
const RULES_MAX: usize = 512;
const REPEAT_MAX: u32 = 1_000;

/// Checks the size of a grammar, the nesting of its groups, its rules and its repetitions. Whether
/// it is a grammar at all is the worker's to say.
pub(crate) fn check_grammar(field: &str, grammar: &str) -> Result<(), RequestError> {
    at_most_bytes(field, grammar.len(), GRAMMAR_MAX_BYTES)?;
    if grammar.trim().is_empty() {
        return Err(RequestError::Empty { field: field.to_owned() });
    }
    let counted = count(field, grammar)?;
    let rules = counted.rules;
    if rules > RULES_MAX {
        let field = format!("{field} (rules)");
        return Err(RequestError::TooMany { field, got: rules, max: RULES_MAX });
    }
    let got = counted.deepest;
    if got > GROUPS_MAX {
        return Err(RequestError::NestedTooDeep { field: field.to_owned(), got, max: GROUPS_MAX });
    }
    if counted.open > 0 {
        return Err(unsupported(field, "(", "every group to be closed"));
    }
    Ok(())
}

#[derive(Default)]
struct Counted {
    rules: usize,
    open: usize,
    deepest: usize,
}

fn count(field: &str, grammar: &str) -> Result<Counted, RequestError> {
    let mut counted = Counted::default();
    let mut rest = grammar;
    while let Some(next) = rest.chars().next() {
        let mut skip = next.len_utf8();
        match next {
            '"' => skip = quoted(field, rest, '"')?,
            '[' => skip = quoted(field, rest, ']')?,
            '#' => skip = rest.find('\n').unwrap_or(rest.len()),
            '(' => {
                counted.open += 1;
                counted.deepest = counted.deepest.max(counted.open);
            }
            ')' => {
                let closed = counted.open.checked_sub(1);
                let expected = "no group to be closed that is not open";
                counted.open = closed.ok_or_else(|| unsupported(field, ")", expected))?;
            }
            '{' => check_repeat(field, &rest[1..])?,
            ':' if rest.starts_with("::=") => {
                counted.rules += 1;
                skip = 3;
            }
            _ => {}
        }
        rest = &rest[skip..];
    }
    Ok(counted)
}

/// Length of a literal or character class, up to and including its end.
fn quoted(field: &str, text: &str, end: char) -> Result<usize, RequestError> {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            char if char == end => return Ok(at + char.len_utf8()),
            _ => {}
        }
    }
    Err(unsupported(field, &text[..1], "every literal and character class to be closed"))
}

fn check_repeat(field: &str, text: &str) -> Result<(), RequestError> {
    let inside = text.split('}').next().unwrap_or_default();
    for number in inside.split(',').map(str::trim).filter(|number| !number.is_empty()) {
        match number.parse::<u32>() {
            Ok(0..=REPEAT_MAX) => {}
            _ => return Err(unsupported(field, number, "repetitions of at most 1000")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(grammar: &str) -> String {
        check_grammar("grammar", grammar).unwrap_err().to_string()
    }

    #[test]
    fn usual_grammars_are_taken() {
        for grammar in [
            "root ::= \"yes\" | \"no\"",
            "root ::= (\"(\" [^()\\]]* \")\")+ # a ( comment\nws ::= [ \\t\\n]{0,20}",
            "root ::= \"\\\"\" .{2,} \"\\\\\"",
        ] {
            check_grammar("grammar", grammar).unwrap();
        }
    }

    #[test]
    fn what_has_crashed_a_parser_is_refused() {
        let nested =
            |levels: usize| format!("root ::= {}\"a\"{}", "(".repeat(levels), ")".repeat(levels));
        check_grammar("grammar", &nested(64)).unwrap();
        let deep = "field `grammar` is nested 65 levels deep, at most 64 are allowed";
        assert_eq!(refused(&nested(65)), deep);
        let message = refused(&nested(60_000));
        assert!(
            message.starts_with("field `grammar` has 120012 bytes, at most 65536"),
            "{message}"
        );
        let rules: Vec<String> = (0..513).map(|i| format!("r{i} ::= r{}", i + 1)).collect();
        assert_eq!(
            refused(&rules.join("\n")),
            "field `grammar (rules)` has 513 entries, at most 512 are allowed"
        );
    }

    #[test]
    fn what_is_not_closed_or_repeated_too_often_is_refused() {
        for (grammar, got) in [
            ("root ::= (\"a\"", "("),
            ("root ::= \"a\")", ")"),
            ("root ::= \"a", "\""),
            ("root ::= [a\\]", "["),
            ("root ::= \"a\"{1001}", "1001"),
            ("root ::= \"a\"{2,99999999999}", "99999999999"),
            ("root ::= \"a\"{-1}", "-1"),
        ] {
            let message = refused(grammar);
            assert!(
                message.starts_with(&format!("field `grammar` is `{got}`, expected")),
                "{message}"
            );
        }
        assert_eq!(refused(" \n"), "field `grammar` is empty");
    }

    proptest! {
        #[test]
        fn scanning_never_panics(grammar in "[a:=(){}\\[\\]\"\\\\#\n,0-9é ]{0,60}") {
            let _ = check_grammar("grammar", &grammar);
        }
    }
}
