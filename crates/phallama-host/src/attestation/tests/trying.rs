//! A quote tried against a registry: what would be brought, what it would cost, what it would say.

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Evidence, TcbStatus};
use phallama_chain::TcbStatusCode;

use crate::attestation::{Bring, RefusalKind, try_evidence};
use crate::clock;
use crate::error::PodError;
use crate::testing::World;

fn evidence(machine: &SimulatedPlatform, change: impl FnOnce(&mut CollateralSpec)) -> Evidence {
    let mut spec = CollateralSpec::fresh(clock::now_unix_s());
    change(&mut spec);
    machine.evidence(&EnclaveSpec::new([1; 32], [2; 64]), &spec)
}

#[tokio::test]
async fn known_machine_costs_a_short_attestation_and_names_its_pod() {
    let world = World::new(0).await;
    let evidence = evidence(&world.registered.machine, |_| {});
    let tried = try_evidence(&world.chain, &evidence, None, clock::now_unix_s()).await.unwrap();
    assert_eq!((tried.missing.len(), tried.pck_known), (0, true));
    assert_eq!(tried.appraisal.tcb_status, TcbStatus::UpToDate);
    let verdict = tried.verdict.unwrap();
    assert_eq!(
        (verdict.tcb_status, verdict.evidence),
        (TcbStatusCode::UpToDate, tried.quote.evidence)
    );
    assert!(world.pod.0.starts_with(&tried.holder.unwrap().pod_prefix));
}

#[tokio::test]
async fn another_processor_family_needs_its_tcb_information_and_no_more() {
    let world = World::new(0).await;
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let spec = PlatformSpec { fmspc: [9; 6], ..PlatformSpec::from_seed(b"other family") };
    let evidence = evidence(&SimulatedPlatform::new(&root, spec), |_| {});
    let tried = try_evidence(&world.chain, &evidence, None, clock::now_unix_s()).await.unwrap();
    assert_eq!((tried.missing.as_slice(), tried.pck_known), (&[Bring::TcbInfo][..], false));
    assert_eq!((tried.verdict, tried.holder), (None, None));
    assert!(tried.gas_about > 300_000, "{}", tried.gas_about);
}

/// What the contract has is newer than what comes with the quote: its word counts.
#[tokio::test]
async fn contracts_own_collateral_decides() {
    let world = World::new(0).await;
    let refused = evidence(&world.registered.machine, |spec| {
        spec.tcb_status = TcbStatus::OutOfDate;
    });
    let error = try_evidence(&world.chain, &refused, None, clock::now_unix_s()).await.unwrap_err();
    let PodError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.kind, RefusalKind::FirmwareOutOfDate);

    // Collateral that lets an unrated quoting enclave pass, which the contract's does not.
    let lenient = |spec: &mut CollateralSpec| spec.qe_isv_svn_min = 1;
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let mut old = PlatformSpec::from_seed(b"old quoting enclave");
    old.quoting_enclave.isv_svn = 1;
    let passes = evidence(&SimulatedPlatform::new(&root, old), lenient);
    let error = try_evidence(&world.chain, &passes, None, clock::now_unix_s()).await.unwrap_err();
    let PodError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.kind, RefusalKind::QuotingEnclaveOutOfDate);
    assert_eq!(refusal.facts, [("reason", "NoQeLevel { isvSvn: 1 }".to_owned())]);
}
