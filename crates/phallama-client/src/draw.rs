//! In which order suitable pods are asked.
//!
//! If everybody asked the cheapest pod first, it would be full and everybody would then ask the
//! second, one by one (`docs/scale.md`); and whoever wanted to see one user's requests would only
//! have to be the cheapest. So all pods that are cheap enough share the requests: the order is
//! random, with weights that a pod cannot drive far. Price, speed and the user's own requests that
//! are open with a pod make no more than a few times the difference ([`weight`]).

use std::time::Instant;

/// Most that a pod loses against the fastest by being slow.
const SLOWEST_WEIGHT: f64 = 0.25;
/// Weight of the dearest pod that still shares; the cheapest has 1.
const DEAREST_WEIGHT: f64 = 0.5;

/// A pod as the draw sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    /// Of a token in and a token out.
    pub(crate) price: u128,
    /// How long an ordinary answer takes; `None` when it was never measured.
    pub(crate) expected_ms: Option<f64>,
    /// Requests of this client that are open with it.
    pub(crate) in_flight: u32,
    /// It failed, and is asked before then only when nobody else can be.
    pub(crate) resting_until: Option<Instant>,
}

/// The order of asking, as indices: pods that are cheap enough at random, then dearer ones by
/// price, then those that rest. Also how many are of the first kind.
pub(crate) fn order(
    contenders: &[Contender],
    share_percent: u32,
    dice: &mut Dice,
) -> (Vec<usize>, usize) {
    let awake = || contenders.iter().filter(|contender| contender.resting_until.is_none());
    let cheapest = awake().map(|contender| contender.price).min().unwrap_or(0);
    let edge = cheapest.saturating_mul(u128::from(share_percent.max(100))) / 100;
    let shares = |contender: &&Contender| contender.price <= edge;
    let known = awake().filter(shares).filter_map(|contender| contender.expected_ms);
    let (sum, count, best) = known.fold((0.0, 0.0, f64::INFINITY), |(sum, count, best), ms| {
        (sum + ms, count + 1.0, f64::min(best, ms))
    });
    // What was never measured is taken for ordinary, so that it comes to be measured.
    let speeds = (count > 0.0).then(|| (best, sum / count));
    let mut keyed: Vec<(Rank, usize)> = Vec::with_capacity(contenders.len());
    for (at, contender) in contenders.iter().enumerate() {
        let luck = dice.exponential();
        let rank = match contender.resting_until {
            Some(until) => Rank::Rests(until),
            None if contender.price > edge => Rank::Dearer(contender.price, luck),
            None => Rank::Shares(luck / weight(contender, cheapest, edge, speeds)),
        };
        keyed.push((rank, at));
    }
    keyed.sort_by(|(one, _), (other, _)| one.compare(other));
    let sharing = keyed.iter().filter(|(rank, _)| matches!(rank, Rank::Shares(_))).count();
    (keyed.into_iter().map(|(_, at)| at).collect(), sharing)
}

/// How likely a pod that shares is to come first, against another: from 1 (cheapest, fastest, idle)
/// down to an eighth, and less only for what this client itself has open there.
fn weight(contender: &Contender, cheapest: u128, edge: u128, speeds: Option<(f64, f64)>) -> f64 {
    let width = edge.saturating_sub(cheapest);
    let above = contender.price.saturating_sub(cheapest);
    let price = if width == 0 { 0.0 } else { ratio(above, width) };
    let speed = speeds.map_or(1.0, |(best, ordinary)| {
        let expected = contender.expected_ms.unwrap_or(ordinary).max(1.0);
        (best.max(1.0) / expected).clamp(SLOWEST_WEIGHT, 1.0)
    });
    let idle = 1.0 / (1.0 + f64::from(contender.in_flight));
    (1.0 - (1.0 - DEAREST_WEIGHT) * price) * speed * idle
}

#[expect(clippy::cast_precision_loss, reason = "a weight needs no more than 53 bits")]
fn ratio(part: u128, whole: u128) -> f64 {
    part as f64 / whole as f64
}

/// First come first; weights make the time until a pod comes shorter (Efraimidis, Spirakis).
enum Rank {
    Shares(f64),
    Dearer(u128, f64),
    Rests(Instant),
}

