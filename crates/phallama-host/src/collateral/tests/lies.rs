//! Services that lie: each is skipped, the next one is taken, and the operator hears which it was.

use crate::collateral::{Fault, Item, Remark};
use axum::http::{HeaderValue, Response};
use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Collateral, Tee};
use sha2::{Digest as _, Sha256};

use super::fixture::{
    DAY, NOW, Service, Setup, fresh, machine, published, status, url_encoded, wanted,
};

/// Asks a liar and then an honest service. The set is the honest one, and the faults are the
/// liar's.
async fn faults(liar: &Service, tee: Tee) -> Vec<(Item, Fault)> {
    let honest = Service::start(published_for(tee)).await;
    let setup = Setup::new(&[&liar.url, &honest.url]);
    let (set, remarks) = setup.source.set(&wanted(tee), NOW).await.unwrap();
    assert_eq!(set.to_evidence(), published_for(tee));
    let blamed = remarks.into_iter().map(|remark| match remark {
        Remark::Skipped { item, url, fault } if url == liar.url => (item, fault),
        other => panic!("{other}"),
    });
    blamed.collect()
}

fn published_for(tee: Tee) -> Collateral {
    use phallama_attest::simulated::{TdReport, TrustDomainSpec};
    match tee {
        Tee::Sgx => fresh(NOW),
        Tee::Tdx => {
            let domain = TrustDomainSpec::new(TdReport::V4, [1; 48], [2; 64]);
            machine().td_evidence(&domain, &CollateralSpec::fresh(NOW)).collateral
        }
    }
}

/// A service that has this instead of the honest collateral.
async fn with(collateral: Collateral) -> Vec<(Item, Fault)> {
    faults(&Service::start(collateral).await, Tee::Sgx).await
}

/// A service that answers honestly but for one item.
async fn changed(
    item: Item,
    change: impl Fn(Response<Vec<u8>>) -> Response<Vec<u8>> + Send + Sync + 'static,
) -> Vec<(Item, Fault)> {
    let liar = Service::start(fresh(NOW)).await;
    liar.change(move |asked, answer| if asked == item { change(answer) } else { answer });
    faults(&liar, Tee::Sgx).await
}

/// One byte in the middle of an answer's body, replaced.
fn flipped(mut answer: Response<Vec<u8>>, at: usize) -> Response<Vec<u8>> {
    answer.body_mut()[at] ^= 1;
    answer
}

#[tokio::test]
async fn tcb_information_of_another_processor_family_is_refused() {
    let fmspc = Some([0xaa; 6]);
    let liar = published(&machine(), &CollateralSpec { fmspc, ..CollateralSpec::fresh(NOW) });
    let fault = Fault::Other {
        what: "TCB information",
        expected: "00606A000000".to_owned(),
        got: "AAAAAAAAAAAA".to_owned(),
    };
    assert_eq!(with(liar).await, [(Item::TcbInfo, fault)]);
}

#[tokio::test]
async fn collateral_of_the_other_tee_is_refused() {
    let liar = Service::start(published_for(Tee::Sgx)).await;
    let other = |what, expected: &str, got: &str| Fault::Other {
        what,
        expected: expected.to_owned(),
        got: got.to_owned(),
    };
    let expected = [
        (Item::TcbInfo, other("TCB information", "TDX", "SGX")),
        (Item::QeIdentity, other("quoting-enclave identity", "TD_QE", "QE")),
    ];
    assert_eq!(faults(&liar, Tee::Tdx).await, expected);
}

