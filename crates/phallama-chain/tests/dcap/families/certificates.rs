//! Certificates and revocation lists with changed signed parts, signed again by who signs them.

use std::sync::Arc;

use phallama_attest::simulated::{Authority, signed_part};

use crate::case::{Case, Changed};
use crate::encoding::{Element, Twist};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

pub(crate) fn families() -> Vec<Family> {
    let mut platform = Scene::new("certificates", Shape::Sgx);
    platform.items.root_crl.revoked = vec![vec![7; 20], vec![1]];
    platform.items.pck_crl.revoked = vec![vec![0x4b; 20], vec![2]];
    let processor = Scene::with_one_processor("certificates", Shape::ALL[3]);
    let scenes: Arc<[Scene]> = [platform, processor].into();
    vec![
        every_byte("leaf of the Platform CA, bytes", &scenes, 0, Changed::Leaf),
        every_byte("leaf of the Processor CA, bytes", &scenes, 1, Changed::Leaf),
        every_byte("CA, every byte", &scenes, 0, Changed::Ca),
        every_byte("signer, every byte", &scenes, 0, Changed::Signer),
        every_byte("root CRL, every byte", &scenes, 0, Changed::RootCrl),
        every_byte("PCK CRL, every byte", &scenes, 0, Changed::PckCrl),
        twists("leaf, other DER", &scenes, Changed::Leaf),
        twists("CA, other DER", &scenes, Changed::Ca),
        twists("signer, other DER", &scenes, Changed::Signer),
        twists("root CRL, other DER", &scenes, Changed::RootCrl),
        twists("PCK CRL, other DER", &scenes, Changed::PckCrl),
        spliced("certificates and CRLs, spliced", 1_500, &scenes),
    ]
}

/// A certificate or list of the scene as it should be.
fn original(scene: &Scene, what: Changed) -> Vec<u8> {
    let ca = scene.ca().authority();
    match what {
        Changed::Leaf => scene.platform.pck_der().to_vec(),
        Changed::Ca => scene.root.certificate(ca).to_vec(),
        Changed::Signer => scene.root.certificate(Authority::TcbSigner).to_vec(),
        Changed::RootCrl => scene.root.crl(Authority::Root, &scene.items.root_crl),
        _ => scene.root.crl(ca, &scene.items.pck_crl),
    }
}

/// Who signs it.
fn issuer(scene: &Scene, what: Changed) -> Authority {
    match what {
        Changed::Leaf | Changed::PckCrl => scene.ca().authority(),
        _ => Authority::Root,
    }
}

/// The case with `der` wherever the original appears.
fn with(scene: &Scene, what: Changed, der: Vec<u8>, note: String) -> Case {
    let before = Some(Arc::from(original(scene, what)));
    let mut certificates = scene.certificates();
    let mut leaf = scene.platform.pck_der();
    match what {
        Changed::Leaf => leaf = &der,
        Changed::Ca => certificates.ca.clone_from(&der),
        Changed::Signer => {
            certificates.tcb_signer.clone_from(&der);
            certificates.qe_signer.clone_from(&der);
        }
        _ => {}
    }
    let mut case = scene.case_under(leaf, certificates);
    match what {
        Changed::RootCrl => case.collateral.root_ca_crl = der,
        Changed::PckCrl => case.collateral.pck_crl = der,
        _ => {}
    }
    Case { before, ..case }.note(what, note)
}

fn every_byte(name: &'static str, scenes: &Arc<[Scene]>, at: usize, what: Changed) -> Family {
    let scene = scenes[at].clone();
    let tbs = signed_part(&original(&scene, what)).to_vec();
    Family::new(name, 2 * tbs.len(), move |index, rng| {
        let at = index % tbs.len();
        let mut tbs = tbs.clone();
        let (was, is) = (tbs[at], rng.other_than(tbs[at]));
        tbs[at] = is;
        let note = format!("byte {at}: {was:#04x} -> {is:#04x} in {}", alloy::hex::encode(&tbs));
        let der = scene.root.signed_der(issuer(&scene, what), &tbs);
        with(&scene, what, der, note)
    })
}

const TWISTS: [Twist; 19] = [
    Twist::LongLength(1),
    Twist::LongLength(2),
    Twist::LongLength(3),
    Twist::LongLength(4),
    Twist::Indefinite,
    Twist::Trailing(0),
    Twist::Trailing(0xff),
    Twist::Padded,
    Twist::Absent,
    Twist::Twice,
    Twist::Empty,
    Twist::Tag(0x02),
    Twist::Tag(0x04),
    Twist::Tag(0x05),
    Twist::Tag(0x18),
    Twist::Tag(0x31),
    Twist::LengthPlusOne,
    Twist::LengthMinusOne,
    Twist::Swapped,
];

/// Each element of the signed part in every other form, and those of the envelope around it.
fn twists(name: &'static str, scenes: &Arc<[Scene]>, what: Changed) -> Family {
    let scene = scenes[0].clone();
    let whole = Element::parse(&original(&scene, what)).expect("DER");
    let signed = Element::parse(signed_part(&original(&scene, what))).expect("DER");
    let (inside, all) = (signed.count(), whole.count());
    let count = (inside + all) * TWISTS.len();
    Family::new(name, count, move |index, _| {
        let (at, twist) = (index / TWISTS.len() % (inside + all), TWISTS[index % TWISTS.len()]);
        let der = match at.checked_sub(inside) {
            None => scene.root.signed_der(issuer(&scene, what), &signed.twisted(at, twist)),
            // What is signed is as it was unless the element is in it; then both must refuse.
            Some(at) => whole.twisted(at, twist),
        };
        let note = format!(
            "element {at} of {inside} and {all}: {twist:?} in {}",
            alloy::hex::encode(&der)
        );
        with(&scene, what, der, note)
    })
}

/// Bytes removed, added or repeated anywhere, signed again.
fn spliced(name: &'static str, count: usize, scenes: &Arc<[Scene]>) -> Family {
    let whats = [Changed::Leaf, Changed::Ca, Changed::Signer, Changed::RootCrl, Changed::PckCrl];
    let scenes = Arc::clone(scenes);
    Family::new(name, count, move |index, rng| {
        let what = whats[index % whats.len()];
        let scene = &scenes[index / whats.len() % scenes.len()];
        let tbs = splice(signed_part(&original(scene, what)).to_vec(), rng);
        let note = format!("spliced: {}", alloy::hex::encode(&tbs));
        let der = scene.root.signed_der(issuer(scene, what), &tbs);
        with(scene, what, der, note)
    })
}

fn splice(mut tbs: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let at = rng.below(tbs.len() - 4);
    match rng.below(4) {
        0 => drop(tbs.drain(at..=at + rng.below(4))),
        1 => tbs.insert(at, rng.byte()),
        2 => tbs[at..at + 4].copy_from_slice(&rng.bytes::<4>()),
        _ => tbs[at..at + 4].reverse(),
    }
    // Mostly the length is right again.
    if rng.once_in(4) || tbs.len() < 4 + 256 {
        return tbs;
    }
    let length = u16::try_from(tbs.len() - 4).expect("short").to_be_bytes();
    [&[0x30, 0x82][..], &length, &tbs[4..]].concat()
}
