use phallama_attest::TcbStatus;
use phallama_attest::simulated::{
    CollateralSpec, DEBUG_BIT, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_chain::TcbStatusCode;
use phallama_protocol::ids::Digest32;

use super::*;
use crate::attestation::{RefusalKind, RefusedBy};
use crate::testing::{World, enclave_info, enclave_spec, machine, registrar, signer};

const SALT: [u8; 32] = [1; 32];

/// The same start of the enclave, with this said about its machine.
fn with_collateral(
    info: &EnclaveInfo,
    world: &World,
    machine: &SimulatedPlatform,
    spec: &CollateralSpec,
) -> EnclaveInfo {
    let pod = phallama_protocol::eip712::pod_id(world.operator.address(), &SALT);
    let enclave = enclave_spec(world.chain.config(), pod, info.identity);
    EnclaveInfo { evidence: Arc::new(machine.evidence(&enclave, spec)), ..info.clone() }
}

fn fresh() -> CollateralSpec {
    CollateralSpec::fresh(clock::now_unix_s())
}

/// A world, another machine, and a start of a second pod's enclave on it.
struct Second {
    world: World,
    registrar: Registrar,
    noted: crate::testing::Noted,
    machine: SimulatedPlatform,
    info: EnclaveInfo,
}

impl Second {
    async fn new() -> Self {
        let world = World::new(0).await;
        let (registrar, noted) = registrar(&world.chain, &world.operator, SALT);
        let machine = machine(b"second machine");
        let identity = Address([1; 20]);
        let info = enclave_info(world.chain.config(), registrar.pod, identity, &machine);
        Self { world, registrar, noted, machine, info }
    }

    /// A registrar that knows nothing yet, as after a restart of the host.
    fn restart(&mut self) {
        (self.registrar, self.noted) = registrar(&self.world.chain, &self.world.operator, SALT);
    }

    async fn record(&self) -> Option<PodRecord> {
        self.world.chain.pod(self.registrar.pod).await.unwrap()
    }

    async fn key(&self) -> AttestedKey {
        self.record().await.unwrap().key.unwrap()
    }

    /// The refusal of an enclave with this evidence, before anything was sent.
    async fn refused(&self, info: &EnclaveInfo) -> Box<Refusal> {
        let refused = self.registrar.ensure(info).await;
        let Err(PodError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(self.noted.sent(), [""; 0]);
        assert_eq!(self.record().await, None);
        refusal
    }
}

#[tokio::test]
async fn first_pod_of_a_deployment_brings_all_collateral() {
    let world = World::new(0).await;
    let expected = [
        "register",
        "root revocation list",
        "CA of PCK certificates",
        "TCB signer",
        "PCK revocation list",
        "TCB information",
        "quoting-enclave identity",
        "attest",
    ];
    assert_eq!(world.registered.first, expected);
    let record = world.chain.pod(world.pod).await.unwrap().unwrap();
    let key = record.key.unwrap();
    assert_eq!((key.identity, key.measurement), (world.identity.address(), Digest32([3; 32])));
    assert_eq!((key.tcb_status, key.evaluation_number), (TcbStatusCode::UpToDate, 17));
}

#[tokio::test]
async fn second_pod_brings_only_its_quote_and_a_record_changes_only_where_it_differs() {
    let mut second = Second::new().await;
    let Second { registrar, noted, info, .. } = &mut second;
    registrar.ensure(info).await.unwrap();
    let steps = noted.take();
    let [
        PodProgress::Appraised { appraisal },
        PodProgress::Registered { what: "register", .. },
        PodProgress::Registered { what: "attest", .. },
        PodProgress::Attested { until_unix_s },
    ] = steps.as_slice()
    else {
        panic!("{steps:?}");
    };
    assert_eq!((appraisal.tcb_status, appraisal.evaluation_number), (TcbStatus::UpToDate, 17));
    let left_s = until_unix_s - clock::now_unix_s();
    assert!((KEY_LIFE_MAX_S - 60..=KEY_LIFE_MAX_S + 60).contains(&left_s), "{left_s}");

    registrar.ensure(info).await.unwrap();
    assert_eq!(noted.sent(), [""; 0]);
    registrar.url = "http://127.0.0.1:7002".to_owned();
    registrar.payout = Address([8; 20]);
    registrar.offers[0].input_price_per_mtok = 1.into();
    registrar.ensure(info).await.unwrap();
    assert_eq!(noted.sent(), ["updateUrl", "updateOffers", "updatePayout"]);
    let record = second.record().await.unwrap();
    assert_eq!((&record.url, record.payout), (&second.registrar.url, Address([8; 20])));
    assert_eq!(record.offers, second.registrar.offers);
}

#[tokio::test]
async fn restarted_enclave_is_attested_without_its_certificate() {
    let second = Second::new().await;
    second.registrar.ensure(&second.info).await.unwrap();
    second.noted.take();
    let (config, pod) = (second.world.chain.config(), second.registrar.pod);
    let again = enclave_info(config, pod, Address([2; 20]), &second.machine);
    second.registrar.ensure(&again).await.unwrap();
    assert_eq!(second.noted.sent(), ["attestKnown"]);
    assert_eq!(second.key().await.identity, Address([2; 20]));
}

#[tokio::test]
async fn key_is_renewed_when_it_ends_soon_and_something_is_gained() {
    let second = Second::new().await;
    second.registrar.ensure(&second.info).await.unwrap();
    let (key, now) = (second.key().await, clock::now_unix_s());
    let judged = second.registrar.judge(&second.info, now).await.unwrap();
    let due = |judged: &Judged, now| second.registrar.renewal(&key, judged, now);
    let renew_at = key.expiry_unix_s - 86_400;
    assert_eq!(due(&judged, renew_at), None);
    assert_eq!(due(&judged, renew_at + 1), Some(Due::Ending));

    // Collateral that ends with the key gains nothing, and that is said once.
    second.noted.take();
    let appraisal = Appraisal { expires_at_unix_s: key.expiry_unix_s, ..judged.appraisal.clone() };
    let ending = Judged { appraisal, ..judged };
    assert_eq!(due(&ending, renew_at + 1), None);
    assert_eq!(due(&ending, renew_at + 60), None);
    let told = format!(
        "the registry vouches for this pod's key until unix time {}, and there is no collateral \
         that would last longer",
        key.expiry_unix_s
    );
    assert_eq!(second.noted.take(), [PodProgress::Remark(told)]);
}

#[tokio::test]
async fn newer_collateral_is_brought_and_the_key_attested_with_it() {
    let mut second = Second::new().await;
    second.registrar.ensure(&second.info).await.unwrap();
    // Issued after what is stored, which was issued an hour before the world began.
    let issued = CollateralSpec::issued(clock::now_unix_s() - 60);
    let newer = CollateralSpec { tcb_evaluation_number: 18, ..issued };
    let info = with_collateral(&second.info, &second.world, &second.machine, &newer);
    second.restart();
    second.registrar.ensure(&info).await.unwrap();
    let expected = ["TCB information", "quoting-enclave identity", "attestKnown"];
    assert_eq!(second.noted.sent(), expected);
    assert_eq!(second.key().await.evaluation_number, 18);
}

#[tokio::test]
async fn collateral_that_ends_before_a_keys_life_does_is_replaced_by_what_lasts_longer() {
    let mut second = Second::new().await;
    second.registrar.ensure(&second.info).await.unwrap();
    let (config, pod) = (second.world.chain.config().clone(), second.registrar.pod);
    let again = enclave_info(&config, pod, Address([2; 20]), &second.machine);
    let newer = CollateralSpec::issued(clock::now_unix_s() - 60);
    let info = with_collateral(&again, &second.world, &second.machine, &newer);
    second.restart();
    // What is stored ends in just less than 30 days.
    second.registrar.collateral_renew_s = 30 * 86_400;
    second.registrar.ensure(&info).await.unwrap();
    let expected = [
        "root revocation list",
        "PCK revocation list",
        "TCB information",
        "quoting-enclave identity",
        "attestKnown",
    ];
    assert_eq!(second.noted.sent(), expected);
}

#[tokio::test]
async fn platform_that_would_be_refused_costs_nothing() {
    let second = Second::new().await;
    let outdated = CollateralSpec {
        tcb_status: TcbStatus::OutOfDate,
        advisory_ids: vec!["INTEL-SA-00001".to_owned()],
        ..fresh()
    };
    let info = with_collateral(&second.info, &second.world, &second.machine, &outdated);
    let refusal = second.refused(&info).await;
    assert_eq!(refusal.kind, RefusalKind::FirmwareOutOfDate);
    let facts = [("status", "OutOfDate"), ("advisories", "INTEL-SA-00001")];
    assert_eq!(refusal.facts, facts.map(|(label, value)| (label, value.to_owned())));
}

#[tokio::test]
async fn debug_enclave_and_foreign_quote_are_refused() {
    let second = Second::new().await;
    let (config, pod) = (second.world.chain.config(), second.registrar.pod);
    let mut debug: EnclaveSpec = enclave_spec(config, pod, second.info.identity);
    debug.attributes[0] |= DEBUG_BIT;
    let evidence = Arc::new(second.machine.evidence(&debug, &fresh()));
    let info = EnclaveInfo { evidence, ..second.info.clone() };
    assert_eq!(second.refused(&info).await.kind, RefusalKind::Debug);

    let other_policy = EnclaveInfo { policy_digest: Digest32([0; 32]), ..second.info.clone() };
    assert_eq!(second.refused(&other_policy).await.kind, RefusalKind::NotBound);
}

#[tokio::test]
async fn machine_under_another_root_is_refused() {
    let second = Second::new().await;
    let root = DevelopmentRoot::from_seed(b"another root");
    let machine = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"second machine"));
    let info = with_collateral(&second.info, &second.world, &machine, &fresh());
    assert_eq!(second.refused(&info).await.kind, RefusalKind::OtherRoot);
}

