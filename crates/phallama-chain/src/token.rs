//! The token beside its balances: allowances, and what deposits by signature need to know of it.

use alloy::sol_types::SolCall;
use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::token::TokenDomain;

use crate::chain::Chain;
use crate::contracts::{Escrow, TestToken};
use crate::convert::{saturating_u128, to_address};
use crate::error::ChainError;

/// Versions of EIP-712 domains that tokens use; no function of ERC-20 states one.
const VERSIONS: [&str; 3] = ["1", "2", "3"];

impl Chain {
    async fn of_token<C: SolCall>(
        &self,
        what: &'static str,
        call: C,
    ) -> Result<C::Return, ChainError> {
        self.read(what, self.config().token, call).await
    }

    /// What the escrow may take from `owner`; saturates at the largest amount.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn allowance(&self, owner: Address) -> Result<Amount, ChainError> {
        let (owner, spender) = (to_address(owner), to_address(self.config().escrow));
        let allowed =
            self.of_token("allowance", TestToken::allowanceCall { owner, spender }).await?;
        Ok(Amount::new(saturating_u128(allowed)).unwrap_or(Amount::MAX))
    }

    /// The domain in which the token takes permits and authorizations: made here from the token's
    /// address, the chain id and `name()`, and equal to what the token states. `None` when the
    /// token has no such domain: an endpoint cannot have anything signed for another token or
    /// chain.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`], [`ChainError::Malformed`].
    pub async fn token_domain(&self) -> Result<Option<TokenDomain>, ChainError> {
        let name = self.of_token("name", TestToken::nameCall {}).await?;
        let call = TestToken::DOMAIN_SEPARATORCall {};
        let stated = match self.of_token("DOMAIN_SEPARATOR", call).await {
            Err(ChainError::Reverted { .. } | ChainError::Malformed { .. }) => return Ok(None),
            stated => stated?,
        };
        let (chain_id, token) = (self.config().chain_id, self.config().token);
        let domain = |version: &str| {
            let (name, version) = (name.clone(), version.to_owned());
            TokenDomain { name, version, chain_id, token }
        };
        Ok(VERSIONS.into_iter().map(domain).find(|domain| domain.separator() == stated.0))
    }

    /// How many permits of `owner` the token has taken.
    ///
    /// # Errors
    /// [`ChainError`]; a token without permits answers with a revert.
    pub async fn permit_nonce(&self, owner: Address) -> Result<u64, ChainError> {
        let call = TestToken::noncesCall { owner: to_address(owner) };
        Ok(self.of_token("nonces", call).await?.saturating_to())
    }

    /// How many withdrawals by signature the user's account has made.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn withdraw_nonce(&self, user: Address) -> Result<u64, ChainError> {
        let call = Escrow::withdrawNonceCall { user: to_address(user) };
        self.read("withdrawNonce", self.config().escrow, call).await
    }
}
