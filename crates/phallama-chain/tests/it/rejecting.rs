//! What the contracts refuse, and that each refusal says which check failed, with its numbers.

use alloy::primitives::U256;
use phallama_attest::simulated::{Authority, EnclaveSpec, PROVISION_KEY_BIT};
use phallama_attest::{TcbStatus, Tee};
use phallama_chain::{ChainError, Tx};
use phallama_protocol::ids::{Address, Digest32, PodId};
use sha2::{Digest as _, Sha256};

use crate::node::{GENESIS_UNIX_S, Node};
use crate::on_both_chains;
use crate::platform::{MR_ENCLAVE, Machine, Quoted, bound, key_binding, key_id, root};
use crate::world::{World, refused, signer};

on_both_chains! {
    authorities_out_of_order_are_refused,
    lists_that_are_not_newer_or_not_the_cas_are_refused,
    collateral_that_was_changed_is_refused,
    quotes_that_were_changed_are_refused,
    quotes_of_platforms_that_are_not_good_enough_are_refused,
    keys_that_the_quote_does_not_bind_are_refused,
    invalidations_without_ground_are_refused,
}

impl World {
    fn good_quote(&self) -> Quoted {
        let binding = key_binding(self.identity.address());
        self.machine.quote(&self.chain, self.pod, &binding)
    }

    async fn attest_quoted(&self, quoted: &Quoted) -> Result<Tx, ChainError> {
        let binding = key_binding(self.identity.address());
        self.operator.attest(self.pod, &binding, &quoted.quote, &quoted.leaf).await
    }
}

async fn authorities_out_of_order_are_refused(node: Node) {
    let world = World::unattested(node).await;
    let (ca, tcb_signer) = (Authority::PlatformCa, Authority::TcbSigner);
    let certificate = root().certificate(ca).to_vec();
    let root_id = key_id(Authority::Root);
    let reason = refused(world.owner.admit_ca(&certificate).await);
    assert_eq!(reason, format!("Missing {{ what: RootCrl, key: {root_id} }}"));

    let items = world.machine.collateral(Tee::Sgx, 3_600);
    let signed = world.machine.platform.collateral(&items);
    let reason = refused(world.owner.upsert_crl(key_id(ca), &signed.pck_crl).await);
    assert_eq!(reason, format!("UnknownCa {{ ca: {} }}", key_id(ca)));
    let (json, signature) = (signed.tcb_info.as_bytes(), &signed.tcb_info_signature);
    let brought = world.owner.upsert_tcb_info(json, signature, key_id(tcb_signer)).await;
    let expected = format!("UnknownSigner {{ signer: {} }}", key_id(tcb_signer));
    assert_eq!(refused(brought), expected);

    world.owner.upsert_crl(root_id, &signed.root_ca_crl).await.unwrap();
    let reason = refused(world.owner.admit_ca(root().certificate(tcb_signer)).await);
    assert_eq!(reason, "BadCertificate { fault: NotACa }");
    let reason = refused(world.owner.admit_signer(&certificate).await);
    assert_eq!(reason, "BadCertificate { fault: IsACa }");
}

async fn lists_that_are_not_newer_or_not_the_cas_are_refused(node: Node) {
    let world = World::new(node).await;
    let ca = key_id(Authority::PlatformCa);
    let bring = async |items: &phallama_attest::simulated::CollateralItems| {
        let list = world.machine.platform.collateral(items).pck_crl;
        world.owner.upsert_crl(ca, &list).await
    };
    let mut items = world.machine.collateral(Tee::Sgx, 0);
    items.pck_crl.number = 0;
    let reason = refused(bring(&items).await);
    assert_eq!(reason, "NotNewer { what: PckCrl, stored: 1, offered: 0 }");

    let mut early = world.machine.collateral(Tee::Sgx, 0);
    early.pck_crl.this_update_unix_s = GENESIS_UNIX_S + 7_200;
    let reason = refused(bring(&early).await);
    let (start, end) = (GENESIS_UNIX_S + 7_200, early.pck_crl.next_update_unix_s);
    let expected = format!("NotValidNow {{ what: PckCrl, start: {start}, end: {end}, time: ");
    assert!(reason.starts_with(&expected), "{reason}");

    let other = Machine::with_one_processor("another CA").platform;
    let newer = phallama_attest::simulated::CollateralItems { ..items };
    let list = other.collateral(&newer).pck_crl;
    let error = world.owner.upsert_crl(ca, &list).await.unwrap_err();
    assert_eq!(error.refusal(), Some("WrongIssuer"), "{error}");
}

