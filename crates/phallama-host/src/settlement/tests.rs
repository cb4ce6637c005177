use phallama_chain::SendPolicy;
use phallama_devchain::{Fault, Rule};
use phallama_protocol::eip712::{Batch, rows_hash};
use phallama_protocol::keys::Signer;
use phallama_protocol::link::{BatchRow, BatchSigned, Kind, SignBatch};

use super::*;
use crate::clock;
use crate::testing::{IMPATIENT, World, charge, charge_at, user};

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
async fn enclave_that_hangs_does_not_hold_up_the_earnings() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    let settler = world.settler();
    let hangs = async {
        let mut enclave = world.enclave.accept().await;
        enclave.expect(Kind::SignBatch).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(16)).await;
        tokio::time::resume();
        enclave
    };
    let (settled, _enclave) = tokio::join!(settler.settle_now(), hangs);
    let settled = settled.unwrap();
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
async fn endpoint_that_hangs_ends_the_settlement_in_time_and_loses_nothing() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let mut settler = world.settler();
    let patient = settler.sender.clone();
    let policy = SendPolicy { mined_within: Duration::from_secs(1), ..SendPolicy::default() };
    settler.sender = patient.clone().with_policy(policy);
    for method in ["eth_call", "eth_getTransactionReceipt"] {
        world.endpoint.inject(Rule::method(method, Fault::BlackHole));
        let settled = tokio::time::timeout(Duration::from_mins(5), settler.settle_now());
        let error = settled.await.expect("each call has its limit").unwrap_err();
        assert!(matches!(error, SettleError::Chain(_)), "{method}: {error}");
        world.endpoint.heal();
    }
    settler.sender = patient;
    // The last of them was mined all the same: nothing is paid twice, and it is noticed.
    settler.settle_now().await.unwrap();
    assert_eq!(credit(&world).await, 70.into());
    assert_eq!(world.journal.unsettled_total(), Amount::ZERO);
}

#[tokio::test]
async fn no_settlement_is_sent_while_one_waits() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let mut settler = world.settler();
    settler.sender = settler.sender.with_policy(IMPATIENT);
    world.control("evm_setAutomine", serde_json::json!([false])).await;
    charge(&world, &user, 70).await;
    let failed = settler.settle_now().await.unwrap_err();
    assert!(matches!(failed, SettleError::Chain(ChainError::NotMined { .. })), "{failed}");
    charge(&world, &user, 80).await;
    for _ in 0..2 {
        assert!(matches!(settler.settle_now().await.unwrap_err(), SettleError::Waiting));
    }
    world.control("evm_setAutomine", serde_json::json!([true])).await;
    world.mine().await;
    let settled = settler.settle_now().await.unwrap();
    assert_eq!(settled.iter().map(|one| one.paid).collect::<Vec<_>>(), [10.into()]);
    assert_eq!(credit(&world).await, 80.into());
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
        assert!(settler.memory.turn.try_lock().is_ok(), "70 is not enough to begin");
        charge(&world, &second, 30).await;
        world.wake.notify_one();
        paid(&world).await;
    })
    .await;
    assert_eq!(credit(&world).await, 100.into());
}

