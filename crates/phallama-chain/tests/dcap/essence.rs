//! What the contract reads of a certificate or list. The rest of what an issuer signs is passed
//! over: it is covered by the signature, and decides nothing.

use crate::encoding::Element;

const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const SGX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1];

/// Elements as they are encoded.
type Parts = Vec<Vec<u8>>;

/// Of a PCK certificate: all but the subject's name, the values of extensions that are not needed,
/// and inside the SGX extension the sixteen components, the SGX type and the configuration. Usage
/// and constraints may say the same twice.
pub(crate) fn of_leaf(der: &[u8]) -> Option<Parts> {
    let (mut parts, extensions) = of_certificate(der)?;
    parts.remove(5);
    for (id, critical, value) in extensions {
        if id == SGX {
            parts.extend(of_sgx(&value)?);
        } else if critical || id == AUTHORITY_KEY_ID {
            let part = [id, value].concat();
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    Some(parts)
}

/// Of a signer's certificate: all but the subject's name, and the values of extensions that are
/// not needed.
pub(crate) fn of_signer(der: &[u8]) -> Option<Parts> {
    let mut parts = of_ca(der)?;
    parts.remove(5);
    Some(parts)
}

/// Of a CA's certificate: all but the values of extensions that are not needed.
pub(crate) fn of_ca(der: &[u8]) -> Option<Parts> {
    let (mut parts, extensions) = of_certificate(der)?;
    let known = [SUBJECT_KEY_ID, KEY_USAGE, BASIC_CONSTRAINTS, AUTHORITY_KEY_ID];
    for (id, critical, value) in extensions {
        if critical || known.contains(&id.as_slice()) {
            parts.push([id, value].concat());
        }
    }
    Some(parts)
}

/// Of a list: all but dates and extensions of its entries, and the values of extensions that are
/// not needed.
pub(crate) fn of_list(der: &[u8]) -> Option<Parts> {
    let list = outer(der)?;
    let signed = all(content(&list[0])?)?;
    let mut parts: Parts = signed[..5].to_vec();
    let (entries, last) = match signed.len() {
        6 => (Vec::new(), &signed[5]),
        7 => (all(content(&signed[5])?)?, &signed[6]),
        _ => return None,
    };
    for entry in entries {
        let fields = all(content(&entry)?)?;
        for extension in fields.get(2).map_or(Some(Vec::new()), |list| extensions(list))? {
            if extension.1 {
                parts.push(extension.0);
            }
        }
        parts.push(fields.into_iter().next()?);
    }
    for (id, critical, value) in extensions(content(last)?)? {
        if critical || [CRL_NUMBER, AUTHORITY_KEY_ID].contains(&id.as_slice()) {
            parts.push([id, value].concat());
        }
    }
    Some(parts)
}

/// The fields of the signed part but its extensions, which come apart.
fn of_certificate(der: &[u8]) -> Option<(Parts, Vec<Extension>)> {
    let certificate = outer(der)?;
    let mut fields = all(content(&certificate[0])?)?;
    let last = fields.pop().filter(|last| last[0] == 0xa3)?;
    (fields.len() == 7).then_some((fields, extensions(content(&last)?)?))
}

/// PPID, the two SVNs at the end of the TCB, PCE id, FMSPC and platform instance. Of the TCB
/// nothing but its end needs to be DER.
fn of_sgx(value: &[u8]) -> Option<Parts> {
    const CPU_SVN_BYTES: usize = 33;
    let fields = all(content(value)?)?;
    let (before, cpu_svn) = fields.get(1)?.split_at_checked(fields[1].len() - CPU_SVN_BYTES)?;
    let mut parts = vec![pce_svn(before)?.to_vec(), cpu_svn.to_vec()];
    for at in [0, 2, 3, 5] {
        parts.extend(fields.get(at).cloned());
    }
    Some(parts)
}

/// The last field of the TCB before the CPU SVN, with an INTEGER of one to three bytes.
fn pce_svn(tcb: &[u8]) -> Option<&[u8]> {
    (18..21).find_map(|size| {
        let (_, field) = tcb.split_at_checked(tcb.len().checked_sub(size)?)?;
        (field[0] == 0x30 && usize::from(field[1]) == size - 2 && field[14] == 0x11)
            .then_some(field)
    })
}

/// Whether the PCE SVN of a PCK certificate takes three bytes, for its sign.
pub(crate) fn has_great_pce_svn(der: &[u8]) -> bool {
    let Some((_, extensions)) = of_certificate(der) else { return false };
    let sgx = extensions.iter().find(|(id, ..)| id == SGX).and_then(|(.., value)| of_sgx(value));
    sgx.is_some_and(|parts| matches!(parts[0][15..], [0x02, 3, 0, high, _] if high >= 0x80))
}

/// Object identifier, whether it is critical, and the content of the value.
type Extension = (Vec<u8>, bool, Vec<u8>);

fn extensions(sequence: &[u8]) -> Option<Vec<Extension>> {
    all(content(sequence)?)?
        .iter()
        .map(|extension| {
            let fields = all(content(extension)?)?;
            let critical = fields.get(1)? == &[0x01, 0x01, 0xff];
            Some((content(&fields[0])?.to_vec(), critical, content(fields.last()?)?.to_vec()))
        })
        .collect()
}

/// The three elements of a certificate or list.
fn outer(der: &[u8]) -> Option<Parts> {
    all(content(der)?).filter(|parts| parts.len() == 3)
}

fn content(element: &[u8]) -> Option<&[u8]> {
    Element::split(element).map(|(_, content, _)| content)
}

/// The elements that follow each other in `der`.
fn all(mut der: &[u8]) -> Option<Parts> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (_, _, rest) = Element::split(der)?;
        parts.push(der[..der.len() - rest.len()].to_vec());
        der = rest;
    }
    Some(parts)
}
