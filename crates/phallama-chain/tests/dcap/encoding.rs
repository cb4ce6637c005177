//! DER as a tree that can be written back in other forms, and PEM.

/// One DER element. What holds elements has children instead of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) tag: u8,
    /// After the length: the number of unused bits of a BIT STRING that holds elements.
    prefix: Vec<u8>,
    content: Vec<u8>,
    pub(crate) children: Vec<Element>,
}

/// How one element of a tree is changed. Lengths around it are right again afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    /// The length in more bytes than it needs: this many.
    LongLength(usize),
    /// The length is open, and two zero bytes end the content.
    Indefinite,
    /// One byte more in the content.
    Trailing(u8),
    /// A zero byte before the content, which an INTEGER must not have.
    Padded,
    /// Not there.
    Absent,
    /// There twice.
    Twice,
    /// Without content.
    Empty,
    /// Another tag.
    Tag(u8),
    /// A length that is one more than the content has.
    LengthPlusOne,
    /// A length that is one less than the content has.
    LengthMinusOne,
    /// The element and the one after it change places.
    Swapped,
}

impl Element {
    /// Reads all of `der`. Octet and bit strings that hold elements are taken apart too.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (element, rest) = Self::first(der)?;
        rest.is_empty().then_some(element)
    }

    /// Tag and content of the first element of `der`, and what follows it.
    pub(crate) fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
        let (&tag, rest) = der.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let digits;
            (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f).min(4))?;
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        }
        let (content, rest) = rest.split_at_checked(length)?;
        Some((tag, content, rest))
    }

    fn first(der: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, content, rest) = Self::split(der)?;
        let (prefix, inner) =
            if tag == 0x03 { content.split_at_checked(1)? } else { (&[][..], content) };
        let holds = tag & 0x20 != 0 || matches!(tag, 0x03 | 0x04);
        let children = holds.then(|| Self::all(inner)).flatten().unwrap_or_default();
        let (prefix, content) = if children.is_empty() {
            (Vec::new(), content.to_vec())
        } else {
            (prefix.to_vec(), Vec::new())
        };
        Some((Self { tag, prefix, content, children }, rest))
    }

    fn all(mut der: &[u8]) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        while !der.is_empty() {
            let (element, rest) = Self::first(der)?;
            all.push(element);
            der = rest;
        }
        Some(all)
    }

    /// Number of elements, this one included.
    pub(crate) fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// Where the elements with `tag` are, in order of appearance.
    pub(crate) fn places(&self, tag: u8) -> Vec<usize> {
        let mut places = if self.tag == tag { vec![0] } else { Vec::new() };
        let mut at = 1;
        for child in &self.children {
            places.extend(child.places(tag).iter().map(|place| at + place));
            at += child.count();
        }
        places
    }

    /// DER, with element `at` (in order of appearance, this one is 0) twisted.
    pub(crate) fn twisted(&self, at: usize, twist: Twist) -> Vec<u8> {
        let mut left = at;
        self.write(&mut left, twist, &mut Vec::new())
    }

    fn write(&self, left: &mut usize, twist: Twist, held: &mut Vec<u8>) -> Vec<u8> {
        let mine = *left == 0;
        *left = left.wrapping_sub(1);
        let mut content = [self.prefix.as_slice(), &self.content].concat();
        let mut waiting = Vec::new();
        for child in &self.children {
            let written = child.write(left, twist, &mut waiting);
            content.extend(written);
        }
        content.extend(waiting);
        let plain = |tag, content: &[u8]| [&[tag][..], &length(content.len()), content].concat();
        let mut out = if mine { self.twist(twist, content) } else { plain(self.tag, &content) };
        if mine && twist == Twist::Swapped {
            std::mem::swap(held, &mut out);
        } else if !held.is_empty() {
            out.append(held);
        }
        out
    }

    fn twist(&self, twist: Twist, mut content: Vec<u8>) -> Vec<u8> {
        let size = content.len();
        let mut tag = self.tag;
        let mut length = length(size);
        match twist {
            Twist::Absent => return Vec::new(),
            Twist::Twice => {
                let once = [&[tag][..], &length, &content].concat();
                return [once.clone(), once].concat();
            }
            Twist::LongLength(digits) => {
                let bytes = size.to_be_bytes();
                length = vec![0x80 | u8::try_from(digits).expect("few")];
                length.extend(&bytes[bytes.len() - digits..]);
            }
            Twist::Indefinite => {
                length = vec![0x80];
                content.extend([0, 0]);
            }
            Twist::Trailing(byte) => {
                content.push(byte);
                length = self::length(size + 1);
            }
            Twist::Padded => {
                content.insert(0, 0);
                length = self::length(size + 1);
            }
            Twist::Empty => {
                content.clear();
                length = vec![0];
            }
            Twist::Tag(other) => tag = other,
            Twist::LengthPlusOne => length = self::length(size + 1),
            Twist::LengthMinusOne => length = self::length(size.saturating_sub(1)),
            Twist::Swapped => {}
        }
        [&[tag][..], &length, &content].concat()
    }
}

