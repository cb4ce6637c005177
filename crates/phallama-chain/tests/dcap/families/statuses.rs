//! Every status of platform, TDX module and quoting enclave with every other one, at launch and
//! now.

use phallama_attest::TcbStatus;
use phallama_attest::simulated::{IsvLevelSpec, Rating, TcbLevelSpec};

use crate::case::{Case, Changed};
use crate::run::Family;
use crate::scene::{Scene, Shape};

const MODULE: [TcbStatus; 3] = [TcbStatus::UpToDate, TcbStatus::OutOfDate, TcbStatus::Revoked];
const QE: [TcbStatus; 5] = [
    TcbStatus::UpToDate,
    TcbStatus::OutOfDate,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];
/// The two that no level has are left out.
const PLATFORM: usize = TcbStatus::ALL.len() - 2;

pub(crate) fn families() -> Vec<Family> {
    let count = PLATFORM * PLATFORM * MODULE.len() * MODULE.len() * QE.len();
    let of = |name, count, shape| Family::new(name, count, move |index, _| case(shape, index));
    let single = PLATFORM * MODULE.len() * QE.len();
    vec![
        of("all statuses, TD 1.5", count, Shape::ALL[3]),
        of("all statuses, TD 1.0", single, Shape::ALL[1]),
        of("all statuses, SGX", PLATFORM * QE.len(), Shape::Sgx),
    ]
}

/// The digits of `index` choose the statuses: QE, platform, module at launch; platform, module now.
fn case(shape: Shape, index: usize) -> Case {
    let mut rest = index;
    let mut digit = |base: usize| {
        let digit = rest % base;
        rest /= base;
        digit
    };
    let qe = QE[digit(QE.len())];
    let launch = TcbStatus::ALL[digit(PLATFORM)];
    let modules = [MODULE[digit(MODULE.len())], MODULE[digit(MODULE.len())]];
    let now = TcbStatus::ALL[digit(PLATFORM)];

    let mut scene = Scene::new("statuses", shape);
    scene.items.qe_identity.levels = vec![IsvLevelSpec::new(1, qe)];
    // Module security version, module version, loader. Both grow from launch to now.
    scene.td.tee_tcb_svn[..3].copy_from_slice(&[2, 1, 2]);
    scene.td.tee_tcb_svn2[..3].copy_from_slice(&[5, 1, 4]);
    let info = &mut scene.items.tcb_info;
    let lower = info.levels[0].clone();
    let level = |status, loader| TcbLevelSpec {
        tdx: lower.tdx.map(|_| [0, 0, loader, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        rating: Rating::new(status),
        ..lower.clone()
    };
    info.levels = vec![level(launch, 2)];
    if shape != Shape::Sgx {
        info.levels.push(level(now, 4));
        info.tdx_module_identities[0].levels =
            vec![IsvLevelSpec::new(5, modules[1]), IsvLevelSpec::new(2, modules[0])];
    }
    let note = format!("QE {qe}, launch {launch}, now {now}, module {modules:?}");
    scene.case().note(Changed::Nothing, note)
}
