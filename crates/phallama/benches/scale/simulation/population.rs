//! Who takes part. Nothing here is fitted to one trace: the shapes are those that public traces of
//! chat services show (use per user and lengths with long tails, few services with most users), the
//! numbers are assumptions, written down here and in `docs/scale.md`.

use phallama_protocol::demand::Demand;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::offers::Offer;

use super::chain::ChannelId;
use super::rng::{Rng, whole};

/// Half of all users ask less often than this on a day.
const QUERIES_MEDIAN: f64 = 2.0;
/// Mean e^2 times the median; the busiest hundredth asks about 37 % of everything.
const QUERIES_SIGMA: f64 = 2.0;
/// One every four seconds, all day: a program.
const QUERIES_MAX: f64 = 20_000.0;
/// Smallest units of a token with six decimals.
const DEPOSIT_MEDIAN: f64 = 5_000_000.0;
const DEPOSIT_SIGMA: f64 = 1.0;
/// Below it nobody takes the trouble.
const DEPOSIT_MIN: u32 = 500_000;
/// Popularity of the pod in place n: n to the minus this.
const POPULARITY: f64 = 0.8;
/// Users with one pod, with at most two; the others have three.
const ONE_POD: f64 = 0.7;
const TWO_PODS: f64 = 0.9;
/// Per million tokens, the defaults of `phallama pod up`.
const INPUT_PRICE: f64 = 100_000.0;
const OUTPUT_PRICE: f64 = 400_000.0;
const PRICE_SIGMA: f64 = 0.5;
const CONTEXT_TOKENS: u32 = 4_096;
pub(crate) const OUTPUT_TOKENS_MAX: u32 = 1_024;
/// Users who come on the second day, and users who then leave a pod for another.
const JOINS: f64 = 0.01;
const MOVES: f64 = 0.05;
/// Lengths in tokens.
const PROMPT_MEDIAN: f64 = 150.0;
const PROMPT_SIGMA: f64 = 1.1;
const COMPLETION_MEDIAN: f64 = 250.0;
const COMPLETION_SIGMA: f64 = 0.9;
/// Of English text and JSON.
const BYTES_PER_TOKEN: f64 = 4.2;
/// A system prompt, a question and an earlier answer.
const MESSAGES: u64 = 3;

/// How many take part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: u32,
    pub(crate) users: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    /// Queries on an average day.
    pub(crate) per_day: f64,
    pub(crate) deposit: u64,
    first_channel: ChannelId,
    channels: u32,
    /// Comes on the second day.
    pub(crate) joins: bool,
    /// Leaves its first pod on the second day, for its last.
    pub(crate) moves: bool,
}

impl User {
    /// All channels that the user ever has.
    pub(crate) fn channels(&self) -> std::ops::Range<ChannelId> {
        self.first_channel..self.first_channel + self.channels
    }

    /// The channels in use on a day, the usual pod first.
    pub(crate) fn channels_on(&self, day: u32) -> std::ops::Range<ChannelId> {
        let std::ops::Range { start, end } = self.channels();
        match (self.moves, day) {
            (false, _) => start..end,
            (true, 0) => start..end - 1,
            (true, _) => start + 1..end,
        }
    }
}

/// The two ends of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) user: u32,
    pub(crate) pod: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) offers: Vec<Offer>,
    pub(crate) users: Vec<User>,
    pub(crate) channels: Vec<Ends>,
}

impl Population {
    pub(crate) fn new(size: Size, rng: &mut Rng) -> Self {
        let offers = (0..size.pods).map(|_| offer(rng.lognormal(1.0, PRICE_SIGMA))).collect();
        let popularity = Popularity::new(size.pods);
        let mut channels = Vec::new();
        let mut users = Vec::new();
        for user in 0..size.users {
            let (joins, moves) = (rng.chance(JOINS), rng.chance(MOVES));
            let at = rng.unit();
            let pods = 1 + u32::from(at > ONE_POD) + u32::from(at > TWO_PODS) + u32::from(moves);
            let first = channels.len();
            while channels.len() < first + pods as usize {
                let pod = popularity.draw(rng);
                if channels[first..].iter().all(|known: &Ends| known.pod != pod) {
                    channels.push(Ends { user, pod });
                }
            }
            let deposit = whole(rng.lognormal(DEPOSIT_MEDIAN, DEPOSIT_SIGMA)).max(DEPOSIT_MIN);
            users.push(User {
                per_day: rng.lognormal(QUERIES_MEDIAN, QUERIES_SIGMA).min(QUERIES_MAX),
                deposit: deposit.into(),
                first_channel: ChannelId::try_from(first).expect("a few channels per user"),
                channels: pods,
                joins,
                moves: moves && !joins,
            });
        }
        Self { offers, users, channels }
    }
}

/// The only offer of a pod whose prices are `factor` times the default.
pub(crate) fn offer(factor: f64) -> Offer {
    let price = |base: f64| Amount::from(u64::from(whole(base * factor)));
    Offer {
        model: "a-chat-model:8b".to_owned(),
        weights_sha256: Digest32([0xb1; 32]),
        input_price_per_mtok: price(INPUT_PRICE),
        output_price_per_mtok: price(OUTPUT_PRICE),
        context_tokens: CONTEXT_TOKENS,
        max_output_tokens: OUTPUT_TOKENS_MAX,
    }
}

/// Pods by how many users they have.
struct Popularity(Vec<f64>);

impl Popularity {
    fn new(pods: u32) -> Self {
        let mut sum = 0.0;
        let weights = (1..=pods).map(|place| {
            sum += f64::from(place).powf(-POPULARITY);
            sum
        });
        Self(weights.collect())
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        let at = rng.unit() * self.0.last().copied().unwrap_or_default();
        let place = self.0.partition_point(|sum| *sum < at);
        u32::try_from(place).expect("as many as there are pods")
    }
}

/// One request: what it costs, and the most it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) cost: u64,
    pub(crate) reserve: u64,
}

impl Query {
    /// Apps seldom state `max_tokens`: then it is the most that the offer allows.
    pub(crate) fn draw(offer: &Offer, rng: &mut Rng) -> Self {
        let prompt = whole(rng.lognormal(PROMPT_MEDIAN, PROMPT_SIGMA));
        let prompt = prompt.clamp(1, CONTEXT_TOKENS - OUTPUT_TOKENS_MAX);
        let completion = whole(rng.lognormal(COMPLETION_MEDIAN, COMPLETION_SIGMA));
        let completion = completion.clamp(1, OUTPUT_TOKENS_MAX);
        let body_bytes = u64::from(whole(f64::from(prompt) * BYTES_PER_TOKEN)) + 120;
        let cost = offer.cost(prompt, completion).expect("fits");
        let demand = Demand::of_chat(body_bytes, MESSAGES, OUTPUT_TOKENS_MAX);
        let reserve = offer.reserve(&demand).expect("fits");
        Self { cost: units(cost), reserve: units(reserve) }
    }
}

/// Amounts of this simulation are far below 2^64.
pub(crate) fn units(amount: Amount) -> u64 {
    u64::try_from(amount.value()).expect("small amounts")
}

/// When people ask: twice as many at the busiest hour as at the quietest.
pub(crate) fn busy(share_of_day: f64) -> f64 {
    1.0 - (share_of_day * std::f64::consts::TAU).cos() / 3.0
}

/// The highest value of [`busy`].
pub(crate) const BUSIEST: f64 = 4.0 / 3.0;
