//! What the cryptography of one exchange costs, in microseconds (median).
//!
//! `cargo test -p phallama-protocol --bench seal` prints a table, with `--json` one JSON object;
//! that is the profile in which everything else of the workspace is built and measured.
// This program's whole purpose is to print.
#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::eip712::{Domain, Voucher};
use phallama_protocol::frames::{ClientExchange, FrameClass, FrameSealer, FrameType};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::keys::{Signer, recover};
use phallama_protocol::rand_core::{TryCryptoRng, TryRng};
use phallama_protocol::request::{
    EpochKey, Method, Payment, RequestPlain, open_request, seal_request,
};

const RUNS: usize = 500;
const CLASS: FrameClass = FrameClass::Std;

/// SplitMix64: fast and repeatable, for measuring only.
struct BenchRng(u64);

impl TryRng for BenchRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(word ^ (word >> 31))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let word = self.try_next_u64()?.to_be_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for BenchRng {}

/// The parties of the measured exchange.
struct Scene {
    rng: BenchRng,
    epoch: EpochKey,
    bundle: SignedBundle,
    plain: RequestPlain,
}

impl Scene {
    fn new() -> Self {
        let mut rng = BenchRng(1);
        let (identity, user) = (Signer::generate(&mut rng), Signer::generate(&mut rng));
        let epoch = EpochKey::generate(&mut rng);
        let bundle = key_bundle(identity.address(), &epoch).sign(&identity);
        let voucher = Voucher {
            pod_id: PodId([1; 32]),
            identity: identity.address(),
            epoch: 0,
            cap: Amount::from(1_000_000),
        };
        let domain = Domain { chain_id: 2035, escrow: Address([2; 20]) };
        let plain = RequestPlain {
            request_id: RequestId([3; 16]),
            class: CLASS,
            salt: [4; 32],
            payment: Payment {
                user: user.address(),
                epoch: 0,
                cap: voucher.cap,
                voucher_sig: user.sign(&voucher.digest(&domain)),
                terms_hash: Digest32([5; 32]),
                allocation: None,
            },
            method: Method::Chat,
            // Fills the smallest bucket, 4,096 B.
            body: vec![b'x'; 2_600],
        };
        Self { rng, epoch, bundle, plain }
    }

    fn seal(&mut self) -> (Vec<u8>, ClientExchange) {
        seal_request(&self.bundle, &self.plain, &mut self.rng).expect("a valid request seals")
    }

    /// What the server does before the first token: opens, then starts the answer.
    fn serve(&mut self, request: &[u8]) -> (Vec<u8>, FrameSealer) {
        let opened =
            open_request(&self.epoch, &self.bundle, request).expect("a valid request opens");
        opened.exchange.respond(CLASS, &mut self.rng).expect("a valid key can be answered")
    }
}

fn key_bundle(identity: Address, epoch: &EpochKey) -> KeyBundle {
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

/// Median time of `measured` on a fresh input of `prepare`, in microseconds.
fn median_us<I, O>(mut prepare: impl FnMut() -> I, mut measured: impl FnMut(I) -> O) -> f64 {
    let mut nanos: Vec<u128> = (0..RUNS)
        .map(|_| {
            let input = prepare();
            let start = Instant::now();
            let output = measured(black_box(input));
            let elapsed = start.elapsed().as_nanos();
            black_box(output);
            elapsed
        })
        .collect();
    nanos.sort_unstable();
    let median = u32::try_from(nanos[RUNS / 2]).expect("a run takes less than four seconds");
    f64::from(median) / 1_000.0
}

fn measure() -> Vec<(&'static str, f64)> {
    let mut scene = Scene::new();
    let client_seal = median_us(|| (), |()| scene.seal());
    let requests: Vec<_> = (0..RUNS).map(|_| scene.seal()).collect();
    let mut next = requests.iter();
    let server =
        median_us(|| &next.next().expect("one request per run").0, |request| scene.serve(request));
    let mut answers = requests.into_iter();
    let client_open = {
        let scene = &mut scene;
        median_us(
            || {
                let (request, client) = answers.next().expect("one request per run");
                let (mut wire, mut sealer) = scene.serve(&request);
                wire.extend(sealer.seal(FrameType::Head, false, &[0; 40]).expect("HEAD seals"));
                (client, wire)
            },
            |(client, wire)| client.opener().push(&wire).expect("HEAD opens"),
        )
    };
    let request = scene.seal().0;
    let (_, mut sealer) = scene.serve(&request);
    sealer.seal(FrameType::Head, false, &[0; 40]).expect("HEAD seals");
    let frame_seal =
        median_us(|| (), |()| sealer.seal(FrameType::Data, false, &[7; 253]).expect("DATA seals"));
    let signer = Signer::generate(&mut scene.rng);
    let sign = median_us(|| [11; 32], |digest| signer.sign(&digest));
    let signature = signer.sign(&[11; 32]);
    let recover = median_us(|| [11; 32], |digest| recover(&digest, &signature));
    vec![
        ("client_seal_us", client_seal),
        ("server_open_respond_us", server),
        ("client_open_first_frame_us", client_open),
        ("frame_seal_us", frame_seal),
        ("sign_us", sign),
        ("recover_us", recover),
    ]
}

fn main() {
    let figures = measure();
    if std::env::args().any(|arg| arg == "--json") {
        let mut object = serde_json::Map::new();
        object.insert("runs".into(), RUNS.into());
        object.extend(figures.iter().map(|(name, us)| ((*name).to_owned(), (*us).into())));
        println!("{}", serde_json::Value::Object(object));
        return;
    }
    println!("median of {RUNS} runs, request of 4,096 B plain text, class {CLASS:?}");
    for (name, us) in figures {
        println!("{:<28} {us:>9.1} µs", name.trim_end_matches("_us"));
    }
}
