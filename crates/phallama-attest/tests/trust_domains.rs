//! Simulated trust domains: every shape of quote is accepted, and one change at a time is refused
//! with the exact reason.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{NONCE, NOW, binding};
use phallama_attest::simulated::{
    CollateralItems, CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, IsvLevelSpec, PckCa,
    PlatformSpec, Rating, SEPT_VE_DISABLE_BIT, SimulatedPlatform, TD_DEBUG_BIT, TD_MIGRATABLE_BIT,
    TD_SERVTD_EXT_BIT, TcbLevelSpec, TdReport, TdxModuleIdentitySpec, TdxModuleSpec,
    TrustDomainSpec,
};
use phallama_attest::{
    AcceptedTcb, CheckState, Evidence, Expected, Policy, Rejection, ReportDataPart, TcbComponent,
    TcbStatus, Tee, TrustRoot, VerifiedEvidence, VerifyError, report_data, verify,
};

const MR_TD: [u8; 48] = [0x7d; 48];

/// Everything that goes into one verification. The policy approves the measurement of the
/// unchanged domain.
struct Case {
    platform: SimulatedPlatform,
    domain: TrustDomainSpec,
    items: CollateralItems,
    policy: Policy,
    expected: Expected,
}

impl Case {
    fn valid(report: TdReport) -> Self {
        Self::of(report, PlatformSpec::from_seed(b"machine 1"))
    }

    fn of(report: TdReport, platform: PlatformSpec) -> Self {
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let platform = SimulatedPlatform::new(&root, platform);
        let expected = Expected::new(&binding(), NONCE).on_machine(platform.machine_identity());
        let domain = TrustDomainSpec::new(report, MR_TD, expected.report_data);
        let trust = TrustRoot::Development(root.root_der().to_vec());
        let items = CollateralItems::new(&platform, Tee::Tdx, &CollateralSpec::fresh(NOW));
        let policy = Policy::strict(trust, vec![domain.measurement()]);
        Self { platform, domain, items, policy, expected }
    }

    fn evidence(&self) -> Evidence {
        let collateral = self.platform.collateral(&self.items);
        Evidence { quote: self.platform.td_quote(&self.domain), collateral }
    }

    fn verify(&self) -> Result<VerifiedEvidence, VerifyError> {
        verify(&self.evidence(), &self.policy, &self.expected, NOW)
    }

    fn accepted(&self) -> VerifiedEvidence {
        self.verify().unwrap_or_else(|error| panic!("must be accepted: {error}"))
    }

    /// Why the case is refused; its table must show exactly the check that the reason names.
    fn rejection(&self) -> Rejection {
        let error = self.verify().expect_err("must be refused");
        let failed = error.checks.iter().filter(|check| check.state == CheckState::Fail);
        let failed: Vec<_> = failed.map(|check| check.name).collect();
        assert_eq!(failed, [error.rejection.check()]);
        error.rejection
    }

    /// The policy accepts `status` too, with any of these advisories.
    fn accept(&mut self, status: TcbStatus, advisory_ids: &[&str]) {
        let advisory_ids = advisory_ids.iter().copied().map(str::to_owned).collect();
        self.policy.accepted_tcb.push(AcceptedTcb { status, advisory_ids });
    }
}

/// The valid TD 1.5 with one change.
fn case(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = Case::valid(TdReport::V5Td15);
    change(&mut case);
    case
}

// Accepted.

#[test]
fn every_shape_of_quote_is_accepted() {
    for report in TdReport::ALL {
        let case = Case::valid(report);
        let verified = case.accepted();
        assert_eq!(verified.tee(), Tee::Tdx);
        assert_eq!(verified.measurement(), case.domain.measurement());
        assert_eq!(verified.mr_signer(), None);
        assert_eq!(verified.report_data(), case.expected.report_data);
        assert_eq!(verified.machine_identity(), case.platform.machine_identity());
        assert_eq!(verified.tcb_status(), TcbStatus::UpToDate);
        for check in verified.checks() {
            assert_eq!(check.state, CheckState::Pass, "{check:?}");
        }
    }
}

