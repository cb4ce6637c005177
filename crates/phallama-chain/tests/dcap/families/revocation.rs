//! Lists that name one, others, or somebody else's certificates; chains put together wrongly.

use std::sync::{Arc, LazyLock};

use phallama_attest::simulated::{Authority, CrlSpec, DevelopmentRoot, PlatformSpec, signed_part};

use crate::case::{Case, Changed};
use crate::encoding::{Element, Twist, pem};
use crate::field;
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{AGE_S, NOW_UNIX_S, Scene, Shape};

static FOREIGN: LazyLock<DevelopmentRoot> =
    LazyLock::new(|| DevelopmentRoot::from_seed(b"a foreign root"));

pub(crate) fn families() -> Vec<Family> {
    let scenes: Arc<[Scene]> = [
        Scene::new("revocation", Shape::Sgx),
        Scene::with_one_processor("revocation", Shape::ALL[3]),
    ]
    .into();
    let others = Arc::clone(&scenes);
    vec![
        Family::new("revoked serials", 600, move |index, rng| revoked(&scenes, index, rng)),
        Family::new("swapped chains and lists", 200, move |index, _| swapped(&others, index)),
    ]
}

fn revoked(scenes: &[Scene], index: usize, rng: &mut Rng) -> Case {
    let mut scene = scenes[index % scenes.len()].clone();
    if rng.once_in(3) {
        // A certificate whose number begins or ends unusually.
        let spec = scene.platform.spec().clone();
        let serial = [vec![1], vec![0x7f; 20], vec![0x80; 19], vec![0x80], vec![1; 16]];
        let serial = rng.pick(&serial);
        let spec = PlatformSpec { pck_serial: Some(serial.clone()), ..spec };
        scene = Scene::of(&scene.root, spec, scene.shape);
    }
    let mut lists = [Vec::new(), Vec::new()];
    let hits = [
        scene.root.serial(Authority::Root),
        scene.root.serial(Authority::PlatformCa),
        scene.root.serial(Authority::ProcessorCa),
        scene.root.serial(Authority::TcbSigner),
        scene.platform.pck_serial(),
    ];
    let count = *rng.pick(&[1, 1, 2, 5, 30]);
    for _ in 0..count {
        let list = &mut lists[rng.below(2)];
        let serial = rng.pick(&hits).clone();
        list.push(if rng.once_in(6) { serial } else { near(serial, rng) });
    }
    let note = format!("revoked: {lists:02x?}");
    [scene.items.root_crl.revoked, scene.items.pck_crl.revoked] = lists;
    let mut case = scene.case();
    if rng.once_in(4) {
        let ca = scene.ca().authority();
        let lists = &mut case.collateral;
        padded(&scene.root, Authority::Root, &mut lists.root_ca_crl, rng);
        padded(&scene.root, ca, &mut lists.pck_crl, rng);
    }
    let changed = if index.is_multiple_of(2) { Changed::RootCrl } else { Changed::PckCrl };
    case.note(changed, note)
}

/// Some number of the list, mostly a serial, with a zero byte before it.
fn padded(root: &DevelopmentRoot, by: Authority, list: &mut Vec<u8>, rng: &mut Rng) {
    let signed = Element::parse(signed_part(list)).expect("DER");
    let integers: Vec<usize> = signed.places(0x02);
    let twisted = signed.twisted(*rng.pick(&integers), Twist::Padded);
    *list = root.signed_der(by, &twisted);
}

/// A serial number that begins or ends like another.
fn near(mut serial: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    match rng.below(6) {
        0 => drop(serial.pop()),
        1 => drop(serial.remove(0)),
        2 if serial.len() < 20 => serial.push(0),
        3 if serial.len() < 20 => serial.insert(0, 1),
        _ => {
            let at = rng.below(serial.len());
            serial[at] = rng.other_than(serial[at]);
        }
    }
    serial
}

/// Each mistake with both machines.
fn swapped(scenes: &[Scene], index: usize) -> Case {
    let scene = &scenes[index % scenes.len()];
    let other = &scenes[1 - index % scenes.len()];
    let list = |root: &DevelopmentRoot, by| {
        let (this_update_unix_s, next_update_unix_s) = (NOW_UNIX_S - AGE_S, NOW_UNIX_S + AGE_S);
        let (revoked, extensions) = (Vec::new(), Vec::new());
        let spec =
            CrlSpec { this_update_unix_s, next_update_unix_s, number: 1, revoked, extensions };
        root.crl(by, &spec)
    };
    let ca = scene.ca().authority();
    let other_ca = other.ca().authority();
    let mut case = scene.case();
    let mut certificates = scene.certificates();
    let leaf = scene.platform.pck_der().to_vec();
    let swapped = index / scenes.len() % 16;
    match swapped {
        0 => case.collateral.pck_crl = list(&scene.root, other_ca),
        1 => case.collateral.pck_crl = list(&scene.root, Authority::Root),
        2 => case.collateral.pck_crl = list(&FOREIGN, ca),
        3 => case.collateral.root_ca_crl = list(&scene.root, ca),
        4 => case.collateral.root_ca_crl = list(&FOREIGN, Authority::Root),
        5 => case.collateral.root_ca_crl = list(&scene.root, Authority::TcbSigner),
        6 => {
            // The leaf of the one CA, everything else of the other.
            certificates.ca = scene.root.certificate(other_ca).to_vec();
            case = scene.case_under(&leaf, certificates);
        }
        7 => {
            certificates.ca = FOREIGN.certificate(ca).to_vec();
            case = scene.case_under(&leaf, certificates);
        }
        8 => {
            let spec = scene.platform.spec().clone();
            let foreign = Scene::of(&FOREIGN, spec, scene.shape);
            case = scene.case_under(foreign.platform.pck_der(), certificates);
        }
        9 => case.root = Arc::from(FOREIGN.root_der()),
        10 => {
            // An intermediate in the place of the leaf.
            let intermediate = scene.root.certificate(ca).to_vec();
            case = scene.case_under(&intermediate, certificates);
        }
        11 => {
            let signer = scene.root.certificate(Authority::TcbSigner).to_vec();
            case = scene.case_under(&signer, certificates);
        }
        12 => {
            certificates.tcb_signer = scene.root.certificate(ca).to_vec();
            certificates.qe_signer.clone_from(&certificates.tcb_signer);
            case = scene.case_under(&leaf, certificates);
            let by = |json: &str| scene.root.sign(ca, json.as_bytes()).to_vec();
            case.collateral.tcb_info_signature = by(&case.collateral.tcb_info);
            case.collateral.qe_identity_signature = by(&case.collateral.qe_identity);
        }
        13 => {
            certificates.ca = scene.root.certificate(Authority::TcbSigner).to_vec();
            case = scene.case_under(&leaf, certificates);
        }
        14 => case.quote = other.case().quote,
        _ => {
            // The root in the place of the CA, in the quote alone.
            let mut parts = scene.parts();
            parts.pck_chain = pem(&[&leaf, scene.root.root_der()]);
            case = scene.case_with(&parts, scene.collateral());
            case.original = field::cut(&scene.case().quote).map(Arc::new);
        }
    }
    let changed = if swapped == 15 { Changed::Chain } else { Changed::Ca };
    let note = format!("mistake {swapped}, {:?}", scene.ca());
    case.note(changed, note)
}
