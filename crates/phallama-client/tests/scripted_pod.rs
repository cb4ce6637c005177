//! The client against pods that follow a script, on a development chain with the real contracts.

#[cfg(test)]
mod support;

use std::time::Duration;

use phallama_chain::{ChainError, LockRow, SettleRow, settle_rows_bytes};
use phallama_client::{
    Accusation, AnswerEvent, AskOptions, Client, ClientConfig, ClientError, Dispute, Method,
    ReceiptFault, Repeated, SignedAction, SpendLimit, Timeouts, UserKey,
};
use phallama_protocol::eip712::{Batch, rows_hash};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Amount, Digest32, RequestId};
use phallama_protocol::keys::Signer;
use phallama_protocol::receipt::{Finish, ReceiptError};
use phallama_protocol::refusal::Code;
use serde_json::{Value, json};
use support::fixture::offer;
use support::pod::{Act, Closing, Keys, ScriptedPod};
use support::{World, chat};

const MODEL: &str = "tiny:1b";
/// 10 tokens in at 1 unit, 2 tokens out at 2 units.
const COST: u64 = 14;

/// The text of a whole answer, or the error that ended it.
async fn ask(client: &Client, max_tokens: u32) -> Result<String, ClientError> {
    let mut answer = client.chat(MODEL, chat(max_tokens)).await?;
    Ok(answer.text().await?.0)
}

async fn failed(client: &Client) -> ClientError {
    ask(client, 8).await.expect_err("the request must fail")
}

/// A world with one pod that follows `acts`.
async fn scripted(acts: impl IntoIterator<Item = Act>) -> (World, ScriptedPod, Client) {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    pod.script(acts);
    let client = world.client().await;
    (world, pod, client)
}

#[tokio::test]
async fn a_chat_is_answered_paid_and_its_receipt_kept() {
    let (_world, pod, client) = scripted([]).await;
    let mut answer = client.chat(MODEL, chat(8)).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = answer.next().await {
        events.push(event.unwrap());
    }
    let (first, last) = (&events[0], events.last().unwrap());
    let AnswerEvent::Started(started) = first else { panic!("{first:?}") };
    let AnswerEvent::Finished(finished) = last else { panic!("{last:?}") };
    assert_eq!(started.pod.record().pod_id, pod.id());
    assert_eq!(started.allocation_total, Some(started.reserve), "the first request locks");
    let parts = events.iter().filter_map(|event| match event {
        AnswerEvent::Content(text) => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(parts.collect::<Vec<_>>(), ["hello ", "world"]);
    assert_eq!(finished.cost, Amount::from(COST));
    assert_eq!(finished.finish, Finish::Stop);
    assert_eq!((finished.usage.prompt_tokens, finished.usage.completion_tokens), (10, 2));
    assert_eq!((finished.prompt_ms, finished.predicted_ms), (3, 4));
    assert_eq!(finished.plain_bytes_down, 11);
    // Header, encapsulation, one bucket of 4,096 B in one chunk.
    assert_eq!(finished.wire_bytes_up, 16 + 1120 + 4096 + 16);
    // Encapsulation and HEAD, DATA, END in two parts, padded to the first rung of 8 frames.
    assert_eq!(answer.drained().await.unwrap(), 1120 + 8 * 272);
    let stored = client.receipts(10).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].check().unwrap(), finished.receipt);
    assert_eq!(client.receipt(finished.request_id).await.unwrap(), Some(stored[0].clone()));
    assert_eq!(client.receipt(RequestId([0; 16])).await.unwrap(), None);
}

#[tokio::test]
async fn the_sealed_body_says_what_was_asked() {
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let sealed: Value = serde_json::from_slice(&pod.seen()[0].body).unwrap();
    let expected = json!({
        "model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}],
    });
    assert_eq!(sealed, expected);
    assert_eq!(pod.seen()[0].method, Method::Chat);
    let prompt = json!({"prompt": "once", "max_tokens": 4});
    client.complete(MODEL, prompt).await.unwrap().text().await.unwrap();
    assert_eq!(pod.seen()[1].method, Method::Completion);
    assert_ne!(pod.seen()[0].request_id, pod.seen()[1].request_id);
    assert_ne!(pod.seen()[0].salt, pod.seen()[1].salt);
}

#[tokio::test]
async fn caps_grow_with_what_was_charged_and_the_contract_takes_the_allocation() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let first = pod.seen()[0].payment;
    let grant = first.allocation.expect("nothing is locked yet");
    lock_first(&world, &pod).await;
    let channel = world.chain.channel(world.user.address(), pod.id()).await.unwrap();
    assert_eq!(channel.locked, grant.total);
    ask(&client, 8).await.unwrap();
    let second = pod.seen()[1].payment;
    let reserve = first.cap.value();
    assert_eq!(second.cap.value(), u128::from(COST) + reserve);
    assert_eq!(second.allocation.unwrap().total, second.cap, "grows by what is missing");
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.channels[0].charged, Amount::from(2 * COST));
    assert_eq!(balance.spent_today, Amount::from(2 * COST));
    assert_eq!(balance.free.value(), 1_000_000 - grant.total.value());
    assert_eq!(balance.promised.value(), second.cap.value() - grant.total.value());
}

