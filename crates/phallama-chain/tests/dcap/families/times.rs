//! Every window's edges to the second.

use phallama_attest::simulated::{
    DEVELOPMENT_SEED, DevelopmentRoot, PlatformSpec, RootSpec, Validity,
};

use crate::case::{Case, Changed};
use crate::real;
use crate::run::Family;
use crate::scene::{NOW_UNIX_S, Scene, Shape};

/// What has a window.
const WINDOWS: [&str; 8] =
    ["root", "CA", "signer", "leaf", "root CRL", "PCK CRL", "TCB info", "QE identity"];
const SPAN_S: u64 = 1_000;
const STEPS: usize = 7;

pub(crate) fn families() -> Vec<Family> {
    let real = real::cases();
    let edges: Vec<(usize, u64)> = real
        .iter()
        .enumerate()
        .flat_map(|(at, case)| edges_of(case).into_iter().map(move |edge| (at, edge)))
        .collect();
    vec![
        Family::new("edges of one window", WINDOWS.len() * 2 * STEPS * 4, |index, _| edge(index)),
        Family::new("real quotes, edges", edges.len() * STEPS, move |index, _| {
            let (at, edge) = edges[index / STEPS % edges.len()];
            let judged_at = edge - 3 + (index % STEPS) as u64;
            let brought_at = real[at].brought_at.min(judged_at);
            Case { brought_at, judged_at, ..real[at].clone() }
        }),
    ]
}

/// One window begins or ends around now, the others are wide.
fn edge(index: usize) -> Case {
    let (window, rest) = (index % WINDOWS.len(), index / WINDOWS.len());
    let (ends, rest) = (rest % 2 == 1, rest / 2);
    let (step, rest) = (rest % STEPS, rest / STEPS);
    let edge = NOW_UNIX_S;
    let (from, to) = if ends { (edge - SPAN_S, edge) } else { (edge, edge + SPAN_S) };
    let judged_at = edge - 3 + step as u64;
    let good = from + SPAN_S / 2;
    // Early, if the contract may be asked later.
    let early = rest % 2 == 1;
    let brought_at = if early { good.min(judged_at) } else { judged_at };
    let shape = if rest % 4 < 2 { Shape::Sgx } else { Shape::ALL[3] };
    let case =
        scene(window, Validity { not_before_unix_s: from, not_after_unix_s: to }, shape).case();
    let note = format!("{} from {from} to {to}", WINDOWS[window]);
    Case { brought_at, judged_at, ..case }.note(Changed::Nothing, note)
}

fn scene(window: usize, validity: Validity, shape: Shape) -> Scene {
    let mut root = RootSpec::from_seed(DEVELOPMENT_SEED);
    let mut machine = PlatformSpec::from_seed(b"times");
    match window {
        0 => root.root = validity,
        1 => root.platform_ca = validity,
        2 => root.tcb_signer = validity,
        3 => machine.pck_validity = validity,
        _ => {}
    }
    let mut scene = Scene::of(&DevelopmentRoot::new(&root), machine, shape);
    let items = &mut scene.items;
    let (from, to) = (validity.not_before_unix_s, validity.not_after_unix_s);
    let wide = |issued: &mut u64, next: &mut u64| {
        (*issued, *next) = (NOW_UNIX_S - 1_000_000, NOW_UNIX_S + 1_000_000);
    };
    let windows = [
        (&mut items.root_crl.this_update_unix_s, &mut items.root_crl.next_update_unix_s),
        (&mut items.pck_crl.this_update_unix_s, &mut items.pck_crl.next_update_unix_s),
        (&mut items.tcb_info.issued_at_unix_s, &mut items.tcb_info.next_update_unix_s),
        (&mut items.qe_identity.issued_at_unix_s, &mut items.qe_identity.next_update_unix_s),
    ];
    for (at, (issued, next)) in windows.into_iter().enumerate() {
        wide(issued, next);
        if at + 4 == window {
            (*issued, *next) = (from, to);
        }
    }
    scene
}

/// The dates in the collateral of a real quote, but for the root's own.
fn edges_of(case: &Case) -> Vec<u64> {
    use x509_cert::Certificate;
    use x509_cert::crl::CertificateList;
    use x509_cert::der::Decode;
    let mut edges = Vec::new();
    for der in [&case.certificates.ca, &case.certificates.tcb_signer] {
        let certificate = Certificate::from_der(der).expect("Intel's own");
        let validity = *certificate.tbs_certificate().validity();
        edges.extend([validity.not_before, validity.not_after]);
    }
    for der in [&case.collateral.root_ca_crl, &case.collateral.pck_crl] {
        let list: CertificateList = CertificateList::from_der(der).expect("Intel's own");
        edges.push(list.tbs_cert_list.this_update);
        edges.extend(list.tbs_cert_list.next_update);
    }
    let mut edges: Vec<u64> = edges.iter().map(|time| time.to_unix_duration().as_secs()).collect();
    let issued = |json: &str| {
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        ["issueDate", "nextUpdate"].map(|name| unix_s(json[name].as_str().expect("a date")))
    };
    edges.extend(issued(&case.collateral.tcb_info));
    edges.extend(issued(&case.collateral.qe_identity));
    edges
}

/// From `YYYY-MM-DDThh:mm:ssZ`.
fn unix_s(date: &str) -> u64 {
    use x509_cert::der::DateTime;
    let number = |from: usize, to: usize| date[from..to].parse::<u16>().expect("digits");
    let small = |from: usize| u8::try_from(number(from, from + 2)).expect("two digits");
    let date = DateTime::new(number(0, 4), small(5), small(8), small(11), small(14), small(17));
    date.expect("a date").unix_duration().as_secs()
}
