//! X.509 v3 certificates and v2 revocation lists (RFC 5280), shaped like those of Intel's SGX PKI.

use super::dates::{self, Validity};
use super::der;
use super::keys::Key;

const ECDSA_WITH_SHA256: &[u32] = &[1, 2, 840, 10_045, 4, 3, 2];
const EC_PUBLIC_KEY: &[u32] = &[1, 2, 840, 10_045, 2, 1];
const PRIME256V1: &[u32] = &[1, 2, 840, 10_045, 3, 1, 7];
const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
const ORGANIZATION: &[u32] = &[2, 5, 4, 10];
const SUBJECT_KEY_ID: &[u32] = &[2, 5, 29, 14];
const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const CRL_NUMBER: &[u32] = &[2, 5, 29, 20];
const REASON_CODE: &[u32] = &[2, 5, 29, 21];
const AUTHORITY_KEY_ID: &[u32] = &[2, 5, 29, 35];
/// Reason code 1, which every entry of Intel's lists has.
const KEY_COMPROMISE: u8 = 1;

/// An extension of a certificate or revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionSpec {
    /// Object identifier, arc by arc.
    pub oid: Vec<u32>,
    /// Whether who does not know it must refuse.
    pub critical: bool,
    /// DER of its value.
    pub value: Vec<u8>,
}

impl ExtensionSpec {
    fn to_der(&self) -> Vec<u8> {
        extension(&self.oid, self.critical, &self.value)
    }
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSpec {
    /// Issue date, seconds since 1970 (UTC).
    pub this_update_unix_s: u64,
    /// When the next list is due, seconds since 1970 (UTC).
    pub next_update_unix_s: u64,
    /// CRL number (RFC 5280, section 5.2.3). Intel's own lists all have number 1.
    pub number: u64,
    /// Serial numbers of the revoked certificates, big-endian.
    pub revoked: Vec<Vec<u8>>,
    /// Further extensions of the list.
    pub extensions: Vec<ExtensionSpec>,
}

/// Who signs: a name and its key.
pub(super) struct Issuer<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a Key,
}

/// What a certificate says about its subject.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a Key,
    pub(super) serial: &'a [u8],
    pub(super) validity: Validity,
    /// `Some(path length)` for a CA.
    pub(super) ca_path_length: Option<u8>,
    /// Further extensions, after the usual ones.
    pub(super) extensions: &'a [ExtensionSpec],
}

/// Serial number of the certificate for `key`: its key id, made positive.
pub(super) fn serial(key: &Key) -> [u8; 20] {
    let mut serial = key.id();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// A DER certificate for `subject`, signed by `issuer`.
pub(super) fn certificate(issuer: &Issuer<'_>, subject: &Subject<'_>) -> Vec<u8> {
    let mut extensions = vec![
        authority_key_id(issuer.key),
        extension(SUBJECT_KEY_ID, false, &der::octet_string(&subject.key.id())),
        key_usage(subject.ca_path_length.is_some()),
        basic_constraints(subject.ca_path_length),
    ];
    extensions.extend(subject.extensions.iter().map(ExtensionSpec::to_der));
    let tbs = der::sequence(&[
        &der::explicit(0, &der::integer(&[2])),
        &der::integer(subject.serial),
        &signature_algorithm(),
        &name(issuer.name),
        &subject.validity.to_der(),
        &name(subject.name),
        &public_key_info(subject.key),
        &der::explicit(3, &der::tlv(0x30, &extensions.concat())),
    ]);
    signed(&tbs, issuer.key)
}

/// A DER revocation list, signed by `issuer`.
pub(super) fn revocation_list(issuer: &Issuer<'_>, spec: &CrlSpec) -> Vec<u8> {
    let this_update = dates::time(spec.this_update_unix_s);
    let entry = |serial: &Vec<u8>| revoked_certificate(serial, &this_update);
    let entries: Vec<u8> = spec.revoked.iter().flat_map(entry).collect();
    // RFC 5280, 5.1.2.6: the list is absent when nothing is revoked.
    let revoked = if entries.is_empty() { entries } else { der::tlv(0x30, &entries) };
    let mut extensions = vec![
        extension(CRL_NUMBER, false, &der::integer(&spec.number.to_be_bytes())),
        authority_key_id(issuer.key),
    ];
    extensions.extend(spec.extensions.iter().map(ExtensionSpec::to_der));
    let tbs = der::sequence(&[
        &der::integer(&[1]),
        &signature_algorithm(),
        &name(issuer.name),
        &this_update,
        &dates::time(spec.next_update_unix_s),
        &revoked,
        &der::explicit(0, &der::tlv(0x30, &extensions.concat())),
    ]);
    signed(&tbs, issuer.key)
}

/// A certificate or revocation list: `tbs`, and the signature of `key` over it.
pub(super) fn signed(tbs: &[u8], key: &Key) -> Vec<u8> {
    let signature = key.sign(tbs);
    let (r, s) = signature.split_at(32);
    let signature = der::sequence(&[&der::integer(r), &der::integer(s)]);
    der::sequence(&[tbs, &signature_algorithm(), &der::bit_string(0, &signature)])
}

fn revoked_certificate(serial: &[u8], date: &[u8]) -> Vec<u8> {
    let reason = extension(REASON_CODE, false, &der::enumerated(KEY_COMPROMISE));
    der::sequence(&[&der::integer(serial), date, &der::sequence(&[&reason])])
}

/// One extension: OID, critical flag, DER value.
fn extension(oid: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { der::boolean(true) } else { Vec::new() };
    der::sequence(&[&der::oid(oid), &flag, &der::octet_string(value)])
}

fn signature_algorithm() -> Vec<u8> {
    der::sequence(&[&der::oid(ECDSA_WITH_SHA256)])
}

fn public_key_info(key: &Key) -> Vec<u8> {
    let algorithm = der::sequence(&[&der::oid(EC_PUBLIC_KEY), &der::oid(PRIME256V1)]);
    let point = [&[4][..], &key.public()].concat();
    der::sequence(&[&algorithm, &der::bit_string(0, &point)])
}

fn name(common_name: &str) -> Vec<u8> {
    let part = |oid, text| der::set(&der::sequence(&[&der::oid(oid), &der::utf8_string(text)]));
    der::sequence(&[&part(COMMON_NAME, common_name), &part(ORGANIZATION, "Phallama development")])
}

fn authority_key_id(key: &Key) -> Vec<u8> {
    // keyIdentifier is [0] IMPLICIT OCTET STRING.
    extension(AUTHORITY_KEY_ID, false, &der::sequence(&[&der::tlv(0x80, &key.id())]))
}

fn key_usage(ca: bool) -> Vec<u8> {
    // CA: keyCertSign and cRLSign. Leaf: digitalSignature and nonRepudiation.
    let bits = if ca { der::bit_string(1, &[0x06]) } else { der::bit_string(6, &[0xc0]) };
    extension(KEY_USAGE, true, &bits)
}

fn basic_constraints(ca_path_length: Option<u8>) -> Vec<u8> {
    let value = match ca_path_length {
        Some(length) => der::sequence(&[&der::boolean(true), &der::integer(&[length])]),
        None => der::sequence(&[]),
    };
    extension(BASIC_CONSTRAINTS, true, &value)
}
