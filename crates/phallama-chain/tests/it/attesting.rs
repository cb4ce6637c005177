//! Keys that the registry takes from quotes, and how they end.

use phallama_attest::TcbStatus;
use phallama_attest::Tee;
use phallama_chain::{AttestedKey, BlockTag, MachineHolder, TcbStatusCode, TeeKind};
use phallama_protocol::eip712::pod_id;
use phallama_protocol::ids::{Digest32, PodId};

use crate::node::{GENESIS_UNIX_S, Node};
use crate::on_both_chains;
use crate::platform::{MR_ENCLAVE, Machine, Quoted, key_binding};
use crate::world::{World, amount, refused, registration, signer, user};

const DAY_S: u64 = 86_400;
const KEY_LIFE_MAX_S: u64 = 7 * DAY_S;
const GRACE_S: u64 = 7 * DAY_S;

on_both_chains! {
    a_key_is_attested_as_its_quote_says,
    a_trust_domain_is_attested_like_an_enclave,
    a_machine_of_one_processor_is_attested_under_its_own_ca,
    a_remembered_machine_attests_without_its_certificate,
    a_key_ends_when_the_collateral_of_its_quote_does,
    a_revoked_machine_ends_its_key_at_once,
    an_outdated_machine_ends_its_key_within_a_day,
    a_machine_that_is_still_good_is_not_thrown_out,
    a_machine_backs_one_pod_unless_both_agree,
}

impl World {
    /// The quote that `World::new` attested.
    fn quoted(&self) -> Quoted {
        let binding = key_binding(self.identity.address());
        self.machine.quote(&self.chain, self.pod, &binding)
    }

    async fn now(&self) -> u64 {
        self.chain.head(BlockTag::Latest).await.unwrap().timestamp_unix_s
    }

    async fn identity_good_until(&self) -> u64 {
        self.chain.key_good_until(self.pod, self.identity.address()).await.unwrap()
    }

    /// Registers one more pod of the operator.
    async fn another_pod(&self) -> PodId {
        let salt = [0xa7; 32];
        self.operator.register_pod(&registration(salt)).await.unwrap();
        pod_id(self.operator.address(), &salt)
    }
}

fn prefix(pod: PodId) -> [u8; 26] {
    pod.0[..26].try_into().unwrap()
}

async fn a_key_is_attested_as_its_quote_says(node: Node) {
    let world = World::new(node).await;
    let (quoted, now) = (world.quoted(), world.now().await);
    let expected = AttestedKey {
        identity: world.identity.address(),
        expiry_unix_s: now + KEY_LIFE_MAX_S,
        tee: TeeKind::Sgx,
        tcb_status: TcbStatusCode::UpToDate,
        evaluation_number: 17,
        measurement: Digest32(MR_ENCLAVE),
        evidence: quoted.evidence,
    };
    assert_eq!(world.key().await, expected);
    assert_eq!(world.identity_good_until().await, expected.expiry_unix_s + GRACE_S);
    let holder = world.chain.machine_holder(quoted.pck.machine).await.unwrap();
    let until_unix_s = expected.expiry_unix_s;
    assert_eq!(holder, Some(MachineHolder { pod_prefix: prefix(world.pod), until_unix_s }));
    assert_eq!(world.chain.machine_holder(Digest32([1; 32])).await.unwrap(), None);
}

async fn a_trust_domain_is_attested_like_an_enclave(node: Node) {
    let world = World::new(node).await;
    let binding = key_binding(world.identity.address());
    let quoted = world.machine.td_quote(&world.chain, world.pod, &binding);
    let collateral = world.machine.collateral(Tee::Tdx, 3_600);
    world.machine.bring_json(&world.operator, &collateral).await;
    let attest = world.operator.attest(world.pod, &binding, &quoted.quote, &quoted.leaf);
    attest.await.unwrap();
    let key = world.key().await;
    assert_eq!((key.tee, key.tcb_status), (TeeKind::Tdx, TcbStatusCode::UpToDate));
    assert_eq!((key.measurement, key.evidence), (quoted.measurement, quoted.evidence));
}

async fn a_machine_of_one_processor_is_attested_under_its_own_ca(node: Node) {
    let world = World::new(node).await;
    let machine = Machine::with_one_processor("one processor");
    let pod = world.another_pod().await;
    let binding = key_binding(signer(3).address());
    let quoted = machine.quote(&world.chain, pod, &binding);
    machine.bring_ca(&world.operator, &machine.collateral(Tee::Sgx, 3_600)).await;
    world.operator.attest(pod, &binding, &quoted.quote, &quoted.leaf).await.unwrap();
    let key = world.chain.pod(pod).await.unwrap().unwrap().key.unwrap();
    assert_eq!((key.identity, key.evidence), (binding.identity, quoted.evidence));
    assert_eq!(quoted.pck.instance, [0; 16]);
}

