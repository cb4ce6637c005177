//! Collateral that anyone brings, and verdicts under it.

use phallama_attest::Tee;
use phallama_attest::simulated::{Authority, TdReport};
use phallama_chain::{
    CollateralState, Stored, StoredCa, StoredCrl, StoredSigner, TcbStatusCode, TeeKind, Verdict,
    deploy,
};
use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};

use crate::node::{GENESIS_UNIX_S, Node};
use crate::on_both_chains;
use crate::platform::{MR_ENCLAVE, bound, key_binding, key_id, root};
use crate::world::{World, refused, signer};

on_both_chains! {
    the_verifier_pins_the_root_it_was_deployed_with,
    collateral_is_missing_until_it_is_brought,
    newer_collateral_replaces_older,
    revoked_authorities_are_seen_at_once,
    a_verdict_costs_nothing,
    every_shape_of_a_trust_domains_quote_has_its_verdict,
}

const ISSUED_UNIX_S: u64 = GENESIS_UNIX_S - 3_600;
const NEXT_UNIX_S: u64 = ISSUED_UNIX_S + 30 * 86_400;
/// 2045-12-31T23:59:59Z, the end of all simulated certificates.
const NOT_AFTER_UNIX_S: u64 = 2_398_377_599;

async fn the_verifier_pins_the_root_it_was_deployed_with(node: Node) {
    let world = World::unattested(node).await;
    let got = world.chain.root_certificate_sha256().await.unwrap();
    assert_eq!(got, Digest32(Sha256::digest(root().root_der()).into()));
    assert_eq!(world.chain.root_issuer().await.unwrap(), key_id(Authority::Root));
}

async fn collateral_is_missing_until_it_is_brought(node: Node) {
    let world = World::unattested(node).await;
    let keys = world.machine.keys(TeeKind::Sgx);
    let nothing = CollateralState {
        root_crl: None,
        ca: None,
        signer: None,
        tcb_info: None,
        qe_identity: None,
    };
    assert_eq!(world.chain.collateral_state(&keys).await.unwrap(), nothing);

    let items = world.machine.collateral(Tee::Sgx, 3_600);
    let list = world.machine.platform.collateral(&items).root_ca_crl;
    world.owner.upsert_crl(key_id(Authority::Root), &list).await.unwrap();
    world.owner.admit_ca(root().certificate(Authority::PlatformCa)).await.unwrap();
    let crl = StoredCrl { number: 1, next_update_unix_s: NEXT_UNIX_S };
    let ca = StoredCa { not_after_unix_s: NOT_AFTER_UNIX_S, crl: None, revoked: false };
    let some = CollateralState { root_crl: Some(crl), ca: Some(ca), ..nothing };
    assert_eq!(world.chain.collateral_state(&keys).await.unwrap(), some);

    world.machine.bring_rest(&world.owner, &items).await;
    let stored = Stored {
        evaluation_number: 17,
        issued_at_unix_s: ISSUED_UNIX_S,
        next_update_unix_s: NEXT_UNIX_S,
    };
    let all = CollateralState {
        root_crl: Some(crl),
        ca: Some(StoredCa { crl: Some(crl), ..ca }),
        signer: Some(StoredSigner { not_after_unix_s: NOT_AFTER_UNIX_S, good: true }),
        tcb_info: Some(stored),
        qe_identity: Some(stored),
    };
    assert_eq!(world.chain.collateral_state(&keys).await.unwrap(), all);
    // The other TEE has its own.
    let of_tdx = world.chain.collateral_state(&world.machine.keys(TeeKind::Tdx)).await.unwrap();
    assert_eq!(of_tdx, CollateralState { tcb_info: None, qe_identity: None, ..all });
}

