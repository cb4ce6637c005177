//! What a user key or a payer has signed for anybody to send: a file instead of a transaction.
//!
//! Whoever sends it pays the gas and gains nothing: money moves into the user's account, out of it
//! to the owner, or back into it from a channel.

use phallama_chain::{Authorization, Call, Chain, ChainError, Credited, RelayedClose};
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::keys::Signature;
use serde::{Deserialize, Serialize};

/// The format that this version writes and reads.
const VERSION: u32 = 1;
/// Largest file that is read, in bytes.
pub const SIGNED_FILE_MAX_BYTES: usize = 16 * 1024;

/// A signed action and the deployment it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAction {
    version: u32,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The escrow.
    pub escrow: Address,
    /// What was signed.
    pub action: Action,
}

/// What was signed, with the signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// The payer's tokens into the user's account.
    Deposit {
        /// The user key.
        user: Address,
        /// The user key's word about its owner, while the account is not open.
        opening: Option<Opening>,
        /// The payer's EIP-3009 authorization.
        authorization: Authorization,
    },
    /// Free money to the owner.
    Withdraw {
        /// The user key.
        user: Address,
        /// How much.
        amount: Amount,
        /// Which withdrawal of this kind it is.
        nonce: u64,
        /// Last second in which it counts.
        deadline_unix_s: u64,
        /// The user key's.
        signature: Signature,
    },
    /// The 48-hour exit of a channel.
    StartExit {
        /// The pod.
        pod: PodId,
        /// The channel's generation.
        epoch: u32,
        /// The user key's.
        signature: Signature,
    },
    /// The end of a channel at once.
    Close {
        /// What user key and enclave signed.
        close: RelayedClose,
    },
}

/// The user key's word about who may withdraw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The owner.
    pub owner: Address,
    /// The user key's signature on `OpenAccount`.
    pub signature: Signature,
}

/// Why a signed action cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It is longer than any that this program writes.
    #[error("{got} bytes, the limit is {SIGNED_FILE_MAX_BYTES}")]
    Size {
        /// As read.
        got: usize,
    },
    /// It is none.
    #[error("it is none: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version of the format.
    #[error("format version {0}, this program reads {VERSION}")]
    Version(u32),
    /// It is for another deployment.
    #[error(
        "signed for escrow {signed_for} on chain {chain_id}; configured is {configured} on chain \
         {configured_chain_id}"
    )]
    OtherDeployment {
        /// Its escrow.
        signed_for: Address,
        /// Its chain.
        chain_id: u64,
        /// The configured escrow.
        configured: Address,
        /// The configured chain.
        configured_chain_id: u64,
    },
    /// A number does not fit its place in the contract.
    #[error(transparent)]
    Call(#[from] ChainError),
}

impl SignedAction {
    /// For the deployment of `chain`.
    pub fn new(chain: &Chain, action: Action) -> Self {
        let (chain_id, escrow) = (chain.config().chain_id, chain.config().escrow);
        Self { version: VERSION, chain_id, escrow, action }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`RelayError::Size`], [`RelayError::Json`], [`RelayError::Version`].
    pub fn from_json(json: &[u8]) -> Result<Self, RelayError> {
        if json.len() > SIGNED_FILE_MAX_BYTES {
            return Err(RelayError::Size { got: json.len() });
        }
        let signed: Self = serde_json::from_slice(json)?;
        if signed.version != VERSION {
            return Err(RelayError::Version(signed.version));
        }
        Ok(signed)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("addresses, numbers and signatures are JSON")
    }

    /// The call that anybody may send. Whether it succeeds, the contract says.
    ///
    /// # Errors
    /// [`RelayError::OtherDeployment`], [`RelayError::Call`].
    pub fn call(&self, chain: &Chain) -> Result<Call, RelayError> {
        let config = chain.config();
        if (self.chain_id, self.escrow) != (config.chain_id, config.escrow) {
            return Err(RelayError::OtherDeployment {
                signed_for: self.escrow,
                chain_id: self.chain_id,
                configured: config.escrow,
                configured_chain_id: config.chain_id,
            });
        }
        Ok(match &self.action {
            Action::Deposit { user, opening, authorization } => {
                let to = match *opening {
                    None => Credited::Open(*user),
                    Some(Opening { owner, signature: open_sig }) => {
                        Credited::Opening { user: *user, owner, open_sig }
                    }
                };
                chain.deposit_with_authorization_call(&to, authorization)
            }
            Action::Withdraw { user, amount, nonce, deadline_unix_s, signature } => {
                chain.withdraw_for_call(*user, *amount, (*nonce, *deadline_unix_s), signature)?
            }
            Action::StartExit { pod, epoch, signature } => {
                chain.start_exit_for_call(*pod, *epoch, signature)?
            }
            Action::Close { close } => chain.close_for_call(close)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> SignedAction {
        let (pod, epoch, signature) = (PodId([1; 32]), 2, Signature([3; 64]));
        let action = Action::StartExit { pod, epoch, signature };
        SignedAction { version: VERSION, chain_id: 5, escrow: Address([4; 20]), action }
    }

    #[test]
    fn reads_what_it_wrote() {
        let read = SignedAction::from_json(signed().to_json().as_bytes()).unwrap();
        assert_eq!(read, signed());
    }

    #[test]
    fn refuses_other_versions_unknown_fields_and_what_is_too_long() {
        let json = signed().to_json();
        let refused = |json: &str| SignedAction::from_json(json.as_bytes()).unwrap_err();
        let later = refused(&json.replace("\"version\": 1", "\"version\": 2"));
        assert!(matches!(later, RelayError::Version(2)), "{later}");
        let more = refused(&json.replace("\"epoch\"", "\"tip\": 1, \"epoch\""));
        assert!(matches!(more, RelayError::Json(_)), "{more}");
        let long = refused(&format!("{json}{}", " ".repeat(SIGNED_FILE_MAX_BYTES)));
        assert!(matches!(long, RelayError::Size { .. }), "{long}");
    }
}
