use phallama_protocol::ids::Amount;
use phallama_protocol::link::Frame;

use super::*;
use crate::testing::{EnclaveSide, World, user};

const SEALED: &[u8] = b"sealed request";

/// Starts an exchange and plays the enclave until it has the request.
async fn begin(
    world: &World,
    exchanges: &Arc<Exchanges>,
) -> (tokio::task::JoinHandle<Opening>, EnclaveSide) {
    let opening = start(world, exchanges);
    let mut enclave = world.enclave.accept().await;
    assert_eq!(enclave.expect(Kind::Sealed).await.payload, SEALED);
    (opening, enclave)
}

fn start(world: &World, exchanges: &Arc<Exchanges>) -> tokio::task::JoinHandle<Opening> {
    let (exchanges, identity) = (Arc::clone(exchanges), world.identity.address());
    tokio::spawn(async move { exchanges.start(identity, SEALED.to_vec()).await })
}

async fn pieces(opening: tokio::task::JoinHandle<Opening>) -> mpsc::Receiver<Piece> {
    match opening.await.unwrap() {
        Opening::Answer(pieces) => pieces,
        Opening::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// One that is not the last.
#[expect(clippy::unnecessary_wraps, reason = "as it is received")]
fn piece(bytes: &[u8]) -> Option<Piece> {
    Some(Piece { bytes: bytes.to_vec(), is_last: false })
}

fn none() -> Frame {
    Frame { kind: Kind::Stored, payload: Vec::new() }
}

#[tokio::test]
async fn paid_answer_is_passed_on_and_its_claim_is_durable_before_it_ends() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 500).await;
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, Some(300))).await;
    let admitted: Admitted = enclave.expect(Kind::Admitted).await.control().unwrap();
    assert_eq!(admitted.cumulative, Amount::ZERO);
    assert_eq!(world.gate.reserves.total(), 40.into());

    enclave.raw(Kind::Out, b"frames").await;
    let mut pieces = pieces(opening).await;
    assert_eq!(pieces.recv().await, piece(b"frames"));
    enclave.control(&world.claim(&user, 25)).await;
    assert_eq!(enclave.next().await, Some(none()));
    assert_eq!(world.journal.unsettled_total(), 25.into());

    enclave.end(b"end").await;
    let last = Piece { bytes: b"end".to_vec(), is_last: true };
    assert_eq!(pieces.recv().await, Some(last), "what comes together leaves together");
    assert!(exchanges.open.none(Duration::from_secs(10)).await);
    assert_eq!(world.gate.reserves.total(), Amount::ZERO);

    // The next request comes on the same connection, and is told what was charged.
    let _opening = start(&world, &exchanges);
    assert_eq!(enclave.expect(Kind::Sealed).await.payload, SEALED);
    enclave.control(&world.admit(&user, 40, None)).await;
    let admitted: Admitted = enclave.expect(Kind::Admitted).await.control().unwrap();
    assert_eq!(admitted.cumulative, 25.into());
}

#[tokio::test]
async fn denial_reaches_the_enclave_with_its_code() {
    let (world, user) = (World::new(100).await, user(1));
    let exchanges = world.exchanges();
    let (_opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, None)).await;
    let denied: Denied = enclave.expect(Kind::Denied).await.control().unwrap();
    assert_eq!(denied.code, Code::BalanceTooLow);
}

#[tokio::test]
async fn client_that_leaves_pays_for_what_it_was_given() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 500).await;
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, Some(300))).await;
    enclave.expect(Kind::Admitted).await;
    enclave.raw(Kind::Out, b"frames").await;
    drop(pieces(opening).await);
    assert_eq!(enclave.next().await, None, "the host closes its sending half");
    enclave.control(&world.claim(&user, 15)).await;
    drop(enclave);
    assert!(exchanges.open.none(Duration::from_secs(10)).await);
    assert_eq!(world.journal.unsettled_total(), 15.into());
}

#[tokio::test]
async fn enclave_that_dies_aborts_the_answer() {
    let world = World::new(0).await;
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.raw(Kind::Out, b"frames").await;
    let mut pieces = pieces(opening).await;
    drop(enclave);
    assert_eq!(pieces.recv().await, piece(b"frames"));
    assert_eq!(pieces.recv().await, None, "without an end, the body is aborted");
}

#[tokio::test]
async fn refusal_is_told_before_any_answer() {
    let world = World::new(0).await;
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&Refused { code: Code::UnknownKey, retry_after_ms: 7 }).await;
    let Opening::Refused(refusal) = opening.await.unwrap() else { panic!("an answer") };
    assert_eq!(refusal, Refusal { code: Code::UnknownKey, retry_after_ms: 7 });
}

#[tokio::test]
async fn absent_enclave_is_an_internal_refusal() {
    let world = World::new(0).await;
    std::fs::remove_file(world.enclave.socket()).unwrap();
    let opening = world.exchanges().start(world.identity.address(), SEALED.to_vec()).await;
    let Opening::Refused(refusal) = opening else { panic!("an answer") };
    assert_eq!(refusal.code, Code::Internal);
}

#[tokio::test]
async fn claim_that_the_contract_would_not_take_is_not_stored() {
    let (mut world, user) = (World::new(100).await, user(1));
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.raw(Kind::Out, b"frames").await;
    let mut pieces = pieces(opening).await;
    world.replace_identity().await;
    enclave.control(&world.claim(&user, 15)).await;
    assert_eq!(enclave.next().await, None);
    assert_eq!(pieces.recv().await, piece(b"frames"));
    assert_eq!(pieces.recv().await, None);
    assert_eq!(world.journal.unsettled(), []);
}

#[tokio::test]
async fn failing_disk_is_told_to_the_enclave_and_pauses_paid_work() {
    let (world, user) = (World::new(100).await, user(1));
    world.open(&user, 500).await;
    let exchanges = world.exchanges();
    let (_opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, Some(300))).await;
    enclave.expect(Kind::Admitted).await;
    world.disk.set_broken(true);
    enclave.control(&world.claim(&user, 15)).await;
    enclave.expect(Kind::NotStored).await.empty(Kind::NotStored).unwrap();
    assert_eq!(world.journal.unsettled(), []);

    let (_opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, None)).await;
    let denied: Denied = enclave.expect(Kind::Denied).await.control().unwrap();
    assert_eq!(denied.code, Code::PaymentsPaused);
}

#[tokio::test]
async fn frames_go_on_while_a_payment_waits_for_its_lock() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 500).await;
    let exchanges = world.exchanges();
    let (opening, mut enclave) = begin(&world, &exchanges).await;
    enclave.control(&world.admit(&user, 40, Some(300))).await;
    enclave.raw(Kind::Out, b"pad").await;
    let mut pieces = pieces(opening).await;
    assert_eq!(pieces.recv().await, piece(b"pad"));
    enclave.expect(Kind::Admitted).await;
}
