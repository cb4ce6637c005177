//! Telling the operator while there is still time.

use std::collections::HashSet;

use super::{Settler, locked};
use crate::journal::{ChannelKey, ChannelRecord};
use crate::money::total;
use crate::progress::PodProgress;

/// An exit that ends within this long, with something unsettled, is an alarm, in seconds. It is a
/// quarter of the exit window.
const ALARM_BEFORE_S: u64 = 12 * 3_600;

/// Channels of which the operator was told.
#[derive(Debug, Default)]
pub(super) struct Alarms(HashSet<ChannelKey>);

impl Settler {
    /// Claims against users whose exit ends soon, which are lost with it.
    fn at_stake(&self) -> Vec<ChannelRecord> {
        let soon = self.view.now_unix_s().saturating_add(ALARM_BEFORE_S);
        let ends = |record: &ChannelRecord| {
            let channel = self.view.last_channel(record.key.user);
            channel.is_some_and(|it| it.exit_at_unix_s != 0 && it.exit_at_unix_s <= soon)
        };
        self.journal.unsettled().into_iter().filter(ends).collect()
    }

    /// Tells of claims that could not be settled and will soon be lost; once each.
    pub(super) fn sound_alarms(&self) {
        let at_stake = self.at_stake();
        let mut alarms = locked(&self.memory.alarms);
        let news: Vec<_> = at_stake.iter().filter(|it| !alarms.0.contains(&it.key)).collect();
        if news.is_empty() {
            return;
        }
        let amount = total(news.iter().map(|record| record.unsettled()));
        alarms.0.extend(news.iter().map(|record| record.key));
        tracing::error!(%amount, channels = news.len(), "settlement: exits end before it");
        (self.report)(PodProgress::Remark(format!(
            "{amount} units of {} users who are leaving could not be settled, and are lost when \
             their exits end within {} hours: see that the chain answers and the operator's account \
             can pay gas",
            news.len(),
            ALARM_BEFORE_S / 3_600
        )));
    }
}
