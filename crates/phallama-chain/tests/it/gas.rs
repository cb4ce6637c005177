//! Gas of the embedded chain is the gas of a real node, to the unit.

use phallama_chain::deploy;
use phallama_protocol::eip712::OpenAccount;

use crate::node::Node;
use crate::world::{World, amount, key, registration, signer, user};

/// Every kind of transaction once, with the gas of each.
async fn gas_of_every_transaction(node: Node) -> Vec<(&'static str, u64)> {
    let world = World::new(node).await;
    let deployment = deploy(&world.node.url(), &signer(0)).await.unwrap();
    let mut gas = vec![("deploy", deployment.gas_used)];
    let World { operator, owner, pod, .. } = &world;
    let other = registration([1; 32], world.identity.address());
    gas.push(("register", operator.register_pod(&other).await.unwrap().gas_used));

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

    let leaving = users[0].address();
    gas.push(("start_exit", owner.start_exit(leaving, *pod).await.unwrap().gas_used));
    let close = world.close(users[1].address(), &users[1], 60);
    gas.push(("close_for", operator.close_for(&close).await.unwrap().gas_used));
    gas.push(("collect", operator.collect(*pod).await.unwrap().gas_used));
    gas.push(("withdraw", owner.withdraw(first.address(), amount(1)).await.unwrap().gas_used));
    let next = key(signer(3).address());
    gas.push(("set_key", operator.set_key(*pod, &next).await.unwrap().gas_used));
    world.node.advance(172_800).await;
    gas.push(("finish_exit", operator.finish_exit(leaving, *pod).await.unwrap().gas_used));
    gas
}

#[tokio::test]
async fn gas_is_equal_on_the_embedded_chain_and_on_anvil() {
    let Some(anvil) = Node::anvil("gas is equal on both chains") else { return };
    let expected = gas_of_every_transaction(anvil).await;
    assert_eq!(gas_of_every_transaction(Node::embedded()).await, expected);
}
