//! Platforms, levels and quoting enclaves made up at random around each other.

use phallama_attest::simulated::{
    CollateralItems, IsvLevelSpec, PckCa, PlatformSpec, Rating, TcbLevelSpec,
    TdxModuleIdentitySpec, TdxModuleSpec,
};
use phallama_attest::{TcbStatus, Tee};

use crate::case::{Case, Changed};
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape, root};

pub(crate) fn families() -> Vec<Family> {
    let of = |name, count, shapes: &'static [Shape]| {
        Family::new(name, count, move |_, rng| platform(*rng.pick(shapes), rng))
    };
    vec![
        of("generated platforms, SGX", 1_500, &Shape::ALL[..1]),
        of("generated platforms, TDX", 3_000, &Shape::ALL[1..]),
    ]
}

fn platform(shape: Shape, rng: &mut Rng) -> Case {
    let mut scene = Scene::of(root(), machine(rng), shape);
    if rng.once_in(5) {
        attributes(&mut scene, rng);
    }
    trust_domain(&mut scene, rng);
    scene.enclave.mr_enclave = rng.bytes();
    scene.enclave.report_data = rng.bytes();
    let mut items = scene.items.clone();
    levels(&scene, &mut items, rng);
    quoting_enclave(&scene, &mut items, rng);
    dates(&mut items, rng);
    scene.items = items;
    let case = scene.case();
    let note = format!("{shape:?} {}", case.collateral.tcb_info);
    case.note(Changed::Nothing, note)
}

fn machine(rng: &mut Rng) -> PlatformSpec {
    let seed = [rng.byte() % 4];
    let mut spec = PlatformSpec::from_seed(&seed);
    spec.ppid = rng.bytes::<16>().to_vec();
    spec.ca = *rng.pick(&[PckCa::Platform, PckCa::Processor]);
    spec.fmspc = rng.bytes();
    spec.cpu_svn = std::array::from_fn(|_| svn(rng));
    spec.pce_svn = pce_svn(rng);
    spec.pce_id = if rng.once_in(10) { rng.bytes() } else { [0; 2] };
    for qe in [&mut spec.quoting_enclave, &mut spec.td_quoting_enclave] {
        qe.isv_svn = u16::from(rng.byte() % 12);
        if rng.once_in(10) {
            qe.isv_svn = u16::from_be_bytes(rng.bytes());
        }
        if rng.once_in(25) {
            qe.attributes[rng.below(16)] ^= 1 << rng.below(8);
        }
        if rng.once_in(20) {
            qe.misc_select[rng.below(4)] ^= 1 << rng.below(8);
        }
    }
    spec
}

/// Mostly small, so that levels are met and missed by little.
fn svn(rng: &mut Rng) -> u8 {
    match rng.below(8) {
        0 => 0,
        1 => *rng.pick(&[127, 128, 254, 255]),
        _ => 2 + rng.byte() % 4,
    }
}

fn pce_svn(rng: &mut Rng) -> u16 {
    match rng.below(6) {
        0 => *rng.pick(&[0, 127, 128, 255, 256, 32_767, 32_768, 65_535]),
        _ => u16::from(rng.byte() % 20),
    }
}

fn trust_domain(scene: &mut Scene, rng: &mut Rng) {
    let td = &mut scene.td;
    for svns in [&mut td.tee_tcb_svn, &mut td.tee_tcb_svn2] {
        *svns = std::array::from_fn(|_| svn(rng));
        svns[1] = *rng.pick(&[0, 1, 1, 1, 1, 1, 3, 0xab]);
    }
    if !rng.once_in(6) {
        td.tee_tcb_svn2 = td.tee_tcb_svn;
        for _ in 0..rng.below(3) {
            td.tee_tcb_svn2[rng.below(16)] = svn(rng);
        }
    }
    td.mr_td = rng.bytes();
    td.rt_mr = [rng.bytes(), rng.bytes(), rng.bytes(), rng.bytes()];
    td.report_data = rng.bytes();
    td.extension.fill(rng.byte());
    if rng.once_in(20) {
        td.seam_attributes[rng.below(8)] = rng.byte();
    }
    if rng.once_in(12) {
        td.mr_signer_seam = [1; 48];
    }
}

/// One to three bits of the attributes that everybody asks about.
fn attributes(scene: &mut Scene, rng: &mut Rng) {
    for _ in 0..=rng.below(2) {
        scene.td.td_attributes ^= 1 << rng.below(64);
        scene.enclave.attributes[rng.below(16)] ^= 1 << rng.below(8);
    }
    if rng.once_in(4) {
        scene.td.mr_service_td[rng.below(48)] = rng.byte();
    }
}