impl Rank {
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Shares(one), Self::Shares(two)) => one.total_cmp(two),
            (Self::Dearer(price, luck), Self::Dearer(dearer, unlucky)) => {
                price.cmp(dearer).then(luck.total_cmp(unlucky))
            }
            (Self::Rests(one), Self::Rests(two)) => one.cmp(two),
            _ => self.group().cmp(&other.group()),
        }
    }

    fn group(&self) -> u8 {
        match self {
            Self::Shares(_) => 0,
            Self::Dearer(..) => 1,
            Self::Rests(_) => 2,
        }
    }
}

/// SplitMix64. What is drawn is no secret; its seed comes from the system's generator.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time until something that happens once per unit of time.
    fn exponential(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).expect("32 bits");
        // Never 0, whose logarithm is none.
        -((f64::from(high) + 0.5) / 4_294_967_296.0).ln()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DRAWS: u32 = 20_000;

    fn pod(price: u128) -> Contender {
        Contender { price, expected_ms: None, in_flight: 0, resting_until: None }
    }

    /// How often each comes first, as a share of all draws.
    fn firsts(contenders: &[Contender], share_percent: u32) -> Vec<f64> {
        let mut dice = Dice::new(*b"choosing");
        let mut counts = vec![0_u32; contenders.len()];
        for _ in 0..DRAWS {
            counts[order(contenders, share_percent, &mut dice).0[0]] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / f64::from(DRAWS)).collect()
    }

    /// Five standard deviations of a share of that many draws are below 0.018.
    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 0.018, "{got} is not near {expected}");
    }

    #[test]
    fn equal_pods_get_equal_shares() {
        for share in firsts(&[pod(5); 4], 150) {
            close(share, 0.25);
        }
    }

    #[test]
    fn pods_that_are_cheap_enough_share_and_dearer_ones_wait() {
        let shares = firsts(&[pod(100), pod(150), pod(151), pod(9_000)], 150);
        close(shares[0], 2.0 / 3.0);
        close(shares[1], 1.0 / 3.0);
        assert_eq!(shares[2..], [0.0, 0.0]);
        let (order, sharing) =
            order(&[pod(9_000), pod(151), pod(100), pod(150)], 150, &mut Dice::new([1; 8]));
        assert_eq!((sharing, &order[2..]), (2, &[1, 0][..]), "by price");
    }

    #[test]
    fn fast_pods_get_more_and_slow_ones_never_nothing() {
        let timed = |ms| Contender { expected_ms: Some(ms), ..pod(5) };
        let shares = firsts(&[timed(100.0), timed(200.0)], 150);
        close(shares[0], 2.0 / 3.0);
        let shares = firsts(&[timed(1.0), timed(1e9)], 150);
        close(shares[1], 0.2);
    }

    #[test]
    fn what_was_never_measured_is_taken_for_ordinary() {
        let timed = |ms| Contender { expected_ms: Some(ms), ..pod(5) };
        // Best 100, mean 200: weights 1, 1/3, 1/2.
        let shares = firsts(&[timed(100.0), timed(300.0), pod(5)], 150);
        close(shares[2], 0.5 / (1.0 + 1.0 / 3.0 + 0.5));
    }

    #[test]
    fn requests_of_one_client_spread_over_idle_pods() {
        let busy = Contender { in_flight: 3, ..pod(5) };
        close(firsts(&[busy, pod(5)], 150)[0], 0.2);
    }

    #[test]
    fn pods_that_rest_come_last_the_soonest_first() {
        let now = Instant::now();
        let resting = |s| Contender { resting_until: Some(now + Duration::from_secs(s)), ..pod(1) };
        let contenders = [resting(9), resting(3), pod(500), pod(2)];
        let (order, sharing) = order(&contenders, 150, &mut Dice::new([7; 8]));
        // A pod that rests does not decide what is cheap enough.
        assert_eq!((order, sharing), (vec![3, 2, 1, 0], 1));
    }

    #[test]
    fn free_pods_and_no_pods_are_drawn_too() {
        assert_eq!(order(&[], 150, &mut Dice::new([0; 8])), (vec![], 0));
        for share in firsts(&[pod(0), pod(0)], 150) {
            close(share, 0.5);
        }
    }
}
