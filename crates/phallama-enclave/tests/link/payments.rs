//! Charges, batches and final amounts.

use phallama_enclave::random::os_rng;
use phallama_protocol::eip712::{Batch, Close, channel_id, rows_hash};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::keys::{Signer, recover};
use phallama_protocol::link::{
    Admitted, BatchRow, BatchSigned, Claim, CloseSigned, Kind, SignBatch, SignClose,
};
use phallama_protocol::receipt::ReceiptError;
use phallama_protocol::refusal::Code;

use crate::driver::{CAP, Pod, Script, cost};

const UNPACED: FrameClass = FrameClass::Unpaced;

async fn claim(pod: &Pod) -> Claim {
    pod.ask(&pod.request(UNPACED, "say some words")).await.claim.unwrap()
}

fn row(claim: &Claim) -> BatchRow {
    BatchRow {
        user: claim.user,
        epoch: claim.epoch,
        cap: claim.cap,
        voucher_sig: claim.voucher_sig,
        claimed: claim.cumulative,
    }
}

async fn sign(pod: &Pod, rows: &[BatchRow]) -> BatchSigned {
    let batch = SignBatch { rows: rows.to_vec() };
    pod.connect().await.ask(&batch).await.unwrap()
}

#[tokio::test]
async fn charges_add_up_over_requests() {
    let pod = Pod::start().await;
    let (first, second) = (claim(&pod).await, claim(&pod).await);
    assert_eq!((first.seq, second.seq), (1, 2));
    let each = cost(first.prompt_tokens.into(), first.completion_tokens.into());
    assert_eq!(second.cumulative.checked_sub(first.cumulative), Some(each));
    assert_eq!(pod.charged().await, second.cumulative);
}

#[tokio::test]
async fn an_answer_that_the_host_cannot_store_is_free() {
    let pod = Pod::start().await;
    let script = Script { stored: Kind::NotStored, ..Script::default() };
    let answer = pod.send(&pod.request(UNPACED, "ok")).await.run(&script).await;
    assert_eq!(answer.error().code, Code::PaymentsPaused);
    assert_eq!(pod.charged().await, Amount::ZERO);
    // The claim that the host did not store is not one that the enclave stands for.
    let unstored = row(&answer.claim.unwrap());
    assert!(sign(&pod, &[unstored]).await.accepted.is_empty());
}