#[tokio::test]
async fn a_locked_chunk_carries_many_requests_without_a_new_allocation() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = world.client_with(|config| config.payment.lock_chunk = 10_000.into()).await;
    for _ in 0..3 {
        ask(&client, 8).await.unwrap();
    }
    let totals: Vec<_> =
        pod.seen().iter().map(|plain| plain.payment.allocation.map(|grant| grant.total)).collect();
    // Attached again while the chain does not show it; never more, never less.
    let expected = Some(Amount::from(10_000));
    assert_eq!(totals, [expected, expected, expected]);
}

#[tokio::test]
async fn an_allocation_is_attached_until_the_chain_shows_its_lock() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let payment = |config: &mut ClientConfig| {
        config.payment.lock_chunk = 10_000.into();
        config.payment.lock_check = Duration::ZERO;
    };
    let client = world.client_with(payment).await;
    ask(&client, 8).await.unwrap();
    lock_first(&world, &pod).await;
    // The chain is read beside a request, so the first one after the lock may be too early.
    let unattached = async {
        loop {
            ask(&client, 8).await.unwrap();
            if pod.seen().last().unwrap().payment.allocation.is_none() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), unattached).await.expect("it is seen");
}

#[tokio::test]
async fn a_stale_key_is_fetched_again_and_retried_once() {
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    assert_eq!((pod.posts(), pod.bundles()), (1, 1));
    pod.change(|fixture| fixture.epoch_id = 2);
    ask(&client, 8).await.unwrap();
    assert_eq!((pod.posts(), pod.bundles()), (3, 2));
    assert_eq!(pod.seen().len(), 2);
}

#[tokio::test]
async fn a_pod_that_never_knows_its_key_is_asked_twice_and_no_more() {
    let refusals = [Act::Refuse(Code::UnknownKey), Act::Refuse(Code::UnknownKey)];
    let (_world, pod, client) = scripted(refusals).await;
    let error = failed(&client).await;
    assert!(matches!(&error, ClientError::PodRefused { code: Code::UnknownKey, .. }), "{error:?}");
    assert_eq!((pod.posts(), pod.seen().len()), (2, 0));
    // Anybody could have said so: one of the two may have been answered and charged, not both.
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.spent_today, balance.channels[0].voucher_cap);
}

