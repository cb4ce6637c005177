//! Names for accounts that a foreign server can tell apart and not trace.

use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};

use crate::Account;

/// Drawn once for each engine.
pub(crate) struct Salt([u64; 2]);

impl Salt {
    pub(crate) fn new() -> Self {
        // The standard library's keys for its maps come from the system's generator.
        Self([0; 2].map(|zero: u64| RandomState::new().hash_one(zero)))
    }

    /// The account's name: 32 hexadecimal digits, the same as long as this engine runs.
    pub(crate) fn of(&self, account: Account) -> String {
        let mut hasher = Sha256::new();
        self.0.iter().for_each(|word| hasher.update(word.to_be_bytes()));
        let digest: [u8; 32] = hasher.chain_update(account).finalize().into();
        digest[..16].iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_different_names_and_each_engine_other_ones() {
        let (salt, other) = (Salt::new(), Salt::new());
        assert_eq!(salt.of([1; 20]), salt.of([1; 20]));
        assert_ne!(salt.of([1; 20]), salt.of([2; 20]));
        assert_ne!(salt.of([1; 20]), other.of([1; 20]));
        assert_eq!(salt.of([1; 20]).len(), 32);
    }
}
