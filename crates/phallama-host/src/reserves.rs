//! What users owe or may come to owe, beside what is locked for it: the pod's value at risk.
//!
//! A user's *exposure* is what its channel was charged, and what its open exchanges may still cost,
//! beyond what is locked at the chain's `safe` head. It does not end with an exchange: it ends when
//! the lock is safe, or the channel closed, or when nothing has covered it for so long that it
//! counts as lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use phallama_chain::Channel;
use phallama_protocol::ids::{Address, Amount};

use crate::journal::ChannelRecord;
use crate::money::{minus, plus, total};

/// One user's side of the balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Generation of the channel.
    pub epoch: u32,
    /// Highest amount charged in it, cumulative.
    pub charged: Amount,
    /// Sum of the reserves of open exchanges.
    pub in_flight: Amount,
    /// Locked at the `safe` head, cumulative.
    pub safe_locked: Amount,
    /// What counts as lost, cumulative like `charged`.
    lost: Amount,
    /// What was charged when it was first seen that not all of it is covered.
    uncovered: Option<(Instant, Amount)>,
}

impl Position {
    /// What the user owes or may come to owe beyond what is locked for good, and is not given up.
    pub fn exposure(&self) -> Amount {
        minus(plus(self.charged, self.in_flight), self.safe_locked.max(self.lost))
    }

    /// Whether the channel owes something, be it given up.
    fn owes(&self) -> bool {
        plus(self.charged, self.in_flight) > self.safe_locked
    }

    /// Gives up what was charged at a look at least `after` ago and is not covered yet. What was
    /// charged since has not waited as long.
    fn give_up(&mut self, now: Instant, after: Duration) {
        if self.charged <= self.safe_locked.max(self.lost) {
            self.uncovered = None;
            return;
        }
        let (since, charged) = *self.uncovered.get_or_insert((now, self.charged));
        if now.duration_since(since) >= after {
            self.lost = charged;
            self.uncovered = (self.charged > charged).then_some((now, self.charged));
        }
    }

    fn begin(&mut self, epoch: u32) {
        (self.epoch, self.charged) = (epoch, Amount::ZERO);
        (self.lost, self.uncovered) = (Amount::ZERO, None);
    }

    /// Takes over what the chain says of the channel. What an earlier generation was charged beyond
    /// what was paid is lost, and no longer at risk.
    fn see(&mut self, channel: &Channel, safe_locked: Amount) {
        if channel.epoch != self.epoch {
            self.begin(channel.epoch);
        }
        self.charged = self.charged.max(channel.claimed);
        self.safe_locked = safe_locked.min(channel.locked);
    }
}

/// What is known of a user when a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The channel at the newest block.
    pub channel: Channel,
    /// Locked at the `safe` head, cumulative.
    pub safe_locked: Amount,
    /// Highest amount charged in the channel's generation.
    pub charged: Amount,
}

#[derive(Debug, Default)]
struct Book {
    positions: HashMap<Address, Position>,
    /// Sum of all exposures. Amounts have 96 bits, so more of them than memory holds fit.
    at_risk: u128,
}

impl Book {
    fn of(&self, user: Address) -> Position {
        self.positions.get(&user).copied().unwrap_or_default()
    }

    /// Changes a position; one of which nothing is open is forgotten.
    fn change(&mut self, user: Address, change: impl FnOnce(&mut Position)) {
        let mut position = self.of(user);
        self.at_risk = self.at_risk.saturating_sub(position.exposure().value());
        change(&mut position);
        self.at_risk = self.at_risk.saturating_add(position.exposure().value());
        if position.in_flight == Amount::ZERO && !position.owes() {
            self.positions.remove(&user);
        } else {
            self.positions.insert(user, position);
        }
    }
}

/// Positions of all users. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reserves(Arc<Mutex<Book>>);

/// The reserve of one exchange; released when dropped.
#[derive(Debug)]
pub struct Reserve {
    of: Reserves,
    user: Address,
    amount: Amount,
}

