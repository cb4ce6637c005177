//! The EIP-712 digests of spec/billing.md: what user keys and identity keys sign.

use std::sync::LazyLock;

use crate::hash::keccak256;
use crate::ids::{Address, Amount, Digest32, PodId};
use crate::keys::Signature;

/// Bytes of one settlement row: `cap 12 | claimed 12 | epoch 3 | voucher signature 64`.
pub const SETTLE_ROW_LEN: usize = 91;
/// Highest channel epoch (u24).
pub const EPOCH_MAX: u32 = (1 << 24) - 1;
/// Highest deadline (u40), seconds.
pub const DEADLINE_MAX_UNIX_S: u64 = (1 << 40) - 1;

/// Hashes of the domain's type, name and version.
static DOMAIN_HEAD: LazyLock<[[u8; 32]; 3]> = LazyLock::new(|| {
    let kind: &[u8] =
        b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    [kind, b"Phallama Escrow", b"1"].map(|part| keccak256(&[part]))
});

/// The chain and the escrow contract for which a digest is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The escrow contract.
    pub escrow: Address,
}

impl Domain {
    /// The EIP-712 domain separator.
    pub fn separator(&self) -> [u8; 32] {
        keccak256(&[
            DOMAIN_HEAD.as_flattened(),
            &word(&self.chain_id.to_be_bytes()),
            &word(&self.escrow.0),
        ])
    }

    fn digest(&self, type_text: &str, fields: &[[u8; 32]]) -> [u8; 32] {
        let struct_hash = keccak256(&[&keccak256(&[type_text.as_bytes()]), fields.as_flattened()]);
        keccak256(&[&[0x19, 0x01], &self.separator(), &struct_hash])
    }
}

/// The user key opens its account and names the owner. Signed by the user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAccount {
    /// The user key's account.
    pub user: Address,
    /// Who may withdraw; never the zero address.
    pub owner: Address,
}

/// Sends free money to the account's owner. Signed by the user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// The user key's account.
    pub user: Address,
    /// What leaves the free part.
    pub amount: Amount,
    /// How many withdrawals of this kind the account has made before.
    pub nonce: u64,
    /// Last second in which the contract takes it, at most [`DEADLINE_MAX_UNIX_S`].
    pub deadline_unix_s: u64,
}

/// Reserves deposit for one pod at its terms. Signed by the user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The pod.
    pub pod_id: PodId,
    /// Cumulative over the channel's life.
    pub total: Amount,
    /// [`crate::offers::offers_hash`] of the pod's offers.
    pub terms_hash: Digest32,
    /// Channel generation, at most [`EPOCH_MAX`].
    pub epoch: u32,
    /// Last second in which the contract takes it, at most [`DEADLINE_MAX_UNIX_S`].
    pub deadline_unix_s: u64,
}

/// A cumulative cap: *this enclave may draw up to this much*. Signed by the user key with every
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// The pod.
    pub pod_id: PodId,
    /// The only identity key that may claim it: that of the enclave which the user has verified.
    pub identity: Address,
    /// Channel generation, at most [`EPOCH_MAX`].
    pub epoch: u32,
    /// Cumulative cap.
    pub cap: Amount,
}

/// Starts the 48-hour exit. Signed by the user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartExit {
    /// The pod.
    pub pod_id: PodId,
    /// Channel generation, at most [`EPOCH_MAX`].
    pub epoch: u32,
}

/// What a receipt claims. Signed by the identity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// [`channel_id`].
    pub channel: Digest32,
    /// Channel generation, at most [`EPOCH_MAX`].
    pub epoch: u32,
    /// Counts the settlements of this channel under this identity, from 1.
    pub seq: u64,
    /// Cumulative claim.
    pub cumulative: Amount,
    /// [`crate::receipt::Receipt::hash`].
    pub receipt_hash: Digest32,
}

/// One signature over all rows of a settlement transaction. Signed by the identity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The pod.
    pub pod_id: PodId,
    /// [`rows_hash`].
    pub rows_hash: Digest32,
}

/// Closes a channel at once at a final amount. Signed by the identity key, and by the user key
/// when relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// [`channel_id`].
    pub channel: Digest32,
    /// Channel generation, at most [`EPOCH_MAX`].
    pub epoch: u32,
    /// Final cumulative amount.
    pub cumulative: Amount,
}

impl OpenAccount {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [word(&self.user.0), word(&self.owner.0)];
        domain.digest("OpenAccount(address user,address owner)", &fields)
    }
}

impl Withdraw {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [
            word(&self.user.0),
            word(&self.amount.to_be_bytes()),
            word(&self.nonce.to_be_bytes()),
            word(&self.deadline_unix_s.to_be_bytes()),
        ];
        let text = "Withdraw(address user,uint96 amount,uint64 nonce,uint40 deadline)";
        domain.digest(text, &fields)
    }
}

impl Allocation {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [
            self.pod_id.0,
            word(&self.total.to_be_bytes()),
            self.terms_hash.0,
            word(&self.epoch.to_be_bytes()),
            word(&self.deadline_unix_s.to_be_bytes()),
        ];
        let text = "Allocation(bytes32 podId,uint96 total,bytes32 termsHash,uint24 epoch,\
                    uint40 deadline)";
        domain.digest(text, &fields)
    }
}

