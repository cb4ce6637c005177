//! What pods send, and what blocks do.

use phallama_host::journal::{ChannelKey, ChannelRecord};
use phallama_host::locks;
use phallama_host::settlement::{Plan, ROWS_MAX};
use phallama_protocol::ids::Address;

use super::{IDENTITY, PAUSE_BLOCKS, SAFE_BLOCKS, SIGNATURE, State, TERMS, World, seconds};
use crate::simulation::chain::{Action, ChannelId};
use crate::simulation::population::units;

impl World {
    /// Every pod sends the locks that wait, and settles when that is due.
    pub(crate) fn pods_act(&mut self) {
        let due = self.rules.due();
        for index in 0..self.pods.len() {
            let pod = &mut self.pods[index];
            let id = u32::try_from(index).expect("a u32 of pods");
            if !pod.locking && !pod.locks.is_empty() {
                let rows = pod.locks.len().min(locks::ROWS_MAX);
                let rows = pod.locks.drain(..rows).collect();
                pod.locking = true;
                self.chain.send(Action::Lock { pod: id, rows });
            }
            let pod = &self.pods[index];
            if pod.settling == 0 && pod.unsettled > 0 && pod.paused_until <= self.block {
                let leaving = pod.leaving > 0;
                let all = [record(0, pod.unsettled, 0, seconds(pod.oldest))];
                if due.is_due(&all, all[0].unsettled(), self.now(), None, |_| leaving) {
                    self.settle(id);
                }
            }
        }
    }

    fn settle(&mut self, id: u32) {
        let pod = &self.pods[id as usize];
        let states = pod.listed.iter().map(|&channel| (channel, &self.channels[channel as usize]));
        let open: Vec<_> = states.filter(|(_, state)| state.unsettled() > 0).collect();
        let record = |(channel, state): &(ChannelId, &State)| {
            record(*channel, state.charged, state.claimed, seconds(state.since))
        };
        let records: Vec<_> = open.iter().map(record).collect();
        let channels: Vec<_> = open.iter().map(|(_, state)| state.on_chain()).collect();
        let plan = Plan::new(&records, &channels, Some(IDENTITY));
        let pod = &mut self.pods[id as usize];
        pod.paused_until = self.block + PAUSE_BLOCKS;
        for rows in plan.batch.chunks(ROWS_MAX) {
            let row = |row: &ChannelRecord| (channel_of(row.key.user), units(row.cumulative));
            pod.settling += 1;
            self.chain.send(Action::Settle { pod: id, rows: rows.iter().map(row).collect() });
        }
    }

    /// Mines a block and notes what it did. Returns how long the exits of the channels that were
    /// settled had been running, in blocks.
    pub(crate) fn next_block(&mut self) -> Vec<u32> {
        self.block += 1;
        self.mature();
        let mut waits = Vec::new();
        for action in self.chain.mine() {
            match action {
                Action::Lock { pod, rows } => self.locked(pod, &rows),
                Action::Settle { pod, rows } => self.settled(pod, &rows, &mut waits),
                Action::StartExit(channel) => self.left(channel),
                Action::Open | Action::FinishExit | Action::Collect => {}
            }
        }
        waits
    }

    /// Notes the locks that have become safe.
    fn mature(&mut self) {
        while self.fresh.front().is_some_and(|(at, ..)| *at <= self.block) {
            let Some((_, channel, total)) = self.fresh.pop_front() else { break };
            let state = &mut self.channels[channel as usize];
            let at_risk = state.at_risk();
            state.safe_locked = total;
            self.pods[state.ends.pod as usize].at_risk -= at_risk - state.at_risk();
        }
    }

    fn locked(&mut self, pod: u32, rows: &[(ChannelId, u64)]) {
        for &(channel, total) in rows {
            let state = &mut self.channels[channel as usize];
            let free = &mut self.free[state.ends.user as usize];
            let adds = total.saturating_sub(state.locked);
            if adds == 0 || adds > *free || state.left_at.is_some() {
                self.counts.skipped_locks += 1;
            } else {
                let on_credit = state.on_credit();
                (*free, state.locked) = (*free - adds, total);
                self.pods[pod as usize].on_credit -= on_credit - state.on_credit();
                self.fresh.push_back((self.block + SAFE_BLOCKS, channel, total));
            }
            if state.pending == total {
                state.pending = 0;
            }
        }
        let pod = &mut self.pods[pod as usize];
        pod.locking = false;
        for (channel, query) in std::mem::take(&mut pod.waiting) {
            let state = &self.channels[channel as usize];
            if state.charged + query.reserve <= state.locked {
                self.serve(channel, query);
            } else if state.pending > state.locked {
                self.pods[state.ends.pod as usize].waiting.push((channel, query));
            } else {
                self.counts.refused += 1;
            }
        }
    }

    fn settled(&mut self, pod: u32, rows: &[(ChannelId, u64)], waits: &mut Vec<u32>) {
        let (now, pod) = (self.block, &mut self.pods[pod as usize]);
        for &(channel, claimed) in rows {
            let state = &mut self.channels[channel as usize];
            let paid = claimed.min(state.locked).saturating_sub(state.claimed);
            state.claimed += paid;
            state.since = now;
            pod.unsettled -= paid;
            pod.credit += paid;
            if let Some(left_at) = state.left_at {
                self.leaving_unsettled -= paid;
                waits.push(now - left_at);
                pod.leaving -= u32::from(state.unsettled() == 0);
            }
        }
        pod.settling -= 1;
        if pod.settling == 0 {
            let channels = &mut self.channels;
            pod.listed.retain(|&channel| {
                let state = &mut channels[channel as usize];
                state.listed = state.unsettled() > 0;
                state.listed
            });
            let oldest = pod.listed.iter().map(|&channel| channels[channel as usize].since).min();
            pod.oldest = oldest.unwrap_or(now);
        }
    }

    fn left(&mut self, channel: ChannelId) {
        let state = &mut self.channels[channel as usize];
        if state.left_at.is_none() {
            state.left_at = Some(self.block);
            self.leaving_unsettled += state.unsettled();
            self.pods[state.ends.pod as usize].leaving += u32::from(state.unsettled() > 0);
        }
    }
}

/// A journal's record. The user's address says which channel it is.
fn record(channel: ChannelId, cumulative: u64, settled: u64, since_unix_s: u64) -> ChannelRecord {
    let mut user = [0; 20];
    user[16..].copy_from_slice(&channel.to_be_bytes());
    ChannelRecord {
        key: ChannelKey { user: Address(user), epoch: 0 },
        cap: cumulative.into(),
        voucher_sig: SIGNATURE,
        identity: IDENTITY,
        seq: 1,
        cumulative: cumulative.into(),
        receipt_hash: TERMS,
        settlement_sig: SIGNATURE,
        settled: settled.into(),
        settled_safe: settled.into(),
        unsettled_since_unix_s: since_unix_s,
        prompt_tokens: 0,
        completion_tokens: 0,
        closed: false,
    }
}

fn channel_of(user: Address) -> ChannelId {
    let [.., a, b, c, d] = user.0;
    ChannelId::from_be_bytes([a, b, c, d])
}
