//! Who takes part: keys that are the same in every run.

use std::sync::LazyLock;

use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::keys::{Signature, Signer};

/// A key by its place in [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    User(u8),
    /// Owns accounts and pays deposits.
    Owner(u8),
    Identity(u8),
    Stranger,
}

pub(crate) const USERS: u8 = 4;
pub(crate) const OWNERS: u8 = 3;
pub(crate) const IDENTITIES: u8 = 3;
pub(crate) const PODS: [PodId; 2] = [PodId([0xa1; 32]), PodId([0xb2; 32])];

struct Party {
    key: Key,
    signer: Signer,
}

static PARTIES: LazyLock<Vec<Party>> = LazyLock::new(|| {
    let users = (0..USERS).map(Key::User);
    let owners = (0..OWNERS).map(Key::Owner);
    let identities = (0..IDENTITIES).map(Key::Identity);
    let keys = users.chain(owners).chain(identities).chain([Key::Stranger]);
    keys.zip(1_u8..)
        .map(|(key, n)| Party { key, signer: Signer::from_bytes(&[n; 32]).expect("a secret") })
        .collect()
});

impl Key {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        PARTIES.iter().map(|party| party.key)
    }

    fn signer(self) -> &'static Signer {
        let party = PARTIES.iter().find(|party| party.key == self);
        &party.expect("every key has a party").signer
    }

    pub(crate) fn address(self) -> Address {
        self.signer().address()
    }
}

/// A signature to be made: by whom, and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sig {
    pub(crate) by: Key,
    pub(crate) flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Over something else: recovers to nobody known.
    OtherContent,
    /// An s just above half the order.
    HighS,
    /// All zero.
    Zero,
}

impl Sig {
    pub(crate) fn good(by: Key) -> Self {
        Self { by, flaw: Flaw::None }
    }

    pub(crate) fn over(self, digest: [u8; 32]) -> Signature {
        let mut digest = digest;
        match self.flaw {
            Flaw::None => self.by.signer().sign(&digest),
            Flaw::OtherContent => {
                digest[31] ^= 1;
                self.by.signer().sign(&digest)
            }
            Flaw::HighS => {
                let mut signature = self.by.signer().sign(&digest);
                // ⌈n/2⌉, the first s that is refused.
                let s = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1";
                signature.0[32..].copy_from_slice(&alloy::hex::decode(s).expect("hex"));
                signature
            }
            Flaw::Zero => Signature([0; 64]),
        }
    }
}
