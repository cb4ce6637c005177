//! Gas of the embedded chain is the gas of a real node, to the unit.

use phallama_attest::Tee;
use phallama_attest::simulated::Authority;
use phallama_chain::{Tx, deploy};
use phallama_protocol::eip712::{OpenAccount, pod_id};

use crate::node::{GENESIS_UNIX_S, Node};
use crate::platform::{key_binding, key_id, root};
use crate::world::{World, amount, registration, signer, user};

type Gas = Vec<(&'static str, u64)>;

/// Every kind of transaction once, with the gas of each.
async fn gas_of_every_transaction(node: Node) -> Gas {
    let world = World::unattested(node).await;
    let mut gas = gas_of_deploying(&world).await;
    gas.extend(gas_of_collateral(&world).await);
    gas.extend(gas_of_attesting(&world).await);
    gas.extend(gas_of_paying(&world).await);
    gas.extend(gas_of_leaving(&world).await);
    gas
}

async fn gas_of_deploying(world: &World) -> Gas {
    let deployment = deploy(&world.node.url(), &signer(0), root().root_der()).await.unwrap();
    let register = world.operator.register_pod(&registration([1; 32])).await;
    vec![("deploy", deployment.gas_used), ("register", used(register))]
}

fn used(sent: Result<Tx, phallama_chain::ChainError>) -> u64 {
    sent.unwrap().gas_used
}

async fn gas_of_collateral(world: &World) -> Gas {
    let World { operator, machine, .. } = world;
    let items = machine.collateral(Tee::Sgx, 3_600);
    let signed = machine.platform.collateral(&items);
    let (root, signer) = (root(), key_id(Authority::TcbSigner));
    let (ca, tcb_signer) = (Authority::PlatformCa, Authority::TcbSigner);
    let root_crl = operator.upsert_crl(key_id(Authority::Root), &signed.root_ca_crl).await;
    let admit_ca = operator.admit_ca(root.certificate(ca)).await;
    let admit_signer = operator.admit_signer(root.certificate(tcb_signer)).await;
    let pck_crl = operator.upsert_crl(key_id(ca), &signed.pck_crl).await;
    let (json, signature) = (signed.tcb_info.as_bytes(), &signed.tcb_info_signature);
    let tcb_info = operator.upsert_tcb_info(json, signature, signer).await;
    let (json, signature) = (signed.qe_identity.as_bytes(), &signed.qe_identity_signature);
    let qe_identity = operator.upsert_qe_identity(json, signature, signer).await;
    vec![
        ("root_crl", used(root_crl)),
        ("admit_ca", used(admit_ca)),
        ("admit_signer", used(admit_signer)),
        ("pck_crl", used(pck_crl)),
        ("tcb_info", used(tcb_info)),
        ("qe_identity", used(qe_identity)),
    ]
}

async fn gas_of_attesting(world: &World) -> Gas {
    let World { operator, pod, machine, .. } = world;
    let first = world.attest(*pod, world.identity.address()).await;
    let next = key_binding(signer(3).address());
    let quoted = machine.quote(&world.chain, *pod, &next);
    // Each attestation gets another expiry, also where blocks can have the same time.
    world.node.advance(60).await;
    let known = operator.attest_known(*pod, &next, &quoted.quote, &quoted.pck).await;
    world.node.advance(60).await;
    let again = operator.attest_known(*pod, &next, &quoted.quote, &quoted.pck).await;
    let admit = operator.admit_pck(&quoted.leaf).await;
    let other = pod_id(operator.address(), &[1; 32]);
    let share = operator.set_sharing(other, quoted.pck.machine, true).await;
    // Back to the key that signs what follows.
    world.attest(*pod, world.identity.address()).await.unwrap();
    vec![
        ("attest", used(first)),
        ("attest_known new key", used(known)),
        ("attest_known same key", used(again)),
        ("admit_pck", used(admit)),
        ("set_sharing", used(share)),
    ]
}

async fn gas_of_paying(world: &World) -> Gas {
    let World { operator, owner, pod, .. } = world;
    let mut gas = Vec::new();
    let first = user(0);
    let opened = OpenAccount { user: first.address(), owner: owner.address() };
    let signature = first.sign(&opened.digest(&world.domain()));
    let open = owner.open_and_deposit(first.address(), owner.address(), &signature, amount(900));
    gas.push(("open_and_deposit", open.await.unwrap().gas_used));
    let users: Vec<_> = (1..=20).map(user).collect();
    for user in &users {
        world.open(user, 100).await;
    }
    let rows: Vec<_> = users.iter().map(|user| world.lock_row(user, 100, 0)).collect();
    gas.push(("lock 20", operator.lock(*pod, &rows).await.unwrap().gas_used));
    let rows: Vec<_> = users.iter().map(|user| world.settle_row(user, 50, 40)).collect();
    let signature = world.batch_sig(&rows);
    gas.push(("settle 20", operator.settle(*pod, &rows, &signature).await.unwrap().gas_used));
    let rows: Vec<_> =
        users.iter().map(|user| world.receipt_row(user, &world.identity, 45)).collect();
    gas.push(("settle_receipts 20", operator.settle_receipts(*pod, &rows).await.unwrap().gas_used));

    gas
}

async fn gas_of_leaving(world: &World) -> Gas {
    let World { operator, owner, pod, .. } = world;
    let (leaving, closing, rest) = (user(1), user(2), user(0));
    let mut gas = Vec::new();
    gas.push(("start_exit", owner.start_exit(leaving.address(), *pod).await.unwrap().gas_used));
    let close = world.close(closing.address(), &closing, 60);
    gas.push(("close_for", operator.close_for(&close).await.unwrap().gas_used));
    gas.push(("collect", operator.collect(*pod).await.unwrap().gas_used));
    gas.push(("withdraw", owner.withdraw(rest.address(), amount(1)).await.unwrap().gas_used));
    world.node.advance(172_800).await;
    let finished = operator.finish_exit(leaving.address(), *pod).await;
    gas.push(("finish_exit", finished.unwrap().gas_used));
    world.machine.revoke(operator, GENESIS_UNIX_S + 100).await;
    let binding = key_binding(world.identity.address());
    let quoted = world.machine.quote(&world.chain, *pod, &binding);
    let identity = world.identity.address();
    let ended = operator.invalidate(*pod, identity, &quoted.quote, &quoted.pck).await;
    gas.push(("invalidate", used(ended)));
    gas
}

#[tokio::test]
async fn gas_is_equal_on_the_embedded_chain_and_on_anvil() {
    let Some(anvil) = Node::anvil("gas is equal on both chains") else { return };
    let expected = gas_of_every_transaction(anvil).await;
    assert_eq!(gas_of_every_transaction(Node::embedded()).await, expected);
}
