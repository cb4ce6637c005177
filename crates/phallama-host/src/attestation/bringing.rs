//! Collateral that the contract lacks: what, in which order, and bringing it.

use std::fmt;

use phallama_attest::onchain::OnChainCollateral;
use phallama_chain::{
    Chain, ChainError, CollateralKeys, CollateralState, Sender, Stored, StoredCrl, Tx, key_id,
};
use phallama_protocol::ids::Digest32;

use super::quote::PlatformQuote;
use super::refusal::{Refusal, RefusalKind};
use crate::collateral::{CollateralSet, Held};

/// One thing to bring, in the order in which the contract can take them: a list before what it
/// covers, a certificate before what it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bring {
    /// The root's revocation list.
    RootCrl,
    /// The CA of PCK certificates.
    Ca,
    /// The signer of TCB information.
    TcbInfoSigner,
    /// The signer of the QE identity, where it is another one.
    QeIdentitySigner,
    /// The CA's revocation list.
    PckCrl,
    /// TCB information of the processor family.
    TcbInfo,
    /// Identity of the quoting enclave.
    QeIdentity,
}

impl fmt::Display for Bring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Bring {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RootCrl => "root revocation list",
            Self::Ca => "CA of PCK certificates",
            Self::TcbInfoSigner => "TCB signer",
            Self::QeIdentitySigner => "signer of the quoting-enclave identity",
            Self::PckCrl => "PCK revocation list",
            Self::TcbInfo => "TCB information",
            Self::QeIdentity => "quoting-enclave identity",
        }
    }

    /// About how much gas it takes, by the length of what is brought (measured on the embedded
    /// chain with Intel's own collateral).
    pub fn gas_about(self, set: &CollateralSet) -> u64 {
        let (base, per_byte, held) = match self {
            Self::RootCrl => (70_000, 90, &set.root_crl),
            Self::Ca => return 235_000,
            Self::TcbInfoSigner | Self::QeIdentitySigner => return 175_000,
            Self::PckCrl => (88_000, 110, &set.pck_crl),
            Self::TcbInfo => (112_000, 72, &set.tcb_info),
            Self::QeIdentity => (138_000, 61, &set.qe_identity),
        };
        let bytes = u64::try_from(held.document.body.len()).unwrap_or(u64::MAX);
        bytes.saturating_mul(per_byte).saturating_add(base)
    }
}

/// What the contract calls the collateral of `quote` that is in `cut`.
pub fn collateral_keys(quote: &PlatformQuote, cut: &OnChainCollateral) -> CollateralKeys {
    CollateralKeys {
        ca: quote.pck.issuer,
        signer: key_id(&cut.tcb_info_signer.key),
        tee: quote.tee,
        fmspc: quote.pck.fmspc,
    }
}

/// What of `set` the contract lacks, whose state is `state`: what it does not have, what ends
/// before `until_unix_s` while ours ends later, and JSON of a lower evaluation number.
pub fn missing(state: &CollateralState, set: &CollateralSet, until_unix_s: u64) -> Vec<Bring> {
    let crl = |stored: Option<StoredCrl>, held: &Held| match stored {
        None => true,
        Some(stored) => ends_sooner(stored.next_update_unix_s, held, until_unix_s),
    };
    let json = |stored: Option<Stored>, held: &Held| match stored {
        None => true,
        Some(stored) => {
            held.window.issued_at_unix_s > stored.issued_at_unix_s
                && held.window.evaluation_number >= stored.evaluation_number
                && (held.window.evaluation_number > stored.evaluation_number
                    || ends_sooner(stored.next_update_unix_s, held, until_unix_s))
        }
    };
    let needed = [
        (crl(state.root_crl, &set.root_crl), Bring::RootCrl),
        (state.ca.is_none(), Bring::Ca),
        (state.signer.is_none(), Bring::TcbInfoSigner),
        (crl(state.ca.and_then(|ca| ca.crl), &set.pck_crl), Bring::PckCrl),
        (json(state.tcb_info, &set.tcb_info), Bring::TcbInfo),
        (json(state.qe_identity, &set.qe_identity), Bring::QeIdentity),
    ];
    needed.into_iter().filter_map(|(needed, what)| needed.then_some(what)).collect()
}

