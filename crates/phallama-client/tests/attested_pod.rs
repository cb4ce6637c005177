//! What the client makes of a pod that a real registry has attested: two judgements, two moments.

// Clippy takes only the functions marked as tests for tests.
#![allow(clippy::unwrap_used)]

#[cfg(test)]
mod support;

use phallama_attest::simulated::CollateralSpec;
use phallama_client::{
    CheckState, Client, ClientError, Dossier, Refusal, TrustPolicy, TrustRoot, VouchedBy,
};
use phallama_protocol::ids::PodId;
use phallama_protocol::keys::Signer;
use support::fixture::Fixture;
use support::pod::ScriptedPod;
use support::{World, chat, now_unix_s};

async fn refused(client: &Client, pod: PodId) -> Box<Refusal> {
    match client.verify(pod).await.expect_err("the pod must be refused") {
        ClientError::AttestationRejected(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The state and the words of one check.
async fn line(client: &Client, pod: PodId, name: &str) -> (CheckState, String) {
    let verified = client.verify(pod).await.unwrap();
    let line = verified.checks().iter().find(|line| line.name == name).unwrap();
    (line.state, line.detail.clone())
}

/// A restart: another identity, another quote, attested by the registry.
async fn restart(world: &World, pod: &ScriptedPod) {
    pod.change(|fixture| {
        fixture.identity = Signer::from_bytes(&[0x18; 32]).unwrap();
        fixture.enclave.report_data = fixture.report_data();
    });
    world.attest(&pod.fixture()).await;
}

/// Collateral of `number`, a little newer than the fixture's first.
fn newer(fixture: &mut Fixture, number: u32) {
    let issued = CollateralSpec::issued(now_unix_s() - 60);
    fixture.collateral = CollateralSpec { tcb_evaluation_number: number, ..issued };
}

#[tokio::test]
async fn the_registry_and_the_client_agree_about_an_honest_pod() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = world.client().await;
    let verified = client.verify(pod.id()).await.unwrap();
    let fixture = pod.fixture();
    assert_eq!(verified.key().evidence, fixture.evidence_digest());
    assert_eq!(verified.key().measurement, fixture.measurement());
    let skipped: Vec<_> = verified
        .checks()
        .iter()
        .filter(|check| check.state != CheckState::Pass)
        .map(|check| check.name)
        .collect();
    assert_eq!(skipped, ["policy"]);
    let machine = format!("{} backs this pod", fixture.machine());
    let found = line(&client, pod.id(), "machine-identity").await;
    assert_eq!(found, (CheckState::Pass, machine));
}

#[tokio::test]
async fn a_pod_that_renewed_its_key_since_the_list_was_read_is_held_to_the_new_record() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = world.client().await;
    let before = client.pods().await.unwrap()[0].key.unwrap();
    restart(&world, &pod).await;
    let mut answer = client.chat("tiny:1b", chat(8)).await.unwrap();
    assert_eq!(answer.text().await.unwrap().0, "hello world");
    assert_eq!(pod.bundles(), 2, "once by the old record, once by the new one");
    let after = client.pods().await.unwrap()[0].key.unwrap();
    assert_ne!(after.identity, before.identity, "the list was read again");
}

#[tokio::test]
async fn a_pod_that_renews_its_key_while_it_is_read_is_read_once_more() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = world.client().await;
    let (bundle, evidence) = pod.shows();
    restart(&world, &pod).await;
    // Both of before; then a new bundle beside evidence of before; and the other way round.
    let (new_bundle, new_evidence) = pod.shows();
    for (bundle, evidence) in
        [(bundle.clone(), evidence.clone()), (new_bundle, evidence), (bundle, new_evidence)]
    {
        let asked = pod.bundles();
        pod.show_once(bundle, evidence);
        let verified = client.verify(pod.id()).await.unwrap();
        assert_eq!(verified.key().evidence, pod.fixture().evidence_digest());
        assert_eq!(pod.bundles() - asked, 2);
    }
}

#[tokio::test]
async fn a_quote_that_the_registry_never_saw_is_refused_after_one_more_reading() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let verified_there = pod.fixture().evidence_digest();
    // The same program with the same key on the same machine in another quote: everything but the
    // registry's word is right.
    pod.change(|fixture| fixture.enclave.isv_svn += 1);
    let refusal = refused(&world.client().await, pod.id()).await;
    let got = pod.fixture().evidence_digest();
    assert_eq!(refusal.failed().name, "on-chain-quote-verification");
    let said = format!("this quote is {got}, the registry verified {verified_there}");
    assert_eq!(refusal.failed().detail, said);
    assert_eq!(pod.bundles(), 2);
}