async fn collateral_that_was_changed_is_refused(node: Node) {
    let world = World::new(node).await;
    let signer = key_id(Authority::TcbSigner);
    let items = world.machine.collateral(Tee::Sgx, 0);
    let signed = world.machine.platform.collateral(&items);
    let better = signed.tcb_info.replace("\"pcesvn\":13", "\"pcesvn\":12");
    let signature = &signed.tcb_info_signature;
    let brought = world.owner.upsert_tcb_info(better.as_bytes(), signature, signer).await;
    assert_eq!(refused(brought), "BadSignature { what: TcbInfo }");

    let spaced = signed.tcb_info.replacen(',', ", ", 1);
    let signature = root().sign_collateral(&spaced);
    let brought = world.owner.upsert_tcb_info(spaced.as_bytes(), &signature, signer).await;
    // Where the text begins that differs.
    let offset = spaced.find("\", \"version").unwrap();
    assert_eq!(refused(brought), format!("BadJson {{ offset: {offset} }}"));

    let older = world.machine.collateral(Tee::Sgx, 7_200);
    let (stored, offered) = (GENESIS_UNIX_S - 3_600, GENESIS_UNIX_S - 7_200);
    let reason = refused(world.machine.bring_tcb_info(&world.owner, &older).await);
    assert_eq!(
        reason,
        format!("NotNewer {{ what: TcbInfo, stored: {stored}, offered: {offered} }}")
    );
}

async fn quotes_that_were_changed_are_refused(node: Node) {
    let world = World::new(node).await;
    let check = async |quoted: Quoted, expected: &str| {
        assert_eq!(refused(world.attest_quoted(&quoted).await), expected);
    };
    let good = world.good_quote();

    let mut short = good.clone();
    short.quote.signed.pop();
    check(short, "BadLength { part: Signed, got: 431 }").await;
    let mut forged = good.clone();
    forged.quote.signed[48 + 64] ^= 1;
    check(forged, "BadSignature { what: Quote }").await;
    let mut other_version = good.clone();
    other_version.quote.signed[0] = 6;
    check(other_version, "UnsupportedQuote { part: Version, got: 6 }").await;
    let mut forged = good.clone();
    forged.quote.auth[128] ^= 1;
    check(forged, "BadSignature { what: QeReport }").await;

    let mut unbound = good.clone();
    unbound.quote.auth[576] ^= 1;
    let digest = |auth: &[u8]| {
        let bytes = [&auth[64..128], &auth[576..]].concat();
        Digest32(Sha256::digest(&bytes).into())
    };
    let (expected, got) = (digest(&unbound.quote.auth), digest(&good.quote.auth));
    let text = format!("AttestationKeyNotBound {{ expected: {expected}, got: {got} }}");
    check(unbound, &text).await;

    let mut debug = EnclaveSpec::new(MR_ENCLAVE, [0; 64]);
    debug.attributes[0] |= PROVISION_KEY_BIT;
    let quoted = world.machine.enclave(&debug);
    check(quoted, "ForbiddenAttributes { attributes: 21, forbidden: 16 }").await;
}

