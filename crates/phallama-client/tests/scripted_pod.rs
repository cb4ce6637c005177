//! The client against pods that follow a script, on a development chain with the real contracts.

#[cfg(test)]
mod support;

use std::time::Duration;

use phallama_chain::{LockRow, SettleRow, settle_rows_bytes};
use phallama_client::{
    AnswerEvent, AskOptions, Client, ClientError, Method, ReceiptFault, SpendLimit, Timeouts,
};
use phallama_protocol::eip712::{Batch, rows_hash};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Amount, Digest32, RequestId};
use phallama_protocol::receipt::{Finish, ReceiptError};
use phallama_protocol::refusal::Code;
use serde_json::{Value, json};
use support::fixture::offer;
use support::pod::{Act, Keys, ScriptedPod};
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
    let row = LockRow {
        total: grant.total,
        deadline_unix_s: grant.deadline_unix_s,
        terms_hash: first.terms_hash,
        epoch: first.epoch,
        signature: grant.signature,
    };
    world.operator.lock(pod.id(), &[row]).await.unwrap();
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
async fn an_unused_reserve_cannot_be_taken_by_saying_so() {
    let (_world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let cap = u64::try_from(pod.seen()[0].payment.cap.value()).unwrap();
    for claimed in [1_000_000, cap, COST + 1] {
        pod.script([Act::Error(Code::CapTooLow, claimed)]);
        let posts = pod.posts();
        let named = AskOptions { pod: Some(pod.id()), class: None };
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
    let paid = pod.seen()[0].payment;
    let grant = paid.allocation.expect("nothing is locked yet");
    let row = LockRow {
        total: grant.total,
        deadline_unix_s: grant.deadline_unix_s,
        terms_hash: paid.terms_hash,
        epoch: paid.epoch,
        signature: grant.signature,
    };
    world.operator.lock(pod.id(), &[row]).await.unwrap();
    // The enclave is broken and signs what its host wants: the voucher is settled at its cap.
    let (cap, epoch, voucher_sig) = (paid.cap, paid.epoch, paid.voucher_sig);
    let rows = [SettleRow { cap, claimed: cap, epoch, voucher_sig }];
    let batch = Batch { pod_id: pod.id(), rows_hash: rows_hash(&settle_rows_bytes(&rows)) };
    let mut signature = None;
    pod.change(|fixture| {
        signature = Some(fixture.identity.sign(&batch.digest(&world.chain.domain())));
    });
    world.operator.settle(pod.id(), &rows, &signature.unwrap()).await.unwrap();
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
    let channel = client.balance().await.unwrap().channels[0].clone();
    assert_eq!((channel.charged, channel.voucher_cap), (COST.into(), cap), "nothing is taken over");
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
        ClientError::Tampered { reason, .. } => {
            assert!(reason.contains("number of DATA frames"), "{reason}");
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
async fn another_pod_is_tried_before_the_first_part_and_never_after() {
    let world = World::new(1_000_000).await;
    let (one, two) = (world.pod(1).await, world.pod(2).await);
    let (first, second) = if one.id() < two.id() { (&one, &two) } else { (&two, &one) };
    let client = world.client().await;
    first.script([Act::Refuse(Code::QueueFull)]);
    let answer = client.chat(MODEL, chat(8)).await.unwrap();
    assert_eq!(answer.pod_id(), second.id());
    answer.drained().await.unwrap();
    // The pod that failed is asked last for a while; here the other one breaks off.
    second.script([Act::Truncate]);
    let error = failed(&client).await;
    assert!(matches!(error, ClientError::Truncated { pod, .. } if pod == second.id()), "{error:?}");
    assert_eq!((first.posts(), second.posts()), (1, 2));
    first.script([Act::Refuse(Code::Draining)]);
    second.script([Act::Refuse(Code::QueueFull)]);
    match failed(&client).await {
        ClientError::NoPod { refused, .. } => {
            let tried: Vec<_> = refused.iter().map(|failure| failure.pod).collect();
            assert_eq!(tried, [second.id(), first.id()]);
        }
        other => panic!("{other:?}"),
    }
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

#[tokio::test]
async fn new_prices_hold_as_soon_as_the_enclave_names_them() {
    let (world, pod, client) = scripted([]).await;
    ask(&client, 8).await.unwrap();
    let mut offers = vec![offer()];
    offers[0].output_price_per_mtok = 4_000_000.into();
    world.operator.update_offers(pod.id(), &offers).await.unwrap();
    pod.change(|fixture| {
        fixture.record.offers = offers;
        fixture.epoch_id = 2;
    });
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