impl Reserves {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `decide` with what the user has in flight and what all others have at risk, and
    /// reserves `amount` when it says so. Nobody else can reserve in between, so two requests
    /// cannot both use the same money or the same room for risk.
    pub fn reserve_if<T>(
        &self,
        user: Address,
        amount: Amount,
        seen: Seen,
        decide: impl FnOnce(Amount, Amount) -> (T, bool),
    ) -> (T, Option<Reserve>) {
        let mut book = self.book();
        book.change(user, |position| {
            position.see(&seen.channel, seen.safe_locked);
            position.charged = position.charged.max(seen.charged);
        });
        let position = book.of(user);
        let others = saturating(book.at_risk.saturating_sub(position.exposure().value()));
        let (decision, take) = decide(position.in_flight, others);
        if !take {
            return (decision, None);
        }
        book.change(user, |position| {
            // A position that was forgotten as balanced is begun anew.
            position.see(&seen.channel, seen.safe_locked);
            position.charged = position.charged.max(seen.charged);
            position.in_flight = plus(position.in_flight, amount);
        });
        (decision, Some(Reserve { of: self.clone(), user, amount }))
    }

    /// A user was charged this much in this generation, cumulative.
    pub fn charge(&self, user: Address, epoch: u32, cumulative: Amount) {
        self.book().change(user, |position| {
            if epoch > position.epoch {
                position.begin(epoch);
            }
            if epoch == position.epoch {
                position.charged = position.charged.max(cumulative);
            }
        });
    }

    /// The chain was read.
    pub fn see(&self, user: Address, channel: &Channel, safe_locked: Amount) {
        let mut book = self.book();
        if book.positions.contains_key(&user) {
            book.change(user, |position| position.see(channel, safe_locked));
        }
    }

    /// Counts as lost, instead of at risk, what was charged `after` ago at the latest and nothing
    /// has covered since.
    pub fn write_off(&self, now: Instant, after: Duration) {
        let mut book = self.book();
        let users: Vec<_> = book.positions.keys().copied().collect();
        for user in users {
            book.change(user, |position| position.give_up(now, after));
        }
    }

    /// Takes up what was unsettled at the last end; of that, what has been so since before
    /// `given_up_unix_s` counts as lost.
    pub fn restore(&self, unsettled: &[ChannelRecord], given_up_unix_s: u64) {
        for record in unsettled {
            let (user, charged) = (record.key.user, record.cumulative);
            self.charge(user, record.key.epoch, charged);
            if record.unsettled_since_unix_s <= given_up_unix_s {
                self.book().change(user, |position| position.lost = charged);
            }
        }
    }

    /// Users with something in flight or at risk.
    pub fn users(&self) -> Vec<Address> {
        let book = self.book();
        let open = book.positions.iter().filter(|(_, position)| {
            position.in_flight > Amount::ZERO || position.exposure() > Amount::ZERO
        });
        open.map(|(user, _)| *user).collect()
    }

    /// Sum of the reserves of open exchanges.
    pub fn total(&self) -> Amount {
        total(self.book().positions.values().map(|position| position.in_flight))
    }

    /// Sum of all exposures.
    pub fn at_risk(&self) -> Amount {
        saturating(self.book().at_risk)
    }
}

