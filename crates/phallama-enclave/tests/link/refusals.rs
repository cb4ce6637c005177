//! One test per reason for which a request is not answered. Nobody is charged.

use phallama_enclave::random::os_rng;
use phallama_protocol::frames::{FrameClass, Message};
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signature;
use phallama_protocol::refusal::{Code, PodError};
use phallama_protocol::request::{AllocationGrant, REQUEST_MAX_LEN, RequestPlain, seal_request};
use serde_json::{Value, json};

use crate::driver::{MODEL, Pod, Script, denied};

const UNPACED: FrameClass = FrameClass::Unpaced;

/// The code of an unauthenticated refusal of `sealed`, after `change`.
async fn refused(change: impl FnOnce(&mut Vec<u8>)) -> Code {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    let (mut sealed, client) = seal_request(&pod.bundle().await, &request, &mut os_rng()).unwrap();
    change(&mut sealed);
    let answer = pod.send_sealed(&sealed, client).await.run(&Script::default()).await;
    assert!(answer.messages.is_empty() && answer.admit.is_none(), "it had an effect");
    answer.refused.unwrap().code
}

/// The authenticated error for a request that was changed before sealing.
async fn error(change: impl FnOnce(&Pod, &mut RequestPlain)) -> PodError {
    let pod = Pod::start().await;
    let mut request = pod.request(UNPACED, "ok");
    change(&pod, &mut request);
    let answer = pod.ask(&request).await;
    assert!(answer.claim.is_none(), "it was charged");
    assert!(matches!(answer.messages[..], [Message::Error(_)]), "{:?}", answer.messages);
    answer.error().clone()
}

async fn body_error(change: impl FnOnce(&mut Value)) -> PodError {
    error(|pod, request| {
        let mut body = serde_json::from_slice(&request.body).unwrap();
        change(&mut body);
        *request = pod.request_with_body(UNPACED, &body);
    })
    .await
}

#[tokio::test]
async fn refuses_a_key_that_it_does_not_have() {
    assert_eq!(refused(|sealed| sealed[2] ^= 1).await, Code::UnknownKey);
}

#[tokio::test]
async fn refuses_a_request_whose_last_chunk_was_changed() {
    assert_eq!(refused(|sealed| *sealed.last_mut().unwrap() ^= 1).await, Code::MalformedRequest);
}

#[tokio::test]
async fn refuses_a_request_that_was_cut() {
    assert_eq!(refused(|sealed| sealed.truncate(sealed.len() - 1)).await, Code::MalformedRequest);
}

#[tokio::test]
async fn refuses_a_request_above_the_largest_bucket() {
    let code = refused(|sealed| sealed.resize(REQUEST_MAX_LEN + 1, 0)).await;
    assert_eq!(code, Code::RequestTooLarge);
}

#[tokio::test]
async fn refuses_a_replayed_request() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    let bundle = pod.bundle().await;
    let (sealed, client) = seal_request(&bundle, &request, &mut os_rng()).unwrap();
    let first = pod.send_sealed(&sealed, client).await.run(&Script::default()).await;
    assert!(first.complete);
    let (_, other_client) = seal_request(&bundle, &request, &mut os_rng()).unwrap();
    let again = pod.send_sealed(&sealed, other_client).await.run(&Script::default()).await;
    assert_eq!(again.refused.unwrap().code, Code::Replayed);
    assert!(again.admit.is_none() && again.claim.is_none());
}

#[tokio::test]
async fn refuses_a_request_id_that_was_charged() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    assert!(pod.ask(&request).await.claim.is_some());
    // Sealed anew, so the replay set does not know it.
    let again = pod.ask(&request).await;
    assert_eq!(again.error().code, Code::DuplicateRequest);
    assert!(again.claim.is_none());
}

#[tokio::test]
async fn takes_a_request_id_again_that_was_not_charged() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    let script = Script { verdict: Err(denied(Code::ChainBehind)), ..Script::default() };
    let first = pod.send(&request).await.run(&script).await;
    assert_eq!(first.error().code, Code::ChainBehind);
    assert!(pod.ask(&request).await.claim.is_some());
}

#[tokio::test]
async fn refuses_other_terms() {
    let error = error(|_, request| request.payment.terms_hash = Digest32([9; 32])).await;
    assert_eq!(error.code, Code::TermsMismatch);
}

