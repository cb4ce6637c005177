//! Services that do not answer: what is on disk is used for as long as it is valid, and no longer.

use crate::collateral::{CollateralError, Fault, Item, Remark, Tried};
use phallama_attest::Tee;
use phallama_attest::simulated::CollateralSpec;

use super::fixture::{DAY, NOW, Service, Setup, fresh, machine, published, source, status, wanted};

fn down(url: &str) -> Tried {
    Tried(vec![(url.to_owned(), Fault::Status { status: 503 })])
}

#[tokio::test]
async fn set_is_fetched_whole_and_equals_what_was_published() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    let (set, remarks) = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    assert_eq!(remarks, []);
    assert_eq!(set.to_evidence(), fresh(NOW));
    assert_eq!(set.next_update_unix_s(), NOW - 3_600 + 30 * DAY);
    assert_eq!(set.tcb_info.window.evaluation_number, 17);
}

#[tokio::test]
async fn url_with_the_apis_path_at_its_end_is_the_same_service() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&format!("{}/sgx/certification/v4/", service.url)]);
    setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    assert_eq!(service.asked(), 4);
}

#[tokio::test]
async fn services_are_asked_once_a_day() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    for (now, asked) in [(NOW, 4), (NOW + DAY - 1, 4), (NOW + DAY, 8), (NOW + DAY, 8)] {
        setup.source.set(&wanted(Tee::Sgx), now).await.unwrap();
        assert_eq!(service.asked(), asked, "{} s later", now - NOW);
    }
}

#[tokio::test]
async fn short_lived_items_are_asked_for_again_at_half_of_their_life() {
    let spec = CollateralSpec { next_update_unix_s: NOW + 1_000, ..CollateralSpec::fresh(NOW) };
    let service = Service::start(published(&machine(), &spec)).await;
    let setup = Setup::new(&[&service.url]);
    for (now, asked) in [(NOW, 4), (NOW + 499, 4), (NOW + 500, 8)] {
        setup.source.set(&wanted(Tee::Sgx), now).await.unwrap();
        assert_eq!(service.asked(), asked);
    }
}

#[tokio::test]
async fn next_service_is_asked_when_one_is_down_and_the_first_is_named() {
    let (first, second) = (Service::start(fresh(NOW)).await, Service::start(fresh(NOW)).await);
    first.goes_down();
    let setup = Setup::new(&[&first.url, &second.url]);
    let (set, remarks) = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    assert_eq!(set.to_evidence(), fresh(NOW));
    let fault = Fault::Status { status: 503 };
    let skipped = Item::ALL.map(|item| Remark::Skipped {
        item,
        url: first.url.clone(),
        fault: fault.clone(),
    });
    assert_eq!(remarks, skipped);
}

/// Eight days without a service are nothing; thirty are the end, with an error of its own.
#[tokio::test]
async fn outage_is_survived_until_the_items_own_next_update() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    service.goes_down();

    let end = NOW - 3_600 + 30 * DAY;
    for now in [NOW + 8 * DAY, end - 1] {
        // A restarted pod has only the disk.
        let restarted = source(setup.dir.path(), &[&service.url]);
        let (set, remarks) = restarted.set(&wanted(Tee::Sgx), now).await.unwrap();
        assert_eq!(set.to_evidence(), fresh(NOW));
        let stale = Item::ALL.map(|item| Remark::Stale {
            item,
            fetched_at_unix_s: NOW,
            next_update_unix_s: end,
            tried: down(&service.url),
        });
        assert_eq!(remarks, stale);
    }
    let error = setup.source.set(&wanted(Tee::Sgx), end).await.unwrap_err();
    let expected = CollateralError::Expired {
        item: Item::RootCrl,
        next_update_unix_s: end,
        tried: down(&service.url),
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        format!(
            "the root revocation list expired at unix time {end}, and no collateral service gave a \
             newer one\n  {} answered with HTTP status 503",
            service.url
        )
    );
}

#[tokio::test]
async fn service_that_comes_back_with_expired_items_does_not_help() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    let now_unix_s = NOW + 31 * DAY;
    let end_unix_s = NOW - 3_600 + 30 * DAY;
    let error = setup.source.set(&wanted(Tee::Sgx), now_unix_s).await.unwrap_err();
    let fault = Fault::Expired { what: "root revocation list", end_unix_s, now_unix_s };
    let tried = Tried(vec![(service.url.clone(), fault)]);
    let item = Item::RootCrl;
    assert_eq!(error, CollateralError::Expired { item, next_update_unix_s: end_unix_s, tried });

    service.serves(fresh(now_unix_s));
    let (set, remarks) = setup.source.set(&wanted(Tee::Sgx), now_unix_s).await.unwrap();
    assert_eq!((set.to_evidence(), remarks), (fresh(now_unix_s), vec![]));
}

#[tokio::test]
async fn without_services_and_cache_there_is_a_refusal_of_its_own() {
    let setup = Setup::new(&[]);
    let error = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap_err();
    let (item, tried) = (Item::RootCrl, Tried(Vec::new()));
    assert_eq!(error, CollateralError::Unavailable { item, tried });
}

#[tokio::test]
async fn only_the_item_that_is_missing_is_refused() {
    let service = Service::start(fresh(NOW)).await;
    service.change(|item, answer| if item == Item::TcbInfo { status(404) } else { answer });
    let setup = Setup::new(&[&service.url]);
    let error = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap_err();
    let tried = Tried(vec![(service.url.clone(), Fault::Status { status: 404 })]);
    assert_eq!(error, CollateralError::Unavailable { item: Item::TcbInfo, tried });
}

#[tokio::test]
async fn damaged_files_are_fetched_again() {
    let service = Service::start(fresh(NOW)).await;
    let setup = Setup::new(&[&service.url]);
    setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    let files = ["root-crl", "pck-crl-platform", "tcb-info-sgx-00606a000000", "qe-identity-sgx"];
    for name in files {
        let path = setup.dir.path().join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        // One digit of the body, so that the file still parses.
        let at = text.find(r#""body":""#).unwrap() + 200;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        std::fs::write(&path, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
    }
    std::fs::write(setup.dir.path().join("root-crl.json"), "half a fi").unwrap();
    let (set, remarks) = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap();
    assert_eq!((set.to_evidence(), remarks, service.asked()), (fresh(NOW), vec![], 8));
}

#[tokio::test]
async fn dead_port_and_silent_service_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let freed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}", freed.local_addr().unwrap());
    drop(freed);
    let setup = Setup::new(&[&dead, &silent]);
    let error = setup.source.set(&wanted(Tee::Sgx), NOW).await.unwrap_err();
    let CollateralError::Unavailable { item: Item::RootCrl, tried: Tried(tried) } = error else {
        panic!("{error}");
    };
    let [(_, Fault::Unreachable { reason }), (_, Fault::TimedOut { within_ms: 2_000 })] =
        tried.as_slice()
    else {
        panic!("{tried:?}");
    };
    assert!(reason.contains("refused"), "{reason}");
}