async fn newer_collateral_replaces_older(node: Node) {
    let world = World::new(node).await;
    let mut newer = world.machine.collateral(Tee::Sgx, 1_800);
    newer.tcb_info.evaluation_number = 18;
    newer.pck_crl.number = 2;
    world.machine.bring_json(&world.owner, &newer).await;
    let list = world.machine.platform.collateral(&newer).pck_crl;
    world.owner.upsert_crl(key_id(Authority::PlatformCa), &list).await.unwrap();
    let keys = world.machine.keys(TeeKind::Sgx);
    let state = world.chain.collateral_state(&keys).await.unwrap();
    let next_update_unix_s = NEXT_UNIX_S + 1_800;
    let expected = Stored {
        evaluation_number: 18,
        issued_at_unix_s: ISSUED_UNIX_S + 1_800,
        next_update_unix_s,
    };
    assert_eq!(state.tcb_info, Some(expected));
    assert_eq!(state.qe_identity, Some(Stored { evaluation_number: 17, ..expected }));
    assert_eq!(state.ca.unwrap().crl, Some(StoredCrl { number: 2, next_update_unix_s }));
    let number = state.root_crl.unwrap().number;
    assert_eq!(number, 1);
}

async fn revoked_authorities_are_seen_at_once(node: Node) {
    let world = World::new(node).await;
    let mut items = world.machine.collateral(Tee::Sgx, 0);
    items.root_crl.number = 2;
    items.root_crl.revoked =
        vec![root().serial(Authority::PlatformCa), root().serial(Authority::TcbSigner)];
    let list = world.machine.platform.collateral(&items).root_ca_crl;
    world.owner.upsert_crl(key_id(Authority::Root), &list).await.unwrap();
    let keys = world.machine.keys(TeeKind::Sgx);
    let state = world.chain.collateral_state(&keys).await.unwrap();
    assert!(state.ca.unwrap().revoked);
    assert!(!state.signer.unwrap().good);
    let reason = refused(world.attest(world.pod, world.identity.address()).await);
    assert!(reason.starts_with("Revoked {"), "{reason}");
}

async fn a_verdict_costs_nothing(node: Node) {
    let world = World::new(node).await;
    let binding = key_binding(world.identity.address());
    let quoted = world.machine.quote(&world.chain, world.pod, &binding);
    let data = bound(&world.chain, world.pod, &binding);
    let expected = Verdict {
        tee: TeeKind::Sgx,
        tcb_status: TcbStatusCode::UpToDate,
        evaluation_number: 17,
        expiry_unix_s: NEXT_UNIX_S,
        measurement: Digest32(MR_ENCLAVE),
        machine: quoted.pck.machine,
        evidence: quoted.evidence,
        report_data: Digest32(data[..32].try_into().unwrap()),
        nonce: Digest32([0; 32]),
    };
    let got = world.chain.verify_quote(&quoted.quote, &quoted.leaf).await.unwrap();
    assert_eq!(got, expected);
    let got = world.chain.verify_known_quote(&quoted.quote, &quoted.pck).await.unwrap();
    assert_eq!(got, expected);
}

async fn every_shape_of_a_trust_domains_quote_has_its_verdict(node: Node) {
    let world = World::unattested(node).await;
    let collateral = world.machine.collateral(Tee::Tdx, 3_600);
    world.machine.bring(&world.owner, &collateral).await;
    for report in TdReport::ALL {
        let quoted = world.machine.trust_domain(report, [0x3d; 64]);
        let expected = Verdict {
            tee: TeeKind::Tdx,
            tcb_status: TcbStatusCode::UpToDate,
            evaluation_number: 17,
            expiry_unix_s: NEXT_UNIX_S,
            measurement: quoted.measurement,
            machine: quoted.pck.machine,
            evidence: quoted.evidence,
            report_data: Digest32([0x3d; 32]),
            nonce: Digest32([0x3d; 32]),
        };
        let got = world.chain.verify_quote(&quoted.quote, &quoted.leaf).await.unwrap();
        assert_eq!(got, expected, "{report:?}");
    }
}

#[tokio::test]
async fn a_chain_without_the_p256_precompile_gets_no_verifier() {
    let Some(node) = Node::anvil_before_p256("deploying without P-256") else { return };
    let deployer = signer(0);
    node.fund(deployer.address()).await;
    let deployed = deploy(&node.url(), &deployer, root().root_der()).await;
    assert_eq!(refused(deployed), "NoP256Precompile");
}
