//! Certificates and lists as Intel's SGX PKI issues them (*SGX PCK Certificate and CRL Profile
//! Specification*, 1.5), read by `x509-cert`: a second opinion on the contract's DER.

use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const SUBJECT_KEY_ID: &str = "2.5.29.14";
const KEY_USAGE: &str = "2.5.29.15";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const CRL_NUMBER: &str = "2.5.29.20";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const SGX: &str = "1.2.840.113741.1.13.1";

const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN_AND_CRL_SIGN: u8 = 0x06;

/// Whether a list is of the issuer with certificate `issuer`, complete, and in DER.
pub(crate) fn is_list(der: &[u8], issuer: &[u8]) -> bool {
    let Some((list, issuer)) = read::<CertificateList>(der).zip(read::<Certificate>(issuer)) else {
        return false;
    };
    let tbs = &list.tbs_cert_list;
    let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
    let known = |extension: &Extension| is_any(extension, &[CRL_NUMBER, AUTHORITY_KEY_ID]);
    let entries = tbs.revoked_certificates.as_deref().unwrap_or_default();
    let mut of_entries =
        entries.iter().flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
    tbs.version == Version::V2
        && [&list.signature_algorithm, &tbs.signature].into_iter().all(is_ecdsa)
        && &tbs.issuer == issuer.tbs_certificate().subject()
        && tbs.next_update.is_some()
        && are_distinct(extensions)
        && extensions.iter().all(|extension| known(extension) || !extension.critical)
        && of_entries.all(|extension| !extension.critical)
        && is_issued_with(extensions, &issuer)
        && value(extensions, CRL_NUMBER).is_none_or(is_number)
        && entries.iter().all(|entry| is_positive(entry.serial_number.as_bytes()))
}

/// Whether a certificate is of a CA that the issuer with certificate `issuer` has issued.
pub(crate) fn is_ca(der: &[u8], issuer: &[u8]) -> bool {
    let Some(certificate) = issued(der, issuer) else { return false };
    let extensions = extensions(&certificate);
    let constraints = value(extensions, BASIC_CONSTRAINTS);
    let usage = usage(extensions).unwrap_or(0);
    constraints.is_some_and(|value| value.get(2..5) == Some(&[0x01, 0x01, 0xff]))
        && usage & KEY_CERT_SIGN_AND_CRL_SIGN == KEY_CERT_SIGN_AND_CRL_SIGN
        && key_id(&certificate).is_some()
}

/// Whether a certificate is of a signer of collateral that the issuer has issued.
pub(crate) fn is_signer(der: &[u8], issuer: &[u8]) -> bool {
    let Some(certificate) = issued(der, issuer) else { return false };
    let extensions = extensions(&certificate);
    let constraints = value(extensions, BASIC_CONSTRAINTS);
    constraints.is_none_or(|value| value == [0x30, 0])
        && usage(extensions).is_some_and(|usage| usage & DIGITAL_SIGNATURE != 0)
}

/// Whether a certificate is of a PCK that the issuer has issued.
pub(crate) fn is_leaf(der: &[u8], issuer: &[u8]) -> bool {
    let Some(certificate) = issued(der, issuer) else { return false };
    let extensions = extensions(&certificate);
    let critical = |oid: &str| {
        extensions.iter().find(|extension| is_any(extension, &[oid])).map(|one| one.critical)
    };
    value(extensions, BASIC_CONSTRAINTS).is_none_or(|value| value == [0x30, 0])
        && critical(BASIC_CONSTRAINTS) != Some(false)
        && value(extensions, KEY_USAGE) == Some(&[0x03, 0x02, 0x06, 0xc0])
        && critical(KEY_USAGE) == Some(true)
        && critical(SGX) == Some(false)
        && value(extensions, SGX).is_some_and(is_sgx)
        && critical(AUTHORITY_KEY_ID) == Some(false)
        && has_short_years(&certificate)
}

/// Both dates are UTCTimes from 2000 on.
fn has_short_years(certificate: &Certificate) -> bool {
    let validity = certificate.tbs_certificate().validity();
    let millennium_unix_s = 946_684_800;
    [validity.not_before, validity.not_after].into_iter().all(|time| {
        matches!(time, Time::UtcTime(_)) && time.to_unix_duration().as_secs() >= millennium_unix_s
    })
}

/// Intel's extension with all its fields, in order and each of its own kind.
fn is_sgx(value: &[u8]) -> bool {
    let field = |arcs: &[u8], value: &[u8]| {
        let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1], arcs].concat();
        [vec![6, u8::try_from(oid.len()).expect("short")], oid, value.to_vec()].concat()
    };
    let is = |element: Option<&Vec<u8>>, arcs: &[u8], tag: u8, size: Option<usize>| {
        let Some(inner) = element.and_then(|element| sequence(element)) else { return false };
        let [oid, value] = inner.as_slice() else { return false };
        let content = &value[value.len().min(2)..];
        !content.is_empty()
            && *oid == field(arcs, &[])
            && value[0] == tag
            && size.is_none_or(|size| content.len() == size)
    };
    let Some(fields) = sequence(value) else { return false };
    let Some(tcb) = fields.get(1).and_then(|tcb| sequence(tcb)) else { return false };
    let Some(tcb) = tcb.get(1).and_then(|tcb| sequence(tcb)) else { return false };
    let component = |at: u8| is(tcb.get(usize::from(at) - 1), &[2, at], 0x02, None);
    let scalable = is(fields.get(5), &[6], 0x04, Some(16)) && is(fields.get(6), &[7], 0x30, None);
    is(fields.first(), &[1], 0x04, Some(16))
        && is(fields.get(1), &[2], 0x30, None)
        && tcb.len() == 18
        && (1..=17).all(component)
        && pce_svn(&tcb[16]).is_some()
        && is(tcb.get(17), &[2, 18], 0x04, Some(16))
        && is(fields.get(2), &[3], 0x04, Some(2))
        && is(fields.get(3), &[4], 0x04, Some(6))
        && is(fields.get(4), &[5], 0x0a, Some(1))
        && (fields.len() == 5 || fields.len() == 7 && scalable)
}

