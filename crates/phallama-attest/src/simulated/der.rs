//! The part of ASN.1 DER (ITU-T X.690) that certificates and revocation lists need, written only.

/// One encoded value: tag, definite length, content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length @ 0x80..=0xff => out.extend([0x81, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0x82);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x83);
            let length = u32::try_from(length).expect("values are under 16 MiB");
            out.extend(&length.to_be_bytes()[1..]);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn sequence(items: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &items.concat())
}

pub(super) fn set(item: &[u8]) -> Vec<u8> {
    tlv(0x31, item)
}

/// Context-specific, constructed: `[number] EXPLICIT`.
pub(super) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// A non-negative INTEGER from big-endian bytes.
pub(super) fn integer(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = &big_endian[zeros.min(big_endian.len().saturating_sub(1))..];
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        return tlv(0x02, &[&[0], digits].concat());
    }
    tlv(0x02, digits)
}

pub(super) fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xff } else { 0 }])
}

pub(super) fn enumerated(value: u8) -> Vec<u8> {
    tlv(0x0a, &[value])
}

pub(super) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    tlv(0x04, bytes)
}

/// A BIT STRING whose last byte has `unused` unused bits.
pub(super) fn bit_string(unused: u8, bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[unused], bytes].concat())
}

pub(super) fn utf8_string(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

/// UTCTime, from text such as `200101000000Z`.
pub(super) fn utc_time(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

/// GeneralizedTime, from text such as `20500101000000Z`.
pub(super) fn generalized_time(text: &str) -> Vec<u8> {
    tlv(0x18, text.as_bytes())
}

/// The signed part of a certificate or revocation list: its first element, header included.
///
/// # Panics
/// If `der` is not what [`DevelopmentRoot`](super::DevelopmentRoot) or a platform made.
pub fn signed_part(der: &[u8]) -> &[u8] {
    let content = &der[header_bytes(der)..];
    let digits = &content[2..header_bytes(content)];
    let length = match digits {
        [] => usize::from(content[1]),
        _ => digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
    };
    &content[..header_bytes(content) + length]
}

/// Bytes of tag and length.
fn header_bytes(element: &[u8]) -> usize {
    let first = usize::from(element[1]);
    2 + first.saturating_sub(0x80)
}

/// An OBJECT IDENTIFIER from its arcs.
pub(super) fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let groups = (1..5).find(|groups| u64::from(*arc) < 1 << (7 * groups)).unwrap_or(5);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            content.push(((arc >> (7 * group)) & 0x7f) as u8 | more);
        }
    }
    tlv(0x06, &content)
}

/// PEM (RFC 7468) of a certificate.
pub(super) fn pem_certificate(der: &[u8]) -> String {
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let encoded = base64(der);
    for start in (0..encoded.len()).step_by(64) {
        out.push_str(&encoded[start..encoded.len().min(start + 64)]);
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for position in 0..4 {
            let digit = (bits >> (18 - 6 * position)) & 0x3f;
            let padded = position > chunk.len();
            out.push(if padded { '=' } else { char::from(ALPHABET[digit as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_oid_of_the_sgx_extension() {
        let encoded = oid(&[1, 2, 840, 113_741, 1, 13, 1]);
        assert_eq!(hex::encode(encoded), "06092a864886f84d010d01");
    }

    #[test]
    fn integers_are_minimal_and_never_negative() {
        for (bytes, encoded) in [
            (&[][..], "020100"),
            (&[0], "020100"),
            (&[0, 0, 1], "020101"),
            (&[0x7f], "02017f"),
            (&[0x80], "02020080"),
        ] {
            assert_eq!(hex::encode(integer(bytes)), encoded);
        }
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [
            (127, "047f"),
            (128, "048180"),
            (255, "0481ff"),
            (256, "04820100"),
            (65_535, "0482ffff"),
            (65_536, "0483010000"),
        ] {
            let encoded = octet_string(&vec![0; length]);
            assert_eq!(hex::encode(&encoded[..encoded.len() - length]), header);
        }
    }

    #[test]
    fn the_signed_part_is_the_first_element_with_its_header() {
        for length in [0, 127, 128, 256, 70_000] {
            let inner = octet_string(&vec![7; length]);
            assert_eq!(signed_part(&sequence(&[&inner, &boolean(true)])), inner);
        }
    }

    #[test]
    fn base64_pads_as_rfc_4648_shows() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