#[test]
fn a_machine_of_the_processor_ca_is_accepted() {
    let spec = PlatformSpec { ca: PckCa::Processor, ..PlatformSpec::from_seed(b"machine 1") };
    Case::of(TdReport::V4, spec).accepted();
}

#[test]
fn a_module_without_a_version_is_judged_by_the_platforms_levels() {
    case(|case| {
        for svn in [&mut case.domain.tee_tcb_svn, &mut case.domain.tee_tcb_svn2] {
            svn[1] = 0;
        }
    })
    .accepted();
}

#[test]
fn permitted_attributes_are_accepted() {
    for bit in [16, 18, 27, 30, 31, 62, 63] {
        case(|case| case.domain.td_attributes |= 1 << bit).accepted();
    }
}

// 7. Attributes.

fn with_attributes(change: impl FnOnce(&mut u64)) -> Rejection {
    case(|case| change(&mut case.domain.td_attributes)).rejection()
}

fn refused_attribute(detail: &str) -> Rejection {
    Rejection::TdAttributes { detail: detail.to_owned() }
}

#[test]
fn rejects_a_trust_domain_in_debug_mode() {
    let attributes = "0100001000000000".to_owned();
    let rejection = with_attributes(|attributes| *attributes |= TD_DEBUG_BIT);
    assert_eq!(rejection, Rejection::DebugEnabled { attributes });
}

#[test]
fn rejects_profiling() {
    for bit in 4..=6 {
        let rejection = with_attributes(|attributes| *attributes |= 1 << bit);
        assert_eq!(rejection, refused_attribute("TD profiling is enabled"));
    }
}

#[test]
fn rejects_reserved_attributes() {
    for bit in [1, 7, 15, 23, 26, 32, 61] {
        let rejection = with_attributes(|attributes| *attributes |= 1 << bit);
        assert_eq!(rejection, refused_attribute("Reserved bits in TD attributes are set"));
    }
}

#[test]
fn rejects_migration_and_service_domains() {
    let migratable = with_attributes(|attributes| *attributes |= TD_MIGRATABLE_BIT);
    assert_eq!(migratable, refused_attribute("TD migration is enabled"));
    let extended = with_attributes(|attributes| *attributes |= TD_SERVTD_EXT_BIT);
    assert_eq!(extended, refused_attribute("SERVTD_EXT is enabled"));
    for report in [TdReport::V5Td15, TdReport::V5Td15Ex] {
        let mut bound = Case::valid(report);
        bound.domain.mr_service_td[47] = 1;
        assert_eq!(bound.rejection(), refused_attribute("Invalid MR service TD"));
    }
}

#[test]
fn rejects_a_trust_domain_that_takes_exceptions_on_pending_pages() {
    let rejection = with_attributes(|attributes| *attributes &= !SEPT_VE_DISABLE_BIT);
    assert_eq!(rejection, refused_attribute("SEPT_VE_DISABLE is not enabled"));
}

// 8. TCB status and the TDX module.

fn wrong_module(detail: &str) -> Rejection {
    Rejection::WrongTdxModule { detail: format!("TDX module identity check: {detail}") }
}

#[test]
fn rejects_a_module_of_another_signer() {
    let (expected, got) = ("00".repeat(48), format!("{}09", "00".repeat(47)));
    let rejection = case(|case| case.domain.mr_signer_seam[47] = 9).rejection();
    let detail = format!("TDX module MRSIGNER mismatch: expected {expected}, got {got}");
    assert_eq!(rejection, wrong_module(&detail));
}

#[test]
fn rejects_other_module_attributes() {
    let refused = case(|case| case.domain.seam_attributes[7] = 1);
    let detail = "TDX module SEAMATTRIBUTES mismatch at byte 7: expected 00 (masked), got 01 \
                  (masked)";
    assert_eq!(refused.rejection(), wrong_module(detail));
    let outside_mask = case(|case| {
        case.items.tcb_info.tdx_module_identities[0].module.attributes_mask = [0; 8];
        case.domain.seam_attributes[7] = 1;
    });
    let detail = "TDX module SEAMATTRIBUTES has bits set outside mask at byte 7";
    assert_eq!(outside_mask.rejection(), wrong_module(detail));
}