#[tokio::test]
async fn who_does_not_pay_has_no_claim_of_others_settled_early() {
    let world = World::new(0).await;
    let (payer, deadbeat) = (locked_user(&world, 1).await, user(2));
    world.open(&deadbeat, 500).await;
    world.lock(&deadbeat, 20).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let mut settler = world.settler();
    settler.due.min_value = 100.into();
    charge(&world, &deadbeat, 20).await;
    assert_eq!(settler.settle_now().await.unwrap().len(), 1);
    // It took credit long ago, has nothing locked for it, and leaves.
    charge_at(&world, &deadbeat, 80, clock::now_unix_s() - settler.due.max_age_s).await;
    world.start_exit(&deadbeat).await;
    world.view.channels(&[deadbeat.address(), payer.address()]).await.unwrap();
    let sent = || world.endpoint.arrivals("eth_sendRawTransaction");
    let before = sent();
    while_running(&settler, async {
        for cumulative in [40, 80, 120] {
            charge(&world, &payer, cumulative).await;
            next_look().await;
            while settler.memory.turn.try_lock().is_err() {
                tokio::task::yield_now().await;
            }
        }
        while world.journal.unsettled().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(sent() - before, 1, "one settlement, of what was worth it");
    assert_eq!(credit(&world).await, 140.into());
}

#[tokio::test]
async fn settles_by_itself_what_has_waited_long_enough() {
    let world = World::new(0).await;
    let (first, second) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    let settler = world.settler();
    charge(&world, &first, 70).await;
    while_running(&settler, async {
        next_look().await;
        assert!(settler.memory.turn.try_lock().is_ok(), "the claim is new");
        let long_ago = clock::now_unix_s() - settler.due.max_age_s;
        charge_at(&world, &second, 5, long_ago).await;
        // Nobody wakes the loop: it looks by itself.
        next_look().await;
        paid(&world).await;
    })
    .await;
    assert_eq!(credit(&world).await, 75.into());
}

#[tokio::test]
async fn row_that_the_contract_passes_over_holds_up_no_other_and_is_not_sent_again() {
    let world = World::new(0).await;
    let (good, bad) = (locked_user(&world, 1).await, locked_user(&world, 2).await);
    charge(&world, &good, 70).await;
    // A claim whose voucher somebody else signed: the contract finds no channel of that stranger.
    let mut claim = crate::testing::journal_claim(&world, &bad, 50, clock::now_unix_s());
    claim.voucher_sig = crate::testing::signer(9).sign(&[7; 32]);
    world.journal.store(Change::Claim(Box::new(claim))).await.unwrap();
    std::fs::remove_file(world.enclave.socket()).unwrap();

    let settler = world.settler();
    world.registered.noted.take();
    let settled = settler.settle_now().await.unwrap();
    let [settlement] = &settled[..] else { panic!("one transaction, got {settled:?}") };
    assert_eq!((settlement.rows, settlement.skipped, settlement.paid), (2, 1, 70.into()));
    let reason = SkipReason::NotAccepted.to_string();
    let told = world.registered.noted.take();
    assert!(matches!(&told[..], [PodProgress::Remark(text)] if text.contains(&reason)), "{told:?}");
    assert_eq!(settler.settle_now().await.unwrap(), [], "nothing is sent for it again");
    assert_eq!(world.journal.unsettled_total(), 50.into());
    // A further answer of the same channel is another matter.
    charge(&world, &bad, 60).await;
    assert_eq!(settler.settle_now().await.unwrap().len(), 1);
}

#[tokio::test]
async fn more_rows_than_one_transaction_takes_go_into_several() {
    let world = World::new(0).await;
    let users: Vec<_> = (0..=u32::try_from(ROWS_MAX).unwrap()).map(user).collect();
    for user in &users {
        world.open(user, 500).await;
    }
    world.view.advance().await.unwrap();
    let asks: Vec<_> = users.iter().map(|user| world.admit(user, 5, Some(100))).collect();
    let locked = futures::future::join_all(asks.iter().map(|ask| world.gate.admit(ask))).await;
    assert!(locked.iter().all(Result::is_ok));
    for user in &users {
        charge(&world, user, 5).await;
    }
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let settled = world.settler().settle_now().await.unwrap();
    assert_eq!(settled.iter().map(|one| one.rows).collect::<Vec<_>>(), [ROWS_MAX, 1]);
    assert_eq!(credit(&world).await, (5 * (ROWS_MAX as u64 + 1)).into());
}

#[tokio::test]
async fn credit_is_collected_by_itself_when_it_is_worth_it() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    let payout = phallama_protocol::ids::Address([0x9a; 20]);
    let mut settler = world.settler();
    settler.due.min_value = 1.into();
    settler.collect_min = Some(100.into());
    for (cumulative, collected) in [(70, 0), (120, 120)] {
        charge(&world, &user, cumulative).await;
        while_running(&settler, async {
            world.wake.notify_one();
            paid(&world).await;
            while settler.memory.turn.try_lock().is_err()
                || world.chain.token_balance(payout).await.unwrap() != collected
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(credit(&world).await, Amount::ZERO);
}

#[tokio::test]
async fn collected_is_what_the_transaction_paid_out() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let settler = world.settler();
    charge(&world, &user, 70).await;
    let before = settler.settle_now().await.unwrap()[0].block;
    charge(&world, &user, 100).await;
    settler.settle_now().await.unwrap();
    // The credit is read as it was before the second settlement.
    world.endpoint.inject(Rule::method("eth_call", Fault::AsOf(before)));
    assert_eq!(settler.credit().await.unwrap(), 70.into());
    assert_eq!(settler.collect().await.unwrap().unwrap().amount, 100.into());
    assert_eq!(settler.books.days()[0].collected, 100.into());
}

#[tokio::test]
async fn exit_that_ends_soon_with_something_unsettled_is_an_alarm_once() {
    let world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    let settler = world.settler();
    world.start_exit(&user).await;
    world.view.advance().await.unwrap();
    world.view.channels(&[user.address()]).await.unwrap();
    world.registered.noted.take();
    settler.sound_alarms();
    assert_eq!(world.registered.noted.take(), [], "two days are enough to try again");
    world.control("evm_increaseTime", serde_json::json!([40 * 3_600])).await;
    world.mine().await;
    world.view.advance().await.unwrap();
    settler.sound_alarms();
    settler.sound_alarms();
    let told = world.registered.noted.take();
    assert!(matches!(&told[..], [PodProgress::Remark(text)] if text.contains("70")), "{told:?}");
}

#[tokio::test]
async fn key_that_ends_soon_makes_settlement_due() {
    let mut world = World::new(0).await;
    let user = locked_user(&world, 1).await;
    charge(&world, &user, 70).await;
    world.replace_identity().await;
    let settler = world.settler();
    assert!(!settler.key_ends_soon().await);
    // The grace of a replaced key is seven days.
    world.control("evm_increaseTime", serde_json::json!([6 * 86_400 + 3_600])).await;
    world.mine().await;
    world.view.advance().await.unwrap();
    assert!(settler.key_ends_soon().await);
}
