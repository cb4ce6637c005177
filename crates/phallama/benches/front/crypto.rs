//! The cryptography that the protocol asks of a pod for one request, called in a loop.

use std::hint::black_box;
use std::time::Instant;

use getrandom::SysRng;
use phallama_protocol::bundle::KeyBundle;
use phallama_protocol::frames::ladder::FIRST_RUNG;
use phallama_protocol::frames::{FrameClass, FrameType};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::keys::{Signer, recover};
use phallama_protocol::rand_core::UnwrapErr;
use phallama_protocol::request::{
    EpochKey, Method, Payment, RequestPlain, open_request, seal_request,
};

const RUNS: usize = 400;
const CLASS: FrameClass = FrameClass::Unpaced;

/// Seconds of processor time for one request, with every core at it, as under load. Median.
pub(crate) fn request_s() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(requests_s)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One request after the other: the enclave opens it, recovers the voucher's signer, seals the
/// frames of the first rung and signs the receipt; the host recovers that signature's signer.
fn requests_s() -> Vec<f64> {
    let mut rng = UnwrapErr(SysRng);
    let (identity, user) = (Signer::generate(&mut rng), Signer::generate(&mut rng));
    let epoch = EpochKey::generate(&mut rng);
    let bundle = bundle(identity.address(), &epoch).sign(&identity);
    let plain = request(&user);
    (0..RUNS)
        .map(|_| {
            let (sealed, _) = seal_request(&bundle, &plain, &mut rng).expect("a request seals");
            let began = Instant::now();
            let opened = open_request(&epoch, &bundle, &sealed).expect("a request opens");
            let voucher = recover(&[1; 32], &opened.plain.payment.voucher_sig);
            let (_, mut frames) =
                opened.exchange.respond(CLASS, &mut rng).expect("a request is answered");
            black_box(frames.seal(FrameType::Head, false, &[0; 40]).expect("HEAD seals"));
            for _ in 1..FIRST_RUNG {
                black_box(frames.seal(FrameType::Data, false, &[7; 100]).expect("DATA seals"));
            }
            let signature = identity.sign(&[2; 32]);
            let receipt = recover(&[2; 32], &signature);
            black_box((voucher.is_ok(), receipt.is_ok()));
            began.elapsed().as_secs_f64()
        })
        .collect()
}

fn request(user: &Signer) -> RequestPlain {
    RequestPlain {
        request_id: RequestId([3; 16]),
        class: CLASS,
        salt: [4; 32],
        payment: Payment {
            user: user.address(),
            epoch: 0,
            cap: Amount::from(1_000_000),
            voucher_sig: user.sign(&[1; 32]),
            terms_hash: Digest32([5; 32]),
            allocation: None,
        },
        method: Method::Chat,
        body: vec![b'x'; 150],
    }
}

fn bundle(identity: Address, epoch: &EpochKey) -> KeyBundle {
    KeyBundle {
        chain_id: 2035,
        registry: Address([6; 20]),
        escrow: Address([2; 20]),
        pod_id: PodId([1; 32]),
        identity,
        epoch_id: 1,
        xwing_pk: Box::new(epoch.public_key()),
        not_before_unix_s: 1_800_000_000,
        not_after_unix_s: 1_800_000_900,
        block_seen: 1,
        evidence_hash: Digest32([7; 32]),
        measurement: Digest32([8; 32]),
        model_set_root: Digest32([9; 32]),
        offers_hash: Digest32([5; 32]),
        policy_digest: Digest32([10; 32]),
        classes: vec![CLASS],
    }
}