fn saturating(value: u128) -> Amount {
    Amount::new(value).unwrap_or(Amount::MAX)
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let amount = self.amount;
        self.of.book().change(self.user, |position| {
            position.in_flight = minus(position.in_flight, amount);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Address = Address([1; 20]);
    const OTHER: Address = Address([2; 20]);

    fn channel(locked: u64) -> Channel {
        Channel { locked: locked.into(), claimed: Amount::ZERO, exit_at_unix_s: 0, epoch: 1 }
    }

    fn seen(locked: u64, safe_locked: u64, charged: u64) -> Seen {
        let (safe_locked, charged) = (safe_locked.into(), charged.into());
        Seen { channel: channel(locked), safe_locked, charged }
    }

    fn take(reserves: &Reserves, user: Address, amount: u64, seen: Seen) -> Reserve {
        reserves.reserve_if(user, amount.into(), seen, |_, _| ((), true)).1.unwrap()
    }

    #[test]
    fn reserves_add_up_and_are_released_when_dropped() {
        let reserves = Reserves::default();
        let covered = seen(100, 100, 0);
        let first = take(&reserves, USER, 30, covered);
        let (told, refused) = reserves.reserve_if(USER, 5.into(), covered, |a, b| ((a, b), false));
        assert_eq!(told, (30.into(), Amount::ZERO));
        assert!(refused.is_none());
        let second = take(&reserves, USER, 12, covered);
        assert_eq!((reserves.total(), reserves.at_risk()), (42.into(), Amount::ZERO));
        drop(first);
        assert_eq!(reserves.total(), 12.into());
        drop(second);
        assert_eq!(reserves.users(), []);
    }

    #[test]
    fn exposure_is_what_no_safe_lock_covers_and_outlives_the_exchange() {
        let reserves = Reserves::default();
        let open = take(&reserves, USER, 30, seen(100, 10, 0));
        assert_eq!(reserves.at_risk(), 20.into());
        reserves.charge(USER, 1, 25.into());
        drop(open);
        assert_eq!(reserves.at_risk(), 15.into());
        let (others, _) =
            reserves.reserve_if(OTHER, 5.into(), seen(0, 0, 0), |_, others| (others, false));
        assert_eq!(others, 15.into());
        reserves.see(USER, &channel(100), 24.into());
        assert_eq!(reserves.at_risk(), 1.into());
        reserves.see(USER, &channel(100), 100.into());
        assert_eq!((reserves.at_risk(), reserves.users()), (Amount::ZERO, vec![]));
    }

    #[test]
    fn lock_that_was_taken_back_puts_the_charges_at_risk_again() {
        let reserves = Reserves::default();
        let open = take(&reserves, USER, 30, seen(100, 100, 50));
        assert_eq!(reserves.at_risk(), Amount::ZERO);
        reserves.see(USER, &channel(0), Amount::ZERO);
        assert_eq!(reserves.at_risk(), 80.into());
        drop(open);
        assert_eq!(reserves.at_risk(), 50.into());
    }

    #[test]
    fn what_nothing_covered_for_a_day_is_given_up_and_nothing_charged_since() {
        let (reserves, begin) = (Reserves::default(), Instant::now());
        let day = Duration::from_hours(24);
        let write_off = |hours| reserves.write_off(begin + Duration::from_hours(hours), day);
        reserves.charge(USER, 1, 1.into());
        write_off(0);
        // The full credit, shortly before the unit has waited for a day.
        reserves.charge(USER, 1, 50.into());
        write_off(23);
        assert_eq!(reserves.at_risk(), 50.into());
        for hours in 24..48 {
            write_off(hours);
            assert_eq!(reserves.at_risk(), 49.into(), "at hour {hours}");
        }
        write_off(48);
        assert_eq!((reserves.at_risk(), reserves.users()), (Amount::ZERO, vec![]));
        // Whoever comes back is not counted for it again, but for what is new.
        let open = take(&reserves, USER, 30, seen(0, 0, 50));
        assert_eq!(reserves.at_risk(), 30.into());
        drop(open);
        // And a lock first pays for what was given up.
        reserves.charge(USER, 1, 60.into());
        reserves.see(USER, &channel(55), 55.into());
        assert_eq!(reserves.at_risk(), 5.into());
    }

    #[test]
    fn what_is_covered_in_time_is_not_given_up() {
        let (reserves, begin) = (Reserves::default(), Instant::now());
        let day = Duration::from_hours(24);
        let open = take(&reserves, USER, 5, seen(0, 0, 50));
        reserves.write_off(begin, day);
        reserves.see(USER, &channel(50), 50.into());
        reserves.write_off(begin + day / 2, day);
        reserves.charge(USER, 1, 70.into());
        reserves.write_off(begin + day, day);
        assert_eq!(reserves.at_risk(), 25.into(), "20 charged for half a day, and 5 open");
        drop(open);
    }

    #[test]
    fn next_generation_of_a_channel_begins_without_debt() {
        let reserves = Reserves::default();
        reserves.charge(USER, 1, 25.into());
        assert_eq!(reserves.at_risk(), 25.into());
        let next = Channel { epoch: 2, claimed: 10.into(), ..channel(10) };
        reserves.see(USER, &next, 10.into());
        assert_eq!(reserves.at_risk(), Amount::ZERO);
        reserves.charge(USER, 2, 13.into());
        reserves.charge(USER, 1, 90.into());
        assert_eq!(reserves.at_risk(), 13.into(), "a late word about the old one changes nothing");
    }
}