#[test]
fn the_identity_of_a_modules_version_replaces_the_general_one() {
    let signer = [7; 48];
    let strange = TdxModuleSpec { mr_signer: signer, ..TdxModuleSpec::default() };
    case(|case| {
        case.items.tcb_info.tdx_module = Some(strange.clone());
    })
    .accepted();
    case(|case| {
        case.items.tcb_info.tdx_module_identities[0].module = strange.clone();
        case.domain.mr_signer_seam = signer;
    })
    .accepted();
}

#[test]
fn rejects_a_module_of_an_unknown_version() {
    let refused = case(|case| case.domain.tee_tcb_svn[1] = 2);
    let detail = "TDX module TCB level check: No TDX module identity with id TDX_02 found in TCB \
                  Info";
    assert_eq!(refused.rejection(), Rejection::NoTdxModuleLevel { detail: detail.to_owned() });
}

#[test]
fn rejects_a_module_below_every_level_now_or_at_launch() {
    let detail = "TDX module TCB level check: TDX module ISVSVN 4 is below minimum required from \
                  TDX module TCB levels";
    let launch = case(|case| case.domain.tee_tcb_svn[0] = 4);
    assert_eq!(launch.rejection(), Rejection::NoTdxModuleLevel { detail: detail.to_owned() });
    let now = case(|case| case.domain.tee_tcb_svn2[0] = 4);
    let detail = format!("Failed to evaluate the current TDX TCB (TEE_TCB_SVN2): {detail}");
    assert_eq!(now.rejection(), Rejection::NoTdxModuleLevel { detail });
}

#[test]
fn rejects_a_loader_below_every_level() {
    let refused = case(|case| case.domain.tee_tcb_svn[2] = 1);
    assert_eq!(refused.rejection(), Rejection::NoTcbLevel);
}

#[test]
fn rejects_a_revoked_module() {
    let refused = case(|case| {
        let module = &mut case.items.tcb_info.tdx_module_identities[0];
        module.levels[0].rating.status = TcbStatus::Revoked;
        case.accept(TcbStatus::Revoked, &[]);
    });
    assert_eq!(refused.rejection(), Rejection::TcbRevoked);
}

#[test]
fn rejects_collateral_for_enclaves() {
    let refused = case(|case| {
        case.items = CollateralItems::new(&case.platform, Tee::Sgx, &CollateralSpec::fresh(NOW));
    });
    let rejection = refused.rejection();
    assert!(matches!(rejection, Rejection::QeIdentity { .. }), "{rejection:?}");
    let refused = case(|case| {
        let spec = CollateralSpec::fresh(NOW);
        case.items.tcb_info = CollateralItems::new(&case.platform, Tee::Sgx, &spec).tcb_info;
    });
    let detail = "TDX quote with non-TDX TCB info in the collateral".to_owned();
    assert_eq!(refused.rejection(), Rejection::CollateralForOtherPlatform { detail });
}

/// The module was out of date at launch and has been brought up to date since.
fn updated_in_place(case: &mut Case) {
    let advisory_ids = vec!["INTEL-SA-00001".to_owned()];
    let rating = Rating { advisory_ids, ..Rating::new(TcbStatus::OutOfDate) };
    let module = &mut case.items.tcb_info.tdx_module_identities[0];
    module.levels.push(IsvLevelSpec { isv_svn: 3, rating });
    case.domain.tee_tcb_svn[0] = 3;
}

#[test]
fn the_strict_policy_rejects_a_domain_that_should_be_relaunched() {
    let expected = Rejection::TcbStatusNotAccepted {
        component: TcbComponent::Platform,
        got: TcbStatus::TDRelaunchAdvised,
        advisory_ids: vec!["INTEL-SA-00001".to_owned()],
        accepted: vec![TcbStatus::UpToDate],
    };
    assert_eq!(case(updated_in_place).rejection(), expected);
}