/// Levels around what the machine has, in any order.
fn levels(scene: &Scene, items: &mut CollateralItems, rng: &mut Rng) {
    let machine = scene.platform.spec();
    let tdx = scene.shape.tee() == Tee::Tdx;
    let info = &mut items.tcb_info;
    let count = 1 + rng.below(6);
    let around_td = [scene.td.tee_tcb_svn, scene.td.tee_tcb_svn2];
    info.levels = (0..count)
        .map(|_| TcbLevelSpec {
            sgx: around(machine.cpu_svn, rng),
            pce_svn: match rng.below(4) {
                0 => pce_svn(rng),
                1 if rng.once_in(2) => machine.pce_svn.saturating_add(1),
                _ => machine.pce_svn.saturating_sub(u16::from(rng.byte() % 3)),
            },
            tdx: tdx.then(|| around(*rng.pick(&around_td), rng)),
            rating: rating(rng),
        })
        .collect();
    if rng.once_in(2) {
        // What every machine meets.
        let lowest = TcbLevelSpec {
            sgx: [0; 16],
            pce_svn: 0,
            tdx: tdx.then_some([0; 16]),
            rating: rating(rng),
        };
        info.levels.insert(rng.below(count + 1), lowest);
    }
    info.describes_components = rng.once_in(2);
    info.evaluation_number = number(rng);
    if rng.once_in(40) {
        info.fmspc = rng.bytes();
    }
    info.pce_id = if rng.once_in(15) { rng.bytes() } else { machine.pce_id };
    if tdx {
        info.tdx_module = Some(module(scene, rng));
        let mut versions: Vec<u8> =
            (0..rng.below(4)).map(|_| *rng.pick(&[0, 1, 1, 3, 0xab])).collect();
        if !rng.once_in(8) {
            versions.extend([scene.td.tee_tcb_svn[1], scene.td.tee_tcb_svn2[1]]);
        }
        rng.shuffle(&mut versions);
        info.tdx_module_identities = versions
            .into_iter()
            .map(|version| TdxModuleIdentitySpec {
                version,
                module: module(scene, rng),
                levels: isv_levels([scene.td.tee_tcb_svn[0], 255], rng),
            })
            .collect();
    }
}

/// Mostly what is there or a little less.
fn around(svns: [u8; 16], rng: &mut Rng) -> [u8; 16] {
    let bold = rng.once_in(4);
    svns.map(|svn| match rng.below(if bold { 12 } else { 120 }) {
        0 => svn.saturating_add(1),
        1 => self::svn(rng),
        2 | 3 => svn.saturating_sub(1),
        _ => svn,
    })
}

fn module(scene: &Scene, rng: &mut Rng) -> TdxModuleSpec {
    let mut attributes_mask = [0xff; 8];
    let mut attributes = scene.td.seam_attributes;
    if rng.once_in(20) {
        attributes_mask = rng.bytes();
    }
    if rng.once_in(20) {
        attributes[rng.below(8)] ^= 1 << rng.below(8);
    }
    let mr_signer = if rng.once_in(20) { rng.bytes() } else { scene.td.mr_signer_seam };
    TdxModuleSpec { mr_signer, attributes, attributes_mask }
}

fn quoting_enclave(scene: &Scene, items: &mut CollateralItems, rng: &mut Rng) {
    let identity = &mut items.qe_identity;
    identity.levels = isv_levels([qe_isv_svn(scene), 11], rng);
    identity.evaluation_number = number(rng);
    if rng.once_in(25) {
        identity.attributes_mask = rng.bytes();
    }
    if rng.once_in(8) {
        identity.misc_select_mask = rng.bytes();
    }
    if rng.once_in(40) {
        identity.misc_select = rng.bytes();
    }
    if rng.once_in(60) {
        identity.mr_signer = rng.bytes();
    }
    if rng.once_in(60) {
        identity.isv_prod_id = identity.isv_prod_id.wrapping_add(256);
    }
}

/// The security version of the enclave that quotes.
fn qe_isv_svn(scene: &Scene) -> u8 {
    let svn = scene.platform.quoting_enclave(scene.shape.tee()).isv_svn;
    u8::try_from(svn).unwrap_or(255)
}

/// Up to four around some versions, in any order.
fn isv_levels(around: [u8; 2], rng: &mut Rng) -> Vec<IsvLevelSpec> {
    let mut levels: Vec<_> = (0..=rng.below(4))
        .map(|_| {
            let at = around[usize::from(rng.once_in(8))];
            let isv_svn = match rng.below(4) {
                0 => at.saturating_add(1),
                1 => at / 2,
                2 => at,
                _ => at.saturating_sub(rng.byte() % 3),
            };
            IsvLevelSpec { isv_svn: isv_svn.into(), rating: component_rating(rng) }
        })
        .collect();
    if rng.once_in(2) {
        levels.push(IsvLevelSpec { isv_svn: 0, rating: component_rating(rng) });
    }
    levels
}

fn rating(rng: &mut Rng) -> Rating {
    let statuses = &TcbStatus::ALL[..if rng.once_in(150) { 9 } else { 7 }];
    rated(*rng.pick(statuses), rng)
}

/// Of a TDX module or quoting enclave, which know fewer statuses.
fn component_rating(rng: &mut Rng) -> Rating {
    let mut known = [TcbStatus::UpToDate; 8];
    known[5..].copy_from_slice(&[TcbStatus::OutOfDate, TcbStatus::OutOfDate, TcbStatus::Revoked]);
    let status = if rng.once_in(150) { *rng.pick(&TcbStatus::ALL) } else { *rng.pick(&known) };
    rated(status, rng)
}

fn rated(status: TcbStatus, rng: &mut Rng) -> Rating {
    let advisory_ids = (0..rng.below(3)).map(|n| format!("INTEL-SA-{:05}", 100 + n)).collect();
    Rating { advisory_ids, ..Rating::new(status) }
}

fn number(rng: &mut Rng) -> u32 {
    if rng.once_in(5) { u32::from_be_bytes(rng.bytes()) } else { u32::from(rng.byte() % 30) }
}

/// Every window around now, some of them only just.
fn dates(items: &mut CollateralItems, rng: &mut Rng) {
    let (info, identity) = (&mut items.tcb_info, &mut items.qe_identity);
    for (issued, next) in [
        (&mut info.issued_at_unix_s, &mut info.next_update_unix_s),
        (&mut identity.issued_at_unix_s, &mut identity.next_update_unix_s),
    ] {
        *issued -= rng.between(0, 1_000_000);
        *next += rng.between(0, 1_000_000);
    }
}