/// A length in as few bytes as it needs.
fn length(length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match digits {
        [] => vec![0],
        [one] if *one < 0x80 => vec![*one],
        _ => [&[0x80 | u8::try_from(digits.len()).expect("at most 8")], digits].concat(),
    }
}

/// PEM of certificates, one after the other.
pub(crate) fn pem(certificates: &[&[u8]]) -> String {
    let mut out = String::new();
    for der in certificates {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in base64(der).as_bytes().chunks(64) {
            out.push_str(str::from_utf8(line).expect("ASCII"));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0, |group, (place, byte)| group | usize::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let digit = char::from(DIGITS[group >> (18 - 6 * place) & 0x3f]);
            out.push(if place > chunk.len() { '=' } else { digit });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untwisted_tree_is_written_as_it_was_read() {
        let der = [0x30, 9, 0x04, 3, 0x02, 1, 7, 0x03, 2, 0, 5];
        let element = Element::parse(&der).expect("DER");
        assert_eq!(element.count(), 4);
        assert_eq!(element.twisted(9, Twist::Absent), der);
    }

    #[test]
    fn twists_keep_the_lengths_around_them_right() {
        let der = [0x30, 6, 0x02, 1, 7, 0x02, 1, 8];
        let element = Element::parse(&der).expect("DER");
        for (twist, twisted) in [
            (Twist::LongLength(1), &[0x30, 7, 0x02, 0x81, 1, 7, 0x02, 1, 8][..]),
            (Twist::Indefinite, &[0x30, 8, 0x02, 0x80, 7, 0, 0, 0x02, 1, 8]),
            (Twist::Trailing(9), &[0x30, 7, 0x02, 2, 7, 9, 0x02, 1, 8]),
            (Twist::Padded, &[0x30, 7, 0x02, 2, 0, 7, 0x02, 1, 8]),
            (Twist::Absent, &[0x30, 3, 0x02, 1, 8]),
            (Twist::Twice, &[0x30, 9, 0x02, 1, 7, 0x02, 1, 7, 0x02, 1, 8]),
            (Twist::Empty, &[0x30, 5, 0x02, 0, 0x02, 1, 8]),
            (Twist::Tag(3), &[0x30, 6, 0x03, 1, 7, 0x02, 1, 8]),
            (Twist::LengthPlusOne, &[0x30, 6, 0x02, 2, 7, 0x02, 1, 8]),
            (Twist::LengthMinusOne, &[0x30, 6, 0x02, 0, 7, 0x02, 1, 8]),
            (Twist::Swapped, &[0x30, 6, 0x02, 1, 8, 0x02, 1, 7]),
        ] {
            assert_eq!(element.twisted(1, twist), twisted, "{twist:?}");
        }
    }

    #[test]
    fn pem_is_padded_as_rfc_4648_shows() {
        let of = |bytes: &[u8]| pem(&[bytes]).lines().nth(1).expect("a line").to_owned();
        assert_eq!(
            [of(b"foob"), of(b"fooba"), of(b"foobar")],
            ["Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
        );
    }
}
