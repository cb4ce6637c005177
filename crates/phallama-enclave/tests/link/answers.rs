//! Complete answers in every class.

use phallama_enclave::config::EmbeddingsConfig;
use phallama_protocol::events::Event;
use phallama_protocol::frames::{FrameClass, Message, ladder};
use phallama_protocol::keys::recover;
use phallama_protocol::receipt::Finish;
use phallama_protocol::refusal::Code;
use phallama_protocol::request::{Method, RequestPlain};
use serde_json::json;

use crate::driver::{Answer, MODEL, Pod, Script, cost};

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
async fn a_connection_carries_one_exchange_after_the_other() {
    let pod = Pod::start().await;
    let request = pod.request(FrameClass::Unpaced, "say first");
    let mut exchange = pod.send(&request).await;
    exchange.run_to_end(&Script::default()).await;
    assert!(exchange.answer.done);
    // Refused without an answer: the id was used.
    let mut repeated = pod.send_after(exchange, &request).await;
    repeated.run_to_end(&Script::default()).await;
    assert!(repeated.answer.done && repeated.answer.claim.is_none());
    let second = pod.request(FrameClass::Unpaced, "say second");
    let answer = pod.send_after(repeated, &second).await.run(&Script::default()).await;
    assert_eq!(answer.text().trim(), "second");
    assert!(answer.done && answer.complete);
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
    let request = pod.request_of(Method::Completion, FrameClass::Unpaced, &body);
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

/// The receipt of `answer` holds against what its client expects; returns its token counts.
fn checked_tokens(pod: &Pod, request: &RequestPlain, answer: &Answer) -> (u32, u32) {
    let signed = answer.receipt();
    signed.check(&pod.expectation(request, answer), &pod.domain()).unwrap();
    let receipt = &signed.receipt;
    let (prompt, completion) = (receipt.prompt_tokens, receipt.completion_tokens);
    assert_eq!(receipt.cost, cost(prompt.into(), completion.into()));
    (prompt, completion)
}

#[tokio::test]
async fn every_choice_is_metered_and_the_prompt_once() {
    let pod = Pod::start().await;
    let body = json!({
        "model": MODEL, "max_tokens": 20, "n": 3,
        "messages": [{ "role": "user", "content": "say one two" }],
    });
    for class in [FrameClass::Unpaced, FrameClass::Bulk] {
        let before = pod.charged().await;
        let request = pod.request_with_body(class, &body);
        let answer = pod.ask(&request).await;
        assert_eq!(answer.text(), "one twoone twoone two");
        let ends = answer.events().filter(|event| **event == Event::NextChoice(Finish::Stop));
        assert_eq!(ends.count(), 2);
        let receipt = &answer.receipt().receipt;
        assert_eq!((receipt.prompt_tokens, receipt.completion_tokens), (3, 6));
        assert_eq!(receipt.cumulative, before.checked_add(cost(3, 6)).unwrap());
        assert_eq!(answer.admit.unwrap().reserve, pod.reserve(&request));
    }
}

#[tokio::test]
async fn embeddings_are_metered_by_their_inputs() {
    let pod = Pod::start_with(|config| {
        config.models[0].embeddings = Some(EmbeddingsConfig { pooling: None });
    })
    .await;
    let body = json!({ "model": MODEL, "input": ["one", "two words", [1, 2, 3]] });
    let request = pod.request_of(Method::Embeddings, FrameClass::Bulk, &body);
    let answer = pod.ask(&request).await;
    let first = |event: &Event| match event {
        Event::Embedding(bits) => f32::from_bits(bits[0]),
        other => panic!("{other:?}"),
    };
    assert_eq!(answer.events().map(first).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    assert_eq!(checked_tokens(&pod, &request, &answer), (6, 0));

    let chat = pod.ask(&pod.request(FrameClass::Unpaced, "ok")).await;
    assert_eq!(chat.error().code, Code::NotSupported);
    assert!(chat.claim.is_none());
}

#[tokio::test]
async fn tokens_and_their_text_count_as_read() {
    let pod = Pod::start().await;
    let body = json!({ "model": MODEL, "content": "three little words" });
    let request = pod.request_of(Method::Tokenise, FrameClass::Unpaced, &body);
    let answer = pod.ask(&request).await;
    assert_eq!(answer.events().collect::<Vec<_>>(), [&Event::Tokens(vec![5, 6, 5])]);
    assert_eq!(checked_tokens(&pod, &request, &answer), (3, 0));

    let body = json!({ "model": MODEL, "tokens": [5, 6] });
    let request = pod.request_of(Method::Detokenise, FrameClass::Bulk, &body);
    let answer = pod.ask(&request).await;
    assert_eq!(answer.text(), "5 6");
    assert_eq!(answer.receipt().receipt.prompt_tokens, 2);

    let body = json!({ "model": MODEL, "input": "a" });
    let request = pod.request_of(Method::Embeddings, FrameClass::Unpaced, &body);
    let refused = pod.ask(&request).await;
    assert_eq!(refused.error().code, Code::NotSupported);
    assert!(refused.error().message.contains("was not started for embeddings"));
}

#[tokio::test]
async fn fills_in_between_prompt_and_suffix() {
    let pod = Pod::start().await;
    let body =
        json!({ "model": MODEL, "max_tokens": 9, "prompt": "say middle", "suffix": "the end" });
    let request = pod.request_of(Method::Completion, FrameClass::Unpaced, &body);
    let answer = pod.ask(&request).await;
    assert_eq!(answer.text(), "middle");
    assert_eq!(checked_tokens(&pod, &request, &answer), (4, 1));
}