#[test]
fn listing_relaunch_advised_accepts_no_platform_that_is_out_of_date_now() {
    let accept = |case: &mut Case| {
        updated_in_place(case);
        case.accept(TcbStatus::TDRelaunchAdvised, &["INTEL-SA-00001"]);
    };
    let verified = case(accept).accepted();
    assert_eq!(verified.tcb_status(), TcbStatus::TDRelaunchAdvised);
    assert_eq!(verified.advisory_ids(), ["INTEL-SA-00001"]);
    let never_updated = case(|case| {
        accept(case);
        case.domain.tee_tcb_svn2[0] = 3;
    });
    match never_updated.rejection() {
        Rejection::TcbStatusNotAccepted { got, .. } => assert_eq!(got, TcbStatus::OutOfDate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn advisories_of_the_current_tcb_count_too() {
    let refused = case(|case| {
        case.items.tcb_info.levels[0].rating = Rating {
            advisory_ids: vec!["INTEL-SA-00002".to_owned()],
            ..Rating::new(TcbStatus::SWHardeningNeeded)
        };
        let mut launch = case.items.tcb_info.levels[0].clone();
        launch.tdx.as_mut().unwrap()[2] -= 1;
        launch.rating = Rating::new(TcbStatus::OutOfDate);
        case.items.tcb_info.levels.push(launch);
        case.domain.tee_tcb_svn[2] -= 1;
        case.accept(TcbStatus::TDRelaunchAdvised, &["INTEL-SA-00002"]);
        case.accept(TcbStatus::SWHardeningNeeded, &[]);
    });
    let expected = Rejection::AdvisoryNotAccepted {
        status: TcbStatus::SWHardeningNeeded,
        got: "INTEL-SA-00002".to_owned(),
        accepted: vec![],
    };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn levels_may_come_in_any_order_and_the_highest_met_counts() {
    let verified = case(|case| {
        let level = &mut case.items.tcb_info.levels;
        let mut lower: TcbLevelSpec = level[0].clone();
        lower.pce_svn -= 1;
        lower.rating = Rating::new(TcbStatus::OutOfDate);
        level.insert(0, lower);
        let other = TdxModuleIdentitySpec {
            version: 3,
            module: TdxModuleSpec::default(),
            levels: vec![IsvLevelSpec::new(9, TcbStatus::UpToDate)],
        };
        case.items.tcb_info.tdx_module_identities.insert(0, other);
    })
    .accepted();
    assert_eq!(verified.tcb_status(), TcbStatus::UpToDate);
}

// 10. Measurement.

#[test]
fn every_register_is_measured() {
    let changes: [fn(&mut TrustDomainSpec); 8] = [
        |domain| domain.mr_td[0] ^= 1,
        |domain| domain.mr_config_id[0] ^= 1,
        |domain| domain.mr_owner[0] ^= 1,
        |domain| domain.mr_owner_config[0] ^= 1,
        |domain| domain.rt_mr[0][0] ^= 1,
        |domain| domain.rt_mr[1][0] ^= 1,
        |domain| domain.rt_mr[2][0] ^= 1,
        |domain| domain.rt_mr[3][47] ^= 1,
    ];
    for change in changes {
        let refused = case(|case| change(&mut case.domain));
        let (got, accepted) = (refused.domain.measurement(), refused.policy.measurements.clone());
        assert_eq!(refused.rejection(), Rejection::MeasurementNotAccepted { got, accepted });
    }
}

#[test]
fn nothing_but_the_registers_is_measured() {
    let measured = case(|_| ()).domain.measurement();
    let other = case(|case| {
        case.domain.mr_seam[0] ^= 1;
        case.domain.xfam[1] ^= 1;
        case.domain.extension[0] ^= 1;
    });
    assert_eq!(other.accepted().measurement(), measured);
}

// 11 and 12. Report data and machine.

#[test]
fn rejects_evidence_for_another_nonce() {
    let data = report_data(&binding(), [9; 32]);
    let refused = case(|case| case.domain.report_data = data);
    let (got, expected) = ([9; 32], NONCE);
    let expected = Rejection::ReportData { part: ReportDataPart::Nonce, got, expected };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn rejects_another_genuine_machine() {
    let refused = case(|case| case.expected.machine_identity = Some([9; 16]));
    let got = refused.platform.machine_identity().to_vec();
    let expected = Rejection::MachineIdentity { got, expected: vec![9; 16] };
    assert_eq!(refused.rejection(), expected);
}
