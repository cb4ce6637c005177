use phallama_protocol::eip712::{Batch, rows_hash};
use phallama_protocol::keys::Signer;
use phallama_protocol::link::{BatchRow, BatchSigned, Kind, SignBatch};

use super::*;
use crate::clock;
use crate::testing::{World, charge, charge_at, user};

/// Plays the enclave: signs the rows that `stands_for` accepts.
async fn sign(world: &World, stands_for: impl Fn(&BatchRow) -> bool) {
    let mut enclave = world.enclave.accept().await;
    let asked: SignBatch = enclave.expect(Kind::SignBatch).await.control().unwrap();
    let mut accepted = Vec::new();
    let mut rows = Vec::new();
    for (index, row) in (0_u32..).zip(&asked.rows) {
        if stands_for(row) {
            accepted.push(index);
            rows.extend(row.pack());
        }
    }
    let batch = Batch { pod_id: world.pod, rows_hash: rows_hash(&rows) };
    let signature = world.identity.sign(&batch.digest(&world.domain()));
    enclave.control(&BatchSigned { accepted, signature }).await;
}

async fn locked_user(world: &World, index: u32) -> Signer {
    let user = user(index);
    world.open(&user, 500).await;
    world.lock(&user, 200).await;
    user
}

async fn credit(world: &World) -> Amount {
    world.chain.credit(world.pod).await.unwrap()
}

#[tokio::test]
async fn claims_of_the_running_enclave_are_paid_under_one_signature_and_only_once() {
    let world = World::new(0).await;
    let (first, second) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    charge(&world, &first, 70).await;
    charge(&world, &second, 50).await;
    let settler = world.settler();
    let (settled, ()) = tokio::join!(settler.settle_now(), sign(&world, |_| true));
    let settled = settled.unwrap();
    let [settlement] = &settled[..] else { panic!("one transaction, got {settled:?}") };
    assert_eq!((settlement.signed_by, settlement.rows), (RowsSignedBy::Enclave, 2));
    assert_eq!(settlement.paid, 120.into());
    assert!(settlement.gas_used > 21_000);
    assert_eq!(credit(&world).await, 120.into());
    assert_eq!(world.journal.unsettled(), []);

    assert_eq!(settler.settle_now().await.unwrap(), []);
    assert_eq!(credit(&world).await, 120.into());
}

#[tokio::test]
async fn answer_served_on_credit_is_paid_when_its_lock_is_mined() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 500).await;
    drop(world.gate.admit(&world.admit(&user, 70, Some(200))).await.unwrap());
    charge(&world, &user, 70).await;
    let settler = world.settler();
    let (settled, ()) = tokio::join!(settler.settle_now(), sign(&world, |_| true));
    assert_eq!(settled.unwrap()[0].paid, 70.into());
}

#[tokio::test]
async fn claims_of_an_earlier_enclave_are_paid_with_their_own_signatures() {
    let mut world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    world.replace_identity().await;
    let settled = world.settler().settle_now().await.unwrap();
    assert_eq!((settled[0].signed_by, settled[0].paid), (RowsSignedBy::Receipts, 70.into()));
    assert_eq!(credit(&world).await, 70.into());
    assert_eq!(world.journal.unsettled(), []);
}

#[tokio::test]
async fn channel_that_goes_on_after_a_restart_is_paid_under_the_next_keys_voucher() {
    let mut world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    world.replace_identity().await;
    charge(&world, &user, 100).await;
    let settler = world.settler();
    let (settled, ()) = tokio::join!(settler.settle_now(), sign(&world, |_| true));
    let settled = settled.unwrap();
    let [settlement] = &settled[..] else { panic!("one transaction, got {settled:?}") };
    assert_eq!((settlement.signed_by, settlement.paid), (RowsSignedBy::Enclave, 100.into()));
    assert_eq!(world.journal.unsettled(), []);
}