#[tokio::test]
async fn refuses_a_voucher_for_another_cap() {
    let error = error(|_, request| request.payment.cap = Amount::from(1)).await;
    assert_eq!(error.code, Code::BadVoucher);
}

#[tokio::test]
async fn refuses_a_voucher_for_another_identity() {
    let error = error(|pod, request| {
        let voucher = request.payment.voucher(pod.config.pod_id, Address([9; 20]));
        request.payment.voucher_sig = pod.user.sign(&voucher.digest(&pod.domain()));
    })
    .await;
    assert_eq!(error.code, Code::BadVoucher);
}

#[tokio::test]
async fn refuses_an_allocation_that_the_user_did_not_sign() {
    let error = error(|_, request| {
        request.payment.allocation = Some(AllocationGrant {
            total: Amount::from(5),
            deadline_unix_s: 2_000_000_000,
            signature: Signature([1; 64]),
        });
    })
    .await;
    assert_eq!(error.code, Code::BadVoucher);
}

#[tokio::test]
async fn refuses_an_allocation_that_was_signed_for_other_terms() {
    let error = error(|pod, request| {
        let mut of_before = request.payment;
        of_before.terms_hash = Digest32([9; 32]);
        let mut grant = AllocationGrant {
            total: Amount::from(5),
            deadline_unix_s: 2_000_000_000,
            signature: Signature([0; 64]),
        };
        of_before.allocation = Some(grant);
        let allocation = of_before.allocation(pod.config.pod_id).unwrap();
        grant.signature = pod.user.sign(&allocation.digest(&pod.domain()));
        request.payment.allocation = Some(grant);
    })
    .await;
    assert_eq!(error.code, Code::BadVoucher);
}

#[tokio::test]
async fn hands_a_signed_allocation_to_the_host() {
    let pod = Pod::start().await;
    let mut request = pod.request(UNPACED, "ok");
    let mut grant = AllocationGrant {
        total: Amount::from(5),
        deadline_unix_s: 2_000_000_000,
        signature: Signature([0; 64]),
    };
    request.payment.allocation = Some(grant);
    let allocation = request.payment.allocation(pod.config.pod_id).unwrap();
    grant.signature = pod.user.sign(&allocation.digest(&pod.domain()));
    request.payment.allocation = Some(grant);
    assert_eq!(pod.ask(&request).await.admit.unwrap().allocation, Some(grant));
}

#[tokio::test]
async fn refuses_a_cap_below_the_reserve_and_says_what_is_charged() {
    let error = error(|pod, request| request.payment = pod.payment(1, 10)).await;
    assert_eq!((error.code, error.cumulative), (Code::CapTooLow, Amount::ZERO));
}

#[tokio::test]
async fn refuses_a_model_that_is_not_offered() {
    let error = body_error(|body| body["model"] = json!("gpt-9")).await;
    assert_eq!(error.code, Code::ModelNotFound);
    assert!(error.message.contains(MODEL), "{}", error.message);
}

#[tokio::test]
async fn refuses_a_body_without_max_tokens() {
    let error = body_error(|body| drop(body.as_object_mut().unwrap().remove("max_tokens"))).await;
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.message.contains("max_tokens"), "{}", error.message);
}

#[tokio::test]
async fn refuses_more_tokens_than_the_offer_gives() {
    let error = body_error(|body| body["max_tokens"] = json!(16_385)).await;
    assert_eq!(error.code, Code::InvalidRequest);
    assert!(error.message.contains("16384"), "{}", error.message);
}

#[tokio::test]
async fn refuses_a_field_of_the_worker() {
    let error = body_error(|body| body["id_slot"] = json!(1)).await;
    assert_eq!(error.code, Code::InvalidRequest);
}

#[tokio::test]
async fn refuses_what_has_crashed_workers_with_the_field_at_fault() {
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000));
    let schema = json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": {
        "type": "string", "pattern": "^(?<=x)*$",
    } } });
    for (field, value) in [
        ("n", json!(1_000_000_000)),
        ("temperature", json!(1e6)),
        ("top_k", json!(-1)),
        ("grammar", json!(deep)),
        ("response_format", schema),
        ("stop", json!(vec!["x"; 17])),
        ("logit_bias", json!({ "-1": 5 })),
    ] {
        let error = body_error(|body| body[field] = value).await;
        assert_eq!(error.code, Code::InvalidRequest, "{field}");
        assert!(error.message.contains(&format!("`{field}")), "{field}: {}", error.message);
    }
}

