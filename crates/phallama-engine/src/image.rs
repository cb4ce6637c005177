//! Images in messages: `data:` URIs of kinds that the worker decodes, of sizes that it survives.
//!
//! The worker decodes in C, and a picture of a few kilobytes may unfold to gigabytes; so the header
//! is read here. URLs that would have to be fetched are refused: the worker opens nothing.

use crate::RequestError;
use crate::fields::{at_most_bytes, unsupported};

/// Most images in one request.
pub(crate) const IMAGES_MAX: usize = 16;
const IMAGE_MAX_BYTES: usize = 1024 * 1024;
const PIXELS_MAX: u64 = 16 * 1024 * 1024;
const SIDE_MAX: u32 = 8_192;
const KINDS: &str = "a data: URI of image/png, image/jpeg or image/gif in base64";

/// Checks one `image_url.url`.
pub(crate) fn check_image(field: &str, url: &str) -> Result<(), RequestError> {
    let Some((kind, encoded)) = parts(url) else {
        return Err(unsupported(field, url.split(',').next().unwrap_or_default(), KINDS));
    };
    at_most_bytes(field, encoded.len() / 4 * 3, IMAGE_MAX_BYTES)?;
    let base64 = "base64 with its padding and nothing else";
    let bytes = decode_base64(encoded).ok_or_else(|| unsupported(field, "other text", base64))?;
    let size = match kind {
        Kind::Png => png_size(&bytes),
        Kind::Jpeg => jpeg_size(&bytes),
        Kind::Gif => gif_size(&bytes),
    };
    let matching = "bytes that are an image of the type that the URI names";
    let (width, height) = size.ok_or_else(|| unsupported(field, "other bytes", matching))?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > PIXELS_MAX || width.max(height) > SIDE_MAX {
        let expected = "1 to 8192 pixels a side and at most 16777216 in all";
        return Err(unsupported(field, &format!("{width} × {height} pixels"), expected));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Png,
    Jpeg,
    Gif,
}

fn parts(url: &str) -> Option<(Kind, &str)> {
    let (kind, encoded) = url.strip_prefix("data:image/")?.split_once(";base64,")?;
    let kind = match kind {
        "png" => Kind::Png,
        "jpeg" | "jpg" => Kind::Jpeg,
        "gif" => Kind::Gif,
        _ => return None,
    };
    Some((kind, encoded))
}

/// RFC 4648 section 4, padded.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let body = bytes.strip_suffix(b"==").or_else(|| bytes.strip_suffix(b"=")).unwrap_or(bytes);
    if !bytes.len().is_multiple_of(4) || body.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in body {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Some(out)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word).into())
}

fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    Some((be32(bytes, 16)?, be32(bytes, 20)?))
}

fn gif_size(bytes: &[u8]) -> Option<(u32, u32)> {
    bytes.strip_prefix(b"GIF87a").or_else(|| bytes.strip_prefix(b"GIF89a"))?;
    let le16 =
        |at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from(u16::from_le_bytes(*word)));
    Some((le16(6)?, le16(8)?))
}

/// The size in the frame header, behind the segments in front of it.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    bytes.strip_prefix(b"\xff\xd8\xff")?;
    let mut at = 2;
    loop {
        let &[0xff, marker, ..] = bytes.get(at..)? else { return None };
        match marker {
            // Fill bytes.
            0xff => at += 1,
            // Start of frame, but not the tables that share its numbers.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((be16(bytes, at + 7)?, be16(bytes, at + 5)?));
            }
            // Scan data or the end before any frame.
            0xd9 | 0xda => return None,
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => at += 2 + usize::try_from(be16(bytes, at + 2)?.max(2)).ok()?,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A PNG of one pixel.
    pub(crate) const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ\
                                  AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

    fn encode(bytes: &[u8]) -> String {
        const SET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            for index in 0..4 {
                let six = bits >> (18 - 6 * index) & 63;
                out.push(if index <= chunk.len() { char::from(SET[six as usize]) } else { '=' });
            }
        }
        out
    }

    fn refused(url: &str) -> String {
        check_image("i", url).unwrap_err().to_string()
    }

    fn png(width: u32, height: u32) -> String {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
        format!("data:image/png;base64,{}", encode(&bytes))
    }

    #[test]
    fn images_of_each_kind_are_taken() {
        check_image("i", PNG).unwrap();
        check_image("i", &format!("data:image/gif;base64,{}", encode(b"GIF89a\x02\0\x03\0;")))
            .unwrap();
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x0b\x08\0\x10\0\x20\x01\xff\xd9";
        check_image("i", &format!("data:image/jpeg;base64,{}", encode(jpeg))).unwrap();
        assert_eq!(jpeg_size(jpeg), Some((32, 16)));
    }

    #[test]
    fn nothing_is_fetched_and_other_kinds_are_refused() {
        for (url, got) in [
            ("http://169.254.169.254/x.png", "http://169.254.169.254/x.png"),
            ("file:///etc/passwd", "file:///etc/passwd"),
            ("data:image/svg+xml;base64,AAAA", "data:image/svg+xml;base64"),
            ("data:text/plain;base64,AAAA", "data:text/plain;base64"),
            ("data:image/png,AAAA", "data:image/png"),
        ] {
            assert_eq!(refused(url), format!("field `i` is `{got}`, expected {KINDS}"));
        }
    }

    #[test]
    fn bytes_must_be_what_the_uri_says() {
        for url in [
            format!("data:image/jpeg;base64,{}", &PNG[22..]),
            "data:image/png;base64,AAAA".to_owned(),
            format!("data:image/gif;base64,{}", encode(b"GIF89a\x02\0\x03")),
            format!("data:image/jpeg;base64,{}", encode(b"\xff\xd8\xff\xda\0\0")),
        ] {
            assert!(refused(&url).starts_with("field `i` is `other bytes`"), "{url}");
        }
        for url in
            ["data:image/png;base64,", "data:image/png;base64,AAA", "data:image/png;base64,A=A="]
        {
            assert!(refused(url).starts_with("field `i` is `other text`"), "{url}");
        }
    }

    #[test]
    fn pictures_that_unfold_to_gigabytes_are_refused() {
        check_image("i", &png(4096, 4096)).unwrap();
        for (width, height) in [(65_535, 65_535), (8_193, 1), (4_097, 4_096), (0, 5), (u32::MAX, 1)]
        {
            let expected = format!("field `i` is `{width} × {height} pixels`");
            assert!(refused(&png(width, height)).starts_with(&expected), "{width} {height}");
        }
        let large = format!("data:image/png;base64,{}", "A".repeat(1_398_108));
        assert!(refused(&large).contains("at most 1048576"), "{}", refused(&large));
    }

    proptest! {
        #[test]
        fn base64_round_trips_and_headers_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 1..90),
        ) {
            prop_assert_eq!(decode_base64(&encode(&bytes)), Some(bytes.clone()));
            let jpeg = [b"\xff\xd8\xff".as_slice(), &bytes].concat();
            let _ = (jpeg_size(&jpeg), png_size(&bytes), gif_size(&bytes));
        }
    }
}
