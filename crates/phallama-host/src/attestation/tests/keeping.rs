//! The collateral that a running pod holds: where it comes from and when it is looked for again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use phallama_attest::simulated::{CollateralSpec, EnclaveSpec};
use phallama_attest::{Collateral, Evidence};
use phallama_protocol::ids::{Address, Digest32};
use phallama_protocol::link::Kind;

use crate::attestation::{CollateralKeeper, PlatformQuote, RefusalKind, no_collateral};
use crate::collateral::Remark;
use crate::collateral::tests::{DAY, NOW, Service, fresh, source};
use crate::enclave::{EnclaveClient, EnclaveInfo};
use crate::testing::{ScriptedEnclave, machine};

fn info(collateral: Collateral) -> EnclaveInfo {
    let enclave = EnclaveSpec::new([1; 32], [2; 64]);
    let quote = machine(b"machine").quote(&enclave);
    EnclaveInfo {
        identity: Address([1; 20]),
        measurement: Digest32([1; 32]),
        model_set_root: Digest32([2; 32]),
        policy_digest: Digest32([3; 32]),
        evidence: Arc::new(Evidence { quote, collateral }),
    }
}

fn cut(info: &EnclaveInfo) -> PlatformQuote {
    PlatformQuote::cut(&info.evidence.quote).unwrap()
}

fn with_services(dir: &Path, urls: &[&str], file: Option<PathBuf>) -> CollateralKeeper {
    let enclave = EnclaveClient::new("/nowhere".into());
    CollateralKeeper { source: Some(source(dir, urls)), enclave, file, kept: Mutex::default() }
}

#[tokio::test]
async fn services_replace_what_the_enclave_brings() {
    let (service, dir) = (Service::start(fresh(NOW)).await, tempfile::tempdir().unwrap());
    let file = dir.path().join("enclave.json");
    let keeper = with_services(dir.path(), &[&service.url], Some(file.clone()));
    // What a Gramine enclave has before the host has fetched anything.
    let info = info(no_collateral());
    let (set, remarks) = keeper.newest(&info, &cut(&info), NOW).await.unwrap();
    assert_eq!((set.to_evidence(), remarks), (fresh(NOW), vec![]));

    let served = keeper.refresh(info.identity, Evidence::clone(&info.evidence));
    assert_eq!((served.quote, served.collateral), (info.evidence.quote.clone(), fresh(NOW)));
    let other = keeper.refresh(Address([9; 20]), Evidence::clone(&info.evidence));
    assert_eq!(other.collateral, no_collateral(), "of an enclave that is not known yet");
    let written = std::fs::read(&file).unwrap();
    assert_eq!(serde_json::from_slice::<Collateral>(&written).unwrap(), fresh(NOW));
}

#[tokio::test]
async fn outage_is_remarked_on_at_every_look_and_a_look_is_taken_hourly() {
    let (service, dir) = (Service::start(fresh(NOW)).await, tempfile::tempdir().unwrap());
    let keeper = with_services(dir.path(), &[&service.url], None);
    let info = info(no_collateral());
    keeper.newest(&info, &cut(&info), NOW).await.unwrap();
    service.goes_down();
    let later = NOW + 2 * DAY;
    let (_, remarks) = keeper.newest(&info, &cut(&info), later).await.unwrap();
    assert!(matches!(remarks[..], [Remark::Stale { .. }, ..]), "{remarks:?}");
    let asked = service.asked();
    for (now, again) in [(later + 3_599, 0), (later + 3_600, 4)] {
        keeper.newest(&info, &cut(&info), now).await.unwrap();
        assert_eq!(service.asked(), asked + again);
    }
    let end = NOW - 3_600 + 30 * DAY;
    let refusal = keeper.newest(&info, &cut(&info), end).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::CollateralExpired);
    assert_eq!(refusal.facts[0], ("item", "root revocation list".to_owned()));
}

#[tokio::test]
async fn without_services_the_enclave_is_asked_again_after_an_hour() {
    let enclave = ScriptedEnclave::new();
    let keeper = CollateralKeeper::without_services(enclave.socket());
    let info = info(fresh(NOW));
    let first = keeper.newest(&info, &cut(&info), NOW).await.unwrap().0;
    assert_eq!(first.to_evidence(), fresh(NOW));

    let later = NOW + 3_600;
    let answer = async {
        let mut side = enclave.accept().await;
        assert_eq!(side.expect(Kind::Evidence).await.payload, [0; 32]);
        let newer = Evidence { collateral: fresh(later), ..Evidence::clone(&info.evidence) };
        side.raw(Kind::Evidence, &newer.to_json().unwrap()).await;
    };
    let quote = cut(&info);
    let (newest, ()) = tokio::join!(keeper.newest(&info, &quote, later), answer);
    assert_eq!(newest.unwrap().0.to_evidence(), fresh(later));
}

#[tokio::test]
async fn expired_collateral_of_an_enclave_is_refused_with_the_item() {
    let keeper = CollateralKeeper::without_services("/nowhere".into());
    let old = CollateralSpec::fresh(NOW - 40 * DAY);
    let collateral =
        machine(b"machine").evidence(&EnclaveSpec::new([1; 32], [2; 64]), &old).collateral;
    let info = info(collateral);
    let refusal = keeper.newest(&info, &cut(&info), NOW).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::CollateralExpired);
    assert_eq!(refusal.facts[0], ("item", "root revocation list".to_owned()));
}