#[tokio::test]
async fn collateral_that_is_newer_on_either_side_does_not_trouble_an_honest_pod() {
    let world = World::new(1_000_000).await;
    let (first, second) = (world.pod(1).await, world.pod(2).await);
    let client = world.client().await;
    let name = "chain-tcb-status";
    // The pod shows newer collateral than its key was attested with.
    first.change(|fixture| newer(fixture, 18));
    let found = line(&client, first.id(), name).await;
    assert_eq!(found, (CheckState::Pass, "UpToDate, as this client finds".to_owned()));
    // The key was attested with newer collateral than the pod shows.
    let stranger = world.client_with(|config| config.state_dir.push("other")).await;
    let mut renewed = second.fixture();
    newer(&mut renewed, 18);
    world.attest(&renewed).await;
    let record = world.chain.pod(second.id()).await.unwrap().unwrap();
    assert_eq!(record.key.unwrap().evaluation_number, 18);
    let found = line(&stranger, second.id(), name).await;
    assert_eq!(found, (CheckState::Pass, "UpToDate, as this client finds".to_owned()));
}

#[tokio::test]
async fn the_highest_evaluation_number_seen_is_remembered_and_held_to() {
    let world = World::new(1_000_000).await;
    let (first, second) = (world.pod(1).await, world.pod(2).await);
    let client = world.client().await;
    client.verify(second.id()).await.unwrap();
    first.change(|fixture| newer(fixture, 18));
    client.verify(first.id()).await.unwrap();
    drop(client);
    let client = world.client().await;
    let refusal = refused(&client, second.id()).await;
    assert_eq!(refusal.failed().name, "tcb-evaluation-number");
    let said = "the TCB evaluation number is 17, below 18, which was seen before";
    assert_eq!(refusal.failed().detail, said);
    let audit = client.audit(second.id()).await.unwrap();
    assert_eq!(audit.dossier().tcb_evaluation_number_min, 18);
    second.change(|fixture| newer(fixture, 18));
    let found = line(&client, second.id(), "tcb-evaluation-number").await;
    assert_eq!(found, (CheckState::Pass, "18, at least 18".to_owned()));
}

#[tokio::test]
async fn a_deployment_under_another_root_is_refused_and_its_pods_are_not_asked() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let intel = |trust: &mut TrustPolicy| trust.root = TrustRoot::Intel;
    let client = world.client_with(|config| intel(&mut config.trust)).await;
    let refusal = refused(&client, pod.id()).await;
    assert_eq!(refusal.failed().name, "chain-root");
    assert_eq!(pod.bundles(), 0);
    let text = ClientError::AttestationRejected(refusal).explain(None).to_string();
    assert!(text.contains("Intel's SGX root"), "{text}");
    assert!(text.contains("do not belong together"), "{text}");
}

#[tokio::test]
async fn a_machine_shared_by_consent_backs_two_pods() {
    let world = World::new(1_000_000).await;
    let first = world.pod(1).await;
    let (machine, platform) = (first.fixture().machine(), first.fixture().platform);
    let second = world.listed(2, |fixture| fixture.platform = platform).await;
    for pod in [&first, &second] {
        world.operator.set_sharing(pod.id(), machine, true).await.unwrap();
    }
    world.attest(&second.fixture()).await;
    let client = world.client().await;
    let mut seen = Vec::new();
    for pod in [&first, &second] {
        let (state, detail) = line(&client, pod.id(), "machine-identity").await;
        assert_eq!(state, CheckState::Pass, "{detail}");
        seen.push(detail.trim_start_matches(&machine.to_string()).to_owned());
    }
    seen.sort();
    assert_eq!(seen[0], " backs this pod");
    assert!(seen[1].starts_with(" is shared with pod 0x"), "{}", seen[1]);
}

#[tokio::test]
async fn a_trust_domain_is_attested_and_approved_like_an_enclave() {
    let world = World::new(1_000_000).await;
    let pod = world.pod_with(1, Fixture::in_trust_domain).await;
    let refusal = refused(&world.client().await, pod.id()).await;
    assert_eq!(refusal.failed().name, "measurement");
    let digest = pod.fixture().measurement().to_string();
    let client = world
        .client_with(|config| {
            let approved = phallama_client::ApprovedMeasurement::from_hex("td 1", &digest);
            config.trust.measurements.push(approved.unwrap());
        })
        .await;
    let verified = client.verify(pod.id()).await.unwrap();
    assert_eq!(verified.release_label(), "td 1");
    assert_eq!(verified.key().tee, phallama_client::TeeKind::Tdx);
}

#[tokio::test]
async fn what_was_audited_live_is_audited_again_from_its_file() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = Client::open_without_key(world.config()).await.unwrap();
    let live = client.audit(pod.id()).await.unwrap();
    assert_eq!(live.refusal(), None);
    let at = live.at_unix_s();
    let file = live.to_json().to_string();
    drop((client, pod));
    let trust = world.config().trust;
    drop(world);
    let again = Dossier::from_json(file.as_bytes()).unwrap().audit(&trust, at);
    assert_eq!(again.refusal(), None);
    let pairs = live.checks().iter().zip(again.checks());
    for (then, now) in pairs {
        assert_eq!((then.name, then.state, &then.detail), (now.name, now.state, &now.detail));
        let expected = match then.vouched_by {
            VouchedBy::Chain => VouchedBy::File,
            other => other,
        };
        assert_eq!(now.vouched_by, expected, "{}", now.name);
    }
}
