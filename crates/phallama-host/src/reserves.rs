//! What open exchanges may still cost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phallama_protocol::ids::{Address, Amount};

use crate::money::{minus, plus, total};

/// Sums of reserves per user. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reserves(Arc<Mutex<HashMap<Address, Amount>>>);

/// The reserve of one exchange; released when dropped.
#[derive(Debug)]
pub struct Reserve {
    of: Reserves,
    user: Address,
    amount: Amount,
}

impl Reserves {
    fn sums(&self) -> MutexGuard<'_, HashMap<Address, Amount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `decide` with what the user has in flight and reserves `amount` when it says so.
    /// Nobody else can reserve in between, so two requests cannot both use the same money.
    pub fn reserve_if<T>(
        &self,
        user: Address,
        amount: Amount,
        decide: impl FnOnce(Amount) -> (T, bool),
    ) -> (T, Option<Reserve>) {
        let mut sums = self.sums();
        let in_flight = sums.get(&user).copied().unwrap_or_default();
        let (decision, take) = decide(in_flight);
        if !take {
            return (decision, None);
        }
        sums.insert(user, plus(in_flight, amount));
        (decision, Some(Reserve { of: self.clone(), user, amount }))
    }

    /// Sum over all users.
    pub fn total(&self) -> Amount {
        total(self.sums().values().copied())
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut sums = self.of.sums();
        let Some(sum) = sums.get_mut(&self.user) else { return };
        *sum = minus(*sum, self.amount);
        if *sum == Amount::ZERO {
            sums.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_add_up_and_are_released_when_dropped() {
        let reserves = Reserves::default();
        let user = Address([1; 20]);
        let (seen, first) = reserves.reserve_if(user, 30.into(), |in_flight| (in_flight, true));
        assert_eq!(seen, Amount::ZERO);
        let (seen, refused) = reserves.reserve_if(user, 5.into(), |in_flight| (in_flight, false));
        assert_eq!(seen, 30.into());
        assert!(refused.is_none());
        let (_, second) = reserves.reserve_if(user, 12.into(), |_| (true, true));
        assert_eq!(reserves.total(), 42.into());
        drop(first);
        assert_eq!(reserves.total(), 12.into());
        drop(second);
        assert!(reserves.sums().is_empty());
    }
}
