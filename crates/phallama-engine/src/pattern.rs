//! Regular expressions in JSON schemas, which the worker turns into grammars.
//!
//! Its converter has crashed on quantifiers with nothing before them and on deep nesting, and it
//! silently takes what it does not know for "any string". Both are refused here.

use crate::RequestError;
use crate::fields::at_most_bytes;

const PATTERN_MAX_BYTES: usize = 256;
const GROUPS_MAX: usize = 16;
const COUNT_MAX: u32 = 1_000;

/// Checks one `pattern`.
pub(crate) fn check_pattern(field: &str, pattern: &str) -> Result<(), RequestError> {
    at_most_bytes(field, pattern.len(), PATTERN_MAX_BYTES)?;
    Scan { bytes: pattern.as_bytes(), at: 0, groups: 0, repeatable: false }
        .run()
        .map_err(|(at, problem)| RequestError::Pattern { field: field.to_owned(), at, problem })
}

type Problem = (usize, &'static str);

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    groups: usize,
    /// Whether something stands before that a quantifier can repeat.
    repeatable: bool,
}

impl Scan<'_> {
    fn run(mut self) -> Result<(), Problem> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.escape()?,
                b'[' => self.class()?,
                b'(' => self.open()?,
                b')' => self.close()?,
                b'*' | b'+' | b'?' => self.quantifier(1)?,
                b'{' => self.count()?,
                b'|' | b'^' => self.step(1, false),
                _ => self.step(1, true),
            }
        }
        if self.groups > 0 { Err((self.at, "a group is not closed")) } else { Ok(()) }
    }

    fn step(&mut self, bytes: usize, repeatable: bool) {
        self.at += bytes;
        self.repeatable = repeatable;
    }

    fn escape(&mut self) -> Result<(), Problem> {
        if self.at + 1 == self.bytes.len() {
            return Err((self.at, "it ends in a backslash"));
        }
        self.step(2, true);
        Ok(())
    }

    fn class(&mut self) -> Result<(), Problem> {
        let opened_at = self.at;
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b']' => {
                    self.step(1, true);
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
        Err((opened_at, "a character class is not closed"))
    }

    fn open(&mut self) -> Result<(), Problem> {
        let rest = &self.bytes[self.at + 1..];
        let plain = rest.strip_prefix(b"?:");
        if plain.is_none() && rest.starts_with(b"?") {
            return Err((self.at, "look-around, named groups and flags are not supported"));
        }
        if self.groups == GROUPS_MAX {
            return Err((self.at, "groups are nested deeper than 16 levels"));
        }
        self.groups += 1;
        self.step(if plain.is_some() { 3 } else { 1 }, false);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        if self.groups == 0 {
            return Err((self.at, "it closes a group that is not open"));
        }
        if !self.repeatable {
            return Err((self.at, "a group or alternative is empty"));
        }
        self.groups -= 1;
        self.step(1, true);
        Ok(())
    }

    /// A quantifier of so many bytes, with the `?` that makes it lazy.
    fn quantifier(&mut self, bytes: usize) -> Result<(), Problem> {
        if !self.repeatable {
            return Err((self.at, "a quantifier has nothing to repeat"));
        }
        self.step(bytes, false);
        if self.bytes.get(self.at) == Some(&b'?') {
            self.at += 1;
        }
        // What was repeated is there for the end of a group, not for another quantifier.
        if self.bytes.get(self.at).is_some_and(|next| b"*+?{".contains(next)) {
            return Err((self.at, "a quantifier has nothing to repeat"));
        }
        self.repeatable = true;
        Ok(())
    }

    /// `{m}`, `{m,}`, `{,n}` or `{m,n}`.
    fn count(&mut self) -> Result<(), Problem> {
        let inside = self.bytes[self.at + 1..].split(|&byte| byte == b'}').next();
        let inside = inside.filter(|inside| self.at + 1 + inside.len() < self.bytes.len());
        let inside = inside.ok_or((self.at, "a count is not closed"))?;
        let numbers: Vec<&[u8]> = inside.split(|&byte| byte == b',').collect();
        let number = |digits: &[u8]| match digits {
            [] if inside.len() > 1 => Some(0),
            digits => str::from_utf8(digits).ok()?.parse::<u32>().ok(),
        };
        let parsed: Option<Vec<u32>> = numbers.iter().map(|digits| number(digits)).collect();
        match parsed.as_deref() {
            Some([_] | [_, _]) => {}
            _ => return Err((self.at, "a count is not {m}, {m,}, {,n} or {m,n}")),
        }
        if parsed.is_some_and(|numbers| numbers.iter().any(|count| *count > COUNT_MAX)) {
            return Err((self.at, "a count is above 1000"));
        }
        self.quantifier(inside.len() + 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(pattern: &str) -> Option<Problem> {
        match check_pattern("p", pattern) {
            Ok(()) => None,
            Err(RequestError::Pattern { at, problem, .. }) => Some((at, problem)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn usual_patterns_are_taken() {
        for pattern in [
            "^[A-Z]{2}-\\d{4,}$",
            "^(?:a|b)+?c*$",
            "^\\(?[0-9]{3}\\)?$",
            "a{,3}b{2}",
            "[^\\]]+",
            "^.*$",
            "",
            "^((a)|(b{1,2}))*$",
        ] {
            assert_eq!(problem(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_has_crashed_a_converter_is_refused_with_its_place() {
        for (pattern, at, expected) in [
            ("*a", 0, "a quantifier has nothing to repeat"),
            ("a|+", 2, "a quantifier has nothing to repeat"),
            ("(?:*)", 3, "a quantifier has nothing to repeat"),
            ("a**", 2, "a quantifier has nothing to repeat"),
            ("a{2}{3}", 4, "a quantifier has nothing to repeat"),
            ("(?<=x)*", 0, "look-around, named groups and flags are not supported"),
            ("(?!x)", 0, "look-around, named groups and flags are not supported"),
            ("(?P<n>x)", 0, "look-around, named groups and flags are not supported"),
            ("(a", 2, "a group is not closed"),
            ("a)", 1, "it closes a group that is not open"),
            ("()*", 1, "a group or alternative is empty"),
            ("a[b", 1, "a character class is not closed"),
            ("[\\]", 0, "a character class is not closed"),
            ("a\\", 1, "it ends in a backslash"),
            ("a{1001}", 1, "a count is above 1000"),
            ("a{99999999999}", 1, "a count is not {m}, {m,}, {,n} or {m,n}"),
            ("a{}", 1, "a count is not {m}, {m,}, {,n} or {m,n}"),
            ("a{1,2,3}", 1, "a count is not {m}, {m,}, {,n} or {m,n}"),
            ("a{1", 1, "a count is not closed"),
        ] {
            assert_eq!(problem(pattern), Some((at, expected)), "{pattern}");
        }
        let deep = format!("{}a{}", "(".repeat(17), ")".repeat(17));
        assert_eq!(problem(&deep), Some((16, "groups are nested deeper than 16 levels")));
        let long = check_pattern("p", &"a".repeat(257));
        assert!(matches!(long, Err(RequestError::TooLong { got_bytes: 257, max_bytes: 256, .. })));
    }

    proptest! {
        #[test]
        fn scanning_never_panics(pattern in "[a(){}|*+?\\\\\\[\\],0-9^$:<=é]{0,40}") {
            let _ = check_pattern("p", &pattern);
        }
    }
}
