//! Lengths of quotes and of their parts, and the text around certificates.

use std::sync::Arc;

use phallama_attest::simulated::{Authority, QuoteParts};

use crate::case::{Case, Changed};
use crate::encoding::pem;
use crate::field::{self, Cut};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

pub(crate) fn families() -> Vec<Family> {
    let scenes: Arc<[Scene]> = Shape::ALL.map(|shape| Scene::new("framing", shape)).to_vec().into();
    let [parts, text] = [(); 2].map(|()| Arc::clone(&scenes));
    vec![
        cut_short(&scenes),
        Family::new("quotes with more in them", 400, move |index, rng| {
            longer(&scenes[index % scenes.len()], rng)
        }),
        Family::new("parts of other lengths", 600, move |index, rng| {
            other_lengths(&parts[index % parts.len()], rng)
        }),
        Family::new("text around certificates", 400, move |index, rng| {
            other_text(&text[index % text.len()], rng)
        }),
    ]
}

/// Two quotes ended at every byte.
fn cut_short(scenes: &[Scene]) -> Family {
    let cases = [scenes[0].case(), scenes[3].case()];
    let counts = cases.each_ref().map(|case| case.quote.len());
    Family::new("quotes cut short", counts[0] + counts[1], move |index, _| {
        let index = index % (counts[0] + counts[1]);
        let (case, length) =
            index.checked_sub(counts[0]).map_or((&cases[0], index), |length| (&cases[1], length));
        let mut case = case.clone();
        case.quote.truncate(length);
        case.note(Changed::Quote, format!("{length} bytes"))
    })
}

/// Bytes after the quote, or inside its parts with lengths that include them.
fn longer(scene: &Scene, rng: &mut Rng) -> Case {
    let more: Vec<u8> =
        (0..=rng.below(80)).map(|_| if rng.once_in(2) { 0 } else { rng.byte() }).collect();
    let mut case = scene.case();
    let signed = scene.parts().signed.len();
    case.original = field::cut(&case.quote).map(Arc::new);
    // Length of the authentication data; in quotes v4 and v5 that of the certification data too.
    let outer = (rng.below(3) > 0).then_some(signed);
    let inner = (scene.shape != Shape::Sgx && rng.once_in(2)).then_some(signed + 4 + 128 + 2);
    for at in [outer, inner].into_iter().flatten() {
        let length = u32::from_le_bytes(case.quote[at..at + 4].try_into().expect("four bytes"));
        let longer = length + u32::try_from(more.len()).expect("short");
        case.quote[at..at + 4].copy_from_slice(&longer.to_le_bytes());
    }
    case.quote.extend(&more);
    case.note(Changed::Chain, format!("{more:02x?} at the end, counted at {outer:?} and {inner:?}"))
}

/// Header and body, authentication data or leaf cut or extended, and signed as they are.
fn other_lengths(scene: &Scene, rng: &mut Rng) -> Case {
    let mut parts = scene.parts();
    let note = match rng.below(3) {
        0 => {
            resize(&mut parts.signed, 2, rng);
            parts.signature = scene.platform.sign_with_attestation_key(&parts.signed);
            format!("{} bytes of header and body", parts.signed.len())
        }
        1 => return with_leaf(scene, rng),
        _ => {
            let case = scene.case();
            let mut given = field::cut(&case.quote).expect("a quote");
            resize(&mut given.auth, 0, rng);
            let note = format!("{} bytes of authentication data", given.auth.len());
            // A quote has no such parts: there is nothing to ask `dcap-qvl`.
            let quote = Vec::new();
            return Case { given: Some(given), quote, ..case }.note(Changed::Quote, note);
        }
    };
    let case = scene.case_with(&parts, scene.collateral());
    Case { given: Some(given(scene, &parts)), ..case }.note(Changed::Quote, note)
}

fn given(scene: &Scene, parts: &QuoteParts) -> Cut {
    let auth = [
        &parts.signature[..],
        &parts.attestation_key,
        &parts.qe_report,
        &parts.qe_report_signature,
        &parts.qe_authentication_data,
    ];
    let leaf = scene.platform.pck_der().to_vec();
    Cut { signed: parts.signed.clone(), auth: auth.concat(), leaf }
}

fn with_leaf(scene: &Scene, rng: &mut Rng) -> Case {
    let mut leaf = scene.platform.pck_der().to_vec();
    resize(&mut leaf, 0, rng);
    let note = format!("{} bytes of leaf", leaf.len());
    scene.case_under(&leaf, scene.certificates()).note(Changed::Leaf, note)
}

/// Any other length, mostly a near one.
fn resize(bytes: &mut Vec<u8>, least: usize, rng: &mut Rng) {
    let was = bytes.len();
    let length = match rng.below(4) {
        0 => least + rng.below(was - least),
        1 => was - 1 - rng.below(8),
        2 => was + 1 + rng.below(8),
        _ => *rng.pick(&[54, 432, 608, 632, 638, 702, 939, 1_024]),
    };
    bytes.resize(if length == was { was + 1 } else { length }, rng.byte());
}

/// Chains with more, fewer, or other certificates above the leaf, and other PEM.
fn other_text(scene: &Scene, rng: &mut Rng) -> Case {
    let mut parts = scene.parts();
    let mut collateral = scene.collateral();
    let original = field::cut(&parts.to_bytes()).map(Arc::new);
    let chain = match rng.below(4) {
        0 => &mut parts.pck_chain,
        1 => &mut collateral.tcb_info_issuer_chain,
        2 => &mut collateral.qe_identity_issuer_chain,
        _ => &mut collateral.pck_crl_issuer_chain,
    };
    let root = &scene.root;
    let edit = rng.below(10);
    match edit {
        0 => *chain = chain.replace('\n', "\r\n"),
        1 => *chain = chain.trim_end().to_owned(),
        2 => chain.push('\0'),
        3 => *chain = format!("some text\n{chain}more text\n"),
        4 => *chain = chain.replace("CERTIFICATE", "X509 CERTIFICATE"),
        5 => chain.push_str(&pem(&[root.root_der()]).repeat(1 + rng.below(6))),
        6 => *chain = first_certificate(chain).to_owned(),
        7 => {
            let first = first_certificate(chain).to_owned();
            *chain = first + &pem(&[root.certificate(Authority::ProcessorCa), root.root_der()]);
        }
        8 => *chain = chain.replacen("-----END", "----END", 1 + rng.below(2)),
        _ => {
            let at = rng.below(chain.len());
            let changed = char::from(b'!' + rng.byte() % 90);
            chain.replace_range(at..=at, &changed.to_string());
        }
    }
    let case = scene.case_with(&parts, collateral);
    Case { original, ..case }.note(Changed::Chain, format!("edit {edit}"))
}

fn first_certificate(chain: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----\n";
    &chain[..chain.find(END).expect("a certificate") + END.len()]
}
