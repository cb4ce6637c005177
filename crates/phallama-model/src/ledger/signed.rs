//! Signatures whose content can be read: 64 bytes that say who signed what. They recover exactly as
//! the real ones do, to the signer for what was signed and to a stranger for anything else.

use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::keys::Signature;

/// To whom a signature recovers when it is held against something else.
const STRANGER: Address = Address([0xee; 20]);

/// By the user key, for one identity key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Voucher {
    pub(super) identity: Address,
    pub(super) epoch: u32,
    pub(super) cap: Amount,
}

/// By the user key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Allocation {
    pub(super) epoch: u32,
    pub(super) total: Amount,
    pub(super) deadline_unix_s: u64,
}

/// By the identity key, for one user's channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Settlement {
    pub(super) user: Address,
    pub(super) epoch: u32,
    pub(super) cumulative: Amount,
}

/// What is signed, in 44 bytes at most.
pub(super) trait Content {
    fn bytes(&self) -> Vec<u8>;

    fn sign(&self, by: Address) -> Signature {
        let mut bytes = [0; 64];
        let content = [&by.0[..], &self.bytes()].concat();
        bytes[..content.len()].copy_from_slice(&content);
        Signature(bytes)
    }

    /// Who signed this, by that signature.
    fn signer(&self, signature: &Signature) -> Address {
        let (by, _) = signature.0.split_first_chunk::<20>().expect("64 bytes");
        let by = Address(*by);
        if self.sign(by) == *signature { by } else { STRANGER }
    }
}

impl Content for Voucher {
    fn bytes(&self) -> Vec<u8> {
        let cap = self.cap.to_be_bytes();
        [&b"v"[..], &self.identity.0, &self.epoch.to_be_bytes(), &cap].concat()
    }
}

impl Content for Allocation {
    fn bytes(&self) -> Vec<u8> {
        let (total, deadline) = (self.total.to_be_bytes(), self.deadline_unix_s.to_be_bytes());
        [&b"a"[..], &self.epoch.to_be_bytes(), &total, &deadline].concat()
    }
}

impl Content for Settlement {
    fn bytes(&self) -> Vec<u8> {
        let cumulative = self.cumulative.to_be_bytes();
        [&b"s"[..], &self.user.0, &self.epoch.to_be_bytes(), &cumulative].concat()
    }
}
