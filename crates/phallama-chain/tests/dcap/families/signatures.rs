//! Signatures at the edges of what r and s can be, in each place where one is checked.

use std::sync::Arc;

use phallama_attest::simulated::{Authority, signed_part};

use crate::case::{Case, Changed};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

/// Order of P-256, and its field's prime (FIPS 186-5; SEC 2, 2.4.2).
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const P: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

/// What has a signature.
const PLACES: [&str; 9] = [
    "quote",
    "QE report",
    "leaf",
    "CA",
    "signer",
    "root CRL",
    "PCK CRL",
    "TCB info",
    "QE identity",
];
/// Edges for r alone, s alone and both; then what only both together can be.
const EDGES: usize = 8;
const FORMS: usize = 3 * EDGES + 7;

pub(crate) fn families() -> Vec<Family> {
    let scenes: Arc<[Scene]> =
        [Scene::new("signatures", Shape::Sgx), Scene::new("signatures", Shape::ALL[4])].into();
    let count = PLACES.len() * FORMS * scenes.len();
    vec![Family::new("signatures at the edges", count, move |index, rng| {
        let (place, rest) = (index % PLACES.len(), index / PLACES.len());
        edge(&scenes[rest % scenes.len()], place, rest / scenes.len() % FORMS, rng)
    })]
}

fn edge(scene: &Scene, place: usize, form: usize, rng: &mut Rng) -> Case {
    let mut parts = scene.parts();
    let mut collateral = scene.collateral();
    let mut certificates = scene.certificates();
    let mut leaf = scene.platform.pck_der().to_vec();
    let note = format!("{} form {form}", PLACES[place]);
    match place {
        0 => parts.signature = raw(parts.signature, form, rng),
        1 => parts.qe_report_signature = raw(parts.qe_report_signature, form, rng),
        7 => {
            collateral.tcb_info_signature =
                collateral_signature(&collateral.tcb_info_signature, form, rng);
        }
        8 => {
            collateral.qe_identity_signature =
                collateral_signature(&collateral.qe_identity_signature, form, rng);
        }
        _ => {
            let ca = scene.ca().authority();
            let (der, by) = match place {
                2 => (&mut leaf, ca),
                3 => (&mut certificates.ca, Authority::Root),
                4 => (&mut certificates.tcb_signer, Authority::Root),
                5 => (&mut collateral.root_ca_crl, Authority::Root),
                _ => (&mut collateral.pck_crl, ca),
            };
            let tbs = signed_part(der).to_vec();
            let signature = scene.root.sign(by, &tbs);
            let envelope_end = der.len() - 2 - bit_string_bytes(der, &tbs);
            let signature = raw(signature, form, rng);
            *der = enveloped(&der[..envelope_end], &tbs, signature);
            certificates.qe_signer.clone_from(&certificates.tcb_signer);
        }
    }
    let mut case = scene.case_under(&leaf, certificates);
    let chain = case.collateral.clone();
    let mut raw_parts = parts;
    raw_parts.pck_chain =
        crate::encoding::pem(&[&leaf, &case.certificates.ca, scene.root.root_der()]);
    case.quote = raw_parts.to_bytes();
    collateral.pck_crl_issuer_chain = chain.pck_crl_issuer_chain;
    collateral.tcb_info_issuer_chain = chain.tcb_info_issuer_chain;
    collateral.qe_identity_issuer_chain = chain.qe_identity_issuer_chain;
    case.collateral = collateral;
    case.note(Changed::Signature, note)
}

/// Length of the signature's BIT STRING without tag and length.
fn bit_string_bytes(der: &[u8], tbs: &[u8]) -> usize {
    // Envelope with a length of two bytes, signed part, algorithm 12, BIT STRING.
    der.len() - 4 - tbs.len() - 12 - 2
}

/// A certificate or list with `signature`: `head` ends with the algorithm.
fn enveloped(head: &[u8], tbs: &[u8], signature: [u8; 64]) -> Vec<u8> {
    let algorithm = &head[4 + tbs.len()..];
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(31);
        let digits = &bytes[zeros..];
        let sign: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
        tlv(0x02, &[sign, digits].concat())
    };
    let pair = tlv(0x30, &[integer(&signature[..32]), integer(&signature[32..])].concat());
    let bits = tlv(0x03, &[&[0][..], &pair].concat());
    let content = [tbs, algorithm, &bits].concat();
    let length = u16::try_from(content.len()).expect("short").to_be_bytes();
    [&[0x30, 0x82][..], &length, &content].concat()
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(content.len()).expect("short")][..], content].concat()
}

fn collateral_signature(signature: &[u8], form: usize, rng: &mut Rng) -> Vec<u8> {
    let signature: [u8; 64] = signature.try_into().expect("64 bytes");
    match form.checked_sub(3 * EDGES) {
        // Other lengths.
        Some(4) => signature[..rng.below(64)].to_vec(),
        Some(5) => [&signature[..], &[rng.byte()]].concat(),
        Some(6) => [&signature[..32], &[0], &signature[32..]].concat(),
        _ => raw(signature, form, rng).to_vec(),
    }
}

/// The signature with r, s or both at an edge, or changed as a whole.
fn raw(mut signature: [u8; 64], form: usize, rng: &mut Rng) -> [u8; 64] {
    let edges = [[0; 32], small(1), minus(N, 1), N, minus_wrapping(N), P, [0xff; 32], small(2)];
    if form < 3 * EDGES {
        let edge = edges[form % EDGES];
        if form / EDGES != 1 {
            signature[..32].copy_from_slice(&edge);
        }
        if form / EDGES != 0 {
            signature[32..].copy_from_slice(&edge);
        }
        return signature;
    }
    match form - 3 * EDGES {
        // The other s for the same r: good.
        0 => {
            let s: [u8; 32] = signature[32..].try_into().expect("half");
            signature[32..].copy_from_slice(&difference(N, s));
        }
        1 => signature.rotate_left(32),
        2 => signature[31] ^= 1,
        3 => signature[63] ^= 1,
        // As it was: good.
        4 => {}
        _ => signature = rng.bytes(),
    }
    signature
}

fn small(value: u8) -> [u8; 32] {
    let mut out = [0; 32];
    out[31] = value;
    out
}

fn minus(mut from: [u8; 32], value: u8) -> [u8; 32] {
    from[31] -= value;
    from
}

/// One more than the order.
fn minus_wrapping(mut order: [u8; 32]) -> [u8; 32] {
    order[31] += 1;
    order
}

/// `a − b` for `a ≥ b`, big-endian.
fn difference(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let mut out = [0; 32];
    let mut borrow = 0;
    for at in (0..32).rev() {
        let digit = i32::from(a[at]) - i32::from(b[at]) - borrow;
        borrow = i32::from(digit < 0);
        out[at] = u8::try_from(digit & 0xff).expect("a byte");
    }
    out
}
