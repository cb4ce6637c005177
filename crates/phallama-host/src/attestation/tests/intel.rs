//! Intel's own quotes and collateral, against a deployment under Intel's root, at a time when they
//! were valid.

use phallama_attest::{Evidence, TcbStatus, TrustRoot};
use phallama_chain::{Chain, Sender, deploy};
use phallama_devchain::ChainOptions;

use super::refusals::intels;
use crate::attestation::{Bring, PlatformQuote, RefusalKind, bring, try_evidence};
use crate::collateral::CollateralSet;
use crate::error::PodError;
use crate::testing::{Node, signer, start_node};

async fn deployment(genesis_unix_s: u64, evidence: &Evidence) -> (Chain, Sender, Node) {
    let options = ChainOptions { genesis_unix_s: Some(genesis_unix_s), ..ChainOptions::default() };
    let (url, node) = start_node(options);
    let root_der = PlatformQuote::cut(&evidence.quote).unwrap().wanted.root_der;
    let deployed = deploy(&url, &signer(0), &root_der).await.unwrap();
    let chain = Chain::connect(deployed.config(&url)).await.unwrap();
    assert_eq!(chain.root_certificate_sha256().await.unwrap().0, TrustRoot::Intel.sha256());
    let sender = chain.sender(&signer(0));
    (chain, sender, node)
}

/// Brings what is missing; returns what it was, the gas it took and the gas it was said to take.
async fn brought(
    chain: &Chain,
    sender: &Sender,
    evidence: &Evidence,
    now_unix_s: u64,
) -> Vec<(Bring, u64, u64)> {
    let quote = PlatformQuote::cut(&evidence.quote).unwrap();
    let set = CollateralSet::from_evidence(&evidence.collateral, &quote.wanted, now_unix_s);
    let (set, mut sent) = (set.unwrap(), Vec::new());
    let mut note = |what: Bring, tx: &phallama_chain::Tx| {
        sent.push((what, tx.gas_used, what.gas_about(&set)));
    };
    bring(chain, sender, &quote, &set, now_unix_s, &mut note).await.unwrap();
    sent
}

#[tokio::test]
async fn intels_quotes_are_accepted_after_their_collateral_was_brought() {
    for (name, now_unix_s, status) in [
        ("tdx_quote_td15ex", 1_791_500_000, TcbStatus::UpToDate),
        ("sgx_quote", 1_750_400_000, TcbStatus::ConfigurationAndSWHardeningNeeded),
        ("tdx_quote", 1_750_400_000, TcbStatus::UpToDate),
    ] {
        let mut evidence = intels(name);
        if name == "tdx_quote" {
            // The quoting service padded it with zeros, which count as bytes after the quote.
            evidence.quote.truncate(4_936);
        }
        let (chain, sender, _node) = deployment(now_unix_s, &evidence).await;
        let before = try_evidence(&chain, &evidence, None, now_unix_s).await.unwrap();
        assert_eq!((before.appraisal.tcb_status, before.verdict), (status, None), "{name}");
        let sent = brought(&chain, &sender, &evidence, now_unix_s).await;
        assert_eq!(sent.iter().map(|sent| sent.0).collect::<Vec<_>>(), before.missing, "{name}");
        for (what, gas, about) in sent {
            let close = (about / 10 * 9..=about / 10 * 11).contains(&gas);
            assert!(close, "{name}: {what} took {gas} gas, said was about {about}");
        }
        let after = try_evidence(&chain, &evidence, None, now_unix_s).await.unwrap();
        let verdict = after.verdict.unwrap();
        assert_eq!(verdict.tcb_status.to_string(), status.to_string(), "{name}");
        assert_eq!(verdict.evaluation_number, after.appraisal.evaluation_number);
        assert_eq!(verdict.measurement, after.quote.measurement);
    }
}

#[tokio::test]
async fn intels_outdated_machine_is_refused_by_the_host() {
    let evidence = intels("tdx_quote_outdated");
    let (chain, _sender, _node) = deployment(1_771_500_000, &evidence).await;
    let error = try_evidence(&chain, &evidence, None, 1_771_500_000).await.unwrap_err();
    let PodError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.kind, RefusalKind::FirmwareUnknown);
}
