//! Epoch keys over time, through the link.

use phallama_enclave::epoch::{EPOCH_LIFE_S, EPOCH_OVERLAP_S};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::link::Head;
use phallama_protocol::refusal::Code;

use crate::driver::{Pod, Script};

#[tokio::test]
async fn a_request_to_the_previous_key_is_answered_during_the_overlap_only() {
    let pod = Pod::start().await;
    let old = pod.bundle().await;
    pod.clock.advance(EPOCH_LIFE_S);
    let new = pod.bundle().await;
    assert_eq!(new.bundle().epoch_id, old.bundle().epoch_id + 1);
    let request = pod.request(FrameClass::Unpaced, "ok");
    let answer = pod.send_to(&old, &request).await.run(&Script::default()).await;
    assert!(answer.complete);

    let again = pod.send_to(&new, &request).await.run(&Script::default()).await;
    assert_eq!(again.error().code, Code::DuplicateRequest, "its id is known under the new key too");

    pod.clock.advance(EPOCH_OVERLAP_S + 1);
    let late = pod.request(FrameClass::Unpaced, "ok");
    let refused = pod.send_to(&old, &late).await.run(&Script::default()).await;
    assert_eq!(refused.refused.unwrap().code, Code::UnknownKey);
    assert!(pod.send_to(&new, &late).await.run(&Script::default()).await.complete);
}

#[tokio::test]
async fn a_bundle_and_a_receipt_name_the_newest_block() {
    let pod = Pod::start().await;
    let mut host = pod.connect().await;
    for block in [41, 40] {
        host.control(&Head { block }).await;
    }
    // The answer to the next question shows that the messages before it were taken.
    host.raw(phallama_protocol::link::Kind::Status, &[]).await;
    host.frame().await;
    assert_eq!(pod.bundle().await.bundle().block_seen, 41);
    host.control(&Head { block: 42 }).await;
    host.raw(phallama_protocol::link::Kind::Status, &[]).await;
    host.frame().await;
    assert_eq!(pod.bundle().await.bundle().block_seen, 41, "the same bytes for everyone");
    let answer = pod.ask(&pod.request(FrameClass::Unpaced, "ok")).await;
    assert_eq!(answer.receipt().receipt.block_seen, 42);
}
