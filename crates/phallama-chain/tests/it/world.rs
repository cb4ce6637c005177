//! One deployment with a registered pod and funded people, and the signatures they make.

use phallama_attest::Tee;
use phallama_chain::{
    AttestedKey, Chain, ChainError, LockRow, ReceiptRow, Registration, RelayedClose, Sender,
    SettleRow, Tx, deploy, settle_rows_bytes,
};
use phallama_devchain::dev_account;
use phallama_protocol::eip712::{
    Allocation, Batch, Close, Domain, OpenAccount, Settlement, Voucher, channel_id, pod_id,
    rows_hash,
};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::{Signature, Signer};
use phallama_protocol::offers::{Offer, offers_hash};

use crate::node::{GENESIS_UNIX_S, Node};
use crate::platform::{Machine, key_binding, root};

/// Allocations are good for this long.
pub(crate) const DEADLINE_UNIX_S: u64 = GENESIS_UNIX_S + 3_600;
/// Where the pod's earnings go: an address that does nothing else.
pub(crate) const PAYOUT: Address = Address([0x9a; 20]);
const SALT: [u8; 32] = [0xff; 32];

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) chain: Chain,
    /// Deployed the contracts, registered the pod and attested its key.
    pub(crate) operator: Sender,
    /// Owns the users' accounts, and holds tokens and ether.
    pub(crate) owner: Sender,
    /// The enclave's key.
    pub(crate) identity: Signer,
    pub(crate) pod: PodId,
    /// Where the pod's enclave runs.
    pub(crate) machine: Machine,
}

/// A key that anybody can derive.
pub(crate) fn signer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).unwrap()
}

/// A user key; they never hold ether.
pub(crate) fn user(index: u32) -> Signer {
    signer(1_000 + index)
}

pub(crate) fn amount(value: u64) -> Amount {
    Amount::from(value)
}

pub(crate) fn offer(model: &str) -> Offer {
    Offer {
        model: model.to_owned(),
        weights_sha256: Digest32([0xb1; 32]),
        input_price_per_mtok: amount(200_000),
        output_price_per_mtok: amount(800_000),
        context_tokens: 2_048,
        max_output_tokens: 512,
    }
}

pub(crate) fn registration(salt: [u8; 32]) -> Registration {
    Registration {
        salt,
        url: "http://127.0.0.1:7000".to_owned(),
        payout: PAYOUT,
        offers: vec![offer("smollm2:135m")],
    }
}

/// The reason of a call that the contract must refuse.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ChainError>) -> String {
    match result {
        Err(ChainError::Reverted { reason, .. }) => reason,
        other => panic!("expected a revert, got {other:?}"),
    }
}

impl World {
    /// With a pod whose key is attested.
    pub(crate) async fn new(node: Node) -> Self {
        let world = Self::unattested(node).await;
        let collateral = world.machine.collateral(Tee::Sgx, 3_600);
        world.machine.bring(&world.operator, &collateral).await;
        world.attest(world.pod, world.identity.address()).await.unwrap();
        world
    }

    /// With a pod that has no key, and a verifier that has no collateral.
    pub(crate) async fn unattested(node: Node) -> Self {
        let (operator, owner) = (signer(0), signer(1));
        for account in [&operator, &owner] {
            node.fund(account.address()).await;
        }
        let deployment = deploy(&node.url(), &operator, root().root_der()).await.unwrap();
        let chain = Chain::connect(deployment.config(&node.url())).await.unwrap();
        let (operator, owner) = (chain.sender(&operator), chain.sender(&owner));
        operator.mint_test_token(owner.address(), amount(1_000_000_000)).await.unwrap();
        operator.register_pod(&registration(SALT)).await.unwrap();
        let pod = pod_id(operator.address(), &SALT);
        let machine = Machine::new("machine of the pod");
        Self { node, chain, operator, owner, identity: signer(2), pod, machine }
    }

    /// Gives a pod of the operator a key on the machine.
    pub(crate) async fn attest(&self, pod: PodId, identity: Address) -> Result<Tx, ChainError> {
        let binding = key_binding(identity);
        let quoted = self.machine.quote(&self.chain, pod, &binding);
        self.operator.attest(pod, &binding, &quoted.quote, &quoted.leaf).await
    }

    /// The key of the pod, which must have one.
    pub(crate) async fn key(&self) -> AttestedKey {
        self.chain.pod(self.pod).await.unwrap().unwrap().key.unwrap()
    }

