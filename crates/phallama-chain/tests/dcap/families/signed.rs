//! Quotes with one byte or bit changed and signed again, so that what the bytes mean decides.

use std::ops::Range;
use std::sync::Arc;

use phallama_attest::simulated::QuoteParts;
use sha2::{Digest, Sha256};

use crate::case::{Case, Changed};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

const QE_REPORT_BYTES: usize = 384;
const QE_REPORT_DATA: usize = 320;

pub(crate) fn families() -> Vec<Family> {
    let scenes: Arc<[Scene]> = Shape::ALL.map(|shape| Scene::new("signed", shape)).to_vec().into();
    vec![
        every_byte_of_the_body(&scenes),
        every_byte_of_the_qe_report(&scenes),
        every_bit_that_decides(&scenes),
        bound_keys(&scenes),
    ]
}

fn every_byte_of_the_body(scenes: &Arc<[Scene]>) -> Family {
    let places: Vec<(usize, usize)> = (0..scenes.len())
        .flat_map(|scene| (0..scenes[scene].parts().signed.len()).map(move |at| (scene, at)))
        .collect();
    let scenes = Arc::clone(scenes);
    Family::new("header and body, signed again", places.len(), move |index, rng| {
        let (scene, at) = places[index % places.len()];
        let scene = &scenes[scene];
        let mut parts = scene.parts();
        let is = rng.other_than(parts.signed[at]);
        parts.signed[at] = is;
        body_signed_again(scene, parts, format!("{:?} byte {at} is {is:#04x}", scene.shape))
    })
}

/// Every bit of header, versions and attributes.
fn every_bit_that_decides(scenes: &Arc<[Scene]>) -> Family {
    let places: Vec<(usize, usize)> = (0..scenes.len())
        .flat_map(|scene| deciding(&scenes[scene]).into_iter().flatten().map(move |at| (scene, at)))
        .collect();
    let scenes = Arc::clone(scenes);
    Family::new("deciding bits, signed again", places.len() * 8, move |index, _| {
        let (index, bit) = (index / 8 % places.len(), index % 8);
        let (scene, at) = places[index];
        let scene = &scenes[scene];
        let mut parts = scene.parts();
        parts.signed[at] ^= 1 << bit;
        body_signed_again(scene, parts, format!("{:?} bit {bit} of byte {at}", scene.shape))
    })
}

fn deciding(scene: &Scene) -> Vec<Range<usize>> {
    let signed = scene.parts().signed.len();
    if scene.shape == Shape::Sgx {
        // Header; SVN to attributes of the enclave.
        return vec![0..48, 48..112];
    }
    let report = if signed == 632 { 48 } else { 54 };
    // Header; TEE TCB SVN; attributes of module and TD; TEE TCB SVN 2 and service TD.
    let later = if signed > 638 { report + 584..report + 648 } else { 0..0 };
    vec![0..report, report..report + 16, report + 112..report + 136, later]
}

fn body_signed_again(scene: &Scene, mut parts: QuoteParts, note: String) -> Case {
    parts.signature = scene.platform.sign_with_attestation_key(&parts.signed);
    scene.case_with(&parts, scene.collateral()).note(Changed::SignedByPlatform, note)
}

/// All bytes once, and each bit of the first 64: versions and attributes.
fn every_byte_of_the_qe_report(scenes: &Arc<[Scene]>) -> Family {
    let scenes: Arc<[Scene]> = [scenes[0].clone(), scenes[3].clone()].into();
    let (bits, bytes) = (64 * 8, QE_REPORT_BYTES);
    Family::new("QE report, signed again", 2 * (bits + bytes), move |index, rng| {
        let scene = &scenes[index % 2];
        let index = index / 2 % (bits + bytes);
        let mut parts = scene.parts();
        let at = if index < bits { index / 8 } else { index - bits };
        let was = parts.qe_report[at];
        parts.qe_report[at] =
            if index < bits { was ^ 1 << (index % 8) } else { rng.other_than(was) };
        let note = format!("{:?} QE report byte {at} is {:#04x}", scene.shape, parts.qe_report[at]);
        qe_report_signed_again(scene, parts, note)
    })
}

fn qe_report_signed_again(scene: &Scene, mut parts: QuoteParts, note: String) -> Case {
    parts.qe_report_signature = scene.platform.sign_with_pck(&parts.qe_report);
    scene.case_with(&parts, scene.collateral()).note(Changed::SignedByPlatform, note)
}

/// Other attestation keys and authentication data, bound to by a report made for them.
fn bound_keys(scenes: &Arc<[Scene]>) -> Family {
    let scenes = Arc::clone(scenes);
    Family::new("bound keys and auth data", 300, move |index, rng| {
        let scene = &scenes[index % scenes.len()];
        let mut parts = scene.parts();
        let note = match index / scenes.len() % 4 {
            0 => {
                let length = [0, 1, 16, 31, 33, 64, 1000][rng.below(7)];
                parts.qe_authentication_data = (0..length).map(|_| rng.byte()).collect();
                format!("{length} bytes of authentication data")
            }
            1 => {
                parts.qe_authentication_data = rng.bytes::<32>().to_vec();
                "other authentication data".to_owned()
            }
            2 => {
                parts.attestation_key = odd_key(rng, parts.attestation_key);
                "an odd attestation key".to_owned()
            }
            _ => {
                let other = Scene::new("another machine", scene.shape).parts();
                (parts.attestation_key, parts.signature) = (other.attestation_key, other.signature);
                parts.signed = other.signed;
                "the attestation key of another machine".to_owned()
            }
        };
        let bound = Sha256::new().chain_update(parts.attestation_key);
        let bound = bound.chain_update(&parts.qe_authentication_data).finalize();
        parts.qe_report[QE_REPORT_DATA..QE_REPORT_DATA + 32].copy_from_slice(&bound);
        qe_report_signed_again(scene, parts, note)
    })
}

/// Zero, the generator's x twice, coordinates that are too great, or a point off the curve.
fn odd_key(rng: &mut Rng, mut key: [u8; 64]) -> [u8; 64] {
    match rng.below(5) {
        0 => key = [0; 64],
        1 => key = [0xff; 64],
        2 => key[32..].fill(0),
        3 => key[63] ^= 1,
        _ => key.swap_with_slice(&mut rng.bytes::<64>()),
    }
    key
}