#[tokio::test]
async fn rows_that_the_enclave_does_not_sign_are_paid_with_their_own_signatures() {
    let world = World::new(0).await;
    let (first, second) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    charge(&world, &first, 70).await;
    charge(&world, &second, 50).await;
    let (settler, stands_for) = (world.settler(), first.address());
    let (settled, ()) =
        tokio::join!(settler.settle_now(), sign(&world, |row| row.user == stands_for));
    let settled = settled.unwrap();
    let paid: Vec<_> = settled.iter().map(|one| (one.signed_by, one.paid)).collect();
    let expected = [(RowsSignedBy::Enclave, 70.into()), (RowsSignedBy::Receipts, 50.into())];
    assert_eq!(paid, expected);
    assert_eq!(credit(&world).await, 120.into());
}

#[tokio::test]
async fn absent_enclave_does_not_hold_up_the_earnings() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let settled = world.settler().settle_now().await.unwrap();
    assert_eq!((settled[0].signed_by, settled[0].paid), (RowsSignedBy::Receipts, 70.into()));
}

#[tokio::test]
async fn transaction_that_was_mined_unnoticed_is_not_paid_again() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    let rows = plan::receipt_rows(&world.journal.unsettled());
    world.operator.settle_receipts(world.pod, &rows).await.unwrap();
    assert_eq!(world.settler().settle_now().await.unwrap(), []);
    assert_eq!(world.journal.unsettled(), []);
    assert_eq!(credit(&world).await, 70.into());
}

#[tokio::test]
async fn failed_settlement_leaves_the_claims_for_later() {
    let mut world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    world.stop_chain();
    let error = world.settler().settle_now().await.unwrap_err();
    assert!(matches!(error, SettleError::Chain(_)), "{error}");
    assert_eq!(world.journal.unsettled_total(), 70.into());
}

#[tokio::test]
async fn user_who_leaves_makes_settlement_due() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    let settler = world.settler();
    assert!(!settler.is_due());
    world.start_exit(&user).await;
    world.view.channels(&[user.address()]).await.unwrap();
    assert!(settler.is_due());
}

/// Lets the settler's own loop run while `meanwhile` does.
async fn while_running(settler: &Settler, meanwhile: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = settler.run() => panic!("the settler has stopped"),
        () = meanwhile => {}
    }
}

/// The loop is polled often enough to begin what is due.
async fn turns() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Moves the loop's clock to its next look at the age of claims.
async fn next_look() {
    turns().await;
    tokio::time::pause();
    tokio::time::advance(LOOK_EVERY).await;
    tokio::time::resume();
    turns().await;
}

/// Plays the enclave until the contract has paid everything.
async fn paid(world: &World) {
    sign(world, |_| true).await;
    while !world.journal.unsettled().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn settles_by_itself_when_enough_is_unsettled() {
    let world = World::new(0).await;
    let (first, second) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    let mut settler = world.settler();
    settler.due = Due { min_value: 100.into(), ..settler.due };
    charge(&world, &first, 70).await;
    while_running(&settler, async {
        world.wake.notify_one();
        turns().await;
        assert!(settler.turn.try_lock().is_ok(), "70 is not enough to begin");
        charge(&world, &second, 30).await;
        world.wake.notify_one();
        paid(&world).await;
    })
    .await;
    assert_eq!(credit(&world).await, 100.into());
}

#[tokio::test]
async fn settles_by_itself_what_has_waited_long_enough() {
    let world = World::new(0).await;
    let (first, second) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    let settler = world.settler();
    charge(&world, &first, 70).await;
    while_running(&settler, async {
        next_look().await;
        assert!(settler.turn.try_lock().is_ok(), "the claim is new");
        let long_ago = clock::now_unix_s() - settler.due.max_age_s;
        charge_at(&world, &second, 5, long_ago).await;
        // Nobody wakes the loop: it looks by itself.
        next_look().await;
        paid(&world).await;
    })
    .await;
    assert_eq!(credit(&world).await, 75.into());
}
