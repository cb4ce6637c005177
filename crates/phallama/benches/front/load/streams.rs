//! Many paced answers held open together, each read frame by frame.

use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::eip712::{Allocation, Domain, Voucher};
use phallama_protocol::frames::{FrameClass, Message};
use phallama_protocol::ids::{Amount, RequestId};
use phallama_protocol::keys::Signer;
use phallama_protocol::rand_core::{CryptoRng, UnwrapErr};
use phallama_protocol::request::{AllocationGrant, Method, Payment, RequestPlain, seal_request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Order;
use crate::scripted::{MODEL, begin};
use crate::stack::{self, Failure};

const CLASS: FrameClass = FrameClass::Std;
/// Words per second and stream. Most frames are padding, as in a real answer.
const EVERY_MS: u64 = 1_000;
/// What each stream promises, in the smallest token unit.
const CAP: u64 = 1_000_000;
/// How long the pod may take to lock it, beyond the life of its epoch key.
const ALLOCATION_S: u64 = 3_600;
/// New streams per second while they are opened.
const OPENED_PER_S: u64 = 100;

/// What was seen of all frames.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Streamed {
    pub(crate) frames: f64,
    /// Streams that broke, or ended without an accepted end, in frames that were missing.
    pub(crate) lost: f64,
    /// Frames that came more than a tick after they were due: two ticks after the one before.
    pub(crate) late: f64,
    pub(crate) longest_gap_ms: f64,
}

pub(super) async fn run(order: &Order, count: u32, seconds: u64) -> Result<Streamed, Failure> {
    phallama_chain::use_ring();
    let http = reqwest::Client::builder().http1_only().tcp_nodelay(true).no_proxy().build()?;
    let keys = http.get(format!("{}/.well-known/phallama/keys", order.url)).send().await?;
    let pod = Arc::new(PodView {
        http,
        url: format!("{}/v1/sealed", order.url),
        bundle: SignedBundle::decode(&keys.bytes().await?)?,
        domain: order.chain.domain(),
    });
    let (start, begun) = watch::channel(false);
    let opening = u64::from(count).div_ceil(OPENED_PER_S);
    // The last one is opened before the first one ends.
    let words = seconds + 2 * opening + 5;
    let mut streams = JoinSet::new();
    for index in 0..count {
        let (pod, begun) = (Arc::clone(&pod), begun.clone());
        streams.spawn(async move { pod.hold(stack::user(index), words, begun).await });
        sleep(Duration::from_millis(1_000 / OPENED_PER_S)).await;
    }
    sleep(Duration::from_secs(opening)).await;
    begin();
    start.send_replace(true);
    let mut all = Streamed::default();
    while let Some(one) = streams.join_next().await {
        let one = one??;
        all.frames += one.frames;
        all.lost += one.lost;
        all.late += one.late;
        all.longest_gap_ms = all.longest_gap_ms.max(one.longest_gap_ms);
    }
    Ok(all)
}

/// A pod as its streams see it.
struct PodView {
    http: reqwest::Client,
    url: String,
    bundle: SignedBundle,
    domain: Domain,
}

impl PodView {
    /// Reads one answer to its end. Gaps count from when all streams are open.
    async fn hold(
        &self,
        user: Signer,
        words: u64,
        begun: watch::Receiver<bool>,
    ) -> Result<Streamed, Failure> {
        let plain = self.request(&user, words, &mut UnwrapErr(SysRng));
        let (wire, exchange) = seal_request(&self.bundle, &plain, &mut UnwrapErr(SysRng))?;
        let mut opener = exchange.opener();
        let post = self.http.post(&self.url).header("content-type", "application/phallama-req");
        let mut answer = post.body(wire).send().await?.error_for_status()?;
        let tick = Duration::from_millis(CLASS.tick_ms().ok_or("no pace")?.into());
        let (mut seen, mut ended) = (Streamed::default(), false);
        let (mut frames, mut last) = (0, Instant::now());
        while let Some(bytes) = answer.chunk().await? {
            for message in opener.push(&bytes)? {
                match message {
                    Message::Error(error) => return Err(error.message.into()),
                    Message::End(_) => ended = true,
                    _ => {}
                }
            }
            let (now, before) = (Instant::now(), frames);
            frames = opener.frames();
            if frames > before && *begun.borrow() && !ended {
                let gap = now - last;
                seen.late += f64::from(u8::from(gap > 2 * tick));
                seen.longest_gap_ms = seen.longest_gap_ms.max(gap.as_secs_f64() * 1e3);
            }
            last = now;
        }
        // It says whether a frame is missing before the end.
        opener.finish()?;
        seen.frames = f64::from(u32::try_from(frames)?);
        seen.lost = f64::from(u8::from(!ended));
        Ok(seen)
    }

    fn request(&self, user: &Signer, words: u64, rng: &mut impl CryptoRng) -> RequestPlain {
        let bundle = self.bundle.bundle();
        let voucher = Voucher {
            pod_id: bundle.pod_id,
            identity: bundle.identity,
            epoch: 0,
            cap: Amount::from(CAP),
        };
        let body = json!({
            "model": MODEL, "max_tokens": words,
            "messages": [{ "role": "user", "content": format!("slow {words} {EVERY_MS}") }],
        });
        let allocation = Allocation {
            pod_id: bundle.pod_id,
            total: voucher.cap,
            terms_hash: bundle.offers_hash,
            epoch: 0,
            deadline_unix_s: bundle.not_after_unix_s + ALLOCATION_S,
        };
        let grant = AllocationGrant {
            total: allocation.total,
            deadline_unix_s: allocation.deadline_unix_s,
            signature: user.sign(&allocation.digest(&self.domain)),
        };
        let mut random = [0; 48];
        rng.fill_bytes(&mut random);
        let (id, salt) = random.split_at(16);
        RequestPlain {
            request_id: RequestId(id.try_into().expect("16 bytes")),
            class: CLASS,
            salt: salt.try_into().expect("32 bytes"),
            payment: Payment {
                user: user.address(),
                epoch: 0,
                cap: voucher.cap,
                voucher_sig: user.sign(&voucher.digest(&self.domain)),
                terms_hash: bundle.offers_hash,
                allocation: Some(grant),
            },
            method: Method::Chat,
            body: body.to_string().into_bytes(),
        }
    }
}