#[tokio::test]
async fn hardening_needed_is_registered_with_a_remark() {
    let mut second = Second::new().await;
    let rated = CollateralSpec {
        tcb_status: TcbStatus::SWHardeningNeeded,
        advisory_ids: vec!["INTEL-SA-00615".to_owned()],
        tcb_evaluation_number: 18,
        ..CollateralSpec::issued(clock::now_unix_s() - 60)
    };
    let info = with_collateral(&second.info, &second.world, &second.machine, &rated);
    second.restart();
    second.registrar.ensure(&info).await.unwrap();
    assert_eq!(second.key().await.tcb_status, TcbStatusCode::SwHardeningNeeded);
    let told = second.noted.take();
    let Some(PodProgress::Remark(text)) = told.first() else { panic!("{told:?}") };
    assert!(text.contains("SWHardeningNeeded (INTEL-SA-00615)"), "{text}");
}

/// One machine backs one pod, unless both operators say otherwise.
#[tokio::test]
async fn taken_machine_is_refused_until_both_operators_agree() {
    let second = Second::new().await;
    let World { chain, operator, pod, .. } = &second.world;
    let shared = &second.world.registered.machine;
    let info = enclave_info(chain.config(), second.registrar.pod, Address([1; 20]), shared);
    let quote = PlatformQuote::cut(&info.evidence.quote).unwrap();
    let (machine, this) = (quote.pck.machine, second.registrar.pod);
    for (expected, agrees) in [(vec!["register"], *pod), (vec![], this)] {
        let refused = second.registrar.ensure(&info).await;
        let Err(PodError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.kind, RefusalKind::MachineTaken);
        let facts = [("machine", machine.to_string()), ("this pod", this.to_string())];
        assert_eq!(refusal.facts[..2], facts);
        assert_eq!(refusal.facts[2], ("other pod", pod.to_string()));
        assert!(refusal.hint().contains(&format!("share-machine {machine} --pod {this}")));
        assert_eq!(second.noted.sent(), expected);
        operator.set_sharing(agrees, machine, true).await.unwrap();
    }
    second.registrar.ensure(&info).await.unwrap();
    assert_eq!(second.noted.sent(), ["attestKnown"]);
    assert_eq!(second.key().await.evidence, quote.evidence);
}