#[tokio::test]
async fn continues_above_what_the_host_knows_from_before() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    let known = Amount::from(1_000);
    let script = Script { verdict: Ok(Admitted { cumulative: known }), ..Script::default() };
    let answer = pod.send(&request).await.run(&script).await;
    let receipt = &answer.receipt().receipt;
    assert_eq!(receipt.cumulative.checked_sub(receipt.cost), Some(known));
    // A client whose record says more than that refuses.
    let mut expected = pod.expectation(&request, &answer);
    expected.cumulative_before = Amount::from(1_001);
    let refused = answer.receipt().check(&expected, &pod.domain());
    assert!(matches!(refused, Err(ReceiptError::BelowRecord { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_host_cannot_raise_a_channel_that_has_begun() {
    let pod = Pod::start().await;
    let first = claim(&pod).await.cumulative;
    let lie = Admitted { cumulative: Amount::from(1_000_000) };
    let script = Script { verdict: Ok(lie), ..Script::default() };
    let answer = pod.send(&pod.request(UNPACED, "ok")).await.run(&script).await;
    let receipt = &answer.receipt().receipt;
    assert_eq!(receipt.cumulative.checked_sub(receipt.cost), Some(first));
}

#[tokio::test]
async fn a_cap_below_what_was_claimed_before_the_start_is_refused_with_that_amount() {
    let pod = Pod::start().await;
    let script =
        Script { verdict: Ok(Admitted { cumulative: Amount::from(CAP) }), ..Script::default() };
    let error = pod.send(&pod.request(UNPACED, "ok")).await.run(&script).await.error().clone();
    assert_eq!((error.code, error.cumulative), (Code::CapTooLow, Amount::from(CAP)));
    assert_eq!(pod.charged().await, Amount::ZERO, "nothing was reserved: nothing is believed yet");
}

#[tokio::test]
async fn a_claim_that_the_host_took_with_it_stays_charged() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "ok");
    let mut exchange = pod.send(&request).await;
    let script = Script { breaks_at_claim: true, ..Script::default() };
    while exchange.answer.claim.is_none() {
        exchange.step(&script).await.unwrap();
    }
    let lost = exchange.answer.claim.clone().unwrap();
    drop(exchange);
    // The channel's next claim waits for its turn, hence for the end of the broken exchange.
    let next = claim(&pod).await;
    let cost_of_next = cost(next.prompt_tokens.into(), next.completion_tokens.into());
    assert_eq!(next.cumulative.checked_sub(cost_of_next), Some(lost.cumulative));
    assert_eq!(sign(&pod, &[row(&lost)]).await.accepted, [0]);
    assert_eq!(pod.ask(&request).await.error().code, Code::DuplicateRequest);
}

#[tokio::test]
async fn parallel_requests_share_the_cap() {
    let pod = Pod::start().await;
    let mut request = pod.request(UNPACED, "hang 1");
    let reserve = u64::try_from(pod.reserve(&request).value()).unwrap();
    request.payment = pod.payment(1, 2 * reserve);
    let mut other = pod.request(UNPACED, "hang 1");
    other.payment = request.payment;
    let (mut first, mut second) = (pod.send(&request).await, pod.send(&other).await);
    first.until_first_event(&Script::default()).await;
    second.until_first_event(&Script::default()).await;

    let mut third = pod.request(UNPACED, "hang 1");
    third.payment = request.payment;
    let refused = pod.ask(&third).await;
    assert_eq!(refused.error().code, Code::CapTooLow);

    first.host.client_gone().await;
    second.host.client_gone().await;
    let script = Script::default();
    let (first, second) = (first.run(&script).await, second.run(&script).await);
    let mut claims = [first.claim.unwrap().cumulative, second.claim.unwrap().cumulative];
    claims.sort_unstable();
    assert_eq!(claims[1].checked_sub(claims[0]), Some(claims[0]), "two equal charges");
    assert_eq!(pod.charged().await, claims[1]);
}

#[tokio::test]
async fn a_batch_covers_what_was_claimed() {
    let pod = Pod::start().await;
    let claim = claim(&pod).await;
    let signed = sign(&pod, &[row(&claim)]).await;
    assert_eq!(signed.accepted, [0]);
    let rows_hash = rows_hash(&row(&claim).pack());
    let digest = Batch { pod_id: pod.config.pod_id, rows_hash }.digest(&pod.domain());
    assert_eq!(recover(&digest, &signed.signature), Ok(pod.enclave.identity_address()));
}

#[tokio::test]
async fn a_batch_leaves_out_rows_above_what_was_claimed() {
    let pod = Pod::start().await;
    let good = row(&claim(&pod).await);
    let above = good.claimed.checked_add(Amount::from(1)).unwrap();
    let other_epoch = BatchRow { epoch: 2, ..good };
    let signed = sign(&pod, &[BatchRow { claimed: above, ..good }, good, other_epoch]).await;
    assert_eq!(signed.accepted, [1]);
}

#[tokio::test]
async fn a_batch_leaves_out_a_strangers_voucher() {
    let pod = Pod::start().await;
    let good = row(&claim(&pod).await);
    let stranger = Signer::generate(&mut os_rng());
    let digest = voucher_for(&pod, pod.enclave.identity_address());
    let signed = sign(&pod, &[BatchRow { voucher_sig: stranger.sign(&digest), ..good }]).await;
    assert!(signed.accepted.is_empty());
}

#[tokio::test]
async fn a_batch_leaves_out_a_voucher_for_another_identity() {
    let pod = Pod::start().await;
    let good = row(&claim(&pod).await);
    let with =
        |identity| BatchRow { voucher_sig: pod.user.sign(&voucher_for(&pod, identity)), ..good };
    let rows = [with(Address([9; 20])), with(pod.enclave.identity_address())];
    assert_eq!(sign(&pod, &rows).await.accepted, [1]);
}

/// What the user signs for the payment that all requests here carry.
fn voucher_for(pod: &Pod, identity: Address) -> [u8; 32] {
    pod.payment(1, 10_000_000).voucher(pod.config.pod_id, identity).digest(&pod.domain())
}

#[tokio::test]
async fn a_channel_closes_only_without_requests_and_then_for_good() {
    let pod = Pod::start().await;
    let close = SignClose { user: pod.user.address(), epoch: 1 };
    let mut host = pod.connect().await;
    let unknown = host.ask::<_, CloseSigned>(&close).await.unwrap_err();
    assert_eq!(unknown.code, Code::EpochMismatch);

    let claimed = claim(&pod).await.cumulative;
    let mut busy = pod.send(&pod.request(UNPACED, "hang 0")).await;
    // Admitted: the reservation exists once HEAD is out.
    while busy.answer.messages.is_empty() {
        busy.step(&Script::default()).await.unwrap();
    }
    let refused = host.ask::<_, CloseSigned>(&close).await.unwrap_err();
    assert_eq!(refused.code, Code::QueueFull);

    busy.host.client_gone().await;
    busy.run(&Script::default()).await;
    let signed: CloseSigned = host.ask(&close).await.unwrap();
    assert_eq!(signed.cumulative, claimed);
    let channel = channel_id(pod.user.address(), pod.config.pod_id);
    let digest = Close { channel, epoch: 1, cumulative: claimed }.digest(&pod.domain());
    assert_eq!(recover(&digest, &signed.signature), Ok(pod.enclave.identity_address()));

    let error = pod.ask(&pod.request(UNPACED, "ok")).await.error().clone();
    assert_eq!((error.code, error.cumulative), (Code::EpochMismatch, claimed));
    let mut next_epoch = pod.request(UNPACED, "ok");
    next_epoch.payment = pod.payment(2, 10_000_000);
    assert!(pod.ask(&next_epoch).await.claim.is_some());
}
