//! Lines that fit a terminal.

use unicode_width::UnicodeWidthStr as _;

/// The text with every line broken between words so that it fits, its continuation as far in as its
/// beginning. What is longer than a line, such as a digest, stays whole.
pub(super) fn broken(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| fitted(line, columns)).collect();
    lines.join("\n")
}

fn fitted(line: &str, columns: usize) -> String {
    let mut rest = line.trim_start_matches(' ');
    let (indent, _) = line.split_at(line.len() - rest.len());
    let room = columns.saturating_sub(indent.len());
    let mut fitted = indent.to_owned();
    while rest.width() > room {
        let ends = |(at, _): &(usize, &str)| rest.get(..*at).is_some_and(|it| it.width() <= room);
        let mut spaces = rest.match_indices(' ').filter(|(at, _)| *at > 0);
        // The last that fits, else the first: a word is never cut.
        let first = spaces.next();
        let cut = spaces.take_while(ends).last().or(first);
        let Some((head, tail)) = cut.and_then(|(at, _)| rest.split_at_checked(at)) else { break };
        fitted.push_str(head.trim_end_matches(' '));
        fitted.push('\n');
        fitted.push_str(indent);
        rest = tail.trim_start_matches(' ');
    }
    fitted.push_str(rest);
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_their_indentation() {
        let text = "error: one two three\n  four five six\n\nhint: x";
        assert_eq!(broken(text, 12), "error: one\ntwo three\n  four five\n  six\n\nhint: x");
        assert_eq!(broken(text, 80), text);
    }

    #[test]
    fn a_word_that_is_longer_than_a_line_stays_whole() {
        assert_eq!(broken("a 0123456789 b c", 5), "a\n0123456789\nb c");
        assert_eq!(broken("0123456789", 5), "0123456789");
        assert_eq!(broken("  ein Wörtchen", 12), "  ein\n  Wörtchen");
    }
}
