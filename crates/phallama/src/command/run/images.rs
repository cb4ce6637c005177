//! Images that a prompt names by their paths.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::CliError;

/// How names of image files end.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "gif"];

/// An image that is sent along.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) base64: String,
}

/// Takes the paths of images out of a prompt. A path with spaces is in quotation marks or has
/// backslashes, as a terminal writes a file that is dropped on it. What names no file is text.
pub(super) fn cut(prompt: &str) -> Result<(String, Vec<Image>), CliError> {
    let (mut text, mut images, mut rest) = (String::new(), Vec::new(), prompt);
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        let (space, word) = rest.split_at(start);
        let (raw, path) = first_word(word);
        let image = image(Path::new(&path))?;
        if image.is_none() {
            text.push_str(space);
            text.push_str(raw);
        }
        images.extend(image);
        rest = &word[raw.len()..];
    }
    if images.is_empty() {
        return Ok((prompt.to_owned(), images));
    }
    Ok((text.trim().to_owned(), images))
}

/// The first word as it is written, and the path that it would be.
fn first_word(text: &str) -> (&str, String) {
    let (mut path, mut quote, mut escaped) = (String::new(), None, false);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => {
                path.push(c);
                escaped = false;
            }
            ('\\', _) => escaped = true,
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) if path.is_empty() => quote = Some(c),
            (c, None) if c.is_whitespace() => return (&text[..at], path),
            (c, _) => path.push(c),
        }
    }
    if quote.is_some() {
        // A quotation mark that does not close is none: the word ends at the next space.
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (&text[..end], text[..end].to_owned());
    }
    (text, path)
}

fn image(path: &Path) -> Result<Option<Image>, CliError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    if !ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) || !path.is_file() {
        return Ok(None);
    }
    let bytes =
        std::fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    Ok(Some(Image { path: path.to_owned(), base64: STANDARD.encode(bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_without_images_stays_as_it_is() {
        for prompt in ["what is a .png?", "  two  spaces\n", "it's \"fine", "/nowhere/cat.png"] {
            assert_eq!(cut(prompt).unwrap(), (prompt.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn paths_of_images_are_taken_out_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a cat.PNG");
        std::fs::write(&path, b"\x89PNG").unwrap();
        let plain = path.to_str().unwrap();
        for written in [format!("'{plain}'"), format!("\"{plain}\""), plain.replace(' ', "\\ ")] {
            let (text, images) = cut(&format!("what is {written} about?")).unwrap();
            assert_eq!(text, "what is about?");
            assert_eq!(images, [Image { path: path.clone(), base64: "iVBORw==".to_owned() }]);
        }
    }
}
