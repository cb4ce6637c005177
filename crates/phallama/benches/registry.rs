//! How long it takes to read the list of a registry of 10,000 pods for the first time, when nine
//! out of ten are dust that somebody put there to hide the others.
//!
//! `tools/bench.sh registry` prints a table, with `--json` one
//! JSON object. Registering takes some minutes.

mod report;

use std::collections::HashSet;
use std::time::Instant;

use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, Registration, Sender, deploy};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
use phallama_protocol::eip712::pod_id;
use phallama_protocol::ids::{Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use phallama_protocol::offers::Offer;
use report::figure;
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

const PODS: u32 = 10_000;
/// Every so many rows one is a real pod.
const REAL_EVERY: u32 = 10;
/// Every so many dust rows one has as many offers as the contract takes, which makes pages dear.
const HEAVY_EVERY: u32 = 100;
const OFFERS_MAX: u32 = 32;
const RUNS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let node = DevChain::new(ChainOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(node, listener));
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let deployment = deploy(&url, &signer(0)?, root.root_der()).await?;
    let config = deployment.config(&url);
    let chain = Chain::connect(config.clone()).await?;
    let (operator, attacker) = (chain.sender(&signer(1)?), chain.sender(&signer(2)?));
    let real = register(&operator, &attacker).await?;

    let mut took_s = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        // A client that knows nothing yet: connects, checks the contracts, reads all pages.
        let began = Instant::now();
        let listed = Chain::connect(config.clone()).await?.pods().await?;
        took_s.push(began.elapsed().as_secs_f64());
        assert_eq!(listed.len(), PODS as usize);
        let listed: HashSet<PodId> = listed.into_iter().map(|pod| pod.pod_id).collect();
        assert!(real.iter().all(|pod| listed.contains(pod)), "a real pod is not in the list");
    }
    took_s.sort_by(f64::total_cmp);
    report::print(&[figure("registry.first_list_s", took_s[RUNS / 2], "s")]);
    Ok(())
}

/// A key that anybody can derive.
fn signer(index: u32) -> Result<Signer, Failure> {
    Ok(Signer::from_bytes(&dev_account(index).1)?)
}

/// Real pods among the dust; returns the real ones.
async fn register(operator: &Sender, attacker: &Sender) -> Result<Vec<PodId>, Failure> {
    let mut real = Vec::new();
    for number in 0..PODS {
        let mut salt = [0; 32];
        salt[..4].copy_from_slice(&number.to_be_bytes());
        let is_real = number % REAL_EVERY == 0;
        let heavy = !is_real && number % HEAVY_EVERY == 1;
        let registration = Registration {
            salt,
            url: format!("https://pod-{number}.example"),
            payout: operator.address(),
            offers: (0..if heavy { OFFERS_MAX } else { 1 }).map(offer).collect(),
        };
        if is_real {
            operator.register_pod(&registration).await?;
            real.push(pod_id(operator.address(), &salt));
        } else {
            attacker.register_pod(&registration).await?;
        }
    }
    Ok(real)
}

fn offer(number: u32) -> Offer {
    Offer {
        model: format!("smollm2:135m-{number}"),
        weights_sha256: Digest32([0xb1; 32]),
        input_price_per_mtok: Amount::from(100_000),
        output_price_per_mtok: Amount::from(400_000),
        context_tokens: 4_096,
        max_output_tokens: 1_024,
    }
}