/// The elements of a SEQUENCE, in DER.
fn sequence(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let elements = Vec::<AnyRef<'_>>::from_der(der).ok()?;
    elements.into_iter().map(|element| element.to_der().ok()).collect()
}

/// The PCE SVN of its field.
fn pce_svn(field: &[u8]) -> Option<u16> {
    u16::from_der(sequence(field)?.get(1)?).ok()
}

/// The certificate, if its form is good and names and key identifiers say who issued it.
fn issued(der: &[u8], issuer: &[u8]) -> Option<Certificate> {
    let (certificate, issuer) = read::<Certificate>(der).zip(read::<Certificate>(issuer))?;
    let tbs = certificate.tbs_certificate();
    let extensions = extensions(&certificate);
    let known = [SUBJECT_KEY_ID, KEY_USAGE, BASIC_CONSTRAINTS, AUTHORITY_KEY_ID];
    let name: &Name = issuer.tbs_certificate().subject();
    let good = tbs.version() == Version::V3
        && [certificate.signature_algorithm(), tbs.signature()].into_iter().all(is_ecdsa)
        && is_p256(&certificate)
        && tbs.issuer() == name
        && are_distinct(extensions)
        && extensions.iter().all(|extension| is_any(extension, &known) || !extension.critical)
        && is_issued_with(extensions, &issuer)
        && value(extensions, SUBJECT_KEY_ID).is_none_or(is_der::<SubjectKeyIdentifier>)
        && value(extensions, KEY_USAGE).is_none_or(is_der::<KeyUsage>)
        && value(extensions, BASIC_CONSTRAINTS).is_none_or(is_der::<BasicConstraints>)
        && is_positive(tbs.serial_number().as_bytes());
    good.then_some(certificate)
}

/// Parses what is the same when written back.
fn read<T: for<'a> Decode<'a> + Encode>(der: &[u8]) -> Option<T> {
    let value = T::from_der(der).ok()?;
    (value.to_der().ok()? == der).then_some(value)
}

fn is_der<T: for<'a> Decode<'a> + Encode>(der: &[u8]) -> bool {
    read::<T>(der).is_some()
}

fn extensions(certificate: &Certificate) -> &[Extension] {
    certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default()
}

fn is_any(extension: &Extension, oids: &[&str]) -> bool {
    oids.iter().any(|oid| extension.extn_id == ObjectIdentifier::new_unwrap(oid))
}

fn value<'a>(extensions: &'a [Extension], oid: &str) -> Option<&'a [u8]> {
    let found = extensions.iter().find(|extension| is_any(extension, &[oid]));
    found.map(|extension| extension.extn_value.as_bytes())
}

/// First byte of the key usage.
fn usage(extensions: &[Extension]) -> Option<u8> {
    match value(extensions, KEY_USAGE)? {
        [0x03, length, _unused, first, ..] if *length >= 2 => Some(*first),
        _ => None,
    }
}

fn key_id(certificate: &Certificate) -> Option<&[u8]> {
    value(extensions(certificate), SUBJECT_KEY_ID)?.get(2..)
}

/// The authority key identifier is the subject key identifier of the issuer, and nothing else.
fn is_issued_with(extensions: &[Extension], issuer: &Certificate) -> bool {
    let Some(id) = key_id(issuer) else { return false };
    let length = u8::try_from(id.len()).expect("short");
    let expected = [&[0x30, length + 2, 0x80, length][..], id].concat();
    value(extensions, AUTHORITY_KEY_ID) == Some(&expected)
}

/// No extension of X.509 itself, and not Intel's either, is there twice.
fn are_distinct(extensions: &[Extension]) -> bool {
    let standard = |extension: &Extension| extension.extn_id.to_string().starts_with("2.5.29.");
    let mut ids: Vec<String> = extensions
        .iter()
        .filter(|extension| standard(extension) || is_any(extension, &[SGX]))
        .map(|extension| extension.extn_id.to_string())
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    ids.len() == all
}

fn is_ecdsa(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.oid == ObjectIdentifier::new_unwrap(ECDSA_WITH_SHA256)
        && algorithm.parameters.is_none()
}

fn is_p256(certificate: &Certificate) -> bool {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.to_der().ok());
    info.algorithm.oid == ObjectIdentifier::new_unwrap(EC_PUBLIC_KEY)
        && curve.as_deref() == Some(&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])
        && info.subject_public_key.raw_bytes().len() == 65
        && info.subject_public_key.raw_bytes()[0] == 4
}

/// An INTEGER's content that is not negative.
fn is_positive(content: &[u8]) -> bool {
    content.first().is_some_and(|first| *first < 0x80)
}

/// DER of an INTEGER from 0 to 2^96 − 1.
fn is_number(der: &[u8]) -> bool {
    matches!(der, [0x02, length, first, ..] if *length <= 13 && *first < 0x80)
}