#[tokio::test]
async fn collateral_under_another_root_is_refused() {
    let other = DevelopmentRoot::from_seed(b"another root");
    let machine = SimulatedPlatform::new(&other, PlatformSpec::from_seed(b"machine"));
    let sha256 = |root: &DevelopmentRoot| Sha256::digest(root.root_der()).into();
    let expected_sha256 = sha256(&DevelopmentRoot::from_seed(DEVELOPMENT_SEED));
    let fault = Fault::OtherRoot { expected_sha256, got_sha256: sha256(&other) };
    // Both roots have the same name, so of the root's own list only the signature tells.
    let expected = [
        (Item::RootCrl, Fault::BadSignature { what: "root revocation list" }),
        (Item::PckCrl, fault.clone()),
        (Item::TcbInfo, fault.clone()),
        (Item::QeIdentity, fault),
    ];
    assert_eq!(with(published(&machine, &CollateralSpec::fresh(NOW))).await, expected);
}

#[tokio::test]
async fn signer_that_the_root_did_not_sign_is_refused() {
    let other = DevelopmentRoot::from_seed(b"another root");
    let forger = SimulatedPlatform::new(&other, PlatformSpec::from_seed(b"machine"));
    let mut forged = published(&forger, &CollateralSpec::fresh(NOW));
    let honest = fresh(NOW);
    let end = "-----END CERTIFICATE-----\n";
    let first = |chain: &str| chain.split_inclusive(end).next().unwrap().to_owned();
    let root = honest.tcb_info_issuer_chain.split_inclusive(end).nth(1).unwrap();
    forged.root_ca_crl.clone_from(&honest.root_ca_crl);
    for chain in [
        &mut forged.pck_crl_issuer_chain,
        &mut forged.tcb_info_issuer_chain,
        &mut forged.qe_identity_issuer_chain,
    ] {
        *chain = first(chain) + root;
    }
    let fault = Fault::BadSignature { what: "issuer certificate" };
    let items = [Item::PckCrl, Item::TcbInfo, Item::QeIdentity];
    assert_eq!(with(forged).await, items.map(|item| (item, fault.clone())));
}

#[tokio::test]
async fn changed_bytes_are_refused() {
    let json = fresh(NOW).tcb_info;
    // 17 becomes 16.
    let number = r#""tcbEvaluationDataNumber":1"#;
    let at = r#"{"tcbInfo":"#.len() + json.find(number).unwrap() + number.len();
    let flip = move |answer| flipped(answer, at);
    let fault = Fault::BadSignature { what: "TCB information" };
    assert_eq!(changed(Item::TcbInfo, flip).await, [(Item::TcbInfo, fault)]);

    let last = fresh(NOW).pck_crl.len() - 1;
    let flip = move |answer| flipped(answer, last);
    let fault = Fault::BadSignature { what: "PCK revocation list" };
    assert_eq!(changed(Item::PckCrl, flip).await, [(Item::PckCrl, fault)]);
}

#[tokio::test]
async fn revocation_list_of_another_authority_is_refused() {
    let honest = fresh(NOW);
    let root_list = honest.root_ca_crl.clone();
    let found = changed(Item::PckCrl, move |answer| answer.map(|_| root_list.clone())).await;
    let [(Item::PckCrl, Fault::Other { what: "PCK revocation list", got, expected })] =
        found.as_slice()
    else {
        panic!("{found:?}");
    };
    assert!(got.contains("Root CA") && expected.contains("Platform CA"), "{got} {expected}");
}

#[tokio::test]
async fn items_outside_of_their_dates_are_refused() {
    let now_unix_s = NOW;
    let expired = published(&machine(), &CollateralSpec::fresh(NOW - 40 * DAY));
    let end_unix_s = NOW - 10 * DAY - 3_600;
    let fault = |item: Item| Fault::Expired { what: item.as_str(), end_unix_s, now_unix_s };
    assert_eq!(with(expired).await, Item::ALL.map(|item| (item, fault(item))));

    let future = published(&machine(), &CollateralSpec::fresh(NOW + DAY));
    let from_unix_s = NOW + DAY - 3_600;
    let fault = |item: Item| Fault::NotYetValid { what: item.as_str(), from_unix_s, now_unix_s };
    assert_eq!(with(future).await, Item::ALL.map(|item| (item, fault(item))));
}

