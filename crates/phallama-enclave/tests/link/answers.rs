//! Complete answers in every class.

use phallama_protocol::events::Event;
use phallama_protocol::frames::{FrameClass, Message, ladder};
use phallama_protocol::keys::recover;
use phallama_protocol::receipt::Finish;
use phallama_protocol::request::Method;
use serde_json::json;

use crate::driver::{MODEL, Pod, cost};

async fn check_class(class: FrameClass) {
    let pod = Pod::start().await;
    let request = pod.request(class, "say hello sealed world");
    let answer = pod.ask(&request).await;
    assert!(answer.done && answer.complete, "{:?}", answer.messages);
    assert!(matches!(answer.messages[0], Message::Head { model_digest, .. }
        if model_digest == pod.config.models[0].weights_sha256));
    assert_eq!(answer.text().split_whitespace().collect::<Vec<_>>(), ["hello", "sealed", "world"]);
    assert!(matches!(answer.events().last(), Some(Event::Timings { .. })));
    assert_eq!(answer.frames, ladder::next_rung(answer.frames), "the body ends on a rung");

    let receipt = answer.receipt();
    receipt.check(&pod.expectation(&request, &answer), &pod.domain()).unwrap();
    assert_eq!(receipt.receipt.finish, Finish::Stop);
    let (prompt, completion) = (receipt.receipt.prompt_tokens, receipt.receipt.completion_tokens);
    assert_eq!(receipt.receipt.cost, cost(prompt.into(), completion.into()));
    assert!(completion >= 3, "{completion} tokens for three words");
}

#[tokio::test]
async fn std_answers_with_a_receipt_that_verifies() {
    check_class(FrameClass::Std).await;
}

#[tokio::test]
async fn fast_answers_with_a_receipt_that_verifies() {
    check_class(FrameClass::Fast).await;
}

#[tokio::test]
async fn bulk_answers_with_a_receipt_that_verifies() {
    check_class(FrameClass::Bulk).await;
}

#[tokio::test]
async fn unpaced_answers_with_a_receipt_that_verifies() {
    check_class(FrameClass::Unpaced).await;
}

#[tokio::test]
async fn the_claim_of_the_host_is_the_receipt_of_the_client() {
    let pod = Pod::start().await;
    let answer = pod.ask(&pod.request(FrameClass::Unpaced, "say one two")).await;
    let (claim, signed) = (answer.claim.as_ref().unwrap(), answer.receipt());
    assert_eq!(claim.user, pod.user.address());
    assert_eq!((claim.seq, claim.cumulative), (1, signed.receipt.cost));
    assert_eq!(claim.receipt_hash, signed.receipt.hash());
    assert_eq!(claim.settlement_sig, signed.signature);
    let digest = signed.receipt.settlement().digest(&pod.domain());
    assert_eq!(recover(&digest, &claim.settlement_sig), Ok(pod.enclave.identity_address()));
}

#[tokio::test]
async fn the_host_is_asked_before_anything_is_computed() {
    let pod = Pod::start().await;
    let request = pod.request(FrameClass::Unpaced, "ok");
    let answer = pod.ask(&request).await;
    let admit = answer.admit.unwrap();
    assert_eq!((admit.user, admit.epoch), (pod.user.address(), 1));
    assert_eq!((admit.cap, admit.reserve), (request.payment.cap, pod.reserve(&request)));
    assert_eq!(admit.charged, cost(0, 0));
}

#[tokio::test]
async fn long_answers_carry_interim_receipts() {
    let pod = Pod::start().await;
    let message = format!("echo {}", "word ".repeat(8_000));
    let request = pod.request(FrameClass::Unpaced, &message);
    let answer = pod.ask(&request).await;
    let frames = answer.receipt().receipt.data_frames;
    let interim = answer.interim();
    assert!(frames > 128, "{frames} DATA frames are too few for this test");
    assert_eq!(interim.len(), usize::try_from(frames / 64).unwrap());
    for (signed, index) in interim.into_iter().zip(1_u32..) {
        let mut expected = pod.expectation(&request, &answer);
        expected.data_frames = 64 * index;
        // The opener has compared the chain at that point.
        expected.data_chain = signed.receipt.data_chain;
        signed.check(&expected, &pod.domain()).unwrap();
        assert_eq!((signed.receipt.finish, signed.receipt.seq), (Finish::Interim, index.into()));
        assert!(signed.receipt.cumulative <= answer.receipt().receipt.cumulative);
    }
}

#[tokio::test]
async fn completion_reasoning_tools_and_logprobs_arrive_as_events() {
    let pod = Pod::start().await;
    let body = json!({ "model": MODEL, "max_tokens": 10, "prompt": "say raw" });
    let mut request = pod.request_with_body(FrameClass::Unpaced, &body);
    request.method = Method::Completion;
    assert_eq!(pod.ask(&request).await.text().trim(), "raw");

    let answer = pod.ask(&pod.request(FrameClass::Unpaced, "think hard")).await;
    assert!(answer.events().any(|event| *event == Event::Reasoning("hard".to_owned())));

    let answer = pod.ask(&pod.request(FrameClass::Unpaced, "tool lookup")).await;
    assert_eq!(answer.receipt().receipt.finish, Finish::ToolCalls);
    let called = |event: &Event| matches!(event, Event::ToolCalls(json) if json.contains("lookup"));
    assert!(answer.events().any(called));

    let body = json!({
        "model": MODEL, "max_tokens": 10, "logprobs": true, "top_logprobs": 2,
        "messages": [{ "role": "user", "content": "logprobs 2" }],
    });
    let answer = pod.ask(&pod.request_with_body(FrameClass::Unpaced, &body)).await;
    assert!(answer.events().any(|event| matches!(event, Event::Logprobs(_))));
}

#[tokio::test]
async fn max_tokens_ends_an_answer_with_length() {
    let pod = Pod::start().await;
    let body = json!({
        "model": MODEL, "max_tokens": 5,
        "messages": [{ "role": "user", "content": "tokens 50" }],
    });
    let answer = pod.ask(&pod.request_with_body(FrameClass::Unpaced, &body)).await;
    let receipt = &answer.receipt().receipt;
    assert_eq!((receipt.finish, receipt.completion_tokens), (Finish::Length, 5));
}
