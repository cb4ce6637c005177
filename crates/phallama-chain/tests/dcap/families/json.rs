//! TCB information and QE identities with changed text, signed again.

use std::sync::Arc;

use phallama_attest::simulated::{IsvLevelSpec, Rating, TcbLevelSpec};
use phallama_attest::{Collateral, TcbStatus};

use crate::case::{Case, Changed};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

pub(crate) fn families() -> Vec<Family> {
    let scenes: Arc<[Scene]> = [rich(Shape::Sgx), rich(Shape::ALL[3])].into();
    vec![
        every_byte("TCB info, every byte", &scenes, Changed::TcbInfo),
        every_byte("QE identity, every byte", &scenes, Changed::QeIdentity),
        edits("TCB info, edited", 2_500, &scenes, Changed::TcbInfo),
        edits("QE identity, edited", 1_500, &scenes, Changed::QeIdentity),
    ]
}

/// With advisories and more than one level of everything.
fn rich(shape: Shape) -> Scene {
    let mut scene = Scene::new("json", shape);
    let rating = |status| Rating {
        advisory_ids: vec!["INTEL-SA-00615".to_owned(), "INTEL-SA-00657".to_owned()],
        ..Rating::new(status)
    };
    let info = &mut scene.items.tcb_info;
    let lower = TcbLevelSpec { rating: rating(TcbStatus::OutOfDate), ..info.levels[0].clone() };
    info.levels.push(TcbLevelSpec { pce_svn: 5, ..lower });
    if let Some(identity) = info.tdx_module_identities.first_mut() {
        identity.levels.push(IsvLevelSpec { isv_svn: 2, rating: rating(TcbStatus::OutOfDate) });
        let other = identity.clone();
        info.tdx_module_identities.push(other);
        info.tdx_module_identities[1].version = 3;
    }
    let older = IsvLevelSpec { isv_svn: 6, rating: rating(TcbStatus::OutOfDate) };
    scene.items.qe_identity.levels.push(older);
    scene
}

fn text(collateral: &mut Collateral, changed: Changed) -> &mut String {
    match changed {
        Changed::TcbInfo => &mut collateral.tcb_info,
        _ => &mut collateral.qe_identity,
    }
}

/// The case with another text, under a signature of the TCB signer.
fn signed_again(scene: &Scene, mut collateral: Collateral, changed: Changed, is: String) -> Case {
    let note = format!("{:?} {is}", scene.shape);
    let signature = scene.root.sign_collateral(&is);
    *text(&mut collateral, changed) = is;
    match changed {
        Changed::TcbInfo => collateral.tcb_info_signature = signature,
        _ => collateral.qe_identity_signature = signature,
    }
    scene.case_with(&scene.parts(), collateral).note(changed, note)
}

fn every_byte(name: &'static str, scenes: &Arc<[Scene]>, changed: Changed) -> Family {
    let places: Vec<(usize, usize)> = (0..scenes.len())
        .flat_map(|scene| {
            let length = text(&mut scenes[scene].collateral(), changed).len();
            (0..length).map(move |at| (scene, at))
        })
        .collect();
    let scenes = Arc::clone(scenes);
    Family::new(name, places.len(), move |index, rng| {
        let (scene, at) = places[index % places.len()];
        let mut collateral = scenes[scene].collateral();
        let mut bytes = std::mem::take(text(&mut collateral, changed)).into_bytes();
        // `dcap-qvl` takes text only.
        bytes[at] =
            if rng.once_in(3) { similar(bytes[at], rng) } else { rng.other_than(bytes[at]) };
        bytes[at] &= 0x7f;
        let is = String::from_utf8(bytes).expect("ASCII");
        signed_again(&scenes[scene], collateral, changed, is)
    })
}

/// A character of the same kind.
fn similar(byte: u8, rng: &mut Rng) -> u8 {
    match byte {
        b'0'..=b'9' => b'0' + rng.byte() % 10,
        b'A'..=b'Z' | b'a'..=b'z' => byte ^ 0x20,
        _ => *rng.pick(b" \"\\,:{}[]0-"),
    }
}

fn edits(name: &'static str, count: usize, scenes: &Arc<[Scene]>, changed: Changed) -> Family {
    let scenes = Arc::clone(scenes);
    Family::new(name, count, move |index, rng| {
        let scene = &scenes[index % scenes.len()];
        let mut collateral = scene.collateral();
        let mut is = std::mem::take(text(&mut collateral, changed));
        for _ in 0..=rng.below(2) {
            is = edited(&is, rng);
        }
        signed_again(scene, collateral, changed, is)
    })
}