#[tokio::test]
async fn garbage_is_refused() {
    for body in ["", "0", "[]", "<html>busy</html>", "0z", "\u{0}\u{0}"] {
        let body = body.to_owned();
        let liar = Service::start(fresh(NOW)).await;
        let name = body.clone();
        liar.change(move |_, answer| answer.map(|_| body.clone().into_bytes()));
        let faults = faults(&liar, Tee::Sgx).await;
        let items: Vec<Item> = faults.iter().map(|(item, _)| *item).collect();
        assert_eq!(items, Item::ALL, "{name:?}");
        for (_, fault) in faults {
            assert!(matches!(fault, Fault::Malformed { .. }), "{name:?}: {fault}");
        }
    }
}

#[tokio::test]
async fn chain_that_is_missing_or_no_chain_is_refused() {
    let header = "TCB-Info-Issuer-Chain";
    let strip = move |mut answer: Response<Vec<u8>>| {
        answer.headers_mut().remove(header);
        answer
    };
    let found = changed(Item::TcbInfo, strip).await;
    assert_eq!(found, [(Item::TcbInfo, Fault::NoIssuerChain { header })]);

    let single = fresh(NOW).tcb_info_issuer_chain;
    let single = single.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    for (chain, problem) in [
        ("not a certificate".to_owned(), "PEM error"),
        (single, "an issuer chain of 1 certificates, not 2"),
        ("\u{7f}".to_owned(), "an issuer chain of 0 certificates"),
    ] {
        let value = HeaderValue::from_str(&url_encoded(&chain)).unwrap();
        let replace = move |mut answer: Response<Vec<u8>>| {
            answer.headers_mut().insert(header, value.clone());
            answer
        };
        let found = changed(Item::TcbInfo, replace).await;
        let [(Item::TcbInfo, Fault::Malformed { detail })] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(detail.contains(problem), "{detail}");
    }
}

#[tokio::test]
async fn older_name_of_the_chains_header_is_understood() {
    let rename = |mut answer: Response<Vec<u8>>| {
        let chain = answer.headers_mut().remove("TCB-Info-Issuer-Chain").unwrap();
        answer.headers_mut().insert("SGX-TCB-Info-Issuer-Chain", chain);
        answer
    };
    assert_eq!(changed(Item::TcbInfo, rename).await, []);
}

#[tokio::test]
async fn endless_answer_is_cut_off() {
    let flood = |answer: Response<Vec<u8>>| answer.map(|_| vec![b' '; 256 * 1024 + 1]);
    let fault = Fault::TooLarge { max_bytes: 256 * 1024 };
    assert_eq!(changed(Item::QeIdentity, flood).await, [(Item::QeIdentity, fault)]);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Service::start(fresh(NOW)).await;
    let to = format!("{}/sgx/certification/v4/rootcacrl", elsewhere.url);
    let location = to.clone();
    let redirect = move |_| {
        let mut answer = status(302);
        answer.headers_mut().insert("location", HeaderValue::from_str(&location).unwrap());
        answer
    };
    let found = changed(Item::RootCrl, redirect).await;
    assert_eq!(found, [(Item::RootCrl, Fault::Redirected { to })]);
    assert_eq!(elsewhere.asked(), 0);
}

/// A valid but older item would hide a revocation or a lower rating.
#[tokio::test]
async fn rollback_is_refused() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    service.serves(fresh(NOW - 5 * DAY));
    let (set, remarks) = setup.source.set(&wanted(Tee::Sgx), NOW + DAY).await.unwrap();
    assert_eq!(set.to_evidence(), fresh(NOW));
    let (held_unix_s, offered_unix_s) = (NOW - 3_600, NOW - 3_600 - 5 * DAY);
    for remark in remarks {
        let Remark::Stale { tried, .. } = remark else { panic!("{remark}") };
        let fault = Fault::Older { held_unix_s, offered_unix_s };
        assert_eq!(tried.0, [(service.url.clone(), fault)]);
    }
}