impl Voucher {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [
            self.pod_id.0,
            word(&self.identity.0),
            word(&self.epoch.to_be_bytes()),
            word(&self.cap.to_be_bytes()),
        ];
        let text = "Voucher(bytes32 podId,address identity,uint24 epoch,uint96 cap)";
        domain.digest(text, &fields)
    }
}

impl StartExit {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [self.pod_id.0, word(&self.epoch.to_be_bytes())];
        domain.digest("StartExit(bytes32 podId,uint24 epoch)", &fields)
    }
}

impl Settlement {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields = [
            self.channel.0,
            word(&self.epoch.to_be_bytes()),
            word(&self.seq.to_be_bytes()),
            word(&self.cumulative.to_be_bytes()),
            self.receipt_hash.0,
        ];
        let text = "Settlement(bytes32 channel,uint24 epoch,uint64 seq,uint96 cumulative,\
                    bytes32 receiptHash)";
        domain.digest(text, &fields)
    }
}

impl Batch {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        domain.digest("Batch(bytes32 podId,bytes32 rowsHash)", &[self.pod_id.0, self.rows_hash.0])
    }
}

impl Close {
    /// The 32 bytes to sign.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        let fields =
            [self.channel.0, word(&self.epoch.to_be_bytes()), word(&self.cumulative.to_be_bytes())];
        domain.digest("Close(bytes32 channel,uint24 epoch,uint96 cumulative)", &fields)
    }
}

/// `keccak256(abi.encode(user, podId))`: the key of a channel in the escrow.
pub fn channel_id(user: Address, pod: PodId) -> Digest32 {
    Digest32(keccak256(&[&word(&user.0), &pod.0]))
}

/// `keccak256(abi.encode(operator, salt))`: a pod's id, known before it registers.
pub fn pod_id(operator: Address, salt: &[u8; 32]) -> PodId {
    PodId(keccak256(&[&word(&operator.0), salt]))
}

/// One packed settlement row, as the contract reads it. `epoch` is at most [`EPOCH_MAX`].
pub fn settle_row(
    cap: Amount,
    claimed: Amount,
    epoch: u32,
    voucher_sig: &Signature,
) -> [u8; SETTLE_ROW_LEN] {
    let [_, epoch @ ..] = epoch.to_be_bytes();
    let fields = cap
        .to_u96_be_bytes()
        .into_iter()
        .chain(claimed.to_u96_be_bytes())
        .chain(epoch)
        .chain(voucher_sig.0);
    let mut row = [0; SETTLE_ROW_LEN];
    row.iter_mut().zip(fields).for_each(|(slot, byte)| *slot = byte);
    row
}

/// Keccak-256 of the packed rows, as sent in the transaction.
pub fn rows_hash(rows: &[u8]) -> Digest32 {
    Digest32(keccak256(&[rows]))
}

/// `bytes` (at most 32) as the low bytes of an ABI word.
pub(crate) fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(slot, byte)| *slot = *byte);
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Signer, recover};
    use crate::testing::Seeded;

    #[test]
    fn row_is_cap_claimed_epoch_signature() {
        let signature = Signature([0x55; 64]);
        let row = settle_row(Amount::from(0x1122), Amount::from(0x33), 0x0004_0506, &signature);
        assert_eq!(row[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22]);
        assert_eq!(row[12..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x33]);
        assert_eq!(row[24..27], [4, 5, 6]);
        assert_eq!(row[27..], [0x55; 64]);
    }

    const DOMAIN: Domain = Domain { chain_id: 31_337, escrow: Address([7; 20]) };

    fn voucher() -> Voucher {
        let (pod_id, identity) = (PodId([1; 32]), Address([9; 20]));
        Voucher { pod_id, identity, epoch: 2, cap: Amount::from(3) }
    }

    #[test]
    fn digest_depends_on_chain_escrow_and_every_field() {
        let (domain, voucher) = (DOMAIN, voucher());
        let base = voucher.digest(&domain);
        let others = [
            voucher.digest(&Domain { chain_id: 1, ..domain }),
            voucher.digest(&Domain { escrow: Address([8; 20]), ..domain }),
            Voucher { pod_id: PodId([2; 32]), ..voucher }.digest(&domain),
            Voucher { identity: Address([8; 20]), ..voucher }.digest(&domain),
            Voucher { epoch: 3, ..voucher }.digest(&domain),
            Voucher { cap: Amount::from(4), ..voucher }.digest(&domain),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn voucher_for_another_epoch_or_identity_recovers_to_a_stranger() {
        let signer = Signer::generate(&mut Seeded::new("voucher"));
        let signature = signer.sign(&voucher().digest(&DOMAIN));
        assert_eq!(recover(&voucher().digest(&DOMAIN), &signature), Ok(signer.address()));
        let epoch = Voucher { epoch: 3, ..voucher() };
        assert_ne!(recover(&epoch.digest(&DOMAIN), &signature), Ok(signer.address()));
        let identity = Voucher { identity: Address([8; 20]), ..voucher() };
        assert_ne!(recover(&identity.digest(&DOMAIN), &signature), Ok(signer.address()));
    }
}