    pub(crate) fn domain(&self) -> Domain {
        self.chain.domain()
    }

    /// Opens a user's account and deposits.
    pub(crate) async fn open(&self, user: &Signer, free: u64) {
        let owner = self.owner.address();
        let digest = OpenAccount { user: user.address(), owner }.digest(&self.domain());
        let opened = user.sign(&digest);
        self.owner.open_and_deposit(user.address(), owner, &opened, amount(free)).await.unwrap();
    }

    /// Opens a user's account and locks all of the deposit for the pod.
    pub(crate) async fn open_and_lock(&self, user: &Signer, total: u64) {
        self.open(user, total).await;
        let tx = self.operator.lock(self.pod, &[self.lock_row(user, total, 0)]).await.unwrap();
        assert_eq!(tx.skipped_rows(), Vec::<usize>::new());
    }

    pub(crate) fn lock_row(&self, user: &Signer, total: u64, epoch: u32) -> LockRow {
        let allocation = Allocation {
            pod_id: self.pod,
            total: amount(total),
            terms_hash: offers_hash(&[offer("smollm2:135m")]),
            epoch,
            deadline_unix_s: DEADLINE_UNIX_S,
        };
        self.signed_row(user, &allocation)
    }

    pub(crate) fn signed_row(&self, user: &Signer, allocation: &Allocation) -> LockRow {
        let Allocation { total, terms_hash, epoch, deadline_unix_s, .. } = *allocation;
        let signature = user.sign(&allocation.digest(&self.domain()));
        LockRow { total, deadline_unix_s, terms_hash, epoch, signature }
    }

    /// What a user gives to the enclave with this key.
    pub(crate) fn voucher(&self, user: &Signer, identity: Address, cap: u64) -> Signature {
        let voucher = Voucher { pod_id: self.pod, identity, epoch: 0, cap: amount(cap) };
        user.sign(&voucher.digest(&self.domain()))
    }

    pub(crate) fn settle_row(&self, user: &Signer, cap: u64, claimed: u64) -> SettleRow {
        let voucher_sig = self.voucher(user, self.identity.address(), cap);
        SettleRow { cap: amount(cap), claimed: amount(claimed), epoch: 0, voucher_sig }
    }

    pub(crate) fn batch_sig(&self, rows: &[SettleRow]) -> Signature {
        self.batch_sig_for(&self.domain(), rows)
    }

    pub(crate) fn batch_sig_for(&self, domain: &Domain, rows: &[SettleRow]) -> Signature {
        let rows_hash = rows_hash(&settle_rows_bytes(rows));
        self.identity.sign(&Batch { pod_id: self.pod, rows_hash }.digest(domain))
    }

    pub(crate) fn receipt_row(&self, user: &Signer, identity: &Signer, claimed: u64) -> ReceiptRow {
        let settlement = Settlement {
            channel: channel_id(user.address(), self.pod),
            epoch: 0,
            seq: 1,
            cumulative: amount(claimed),
            receipt_hash: Digest32([0x7e; 32]),
        };
        ReceiptRow {
            identity: identity.address(),
            cap: amount(claimed),
            epoch: 0,
            voucher_sig: self.voucher(user, identity.address(), claimed),
            seq: settlement.seq,
            cumulative: settlement.cumulative,
            receipt_hash: settlement.receipt_hash,
            settlement_sig: identity.sign(&settlement.digest(&self.domain())),
        }
    }

    /// A close at `cumulative` in epoch 0, signed by the enclave and by `user_key`.
    pub(crate) fn close(&self, user: Address, user_key: &Signer, cumulative: u64) -> RelayedClose {
        let cumulative = amount(cumulative);
        let close = Close { channel: channel_id(user, self.pod), epoch: 0, cumulative };
        let digest = close.digest(&self.domain());
        RelayedClose {
            user,
            pod: self.pod,
            epoch: 0,
            cumulative,
            enclave_sig: self.identity.sign(&digest),
            user_sig: user_key.sign(&digest),
        }
    }

    pub(crate) async fn free(&self, user: &Signer) -> Amount {
        self.chain.account(user.address()).await.unwrap().free
    }

    /// What is locked for the pod and what it has claimed.
    pub(crate) async fn locked_and_claimed(&self, user: &Signer) -> (Amount, Amount) {
        let channel = self.chain.channel(user.address(), self.pod).await.unwrap();
        (channel.locked, channel.claimed)
    }

    pub(crate) async fn credit(&self) -> Amount {
        self.chain.credit(self.pod).await.unwrap()
    }
}