async fn quotes_of_platforms_that_are_not_good_enough_are_refused(node: Node) {
    let world = World::new(node).await;
    let quoted = world.good_quote();
    let mut number = 17;
    let mut rate = async |status| {
        number += 1;
        let mut items = world.machine.collateral(Tee::Sgx, 3_600 - u64::from(number));
        items.tcb_info.evaluation_number = number;
        items.tcb_info.levels[0].rating.status = status;
        world.machine.bring_tcb_info(&world.owner, &items).await.unwrap();
        refused(world.attest_quoted(&quoted).await)
    };
    let reason = rate(TcbStatus::OutOfDate).await;
    assert_eq!(reason, "StatusNotAccepted { status: OutOfDate }");
    assert_eq!(rate(TcbStatus::Revoked).await, "TcbRevoked");

    let mut items = world.machine.collateral(Tee::Sgx, 0);
    items.tcb_info.evaluation_number = 30;
    items.tcb_info.levels[0].pce_svn += 1;
    world.machine.bring_tcb_info(&world.owner, &items).await.unwrap();
    let error = world.attest_quoted(&quoted).await.unwrap_err();
    let (cpu_svn, pce_svn) = (quoted.pck.cpu_svn, quoted.pck.pce_svn);
    let cpu_svn = alloy::primitives::FixedBytes(cpu_svn);
    let reason = format!(
        "NoTcbLevel {{ cpuSvn: {cpu_svn}, pceSvn: {pce_svn}, teeTcbSvn: 0x{} }}",
        "0".repeat(32)
    );
    assert_eq!(refused::<Tx>(Err(error)), reason);

    world.machine.revoke(&world.owner, GENESIS_UNIX_S).await;
    let reason = refused(world.attest_quoted(&quoted).await);
    let serial = U256::from_be_bytes(quoted.pck.serial);
    assert_eq!(reason, format!("Revoked {{ what: Pck, serial: {serial} }}"));
}

async fn keys_that_the_quote_does_not_bind_are_refused(node: Node) {
    let world = World::new(node).await;
    let World { chain, operator, pod, .. } = &world;
    let quoted = world.good_quote();
    let other = key_binding(signer(3).address());
    let half = |pod: PodId, binding| {
        let data = bound(chain, pod, binding);
        Digest32(data[..32].try_into().unwrap())
    };
    let (expected, got) = (half(*pod, &other), half(*pod, &key_binding(world.identity.address())));
    let zero = Digest32([0; 32]);
    let reason = refused(operator.attest(*pod, &other, &quoted.quote, &quoted.leaf).await);
    let text = format!("WrongReportData {{ expected: {expected}, got: {got}, nonce: {zero} }}");
    assert_eq!(reason, text);

    let nobody = key_binding(Address::ZERO);
    let reason = refused(operator.attest(*pod, &nobody, &quoted.quote, &quoted.leaf).await);
    assert_eq!(reason, "ZeroIdentity");

    let mut lie = quoted.pck;
    lie.cpu_svn[0] = 255;
    let binding = key_binding(world.identity.address());
    let reason = refused(operator.attest_known(*pod, &binding, &quoted.quote, &lie).await);
    assert_eq!(reason, format!("UnknownPck {{ tbsHash: {} }}", lie.tbs_hash));

    let reason = refused(world.owner.attest(*pod, &binding, &quoted.quote, &quoted.leaf).await);
    assert!(reason.starts_with("NotOperator {"), "{reason}");
}

async fn invalidations_without_ground_are_refused(node: Node) {
    let world = World::new(node).await;
    let quoted = world.good_quote();
    let binding = key_binding(signer(3).address());
    let other = world.machine.quote(&world.chain, world.pod, &binding);
    let reason = refused(
        world.owner.invalidate(world.pod, world.identity.address(), &other.quote, &other.pck).await,
    );
    let (expected, got) = (quoted.evidence, other.evidence);
    assert_eq!(reason, format!("OtherEvidence {{ expected: {expected}, got: {got} }}"));

    // Collateral that nobody renewed is no fault of the platform. Its key has expired by then, and
    // may still settle.
    world.node.advance(8 * 86_400).await;
    let mut items = world.machine.collateral(Tee::Sgx, 0);
    items.tcb_info.next_update_unix_s = GENESIS_UNIX_S + 9 * 86_400;
    world.machine.bring_tcb_info(&world.owner, &items).await.unwrap();
    world.node.advance(2 * 86_400).await;
    let reason = refused(
        world
            .owner
            .invalidate(world.pod, world.identity.address(), &quoted.quote, &quoted.pck)
            .await,
    );
    let (start, end) = (items.tcb_info.issued_at_unix_s, items.tcb_info.next_update_unix_s);
    let text = format!("NotValidNow {{ what: TcbInfo, start: {start}, end: {end}, time: ");
    assert!(reason.starts_with(&text), "{reason}");

    world.node.advance(30 * 86_400).await;
    let reason = refused(
        world
            .owner
            .invalidate(world.pod, world.identity.address(), &quoted.quote, &quoted.pck)
            .await,
    );
    let identity = world.identity.address().to_string().to_lowercase();
    assert_eq!(reason, format!("NoKey {{ podId: {}, identity: {identity} }}", world.pod));
}
