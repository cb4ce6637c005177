//! Breaking lines between words while they arrive.

use unicode_width::UnicodeWidthStr as _;

/// Holds back a word until it is whole, so that it can go on the next line.
#[derive(Debug)]
pub(super) struct Wrap {
    /// Columns of the terminal.
    width: usize,
    /// Columns used on this line.
    column: usize,
    /// Whether there is more than indentation on this line.
    said: bool,
    /// The word that has begun.
    word: String,
}

impl Wrap {
    pub(super) fn new(width: usize) -> Self {
        Self { width, column: 0, said: false, word: String::new() }
    }

    /// What can be shown now that `text` has arrived.
    pub(super) fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                '\n' => {
                    self.put_word(&mut out);
                    out.push(c);
                    (self.column, self.said) = (0, false);
                }
                ' ' => {
                    self.put_word(&mut out);
                    // A space at the end of the line is the break that follows, if one does.
                    self.word.push(c);
                }
                c => self.word.push(c),
            }
        }
        out
    }

    /// The rest, at the end.
    pub(super) fn finish(&mut self) -> String {
        let mut out = String::new();
        self.put_word(&mut out);
        (self.column, self.said) = (0, false);
        out
    }

    fn put_word(&mut self, out: &mut String) {
        let word = std::mem::take(&mut self.word);
        let width = word.width();
        let letters = word.trim_start_matches(' ');
        // Indentation and what is longer than a line stays where it is.
        let breaks = self.said && self.column + width > self.width && !letters.is_empty();
        self.said |= !letters.is_empty();
        if breaks {
            out.push('\n');
            out.push_str(letters);
            self.column = letters.width();
        } else {
            out.push_str(&word);
            self.column += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(width: usize, text: &str) -> String {
        let mut wrap = Wrap::new(width);
        // One character at a time, as slowly as a model can be.
        let shown: String = text.chars().map(|c| wrap.push(c.encode_utf8(&mut [0; 4]))).collect();
        shown + &wrap.finish()
    }

    #[test]
    fn breaks_between_words_only() {
        assert_eq!(wrapped(10, "one two three four"), "one two\nthree four");
        assert_eq!(wrapped(10, "abcdefghijklmnop q"), "abcdefghijklmnop\nq");
        assert_eq!(wrapped(10, "a\n    indented line"), "a\n    indented\nline");
    }

    #[test]
    fn loses_nothing_but_the_space_at_a_break() {
        let text = "a  b\n\n  c d e f g h i j k l";
        assert_eq!(wrapped(8, text).replace('\n', " ").len(), text.len());
        assert_eq!(wrapped(80, text), text);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(wrapped(6, "日本 語です"), "日本\n語です");
    }
}
