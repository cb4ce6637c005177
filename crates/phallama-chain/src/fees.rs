//! What a transaction offers per gas.

use alloy::eips::BlockNumberOrTag;
use alloy::providers::{Provider as _, RootProvider};
use alloy::transports::{RpcError, TransportResult};

use crate::Chain;
use crate::error::ChainError;
use crate::outbox::Fees;

/// Blocks that the tip is taken from.
const HISTORY_BLOCKS: u64 = 5;
/// The least tip, in wei: enough for the chains whose blocks are never full.
const TIP_WEI_MIN: u64 = 1_000_000;
/// The first tip is at most the ceiling divided by this, whatever a node says that others pay.
const TIP_SHARE: u64 = 20;
/// A replacement tips at most this many times the usual tip.
const TIP_TIMES: u64 = 8;
const WEI_PER_GWEI: u64 = 1_000_000_000;

impl Chain {
    /// Twice the next base fee and the usual tip, but never above the ceiling. With two or more
    /// endpoints each is the lower of what two say.
    ///
    /// # Errors
    /// [`ChainError::FeeAboveCeiling`] when the base fee alone is above it.
    pub(crate) async fn fees(&self, what: &'static str) -> Result<Fees, ChainError> {
        let (base_fee, tip) = self.market(what).await?;
        let ceiling = self.fee_ceiling_wei();
        if base_fee > ceiling {
            let (needed_wei, ceiling_wei) = (base_fee, ceiling);
            return Err(ChainError::FeeAboveCeiling { what, needed_wei, ceiling_wei });
        }
        let tip = tip.min(ceiling / TIP_SHARE);
        let max_fee_wei = base_fee.saturating_mul(2).saturating_add(tip).min(ceiling);
        Ok(Fees { max_fee_wei, tip_wei: tip.min(max_fee_wei) })
    }

    pub(crate) fn fee_ceiling_wei(&self) -> u64 {
        self.config().fee_ceiling_gwei.saturating_mul(WEI_PER_GWEI)
    }

    /// The next base fee, and the median of the tips that recent blocks took.
    async fn market(&self, what: &'static str) -> Result<(u64, u64), ChainError> {
        let answers = self.endpoints.several(what, market_of).await?;
        let lower = |(base_fee, tip): (u64, u64), other: (u64, u64)| {
            (base_fee.min(other.0), tip.min(other.1))
        };
        Ok(answers.into_iter().reduce(lower).expect("at least one answered"))
    }
}

/// What one endpoint says.
async fn market_of(provider: RootProvider) -> TransportResult<(u64, u64)> {
    let latest = BlockNumberOrTag::Latest;
    let history = match provider.get_fee_history(HISTORY_BLOCKS, latest, &[50.0]).await {
        // Not every node has the method.
        Err(RpcError::ErrorResp(_)) => {
            return Ok((to_u64(provider.get_gas_price().await?), TIP_WEI_MIN));
        }
        history => history?,
    };
    let base_fee = history.base_fee_per_gas.last().copied().unwrap_or_default();
    let mut tips: Vec<u128> = history.reward.into_iter().flatten().flatten().collect();
    tips.sort_unstable();
    let tip = tips.get(tips.len() / 2).copied().unwrap_or_default();
    Ok((to_u64(base_fee), to_u64(tip).max(TIP_WEI_MIN)))
}

/// Prices above 18 ether per gas are all the same.
fn to_u64(wei: u128) -> u64 {
    u64::try_from(wei).unwrap_or(u64::MAX)
}

impl Fees {
    /// An eighth more of both, which every node takes for a replacement, or the market's if that
    /// is more. When an eighth more would be above the ceiling, or the tip above eight times the
    /// usual one, the amount per gas is the error.
    pub(crate) fn raised(self, market: Self, ceiling_wei: u64) -> Result<Self, u64> {
        let eighth_more = |wei: u64| wei.saturating_add(wei.div_ceil(8));
        let max_fee_wei = eighth_more(self.max_fee_wei);
        let tip_wei = eighth_more(self.tip_wei);
        if max_fee_wei > ceiling_wei || tip_wei > market.tip_wei.saturating_mul(TIP_TIMES) {
            return Err(max_fee_wei);
        }
        let max_fee_wei = max_fee_wei.max(market.max_fee_wei).min(ceiling_wei);
        let tip_wei = tip_wei.max(market.tip_wei).min(max_fee_wei);
        Ok(Self { max_fee_wei, tip_wei })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fees(max_fee_wei: u64, tip_wei: u64) -> Fees {
        Fees { max_fee_wei, tip_wei }
    }

    #[test]
    fn a_replacement_offers_an_eighth_more_of_both_rounded_up() {
        assert_eq!(fees(100, 9).raised(fees(1, 2), 1_000), Ok(fees(113, 11)));
        assert_eq!(fees(800, 80).raised(fees(800, 80), 1_000), Ok(fees(900, 90)));
    }

    #[test]
    fn a_replacement_follows_the_market_up_to_the_ceiling() {
        assert_eq!(fees(100, 9).raised(fees(500, 50), 1_000), Ok(fees(500, 50)));
        assert_eq!(fees(100, 9).raised(fees(5_000, 50), 1_000), Ok(fees(1_000, 50)));
        assert_eq!(fees(900, 9).raised(fees(5_000, 50), 1_000), Err(1_013));
    }
    #[test]
    fn a_replacement_tips_at_most_eight_times_what_is_usual() {
        assert_eq!(fees(100, 7).raised(fees(100, 1), 1_000), Ok(fees(113, 8)));
        assert_eq!(fees(100, 8).raised(fees(100, 1), 1_000), Err(113));
    }
}