#[tokio::test]
async fn refuses_a_field_that_comes_twice() {
    let error = error(|_, request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        request.body = body.replacen('{', "{\"max_tokens\":1,", 1).into_bytes();
    })
    .await;
    assert_eq!(error.code, Code::InvalidRequest);
    assert_eq!(error.message, "field `max_tokens` comes twice in one object");
}

#[tokio::test]
async fn refuses_a_body_that_is_not_json() {
    let error = error(|_, request| request.body = b"{".to_vec()).await;
    assert_eq!(error.code, Code::InvalidRequest);
}

#[tokio::test]
async fn refuses_a_body_above_the_policy() {
    let pod = Pod::start_with(|config| config.policy.body_max_bytes = 100).await;
    let answer = pod.ask(&pod.request(UNPACED, &"x".repeat(100))).await;
    assert_eq!(answer.error().code, Code::InvalidRequest);
}

#[tokio::test]
async fn passes_the_host_s_refusal_on_as_the_host_s() {
    let pod = Pod::start().await;
    let script = Script { verdict: Err(denied(Code::BalanceTooLow)), ..Script::default() };
    let answer = pod.send(&pod.request(UNPACED, "ok")).await.run(&script).await;
    // The amount is the enclave's own: the host named 5.
    let expected = PodError {
        code: Code::BalanceTooLow,
        retry_after_ms: 7,
        cumulative: Amount::ZERO,
        message: "the pod's host says: no".to_owned(),
    };
    assert_eq!(*answer.error(), expected);
}

#[tokio::test]
async fn says_internal_when_the_host_denies_with_a_code_that_no_frame_has() {
    let pod = Pod::start().await;
    let script = Script { verdict: Err(denied(Code::Replayed)), ..Script::default() };
    let answer = pod.send(&pod.request(UNPACED, "ok")).await.run(&script).await;
    assert_eq!(answer.error().code, Code::Internal);
}

#[tokio::test]
async fn says_when_the_prompt_is_too_long() {
    let pod = Pod::start().await;
    let answer = pod.ask(&pod.request(UNPACED, "long")).await;
    assert_eq!(answer.error().code, Code::PromptTooLong);
    assert!(answer.claim.is_none());
}

#[tokio::test]
async fn a_worker_that_dies_is_paid_nothing() {
    for command in ["die 5", "eof 5", "error 5", "done 5", "garbage"] {
        let pod = Pod::start().await;
        let answer = pod.ask(&pod.request(UNPACED, command)).await;
        assert_eq!(answer.error().code, Code::WorkerFailed, "{command}");
        assert!(answer.claim.is_none(), "{command}");
        assert_eq!(pod.charged().await, Amount::ZERO, "{command}");
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let pod = Pod::start_with(|config| {
        config.worker.slots = 1;
        config.worker.queue_max = 0;
    })
    .await;
    let mut busy = pod.send(&pod.request(UNPACED, "hang 1")).await;
    busy.until_first_event(&Script::default()).await;
    let answer = pod.ask(&pod.request(UNPACED, "ok")).await;
    let error = answer.error();
    assert_eq!(error.code, Code::QueueFull);
    assert!(error.retry_after_ms > 0);
}

#[tokio::test]
async fn refuses_more_exchanges_than_its_policy_allows() {
    let pod = Pod::start_with(|config| config.policy.exchanges_max = 1).await;
    let mut busy = pod.send(&pod.request(UNPACED, "hang 1")).await;
    busy.until_first_event(&Script::default()).await;
    let answer = pod.ask(&pod.request(UNPACED, "ok")).await;
    assert_eq!(answer.refused.unwrap().code, Code::QueueFull);
}

#[tokio::test]
async fn takes_no_request_while_it_stops() {
    let pod = Pod::start().await;
    pod.enclave.drain().await;
    let answer = pod.ask(&pod.request(UNPACED, "ok")).await;
    assert_eq!(answer.refused.unwrap().code, Code::Draining);
}