#[tokio::test]
async fn an_unauthenticated_refusal_is_not_the_pods_word() {
    let (_world, _pod, client) = scripted([Act::Refuse(Code::QueueFull)]).await;
    let error = failed(&client).await;
    match &error {
        ClientError::PodRefused { code, message, retry_after_ms, authenticated, .. } => {
            assert_eq!((*code, *authenticated), (Code::QueueFull, false));
            assert_eq!((message.as_str(), *retry_after_ms), ("", Some(250)));
            let text = error.explain(None).to_string();
            assert!(text.contains("You were probably not charged"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert!(client.balance().await.unwrap().spent_today > Amount::ZERO, "it may have been charged");
    ask(&client, 8).await.unwrap();
}

#[tokio::test]
async fn an_error_frame_is_the_enclaves_word_and_free() {
    let (_world, _pod, client) = scripted([Act::Error(Code::PromptTooLong, 0)]).await;
    match failed(&client).await {
        ClientError::PodRefused { code, message, authenticated, .. } => {
            assert_eq!((code, authenticated), (Code::PromptTooLong, true));
            assert_eq!(message, "said by the enclave");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.balance().await.unwrap().spent_today, Amount::ZERO);
}

#[tokio::test]
async fn a_worker_that_fails_during_the_answer_is_not_paid() {
    let (_world, _pod, client) = scripted([Act::ErrorAfterData(Code::WorkerFailed)]).await;
    let error = failed(&client).await;
    assert!(
        matches!(&error, ClientError::PodRefused { code: Code::WorkerFailed, .. }),
        "{error:?}"
    );
    assert_eq!(client.balance().await.unwrap().spent_today, Amount::ZERO);
}

#[tokio::test]
async fn the_pods_amount_is_adopted_as_far_as_a_lost_answer_explains_it() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    failed(&client).await;
    // The pod charged the answer that was lost and says so.
    pod.script([Act::Error(Code::CapTooLow, COST)]);
    ask(&client, 8).await.unwrap();
    let seen = pod.seen();
    assert_eq!(seen.len(), 3, "refused once, retried once");
    assert_eq!(seen[1].request_id, seen[2].request_id, "the same request is never charged twice");
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.channels[0].charged, Amount::from(2 * COST));
    assert_eq!(balance.channels[0].unreceipted, Amount::from(COST));
}

#[tokio::test]
async fn a_cap_that_others_overtook_is_signed_anew_a_few_times() {
    let (_world, pod, client) = scripted([]).await;
    let overtaken = |times| (0..times).map(|_| Act::Error(Code::CapTooLow, 0)).collect::<Vec<_>>();
    pod.script(overtaken(4));
    ask(&client, 8).await.unwrap();
    assert_eq!(pod.posts(), 5);
    pod.script(overtaken(5));
    failed(&client).await;
    assert_eq!(pod.posts(), 10, "and then no more");
    assert_eq!(client.balance().await.unwrap().channels[0].charged, COST.into());
}

#[tokio::test]
async fn an_unused_reserve_cannot_be_taken_by_saying_so() {
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let cap = u64::try_from(pod.seen()[0].payment.cap.value()).unwrap();
    for claimed in [1_000_000, cap, COST + 1] {
        pod.script([Act::Error(Code::CapTooLow, claimed)]);
        let posts = pod.posts();
        let named = AskOptions { pod: Some(pod.id()), ..AskOptions::default() };
        let asked = client.ask(Method::Chat, MODEL, chat(8), named).await;
        match asked.expect_err("nothing was lost") {
            ClientError::ClaimTooHigh { claimed: got, allowed, .. } => {
                assert_eq!((got, allowed), (claimed.into(), COST.into()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(pod.posts(), posts + 1, "no further voucher");
    }
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.channels[0].charged, Amount::from(COST), "nothing is adopted");
    let posts = pod.posts();
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::PodMisbehaved { .. }), "{error:?}");
    assert_eq!(pod.posts(), posts, "it is asked only when it is named");
}

#[tokio::test]
async fn a_receipt_cannot_take_an_unused_reserve() {
    let change = |r: &mut phallama_protocol::receipt::Receipt| r.cumulative = (2 * COST + 1).into();
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    pod.script([Act::Receipt(Box::new(change))]);
    match failed(&client).await {
        ClientError::ClaimTooHigh { claimed, allowed, .. } => {
            assert_eq!((claimed, allowed), ((2 * COST + 1).into(), (2 * COST).into()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.balance().await.unwrap().channels[0].charged, Amount::from(COST));
}

#[tokio::test]
async fn another_epoch_in_the_pods_eyes_is_looked_up_and_nothing_is_adopted() {
    let mismatch = || Act::Error(Code::EpochMismatch, 1_000_000);
    let (_world, pod, client) = scripted([mismatch()]).await;
    ask(&client, 8).await.unwrap();
    assert_eq!(pod.posts(), 2);
    pod.script([mismatch(), mismatch()]);
    let error = failed(&client).await;
    assert!(
        matches!(&error, ClientError::PodRefused { code: Code::EpochMismatch, .. }),
        "{error:?}"
    );
    assert_eq!(client.balance().await.unwrap().channels[0].charged, Amount::from(COST));
    ask(&client, 8).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_settled_more_than_it_earned_gets_no_further_voucher() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    drop(client);
    // The enclave is broken and signs what its host wants: the voucher is settled at its cap.
    let cap = pod.seen()[0].payment.cap;
    locked_and_settled(&world, &pod, cap).await;
    let client = world.client().await;
    for _ in 0..2 {
        match failed(&client).await {
            ClientError::PodOverclaimed { claimed, allowed, .. } => {
                assert_eq!((claimed, allowed), (cap, COST.into()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pod.posts(), 1);
    let disputes = client.disputes().await.unwrap();
    assert_eq!(disputes.len(), 1, "said once");
    let chain = Accusation::Chain { claimed: cap, allowed: COST.into() };
    assert_eq!((&disputes[0].accusation, disputes[0].distrusts()), (&chain, false));
    let channel = client.balance().await.unwrap().channels[0].clone();
    assert_eq!((channel.charged, channel.voucher_cap), (COST.into(), cap), "nothing is taken over");
}

/// What the first request promised is locked, and `claimed` settled under its voucher.
async fn locked_and_settled(world: &World, pod: &ScriptedPod, claimed: Amount) {
    let paid = pod.seen()[0].payment;
    lock_first(world, pod).await;
    let (cap, epoch, voucher_sig) = (paid.cap, paid.epoch, paid.voucher_sig);
    let rows = [SettleRow { cap, claimed, epoch, voucher_sig }];
    let batch = Batch { pod_id: pod.id(), rows_hash: rows_hash(&settle_rows_bytes(&rows)) };
    let mut signature = None;
    pod.change(|fixture| {
        signature = Some(fixture.identity.sign(&batch.digest(&world.chain.domain())));
    });
    let signature = signature.expect("signed");
    world.operator.settle(pod.id(), &rows, &signature).await.expect("settled");
}

/// What an endpoint says of a channel without records may be invented: it is the same to the client
/// whether this chain's `claimed` is true.
#[tokio::test]
async fn a_claim_without_records_gets_no_voucher_and_accuses_nobody() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    drop(client);
    locked_and_settled(&world, &pod, COST.into()).await;
    let without = tempfile::tempdir().unwrap();
    let restored = async |believed: u64| {
        let change = |config: &mut ClientConfig| {
            config.state_dir = without.path().to_owned();
            config.payment.unrecorded_max = believed.into();
        };
        world.client_with(change).await
    };
    for believed in [0, COST - 1] {
        match failed(&restored(believed).await).await {
            ClientError::RecordsMissing { claimed, allowed, .. } => {
                assert_eq!((claimed, allowed), (COST.into(), believed.into()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pod.posts(), 1, "nothing was signed");
    // The user knows the amount. What the pod has not settled yet is missing all the same, and
    // nobody is accused of it.
    let client = restored(COST).await;
    pod.script([Act::Error(Code::CapTooLow, COST + 1)]);
    match failed(&client).await {
        ClientError::RecordsMissing { claimed, allowed, .. } => {
            assert_eq!((claimed, allowed), ((COST + 1).into(), COST.into()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.disputes().await.unwrap(), []);
    ask(&client, 8).await.unwrap();
    assert_eq!(client.balance().await.unwrap().channels[0].charged, (2 * COST).into());
}

#[tokio::test]
async fn an_id_that_was_charged_before_the_enclave_forgot_it_is_not_sent_again() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    let options = AskOptions { request_id: Some(RequestId([7; 16])), ..AskOptions::default() };
    let again = async || client.ask(Method::Chat, MODEL, chat(8), options).await;
    again().await.unwrap().text().await.expect_err("cut");
    // The enclave was started again: it knows from its host what the channel stands at, and no id.
    pod.script([Act::Error(Code::CapTooLow, COST)]);
    for _ in 0..2 {
        match again().await.expect_err("charged") {
            ClientError::RequestRepeated { how: Repeated::Charged, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(pod.posts(), 2, "not sent for a second charge");
    }
    assert_eq!(client.balance().await.unwrap().channels[0].charged, COST.into());
}

#[tokio::test]
async fn a_request_that_anybody_refused_stays_at_risk_when_the_retry_is_not_made() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let before = client.balance().await.unwrap().spent_today;
    raise_prices(&world, &pod).await;
    let options = AskOptions { request_id: Some(RequestId([7; 16])), ..AskOptions::default() };
    // Named, it is not promised beside itself at the new prices.
    match client.ask(Method::Chat, MODEL, chat(8), options).await.expect_err("dearer") {
        ClientError::RequestRepeated { how: Repeated::Larger, .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!((pod.posts(), pod.seen().len()), (2, 1), "the refused one, and no other");
    let spent = client.balance().await.unwrap().spent_today;
    assert!(spent > before, "{spent}: it may have been charged");
}

#[tokio::test]
async fn payments_that_pause_after_the_answer_began_may_have_been_taken() {
    let (_world, _pod, client) = scripted([Act::ErrorAfterData(Code::PaymentsPaused)]).await;
    failed(&client).await;
    assert!(client.balance().await.unwrap().spent_today > Amount::ZERO);
}

#[tokio::test]
async fn an_answer_without_its_end_is_an_error_after_its_text() {
    let (_world, _pod, client) = scripted([Act::Truncate]).await;
    let mut answer = client.chat(MODEL, chat(8)).await.unwrap();
    let mut text = String::new();
    let error = loop {
        match answer.next().await.expect("an error must come") {
            Ok(AnswerEvent::Content(part)) => text.push_str(&part),
            Ok(AnswerEvent::Finished(_)) => panic!("a cut answer must not finish"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(text, "hello world");
    assert!(matches!(error, ClientError::Truncated { frames: 2, .. }), "{error:?}");
    assert!(answer.next().await.is_none());
    assert_eq!(client.receipts(1).await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_answer_does_not_block_the_next_one() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    failed(&client).await;
    assert_eq!(ask(&client, 8).await.unwrap(), "hello world");
    assert_eq!(pod.posts(), 2, "the cap covers the lost answer's reserve");
}

#[tokio::test]
async fn padding_that_is_cut_or_too_long_is_noticed() {
    for (act, tampered) in [(Act::CutPadding, false), (Act::Trailing, true)] {
        let (_world, _pod, client) = scripted([act]).await;
        let answer = client.chat(MODEL, chat(8)).await;
        // What came in one piece with the fault is refused with it; else the answer stands.
        let error = match answer {
            Ok(answer) => answer.drained().await.expect_err("the fault must be seen"),
            Err(error) => error,
        };
        match error {
            ClientError::Tampered { reason, .. } if tampered => {
                assert!(reason.contains("goes on after its last padding"), "{reason}");
            }
            ClientError::Truncated { .. } if !tampered => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_changed_bit_is_noticed_and_nothing_of_the_frame_is_shown() {
    let (_world, _pod, client) = scripted([Act::Tamper]).await;
    let error = client.chat(MODEL, chat(8)).await.expect_err("no part of the answer is good");
    match error {
        ClientError::Tampered { reason, .. } => assert!(reason.contains("frame 1"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receipt_that_is_not_what_was_agreed_is_refused() {
    type Change = Box<dyn Fn(&mut phallama_protocol::receipt::Receipt) + Send>;
    let changes: [(Change, &str); 5] = [
        (Box::new(|r| r.cost = 15.into()), "charges 15"),
        (Box::new(|r| r.cumulative = 1_000_000.into()), "above the highest cap"),
        (Box::new(|r| r.cumulative = 1.into()), "below the 14"),
        (Box::new(|r| r.terms_hash = Digest32([0; 32])), "terms hash"),
        (Box::new(|r| r.measurement = Digest32([0; 32])), "measurement"),
    ];
    for (change, said) in changes {
        let (_world, _pod, client) = scripted([Act::Receipt(change)]).await;
        match failed(&client).await {
            ClientError::ReceiptRejected { fault, .. } => {
                assert!(fault.to_string().contains(said), "{fault}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(client.receipts(1).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_receipt_of_another_answer_is_refused() {
    let change = Box::new(|r: &mut phallama_protocol::receipt::Receipt| r.data_frames = 9);
    let (_world, _pod, client) = scripted([Act::Receipt(change)]).await;
    match failed(&client).await {
        ClientError::ReceiptRejected { fault, .. } => {
            assert!(fault.to_string().contains("number of DATA frames"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receipt_of_a_stranger_is_refused() {
    let (_world, _pod, client) = scripted([Act::ForeignReceipt]).await;
    match failed(&client).await {
        ClientError::ReceiptRejected { fault: ReceiptFault::Check(error), .. } => {
            assert!(matches!(error, ReceiptError::Signer { .. }), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn other_weights_than_offered_are_refused_before_any_text() {
    let (_world, _pod, client) = scripted([Act::OtherWeights]).await;
    let error = client.chat(MODEL, chat(8)).await.expect_err("the weights differ");
    assert!(matches!(error, ClientError::PodMisbehaved { .. }), "{error:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (_world, pod, client) = scripted([Act::Redirect]).await;
    match failed(&client).await {
        ClientError::PodUnreachable { what: "answer", reason, .. } => {
            assert!(reason.contains("307 redirects elsewhere"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    pod.keys(Keys::Redirect);
    match client.verify(pod.id()).await.expect_err("the bundle is elsewhere") {
        ClientError::PodUnreachable { what: "key bundle", reason, .. } => {
            assert!(reason.contains("307 redirects elsewhere"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_oversized_bundle_is_not_read() {
    let (_world, pod, client) = scripted([]).await;
    pod.keys(Keys::Oversized);
    match failed(&client).await {
        ClientError::PodUnreachable { what: "key bundle", reason, .. } => {
            assert!(reason.contains("100000 bytes or more, the limit is 1588"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.posts(), 0);
}

#[tokio::test]
async fn a_proxys_error_page_is_not_the_pods_word() {
    let (_world, _pod, client) = scripted([Act::BadGateway]).await;
    match failed(&client).await {
        ClientError::PodUnreachable { reason, .. } => {
            assert!(reason.contains("HTTP 502") && !reason.contains("proxy says"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unverified_pod_gets_no_prompt() {
    let world = World::new(1_000_000).await;
    let pod = world.pod_with(1, |fixture| fixture.enclave.mr_enclave = [0x9f; 32]).await;
    let client = world.client().await;
    match failed(&client).await {
        ClientError::AttestationRejected(refusal) => {
            assert_eq!(refusal.failed().name, "measurement");
            let text = ClientError::AttestationRejected(refusal).explain(None).to_string();
            assert!(text.contains("is running a build you have not approved"), "{text}");
            assert!(text.contains("No prompt was sent."), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((pod.bundles(), pod.posts()), (1, 0));
}

#[tokio::test]
async fn a_verified_pod_is_not_verified_again_for_every_request() {
    let (_world, pod, client) = scripted([]).await;
    for _ in 0..3 {
        ask(&client, 8).await.unwrap();
    }
    assert_eq!((pod.bundles(), pod.posts()), (1, 3));
}

#[tokio::test]
async fn a_pod_that_is_gone_is_reported_with_its_url() {
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    drop(pod);
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::PodUnreachable { .. }), "{error:?}");
    assert_eq!(error.class().exit_code, 7);
}

#[tokio::test]
async fn without_money_nothing_is_sent() {
    let world = World::new(50).await;
    let pod = world.pod(1).await;
    let client = world.client().await;
    match failed(&client).await {
        ClientError::BalanceTooLow { needs, available, max_tokens, .. } => {
            assert_eq!((available, max_tokens), (50.into(), 8));
            assert!(needs > available, "{needs}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.posts(), 0);
}

#[tokio::test]
async fn an_open_number_of_tokens_is_cut_to_the_balance() {
    let world = World::new(400).await;
    let pod = world.pod(1).await;
    let client = world.client().await;
    let body = json!({"messages": [{"role": "user", "content": "hello"}]});
    let mut answer = client.chat(MODEL, body).await.unwrap();
    answer.text().await.unwrap();
    let sealed: Value = serde_json::from_slice(&pod.seen()[0].body).unwrap();
    let asked = sealed["max_tokens"].as_u64().unwrap();
    assert!((100..=125).contains(&asked), "{asked} tokens at 2 units from 400 units");
    assert!(pod.seen()[0].payment.cap <= 400.into());
}

#[tokio::test]
async fn the_users_limits_hold_before_anything_is_sent() {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    let client = world.client_with(|config| config.limits.per_request = Some(100.into())).await;
    match failed(&client).await {
        ClientError::LimitExceeded { limit, allowed, .. } => {
            assert_eq!((limit, allowed), (SpendLimit::PerRequest, 100.into()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.posts(), 0);
    drop(client);
    let client = world.client_with(|config| config.limits.per_day = Some(200.into())).await;
    ask(&client, 8).await.unwrap();
    let error = ask(&client, 40).await.expect_err("14 are spent of 200");
    match error {
        ClientError::LimitExceeded { limit, spent, .. } => {
            assert_eq!((limit, spent), (SpendLimit::PerDay, COST.into()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_limit_per_pod_moves_the_request_to_another_pod() {
    let world = World::new(1_000_000).await;
    let first = world.pod(1).await;
    ask(&world.client().await, 8).await.unwrap();
    let reserve = first.seen()[0].payment.cap.value();
    let most = Amount::new(reserve + u128::from(COST) - 1).unwrap();
    let client = world.client_with(|config| config.limits.per_pod = Some(most)).await;
    match failed(&client).await {
        ClientError::LimitExceeded { limit, allowed, spent, .. } => {
            assert_eq!((limit, allowed, spent), (SpendLimit::PerPod, most, COST.into()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(first.posts(), 1, "nothing was sent");
    assert_eq!(client.spending().await.unwrap().pods, [(first.id(), COST.into())]);
    drop(client);
    let second = world.pod(2).await;
    let client = world.client_with(|config| config.limits.per_pod = Some(most)).await;
    ask(&client, 8).await.unwrap();
    assert_eq!((first.posts(), second.posts()), (1, 1));
}

#[tokio::test]
async fn an_unknown_model_is_answered_with_what_there_is() {
    let (_world, _pod, client) = scripted([]).await;
    match client.chat("nothing", chat(8)).await.expect_err("no such model") {
        ClientError::ModelUnknown { asked, available } => {
            assert_eq!(
                (asked.as_str(), available.as_slice()),
                ("nothing", &[MODEL.to_owned()][..])
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn dropping_an_answer_cancels_it_at_the_pod() {
    let (_world, pod, client) = scripted([Act::Hang]).await;
    let mut answer = client.chat(MODEL, chat(8)).await.unwrap();
    assert!(matches!(answer.next().await, Some(Ok(AnswerEvent::Started(_)))));
    drop(answer);
    tokio::time::timeout(Duration::from_secs(10), pod.client_gone()).await.expect("cancelled");
    assert_eq!(ask(&client, 8).await.unwrap(), "hello world");
}

/// Why a paced answer of a pod that hangs was given up on, with these timeouts.
async fn given_up_because(set: impl FnOnce(&mut Timeouts)) -> String {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    pod.script([Act::Hang]);
    let client = world
        .client_with(|config| {
            config.class = FrameClass::Std;
            set(&mut config.timeouts);
        })
        .await;
    match failed(&client).await {
        ClientError::Truncated { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn silence_inside_an_answer_ends_it() {
    let reason = given_up_because(|timeouts| timeouts.silence = Duration::from_millis(200)).await;
    assert!(reason.contains("200 ms"), "{reason}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_ends() {
    let reason = given_up_because(|timeouts| {
        timeouts.silence = Duration::from_mins(1);
        timeouts.answer = Duration::from_millis(200);
    })
    .await;
    assert!(reason.contains("longer"), "{reason}");
}

/// Twice the price for output, and the next epoch's key.
async fn raise_prices(world: &World, pod: &ScriptedPod) {
    let mut offers = vec![offer()];
    offers[0].output_price_per_mtok = 4_000_000.into();
    world.operator.update_offers(pod.id(), &offers).await.expect("updated");
    pod.change(|fixture| {
        fixture.record.offers = offers;
        fixture.epoch_id = 2;
    });
}

#[tokio::test]
async fn new_prices_hold_as_soon_as_the_enclave_names_them() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    raise_prices(&world, &pod).await;
    let mut answer = client.chat(MODEL, chat(8)).await.unwrap();
    let (_, finished) = answer.text().await.unwrap();
    assert_eq!(finished.cost, Amount::from(10 + 2 * 4));
    assert_eq!(pod.seen()[1].payment.terms_hash, finished.receipt.receipt.terms_hash);
}

#[tokio::test]
async fn parallel_requests_are_all_covered() {
    let (_world, pod, client) = scripted([]).await;
    let asked = (0..4).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, 8).await })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().unwrap(), "hello world");
    }
    assert_eq!((pod.seen().len(), pod.charged()), (4, u128::from(4 * COST)));
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.channels[0].charged, Amount::from(4 * COST));
    assert_eq!(balance.spent_today, Amount::from(4 * COST));
}

#[tokio::test]
async fn without_a_key_pods_can_be_verified_and_not_asked() {
    let (world, pod, _client) = scripted([]).await;
    let client = Client::open_without_key(world.config()).await.unwrap();
    assert_eq!(client.models().await.unwrap()[0].model, MODEL);
    assert_eq!(client.verify(pod.id()).await.unwrap().release_label(), "release 1");
    assert!(matches!(failed(&client).await, ClientError::KeystoreLocked));
}

#[tokio::test]
async fn a_second_client_over_the_same_records_goes_on_where_the_first_stopped() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    drop(client);
    let client = world.client().await;
    ask(&client, 8).await.unwrap();
    let caps: Vec<_> = pod.seen().iter().map(|plain| plain.payment.cap.value()).collect();
    assert_eq!(caps[1] - caps[0], u128::from(COST));
}

/// Locks what the first request allocated, as the pod's host does.
async fn lock_first(world: &World, pod: &ScriptedPod) {
    let paid = pod.seen()[0].payment;
    let grant = paid.allocation.expect("nothing is locked yet");
    let row = LockRow {
        total: grant.total,
        deadline_unix_s: grant.deadline_unix_s,
        terms_hash: paid.terms_hash,
        epoch: paid.epoch,
        signature: grant.signature,
    };
    world.operator.lock(pod.id(), &[row]).await.expect("locked");
}

#[tokio::test]
async fn a_channel_closes_at_once_and_the_next_request_is_in_the_next_epoch() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    lock_first(&world, &pod).await;
    let close = client.close(pod.id()).await.unwrap();
    assert_eq!((close.epoch, close.cumulative), (0, COST.into()));
    let signed = client.signed_close(pod.id()).await.unwrap();
    let read = SignedAction::from_json(signed.to_json().as_bytes()).unwrap();
    world.operator.send_call(&read.call(&world.chain).unwrap()).await.unwrap();
    let channel = world.chain.channel(world.user.address(), pod.id()).await.unwrap();
    assert_eq!((channel.epoch, channel.claimed), (1, COST.into()));
    assert_eq!(channel.locked, channel.claimed, "the rest is free again");
    let free = world.chain.account(world.user.address()).await.unwrap().free;
    assert_eq!(free, (1_000_000 - COST).into());
    drop(client);
    ask(&world.client().await, 8).await.unwrap();
    assert_eq!(pod.seen()[1].payment.epoch, 1);
}

#[tokio::test]
async fn a_close_above_what_was_proven_is_not_signed() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    pod.closing(Closing::Above(1));
    match client.close(pod.id()).await.expect_err("one unit more than was proven") {
        ClientError::ClaimTooHigh { claimed, allowed, .. } => {
            assert_eq!((claimed, allowed), ((COST + 1).into(), COST.into()));
        }
        other => panic!("{other:?}"),
    }
    pod.closing(Closing::Foreign);
    let error = client.close(pod.id()).await.expect_err("signed by somebody else");
    assert!(matches!(error, ClientError::PodMisbehaved { .. }), "{error:?}");
    pod.closing(Closing::Refuse(Code::EpochMismatch));
    let error = client.close(pod.id()).await.expect_err("refused");
    assert!(
        matches!(error, ClientError::CloseRefused { code: Code::EpochMismatch, .. }),
        "{error:?}"
    );
    let channel = world.chain.channel(world.user.address(), pod.id()).await.unwrap();
    assert_eq!(channel.epoch, 0);
}

#[tokio::test]
async fn a_lost_answer_is_within_what_a_close_may_claim() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    failed(&client).await;
    let close = client.close(pod.id()).await.unwrap();
    assert_eq!(close.cumulative, COST.into(), "the pod has charged the answer that was lost");
}

#[tokio::test]
async fn money_comes_and_goes_by_signatures_that_anybody_sends() {
    let (world, pod, client) = scripted([]).await;
    let payer = Signer::from_bytes(&[0x0a; 32]).unwrap();
    world.operator.mint_test_token(payer.address(), 1_000.into()).await.unwrap();
    let send = async |signed: SignedAction| {
        let call = signed.call(&world.chain).unwrap();
        world.operator.send_call(&call).await
    };
    let deposit = client.signed_deposit(&payer, 400.into()).await.unwrap();
    send(deposit.clone()).await.unwrap();
    let error = send(deposit).await.expect_err("an authorization pays once");
    assert!(matches!(error, ChainError::Reverted { .. }), "the token says so: {error}");
    let user = world.user.address();
    assert_eq!(world.chain.account(user).await.unwrap().free, 1_000_400.into());

    let owner = world.operator.address();
    let before = world.chain.token_balance(owner).await.unwrap();
    let withdrawal = client.signed_withdrawal(100.into()).await.unwrap();
    send(withdrawal.clone()).await.unwrap();
    let error = send(withdrawal).await.expect_err("a withdrawal counts once");
    assert_eq!(error.refusal(), Some("WrongNonce"), "{error}");
    assert_eq!(world.chain.token_balance(owner).await.unwrap(), before + 100);

    let exit = client.signed_exit(pod.id()).await.unwrap();
    send(exit.clone()).await.unwrap();
    let error = send(exit).await.expect_err("an exit starts once");
    assert_eq!(error.refusal(), Some("ExitRunning"), "{error}");
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::ChannelExiting { .. }), "{error:?}");
    assert_eq!(pod.posts(), 0, "nothing is sent to a pod that one is leaving");
}

#[tokio::test]
async fn balance_and_limits_are_read_with_the_key_locked() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let (unlocked, limits) = (client.balance().await.unwrap(), client.spending().await.unwrap());
    drop(client);
    let user = UserKey::Locked(world.user.address());
    let client = Client::on(world.chain.clone(), world.config(), user).unwrap();
    assert_eq!(client.balance().await.unwrap(), unlocked);
    assert_eq!(client.spending().await.unwrap(), limits);
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::KeystoreLocked), "{error:?}");
    let other = world.pod(2).await.id();
    let balance = client.balance_with(&[other]).await.unwrap();
    let mut pods: Vec<_> = balance.channels.iter().map(|channel| channel.pod).collect();
    pods.sort();
    let mut expected = [pod.id(), other];
    expected.sort();
    assert_eq!(pods, expected);
}

/// One way to be wrong, what the dispute says of it, and that the pod is asked no more.
async fn disputed(
    change: impl Fn(&mut phallama_protocol::receipt::Receipt) + Send + 'static,
    says: &str,
) -> (World, Dispute) {
    let (world, pod, client) = scripted([Act::Receipt(Box::new(change))]).await;
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::ReceiptRejected { .. }), "{error:?}");
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::PodMisbehaved { .. }), "{error:?}");
    assert_eq!(pod.posts(), 1, "it is asked no more");
    drop(client);
    let client = world.client().await;
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::PodMisbehaved { .. }), "also later: {error:?}");
    let mut disputes = client.disputes().await.expect("read");
    assert_eq!(disputes.len(), 1, "once");
    let dispute = disputes.remove(0);
    match &dispute.accusation {
        Accusation::Receipt { fault } => assert!(fault.contains(says), "{fault}"),
        other => panic!("{other:?}"),
    }
    client.forgive(pod.id()).await.expect("written");
    ask(&client, 8).await.expect("asked again");
    (world, dispute)
}

#[tokio::test]
async fn a_receipt_above_what_was_delivered_is_kept_as_evidence_with_both_signatures() {
    let (world, dispute) = disputed(|r| r.data_frames += 1, "number of DATA frames").await;
    let evidence = dispute.evidence.as_ref().expect("the receipt shows it");
    assert!(evidence.delivered_bytes <= 11, "text that came with the receipt is not shown");
    assert_eq!(evidence.agreement.data_frames, 1, "what arrived");
    let shown = dispute.shown().expect("evidence").expect("a receipt");
    assert_eq!(shown.enclave, Some(evidence.agreement.identity));
    assert_eq!(shown.user, Some(world.user.address()));
    let json = serde_json::to_string(&dispute).unwrap();
    for text in ["hello", "world"] {
        assert!(!json.contains(text), "no text is kept");
    }
    assert_eq!(serde_json::from_str::<Dispute>(&json).unwrap(), dispute);
}

#[tokio::test]
async fn a_receipt_of_another_answer_is_disputed() {
    disputed(|r| r.data_chain = Digest32([9; 32]), "data chain").await;
}

#[tokio::test]
async fn a_receipt_above_the_agreed_price_is_disputed() {
    let dearer = |r: &mut phallama_protocol::receipt::Receipt| {
        r.output_price_per_mtok = 4_000_000.into();
        r.cost = 18.into();
    };
    disputed(dearer, "output price").await;
}

#[tokio::test]
async fn a_receipt_above_its_own_tokens_is_disputed() {
    disputed(|r| r.cost = (COST + 1).into(), "its tokens at its prices cost").await;
}

#[tokio::test]
async fn a_receipt_above_the_reserve_is_disputed() {
    let more = |r: &mut phallama_protocol::receipt::Receipt| {
        r.prompt_tokens = 10_000;
        r.cost = 10_004.into();
        r.cumulative = 10_004.into();
    };
    disputed(more, "reserved for the request").await;
}

#[tokio::test]
async fn a_receipt_of_more_tokens_than_were_asked_for_is_disputed() {
    let more = |r: &mut phallama_protocol::receipt::Receipt| {
        r.completion_tokens = 9;
        r.cost = 28.into();
        r.cumulative = 28.into();
    };
    disputed(more, "8 were asked for at most").await;
}

#[tokio::test]
async fn an_amount_that_cannot_be_is_disputed_with_its_receipt() {
    let change = |r: &mut phallama_protocol::receipt::Receipt| r.cumulative = (COST + 1).into();
    let (_world, pod, client) = scripted([Act::Receipt(Box::new(change))]).await;
    failed(&client).await;
    let disputes = client.disputes().await.unwrap();
    let (claimed, allowed) = ((COST + 1).into(), COST.into());
    assert_eq!(disputes[0].accusation, Accusation::Claim { claimed, allowed });
    assert!(disputes[0].evidence.is_some());
    // Its own word about it shows nothing, and is kept once.
    client.forgive(pod.id()).await.unwrap();
    ask(&client, 8).await.unwrap();
    for _ in 0..2 {
        pod.script([Act::Error(Code::CapTooLow, 1_000_000)]);
        let named = AskOptions { pod: Some(pod.id()), ..AskOptions::default() };
        client.ask(Method::Chat, MODEL, chat(8), named).await.expect_err("refused");
    }
    let disputes = client.disputes().await.unwrap();
    assert_eq!((disputes.len(), disputes[0].evidence.is_some()), (1, false));
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_charged_once() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    let id = RequestId([7; 16]);
    let options = AskOptions { request_id: Some(id), ..AskOptions::default() };
    let again = async || client.ask(Method::Chat, MODEL, chat(8), options).await;
    again().await.unwrap().text().await.expect_err("cut");
    let lost = client.balance().await.unwrap();
    // The enclave has charged the id and charges it no more.
    pod.script([Act::Error(Code::DuplicateRequest, 0)]);
    let error = again().await.expect_err("charged before");
    assert!(
        matches!(error, ClientError::PodRefused { code: Code::DuplicateRequest, .. }),
        "{error:?}"
    );
    let seen = pod.seen();
    assert_eq!((seen[0].request_id, seen[1].request_id), (id, id));
    assert_eq!(seen[0].payment.cap, seen[1].payment.cap, "the same promise");
    let balance = client.balance().await.unwrap();
    assert_eq!(balance.spent_today, lost.spent_today, "not a unit more");
    assert_eq!(balance.channels[0].voucher_cap, lost.channels[0].voucher_cap);
}

#[tokio::test]
async fn an_id_that_was_answered_or_is_being_answered_is_not_sent() {
    let (_world, pod, client) = scripted([Act::Hang]).await;
    let options = AskOptions { request_id: Some(RequestId([7; 16])), ..AskOptions::default() };
    let again = async || client.ask(Method::Chat, MODEL, chat(8), options).await;
    let first = again().await.unwrap();
    match again().await.expect_err("open") {
        ClientError::RequestRepeated { how: Repeated::Open, .. } => {}
        other => panic!("{other:?}"),
    }
    drop(first);
    let other = AskOptions { request_id: Some(RequestId([8; 16])), ..AskOptions::default() };
    let mut answer = client.ask(Method::Chat, MODEL, chat(8), other).await.unwrap();
    answer.text().await.unwrap();
    match client.ask(Method::Chat, MODEL, chat(8), other).await.expect_err("answered") {
        ClientError::RequestRepeated { how: Repeated::Answered, .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.posts(), 2, "neither was sent");
}

#[tokio::test]
async fn an_id_that_was_lost_goes_to_no_other_pod() {
    let world = World::new(1_000_000).await;
    let (one, two) = (world.pod(1).await, world.pod(2).await);
    one.script([Act::BadGateway]);
    two.script([Act::BadGateway]);
    let client = world.client().await;
    let options = AskOptions { request_id: Some(RequestId([7; 16])), ..AskOptions::default() };
    let error = client.ask(Method::Chat, MODEL, chat(8), options).await.expect_err("lost");
    assert!(matches!(error, ClientError::PodUnreachable { .. }), "{error:?}");
    assert_eq!(one.posts() + two.posts(), 1, "it may have been charged there");
    let first = if one.posts() == 1 { &one } else { &two };
    let mut answer = client.ask(Method::Chat, MODEL, chat(8), options).await.unwrap();
    answer.text().await.unwrap();
    assert_eq!(first.posts(), 2);
}