fn ends_sooner(stored_end_unix_s: u64, held: &Held, until_unix_s: u64) -> bool {
    stored_end_unix_s < until_unix_s && stored_end_unix_s < held.window.next_update_unix_s
}

/// A set cut for the contract, and what of it the contract lacks.
pub(super) struct Needed {
    cut: OnChainCollateral,
    keys: CollateralKeys,
    qe_identity_signer: Digest32,
    pub(super) what: Vec<Bring>,
}

/// Asks the contract what of `set` it lacks; see [`missing`].
pub(super) async fn needed(
    chain: &Chain,
    quote: &PlatformQuote,
    set: &CollateralSet,
    until_unix_s: u64,
) -> Result<Needed, Bringing> {
    let cut = OnChainCollateral::cut(&set.to_evidence()).map_err(|error| {
        let facts = vec![("found", error.to_string())];
        Bringing::Refused(Refusal::by_host(RefusalKind::Malformed, facts))
    })?;
    let keys = collateral_keys(quote, &cut);
    let state = chain.collateral_state(&keys).await?;
    let mut what = missing(&state, set, until_unix_s);
    let qe_identity_signer = key_id(&cut.qe_identity_signer.key);
    if what.contains(&Bring::QeIdentity) && qe_identity_signer != keys.signer {
        let of_qe = CollateralKeys { signer: qe_identity_signer, ..keys };
        if chain.collateral_state(&of_qe).await?.signer.is_none() {
            what.push(Bring::QeIdentitySigner);
            what.sort_unstable();
        }
    }
    Ok(Needed { cut, keys, qe_identity_signer, what })
}

/// Brings what is missing, and tells of every transaction.
///
/// Somebody else may bring the same at the same time: that the contract has it already is success.
///
/// # Errors
/// [`Bringing`]: the set cannot be cut, or the chain's error with what was being brought.
pub async fn bring(
    chain: &Chain,
    sender: &Sender,
    quote: &PlatformQuote,
    set: &CollateralSet,
    until_unix_s: u64,
    sent: &mut (dyn FnMut(Bring, &Tx) + Send),
) -> Result<(), Bringing> {
    let needed = needed(chain, quote, set, until_unix_s).await?;
    for what in &needed.what {
        match send(chain, sender, *what, &needed).await {
            Ok(tx) => sent(*what, &tx),
            Err(error) if error.refusal() == Some("NotNewer") => {
                tracing::info!(%what, "collateral: somebody else has brought it");
            }
            Err(error) => return Err(Bringing::Chain(error)),
        }
    }
    Ok(())
}

/// Collateral could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum Bringing {
    /// It is not what it should be.
    #[error(transparent)]
    Refused(Refusal),
    /// The chain's, or the contract refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

async fn send(
    chain: &Chain,
    sender: &Sender,
    what: Bring,
    needed: &Needed,
) -> Result<Tx, ChainError> {
    let Needed { cut, keys, qe_identity_signer, .. } = needed;
    match what {
        Bring::RootCrl => sender.upsert_crl(chain.root_issuer().await?, &cut.root_crl).await,
        Bring::Ca => sender.admit_ca(&cut.ca.der).await,
        Bring::TcbInfoSigner => sender.admit_signer(&cut.tcb_info_signer.der).await,
        Bring::QeIdentitySigner => sender.admit_signer(&cut.qe_identity_signer.der).await,
        Bring::PckCrl => sender.upsert_crl(keys.ca, &cut.pck_crl).await,
        Bring::TcbInfo => {
            sender.upsert_tcb_info(&cut.tcb_info, &cut.tcb_info_signature, keys.signer).await
        }
        Bring::QeIdentity => {
            let (json, signature) = (&cut.qe_identity, &cut.qe_identity_signature);
            sender.upsert_qe_identity(json, signature, *qe_identity_signer).await
        }
    }
}