#[tokio::test]
async fn contracts_refusal_is_put_into_words() {
    let second = Second::new().await;
    // An operator that is not the pod's own is no matter of the platform.
    let stranger = second.world.chain.sender(&signer(1));
    second.registrar.ensure(&second.info).await.unwrap();
    let PlatformQuote { parts, pck, .. } = PlatformQuote::cut(&second.info.evidence.quote).unwrap();
    let binding = |policy| KeyBinding {
        identity: second.info.identity,
        model_set_root: second.info.model_set_root,
        policy_digest: Digest32(policy),
    };
    let pod = second.registrar.pod;
    let error = stranger.attest_known(pod, &binding([6; 32]), &parts, &pck).await.unwrap_err();
    assert_eq!(error.refusal(), Some("NotOperator"));
    assert_eq!(of_contract(&error), None);

    let operator = &second.world.operator;
    let error = operator.attest_known(pod, &binding([0; 32]), &parts, &pck).await.unwrap_err();
    let refusal = of_contract(&error).unwrap();
    assert_eq!(refusal.kind, RefusalKind::NotBound);
    assert_eq!(refusal.by, RefusedBy::Contract { call: "attestKnown" });
    assert!(refusal.facts[0].1.starts_with("WrongReportData {"), "{refusal}");
}