async fn a_remembered_machine_attests_without_its_certificate(node: Node) {
    let world = World::unattested(node).await;
    let collateral = world.machine.collateral(Tee::Sgx, 3_600);
    world.machine.bring(&world.operator, &collateral).await;
    let pck = world.quoted().pck;
    assert!(!world.chain.is_known_pck(&pck).await.unwrap());
    let first = world.attest(world.pod, world.identity.address()).await.unwrap();
    assert!(world.chain.is_known_pck(&pck).await.unwrap());

    let next = key_binding(signer(3).address());
    let quoted = world.machine.quote(&world.chain, world.pod, &next);
    let attest = world.operator.attest_known(world.pod, &next, &quoted.quote, &pck);
    let second = attest.await.unwrap();
    assert!(second.gas_used * 2 < first.gas_used + 100_000, "{first:?} {second:?}");
    let key = world.key().await;
    assert_eq!((key.identity, key.evidence), (next.identity, quoted.evidence));
    // The replaced key has its grace from now on.
    assert_eq!(world.identity_good_until().await, world.now().await + GRACE_S);
}

async fn a_key_ends_when_the_collateral_of_its_quote_does(node: Node) {
    let world = World::new(node).await;
    world.node.advance(29 * DAY_S).await;
    world.attest(world.pod, world.identity.address()).await.unwrap();
    let ends = world.machine.collateral(Tee::Sgx, 3_600).tcb_info.next_update_unix_s;
    assert_eq!(world.key().await.expiry_unix_s, ends);
    world.node.advance(2 * DAY_S).await;
    let reason = refused(world.attest(world.pod, world.identity.address()).await);
    assert!(reason.starts_with("NotValidNow {"), "{reason}");
}

async fn a_revoked_machine_ends_its_key_at_once(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    world.machine.revoke(&world.operator, GENESIS_UNIX_S).await;
    let quoted = world.quoted();
    // Anyone may say so.
    world
        .owner
        .invalidate(world.pod, world.identity.address(), &quoted.quote, &quoted.pck)
        .await
        .unwrap();
    assert_eq!(world.chain.pod(world.pod).await.unwrap().unwrap().key, None);
    assert_eq!(world.identity_good_until().await, world.now().await - 1);
    let rows = [world.settle_row(&user, 90, 30)];
    let reason = refused(world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await);
    assert!(reason.starts_with("IdentityNotAccepted {"), "{reason}");
}

async fn an_outdated_machine_ends_its_key_within_a_day(node: Node) {
    let world = World::new(node).await;
    let user = user(0);
    world.open_and_lock(&user, 100).await;
    let mut newer = world.machine.collateral(Tee::Sgx, 0);
    newer.tcb_info.evaluation_number = 18;
    newer.tcb_info.levels[0].rating.status = TcbStatus::OutOfDate;
    world.machine.bring_tcb_info(&world.operator, &newer).await.unwrap();
    let quoted = world.quoted();
    world
        .owner
        .invalidate(world.pod, world.identity.address(), &quoted.quote, &quoted.pck)
        .await
        .unwrap();
    assert_eq!(world.chain.pod(world.pod).await.unwrap().unwrap().key, None);
    assert_eq!(world.identity_good_until().await, world.now().await + DAY_S);
    let rows = [world.settle_row(&user, 90, 30)];
    let tx = world.operator.settle(world.pod, &rows, &world.batch_sig(&rows)).await.unwrap();
    assert_eq!(tx.paid(), 30);
    assert_eq!(world.credit().await, amount(30));
}

async fn a_machine_that_is_still_good_is_not_thrown_out(node: Node) {
    let world = World::new(node).await;
    let (key, quoted) = (world.key().await, world.quoted());
    let reason = refused(
        world
            .owner
            .invalidate(world.pod, world.identity.address(), &quoted.quote, &quoted.pck)
            .await,
    );
    assert_eq!(reason, format!("StillGood {{ podId: {} }}", world.pod));
    assert_eq!(world.key().await, key);
}

async fn a_machine_backs_one_pod_unless_both_agree(node: Node) {
    let world = World::new(node).await;
    let (other, machine) = (world.another_pod().await, world.quoted().pck.machine);
    let (identity, until) = (signer(3).address(), world.key().await.expiry_unix_s);
    let holder = hex(&[prefix(world.pod).as_slice(), &[0; 6]].concat());
    let taken = format!("MachineTaken {{ machine: {machine}, holder: {holder}, until: {until} }}");
    assert_eq!(refused(world.attest(other, identity).await), taken);
    world.operator.set_sharing(other, machine, true).await.unwrap();
    assert_eq!(refused(world.attest(other, identity).await), taken);
    assert!(world.chain.sharing(other, machine).await.unwrap());
    assert!(!world.chain.sharing(world.pod, machine).await.unwrap());
    world.operator.set_sharing(world.pod, machine, true).await.unwrap();
    world.attest(other, identity).await.unwrap();
    let key = world.chain.pod(other).await.unwrap().unwrap().key.unwrap();
    assert_eq!(key.identity, identity);
}

fn hex(bytes: &[u8]) -> String {
    Digest32(bytes.try_into().unwrap()).to_string()
}