/// What an edit puts in the place of what.
const REPLACED: &[(&str, &str)] = &[
    ("\"version\":3", "\"version\":2"),
    ("\"version\":3", "\"version\":4"),
    ("\"version\":2", "\"version\":3"),
    ("\"tcbType\":0", "\"tcbType\":1"),
    ("\"tcbType\":0,", ""),
    ("\"SGX\"", "\"TDX\""),
    ("\"TDX\"", "\"SGX\""),
    ("\"QE\"", "\"TD_QE\""),
    ("\"TD_QE\"", "\"QE\""),
    ("\"QE\"", "\"QVE\""),
    ("Z\"", "+00:00\""),
    ("Z\"", ".000Z\""),
    ("Z\"", "z\""),
    ("T00:", "t00:"),
    ("T00:", " 00:"),
    ("T0", "T2"),
    (":00Z", ":60Z"),
    ("-03-", "-02-"),
    ("-13T", "-31T"),
    ("UpToDate", "OutOfDate"),
    ("UpToDate", "Revoked"),
    ("UpToDate", "SWHardeningNeeded"),
    ("UpToDate", "TDRelaunchAdvised"),
    ("OutOfDate", "OutOfDateConfigurationNeeded"),
    ("OutOfDate", "ConfigurationAndSWHardeningNeeded"),
    ("OutOfDate", "ConfigurationAndSWHardeningNeedeD"),
    ("OutOfDate", "TDRelaunchAdvisedConfigurationNeeded"),
    ("OutOfDate", "UpToDate "),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[]"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[\"\"]"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[\"INTEL\\u002dSA-1\"]"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[\"Intel \u{e9}\"]"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[\"a\",]"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "null"),
    ("[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", "[\"an advisory that is longer than a word\"]"),
    (",\"advisoryIDs\":[\"INTEL-SA-00615\",\"INTEL-SA-00657\"]", ""),
    ("\"svn\":0", "\"svn\":256"),
    ("\"svn\":0", "\"svn\":00"),
    ("\"svn\":0", "\"svn\":-0"),
    ("\"svn\":0", "\"svn\":0.0"),
    ("\"svn\":0", "\"svn\":1e0"),
    ("\"svn\":0", "\"svn\":\"0\""),
    ("{\"svn\":0},", ""),
    ("{\"svn\":0}", "{\"svn\":0,\"category\":\"\"}"),
    ("{\"svn\":0}", "{\"svn\":0,\"type\":\"x\"}"),
    ("{\"svn\":0}", "{\"type\":\"x\",\"svn\":0}"),
    ("{\"svn\":0}", "{\"svn\":0,\"type\":\"x\",\"category\":\"y\"}"),
    ("\"pcesvn\":", "\"pcesvn\":1"),
    ("\"pcesvn\":", "\"pcesvn\":6553"),
    ("\"pcesvn\":13", "\"pcesvn\":65535"),
    ("\"pcesvn\":13", "\"pcesvn\":0"),
    ("\"isvsvn\":", "\"isvsvn\":6553"),
    ("\"isvsvn\":", "\"isvsvn\":25"),
    ("\"isvprodid\":", "\"isvprodid\":6553"),
    ("DataNumber\":17", "DataNumber\":4294967295"),
    ("DataNumber\":17", "DataNumber\":4294967296"),
    ("DataNumber\":17", "DataNumber\":0"),
    ("FFFF", "ffff"),
    ("FFFF", "FFF"),
    ("00", "0 "),
    ("TDX_01", "tdx_01"),
    ("TDX_01", "TDX_1"),
    ("TDX_03", "TDX_aB"),
    ("TDX_03", "TDX_01"),
    (",\"tdxModuleIdentities\":[", ",\"tdxModuleIdentities\":[]"),
    ("\"tdxModule\"", "\"tdxmodule\""),
    ("\"mrsigner\":\"", "\"mrsigner\":\"00"),
    (":", ": "),
    (",", " ,"),
    ("}", "\n}"),
    ("{", "{ "),
];

fn edited(json: &str, rng: &mut Rng) -> String {
    if rng.once_in(2) {
        let (old, new) = rng.pick(REPLACED);
        let places: Vec<usize> = json.match_indices(old).map(|(at, _)| at).collect();
        if !places.is_empty() {
            let at = *rng.pick(&places);
            return [&json[..at], new, &json[at + old.len()..]].concat();
        }
    }
    spliced(json, rng)
}

/// Something removed, repeated, moved or added. Not where characters are longer than a byte.
fn spliced(json: &str, rng: &mut Rng) -> String {
    if !json.is_ascii() || json.len() < 2 {
        return json.to_owned();
    }
    let from = rng.below(json.len());
    let longest = if rng.once_in(3) { json.len() } else { 40 };
    let to = (from + 1 + rng.below(longest)).min(json.len());
    let (before, part, after) = (&json[..from], &json[from..to], &json[to..]);
    match rng.below(6) {
        0 => [before, after].concat(),
        1 => [before, part, part, after].concat(),
        2 => {
            [before, *rng.pick(&[" ", "\t", "\n", "\"", "0", "}", ",", "\0"]), part, after].concat()
        }
        3 => json[..to].to_owned(),
        4 => [json, *rng.pick(&[" ", "\n", "}", "\0", "0"])].concat(),
        _ => reordered(json, rng).unwrap_or_else(|| [before, after].concat()),
    }
}

/// Two members of some object in each other's place: same meaning, other text.
fn reordered(json: &str, rng: &mut Rng) -> Option<String> {
    let commas: Vec<usize> = json.match_indices(",\"").map(|(at, _)| at).collect();
    let pairs = commas.len().checked_sub(2).filter(|pairs| *pairs > 0)?;
    let at = rng.below(pairs);
    let [first, second, third] = [commas[at], commas[at + 1], commas[at + 2]];
    let (one, other) = (&json[first..second], &json[second..third]);
    Some([&json[..first], other, one, &json[third..]].concat())
}
