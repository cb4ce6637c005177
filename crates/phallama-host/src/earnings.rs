//! What a pod has earned, from its journal and its books.

use std::path::{Path, PathBuf};

use phallama_chain::ChainConfig;
use phallama_protocol::ids::{Address, Amount};
use serde::{Deserialize, Serialize};

use crate::books::{Books, Day};
use crate::error::PodError;
use crate::journal::{ChannelRecord, Journal};
use crate::money::total;
use crate::places::journal_prefix;

/// What a pod has earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earnings {
    /// What the contract has paid into the pod's credit, over all channels.
    pub settled: Amount,
    /// What was charged and is not settled.
    pub unsettled: Amount,
    /// What users owe or may come to owe beyond what is locked for good. Only a running pod knows.
    pub at_risk: Option<Amount>,
    /// What the escrow owes the pod. Only a running pod asks.
    pub credit: Option<Amount>,
    /// Paid for gas, in wei.
    #[serde(with = "crate::wei")]
    pub gas_wei: u128,
    /// By day.
    pub days: Vec<Day>,
    /// By channel generation, in the order of users.
    pub channels: Vec<ChannelEarnings>,
}

/// What one channel generation has brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEarnings {
    /// Address of the user key.
    pub user: Address,
    /// Generation of the channel.
    pub epoch: u32,
    /// Charged, cumulative over the channel's life.
    pub charged: Amount,
    /// Paid by the contract, cumulative over the channel's life.
    pub settled: Amount,
    /// Charged and not settled.
    pub unsettled: Amount,
    /// When the oldest unsettled claim came, seconds since 1970; 0 when nothing is unsettled.
    pub unsettled_since_unix_s: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// The channel has moved to its next generation.
    pub closed: bool,
}

impl From<&ChannelRecord> for ChannelEarnings {
    fn from(record: &ChannelRecord) -> Self {
        Self {
            user: record.key.user,
            epoch: record.key.epoch,
            charged: record.cumulative,
            settled: record.settled,
            unsettled: record.unsettled(),
            unsettled_since_unix_s: record.unsettled_since_unix_s,
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            closed: record.closed,
        }
    }
}

impl Earnings {
    /// What the files of a pod that does not run say. Where the state directory holds those of
    /// several deployments, `chain` tells which.
    ///
    /// # Errors
    /// [`PodError::NoJournal`], [`PodError::SeveralJournals`], [`PodError::Journal`] when a pod has
    /// it open, [`PodError::File`].
    pub fn read(state_dir: &Path, chain: Option<&ChainConfig>) -> Result<Self, PodError> {
        let path = journal_in(state_dir, chain)?;
        let journal = Journal::open(&path)?;
        let books = path.with_extension("books.jsonl");
        let failed = |source| PodError::File { what: "read", path: books.clone(), source };
        Ok(Self::of(&journal, &Books::open(&books).map_err(failed)?))
    }

    /// What the files alone say.
    pub fn of(journal: &Journal, books: &Books) -> Self {
        let channels: Vec<_> = journal.channels().iter().map(ChannelEarnings::from).collect();
        let days = books.days();
        Self {
            settled: settled(&channels),
            unsettled: journal.unsettled_total(),
            at_risk: None,
            credit: None,
            gas_wei: days.iter().fold(0, |sum, day| day.gas_wei.saturating_add(sum)),
            days,
            channels,
        }
    }
}

fn journal_in(state_dir: &Path, chain: Option<&ChainConfig>) -> Result<PathBuf, PodError> {
    let prefix = chain.map_or_else(|| "journal-".to_owned(), journal_prefix);
    let none = || PodError::NoJournal { dir: state_dir.to_owned() };
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_redb = path.extension().is_some_and(|it| it == "redb");
        is_redb && name.starts_with(&prefix)
    };
    let entries = std::fs::read_dir(state_dir).map_err(|_| none())?;
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_journal).collect();
    match found.pop() {
        None => Err(none()),
        Some(one) if found.is_empty() => Ok(one),
        Some(_) => Err(PodError::SeveralJournals { dir: state_dir.to_owned() }),
    }
}

/// Amounts are cumulative over a channel's life, so of its generations the highest counts. They
/// stand next to each other.
fn settled(channels: &[ChannelEarnings]) -> Amount {
    let of_user = channels.chunk_by(|a, b| a.user == b.user);
    total(of_user.filter_map(|all| all.iter().map(|channel| channel.settled).max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(user: u8, epoch: u32, settled: u64) -> ChannelEarnings {
        ChannelEarnings {
            user: Address([user; 20]),
            epoch,
            charged: settled.into(),
            settled: settled.into(),
            unsettled: Amount::ZERO,
            unsettled_since_unix_s: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            closed: false,
        }
    }

    #[test]
    fn generations_of_a_channel_do_not_add_up() {
        let channels = [channel(1, 0, 40), channel(1, 1, 70), channel(2, 0, 5)];
        assert_eq!(settled(&channels), 75.into());
        assert_eq!(settled(&[]), Amount::ZERO);
    }
}
