//! Accounts, code and storage, with their whole history.
//!
//! Every value is kept with the *revision* that wrote it. A revision is one block or one cheat
//! (`anvil_setBalance`); it only grows, and rolling back means forgetting what is newer. Reading a
//! past block is a binary search, and a snapshot is one number.

use std::convert::Infallible;

use revm::bytecode::Bytecode;
use revm::database_interface::Database;
use revm::primitives::{Address, AddressMap, B256, B256Map, HashMap, KECCAK_EMPTY, U256};
use revm::state::{Account, AccountInfo};

use crate::block::Block;

/// Values of one place, oldest first.
#[derive(Debug)]
struct History<T>(Vec<(u64, T)>);

impl<T> History<T> {
    fn at(&self, revision: u64) -> Option<&T> {
        let newer = self.0.partition_point(|(written, _)| *written <= revision);
        newer.checked_sub(1).map(|last| &self.0[last].1)
    }

    fn set(&mut self, revision: u64, value: T) {
        match self.0.last_mut() {
            Some((written, last)) if *written == revision => *last = value,
            _ => self.0.push((revision, value)),
        }
    }

    /// Returns whether anything is left.
    fn roll_back(&mut self, revision: u64) -> bool {
        self.0.truncate(self.0.partition_point(|(written, _)| *written <= revision));
        !self.0.is_empty()
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The world state of all revisions.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// `None` is an account that does not exist (any more).
    accounts: AddressMap<History<Option<AccountInfo>>>,
    slots: HashMap<(Address, U256), History<U256>>,
    /// Code is never forgotten: it is found by its hash only.
    code: B256Map<Bytecode>,
}

impl State {
    /// The account as of `revision`, without its code.
    pub(crate) fn account(&self, address: Address, revision: u64) -> Option<&AccountInfo> {
        self.accounts.get(&address)?.at(revision)?.as_ref()
    }

    /// A storage slot as of `revision`; zero where nothing was written.
    pub(crate) fn slot(&self, address: Address, key: U256, revision: u64) -> U256 {
        self.slots
            .get(&(address, key))
            .and_then(|history| history.at(revision))
            .copied()
            .unwrap_or_default()
    }

    /// Code by its hash; empty for the hash of nothing.
    pub(crate) fn code(&self, hash: B256) -> Bytecode {
        self.code.get(&hash).cloned().unwrap_or_default()
    }

    /// Writes an account. An empty one does not exist (EIP-161).
    pub(crate) fn set_account(&mut self, address: Address, mut info: AccountInfo, revision: u64) {
        if let Some(code) = info.take_bytecode()
            && info.code_hash != KECCAK_EMPTY
        {
            self.code.entry(info.code_hash).or_insert(code);
        }
        let value = if info.is_empty() { None } else { Some(info) };
        if self.account(address, revision) != value.as_ref() {
            self.accounts.entry(address).or_default().set(revision, value);
        }
    }

    /// Writes what a transaction changed.
    pub(crate) fn apply(
        &mut self,
        changes: impl IntoIterator<Item = (Address, Account)>,
        revision: u64,
    ) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            if account.is_selfdestructed() {
                // Since Cancun only accounts made in the same transaction disappear, so none of
                // their slots was ever written here.
                self.set_account(address, AccountInfo::default(), revision);
                continue;
            }
            for (key, slot) in account.changed_storage_slots() {
                let history = self.slots.entry((address, *key)).or_default();
                history.set(revision, slot.present_value());
            }
            self.set_account(address, account.info, revision);
        }
    }

    /// Forgets everything newer than `revision`.
    pub(crate) fn roll_back(&mut self, revision: u64) {
        self.accounts.retain(|_, history| history.roll_back(revision));
        self.slots.retain(|_, history| history.roll_back(revision));
    }
}

/// The state as of one revision, as the EVM reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateView<'a> {
    pub(crate) state: &'a State,
    pub(crate) revision: u64,
    /// For the `BLOCKHASH` instruction.
    pub(crate) blocks: &'a [Block],
}

impl Database for StateView<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address, self.revision).cloned())
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.code(code_hash))
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(address, index, self.revision))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.blocks.get(index).map(|block| block.hash).unwrap_or_default())
    }
}
