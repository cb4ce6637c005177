//! Contract and model side by side.

use alloy::primitives::aliases::{U24, U40, U96};
use alloy::primitives::{Address as A, B256, Bytes, LogData, TxKind, U256, keccak256};
use alloy::sol_types::{SolCall, SolError, SolValue};
use phallama_model::escrow::{
    AllocationRow, Authorization, BatchOutcome, EscrowModel, Permit, ReceiptClaim, Refusal,
    VoucherRow,
};
use phallama_protocol::eip712::{
    Allocation, Batch, Close, Domain, OpenAccount, SETTLE_ROW_LEN, Settlement, StartExit, Voucher,
    Withdraw, channel_id, rows_hash, settle_row,
};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::{Signature, recover};

use crate::action::{Action, Allocated, Claimed, Closing, Opening, Paid, Receipted, SignedPermit};
use crate::encode::{self, E, T, a};
use crate::evm::{Reverted, State};
use crate::party::{Key, OWNERS, PODS, Sig};

pub(crate) const START_UNIX_S: u64 = 1_800_000_000;
const TERMS: Digest32 = Digest32([0x7e; 32]);
const REGISTRY: A = A::repeat_byte(0x4e);
/// Says what its storage says: `sload(keccak256(arguments))`, whatever is asked.
const REGISTRY_CODE: [u8; 22] = alloy::hex!("600436038060046000376000205460005260206000f3");

/// One contract, one model, the same money.
#[derive(Clone)]
pub(crate) struct World {
    chain: State,
    pub(crate) model: EscrowModel,
    escrow: A,
    token: A,
    token_domain: B256,
}

/// A call as the contract gets it, and what the model says about it: what is returned, or the bytes
/// of the revert.
struct Asked {
    caller: A,
    to: A,
    data: Vec<u8>,
    expected: Result<Vec<u8>, Vec<u8>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut chain = State::new(START_UNIX_S);
        chain.place(REGISTRY, &REGISTRY_CODE);
        let token = deploy(&mut chain, "TestToken", &[]);
        let escrow = deploy(&mut chain, "Escrow", &(token, REGISTRY).abi_encode_params());
        let separator = chain.call(token, T::DOMAIN_SEPARATORCall {}.abi_encode().into());
        let model = EscrowModel::new(Address(escrow.into()), START_UNIX_S);
        let token_domain = B256::from_slice(&separator);
        let mut world = Self { chain, model, escrow, token, token_domain };
        for (pod, n) in PODS.into_iter().zip(0..) {
            let payout = Key::Owner(n % OWNERS).address();
            world.model.set_payout(pod, payout);
            let value = U256::from_be_slice(&payout.0);
            world.chain.store(REGISTRY, keccak256(encode::pod(pod)), value);
        }
        world
    }

    fn domain(&self) -> Domain {
        Domain { chain_id: 1, escrow: Address(self.escrow.into()) }
    }

    /// Does `action` on both sides. The word says how it ended.
    pub(crate) fn step(&mut self, action: &Action) -> Result<&'static str, String> {
        let asked = match action {
            Action::Warp { seconds } => {
                self.model.now_unix_s += seconds;
                self.chain.time = self.model.now_unix_s;
                return Ok("done");
            }
            Action::SetKey { pod, identity, good_until } => {
                self.set_key(PODS[*pod], identity.address(), *good_until);
                return Ok("done");
            }
            call => self.ask(call),
        };
        let word = match &asked.expected {
            Ok(_) => "done",
            Err(bytes) => encode::name(bytes),
        };
        self.compare(asked)?;
        Ok(word)
    }

    fn set_key(&mut self, pod: PodId, identity: Address, good_until: u64) {
        self.model.set_key(pod, identity, good_until);
        let slot = keccak256((encode::pod(pod), a(identity)).abi_encode());
        self.chain.store(REGISTRY, slot, U256::from(good_until));
    }

    fn compare(&mut self, asked: Asked) -> Result<(), String> {
        let Asked { caller, to, data, expected } = asked;
        let expected_events: Vec<LogData> =
            self.model.take_events().iter().map(encode::event).collect();
        let done = self.chain.send(caller, TxKind::Call(to), data.into());
        let (got, logs) = match done {
            Ok(done) => (Ok(done.output.to_vec()), done.logs),
            Err(Reverted(bytes)) => (Err(bytes.to_vec()), Vec::new()),
        };
        if got != expected {
            let text = |result: &Result<Vec<u8>, Vec<u8>>| match result {
                Ok(output) => format!("returns {}", alloy::hex::encode(output)),
                Err(bytes) => {
                    let name = encode::name(bytes);
                    format!("reverts with {name} {}", alloy::hex::encode(bytes))
                }
            };
            return Err(format!("the model {}\nthe contract {}", text(&expected), text(&got)));
        }
        let events: Vec<LogData> =
            logs.into_iter().filter(|log| log.address == self.escrow).map(|log| log.data).collect();
        if events != expected_events {
            return Err(format!("the model emits {expected_events:?}\nthe contract {events:?}"));
        }
        self.compare_state()
    }

    fn compare_state(&self) -> Result<(), String> {
        let (expected, got) = (encode::storage(&self.model), self.chain.storage(self.escrow));
        if expected != got {
            return Err(format!("storage by the model {expected:#x?}\nof the contract {got:#x?}"));
        }
        let escrow = Address(self.escrow.into());
        for of in Key::all().map(Key::address).chain([escrow]) {
            let call = T::balanceOfCall { owner: a(of) }.abi_encode();
            let balance = U256::from_be_slice(&self.chain.call(self.token, call.into()));
            let expected = self.model.token.balance(of);
            if balance != U256::from(expected) {
                return Err(format!("{of} holds {balance}, by the model {expected}"));
            }
        }
        let (held, owed) = (self.model.token.held(), self.model.owed());
        if held < owed {
            return Err(format!("the escrow holds {held} and owes {owed}"));
        }
        Ok(())
    }

    fn ask(&mut self, action: &Action) -> Asked {
        match action {
            Action::Mint { .. } | Action::Approve { .. } | Action::Donate { .. } => {
                self.token_call(action)
            }
            Action::Open(opening) => {
                let (user, owner, signature, signer) = self.opening(*opening);
                let call = E::openCall { user: a(user), owner: a(owner), signature };
                let said = self.model.open(user, owner, signer);
                self.asked(Key::Stranger, call, said)
            }
            Action::Deposit { caller, user, amount, open } => {
                self.deposit(*caller, *user, *amount, open.as_ref())
            }
            Action::DepositWithPermit { caller, user, permit, open } => {
                self.deposit_with_permit(*caller, *user, permit, open.as_ref())
            }
            Action::DepositWithAuthorization { caller, user, paid, open } => {
                self.deposit_with_authorization(*caller, *user, paid, open.as_ref())
            }
            Action::Withdraw { caller, user, amount } => {
                let user = user.address();
                let call = E::withdrawCall { user: a(user), amount: U256::from(*amount) };
                let said = self.model.withdraw(caller.address(), user, *amount);
                self.asked(*caller, call, said)
            }
            Action::WithdrawFor { user, amount, nonce, deadline, sig } => {
                self.withdraw_for(user.address(), *amount, *nonce, *deadline, *sig)
            }
            Action::Lock { pod, rows } => self.lock(PODS[*pod], rows),
            Action::Settle { pod, rows, tail, sig } => self.settle(PODS[*pod], rows, *tail, *sig),
            Action::SettleReceipts { pod, rows } => self.settle_receipts(PODS[*pod], rows),
            Action::Collect { pod } => {
                let call = E::collectCall { podId: encode::pod(PODS[*pod]) };
                let said = self.model.collect(PODS[*pod]);
                self.answered(Key::Stranger, call, said, |amount| U256::from(amount).abi_encode())
            }
            end => self.end(end),
        }
    }

    /// What ends a channel.
    fn end(&mut self, action: &Action) -> Asked {
        match action {
            Action::StartExit { caller, user, pod } => {
                let (user, pod) = (user.address(), PODS[*pod]);
                let call = E::startExitCall { user: a(user), podId: encode::pod(pod) };
                let said = self.model.start_exit(caller.address(), user, pod);
                self.asked(*caller, call, said)
            }
            Action::StartExitFor { pod, epoch, sig } => {
                let (pod, epoch) = (PODS[*pod], *epoch);
                let digest = StartExit { pod_id: pod, epoch }.digest(&self.domain());
                let (signature, user) = signed(*sig, digest);
                let (podId, at) = (encode::pod(pod), U24::from(epoch));
                let call = E::startExitForCall { podId, epoch: at, signature };
                let said = self.model.start_exit_for(pod, epoch, user);
                self.asked(Key::Stranger, call, said)
            }
            Action::FinishExit { user, pod } => {
                let (user, pod) = (user.address(), PODS[*pod]);
                let call = E::finishExitCall { user: a(user), podId: encode::pod(pod) };
                let said = self.model.finish_exit(user, pod);
                self.asked(Key::Stranger, call, said)
            }
            Action::Close { caller, user, pod, closing } => {
                let (user, pod) = (user.address(), PODS[*pod]);
                let (identitySignature, identity) = self.closing(user, pod, closing, closing.sig);
                let call = E::closeCall {
                    user: a(user),
                    podId: encode::pod(pod),
                    cumulative: U96::from(closing.cumulative),
                    identitySignature,
                };
                let said =
                    self.model.close(caller.address(), user, pod, closing.cumulative, identity);
                self.asked(*caller, call, said)
            }
            Action::CloseFor { user, pod, epoch, closing, user_sig } => {
                let (user, pod) = (user.address(), PODS[*pod]);
                let (identitySignature, identity) = self.closing(user, pod, closing, closing.sig);
                let (userSignature, signer) = self.closing(user, pod, closing, *user_sig);
                let call = E::closeForCall {
                    user: a(user),
                    podId: encode::pod(pod),
                    epoch: U24::from(*epoch),
                    cumulative: U96::from(closing.cumulative),
                    identitySignature,
                    userSignature,
                };
                let signers = [identity, signer];
                let said = self.model.close_for(user, pod, *epoch, closing.cumulative, signers);
                self.asked(Key::Stranger, call, said)
            }
            other => unreachable!("{other:?} ends nothing"),
        }
    }

    /// A `Close` as signed, and who the contract takes for its signer: it reads the epoch itself.
    fn closing(
        &self,
        user: Address,
        pod: PodId,
        closing: &Closing,
        sig: Sig,
    ) -> (E::CompactSignature, Address) {
        let Closing { cumulative, epoch, .. } = *closing;
        let close = Close { channel: channel_id(user, pod), epoch, cumulative: amount(cumulative) };
        let signature = sig.over(close.digest(&self.domain()));
        let read = Close { epoch: self.model.channel(user, pod).epoch, ..close };
        (compact(&signature), signer(read.digest(&self.domain()), &signature))
    }

    fn token_call(&mut self, action: &Action) -> Asked {
        let token = &mut self.model.token;
        let (caller, data, said) = match *action {
            Action::Mint { to, amount } => {
                token.mint(to.address(), amount);
                let call = T::mintCall { to: a(to.address()), amount: U256::from(amount) };
                (to, call.abi_encode(), Ok(Vec::new()))
            }
            Action::Approve { by, amount } => {
                token.approve(by.address(), amount);
                let value = if amount == u128::MAX { U256::MAX } else { U256::from(amount) };
                let call = T::approveCall { spender: self.escrow, amount: value };
                (by, call.abi_encode(), Ok(true.abi_encode()))
            }
            Action::Donate { by, amount } => {
                let to = Address(self.escrow.into());
                let said = token.transfer(by.address(), to, amount).map_err(Refusal::Token);
                let call = T::transferCall { to: self.escrow, amount: U256::from(amount) };
                (by, call.abi_encode(), said.map(|()| true.abi_encode()))
            }
            ref other => unreachable!("{other:?} is not the token's"),
        };
        let expected = said.map_err(|refused| encode::refusal(&refused));
        Asked { caller: a(caller.address()), to: self.token, data, expected }
    }

    fn opening(&self, opening: Opening) -> (Address, Address, E::CompactSignature, Address) {
        let user = opening.user.address();
        let owner = opening.owner.map_or(Address::ZERO, Key::address);
        let digest = OpenAccount { user, owner }.digest(&self.domain());
        let (signature, signer) = signed(opening.sig, digest);
        (user, owner, signature, signer)
    }

    fn deposit(&mut self, by: Key, user: Key, amount: u128, open: Option<&Opening>) -> Asked {
        let (caller, user) = (by.address(), user.address());
        let value = U256::from(amount);
        let Some(opening) = open else {
            let said = self.model.deposit(caller, user, amount);
            return self.asked(by, E::depositCall { user: a(user), amount: value }, said);
        };
        let (user, owner, signature, signer) = self.opening(*opening);
        let deposit = |model: &mut EscrowModel| model.deposit(caller, user, amount);
        let said = self.model.open_and(user, owner, signer, deposit);
        let call =
            E::openAndDepositCall { user: a(user), owner: a(owner), signature, amount: value };
        self.asked(by, call, said)
    }

    fn deposit_with_permit(
        &mut self,
        by: Key,
        user: Key,
        permit: &SignedPermit,
        open: Option<&Opening>,
    ) -> Asked {
        let (caller, user) = (by.address(), user.address());
        let SignedPermit { amount, deadline, sig } = *permit;
        let kind = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)",
        );
        let nonce = U256::from(self.model.token.nonce(caller));
        let (value, until) = (U256::from(amount), U256::from(deadline));
        let hash = keccak256((kind, a(caller), self.escrow, value, nonce, until).abi_encode());
        let (signature, signer) = signed(sig, self.in_token_domain(hash));
        let permit = E::Permit { amount: value, deadline: until, signature };
        let told = Permit { amount, deadline_unix_s: deadline, signer };
        let Some(opening) = open else {
            let said = self.model.deposit_with_permit(caller, user, &told);
            return self.asked(by, E::depositWithPermitCall { user: a(user), permit }, said);
        };
        let (user, owner, signature, opener) = self.opening(*opening);
        let deposit = |model: &mut EscrowModel| model.deposit_with_permit(caller, user, &told);
        let said = self.model.open_and(user, owner, opener, deposit);
        let (user, owner) = (a(user), a(owner));
        self.asked(by, E::openAndDepositWithPermitCall { user, owner, signature, permit }, said)
    }

    fn deposit_with_authorization(
        &mut self,
        by: Key,
        user: Key,
        paid: &Paid,
        open: Option<&Opening>,
    ) -> Asked {
        let user = open.map_or(user, |opening| opening.user).address();
        let (told, authorization) = self.authorization(user, paid);
        let Some(opening) = open else {
            let said = self.model.deposit_with_authorization(user, &told);
            let call = E::depositWithAuthorizationCall { user: a(user), authorization };
            return self.asked(by, call, said);
        };
        let (user, owner, signature, opener) = self.opening(*opening);
        let deposit = |model: &mut EscrowModel| model.deposit_with_authorization(user, &told);
        let said = self.model.open_and(user, owner, opener, deposit);
        let (user, owner) = (a(user), a(owner));
        let call = E::openAndDepositWithAuthorizationCall { user, owner, signature, authorization };
        self.asked(by, call, said)
    }

    /// The authorization as signed for one account, and its signer as the token finds it when
    /// `user` is credited.
    fn authorization(&self, user: Address, paid: &Paid) -> (Authorization, E::Authorization) {
        let Paid { from, amount, after, before, salt, signed_for, sig } = *paid;
        let (from, salt) = (from.address(), [salt; 32]);
        let kind = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
             uint256 validBefore,bytes32 nonce)",
        );
        let (value, valid_after, valid_before) =
            (U256::from(amount), U256::from(after), U256::from(before));
        let digest = |credited: Address| {
            let nonce = encode::deposit_nonce(credited, salt);
            let fields = (kind, a(from), self.escrow, value, valid_after, valid_before, nonce);
            self.in_token_domain(keccak256(fields.abi_encode()))
        };
        let signature = sig.over(digest(signed_for.address()));
        let told = Authorization {
            from,
            amount,
            valid_after_unix_s: after,
            valid_before_unix_s: before,
            salt,
            signer: signer(digest(user), &signature),
        };
        let authorization = E::Authorization {
            from: a(from),
            amount: value,
            validAfter: valid_after,
            validBefore: valid_before,
            salt: salt.into(),
            signature: compact(&signature),
        };
        (told, authorization)
    }

    fn in_token_domain(&self, hash: B256) -> [u8; 32] {
        keccak256([&[0x19, 0x01], &self.token_domain[..], &hash[..]].concat()).0
    }

    fn withdraw_for(
        &mut self,
        user: Address,
        units: u128,
        nonce: u64,
        deadline: u64,
        sig: Sig,
    ) -> Asked {
        let withdraw = Withdraw { user, amount: amount(units), nonce, deadline_unix_s: deadline };
        let (signature, signer) = signed(sig, withdraw.digest(&self.domain()));
        let call = E::withdrawForCall {
            user: a(user),
            amount: U96::from(units),
            nonce,
            deadline: U40::from(deadline),
            signature,
        };
        let said = self.model.withdraw_for(user, units, nonce, deadline, signer);
        self.asked(Key::Stranger, call, said)
    }

    fn lock(&mut self, pod: PodId, rows: &[Allocated]) -> Asked {
        let domain = self.domain();
        let (told, rows): (Vec<_>, Vec<_>) = rows
            .iter()
            .map(|row| {
                let Allocated { total, epoch, deadline, sig } = *row;
                let allocation = Allocation {
                    pod_id: pod,
                    total: amount(total),
                    terms_hash: TERMS,
                    epoch,
                    deadline_unix_s: deadline,
                };
                let (signature, user) = signed(sig, allocation.digest(&domain));
                let told = AllocationRow { user, total, epoch, deadline_unix_s: deadline };
                let row = E::LockRow {
                    total: U96::from(total),
                    termsHash: TERMS.0.into(),
                    epoch: U24::from(epoch),
                    deadline: U40::from(deadline),
                    signature,
                };
                (told, row)
            })
            .unzip();
        let said = self.model.lock(pod, &told);
        let call = E::lockCall { podId: encode::pod(pod), rows };
        self.answered(Key::Stranger, call, said, |done| batch(&done))
    }

    /// The voucher of a row as signed, and its signer as the contract finds it when the batch is by
    /// `identity`.
    fn voucher(&self, pod: PodId, row: &Claimed, identity: Address) -> (Signature, VoucherRow) {
        let Claimed { cap, claimed, epoch, names, sig } = *row;
        let names = names.address();
        let voucher = Voucher { pod_id: pod, identity: names, epoch, cap: amount(cap) };
        let signature = sig.over(voucher.digest(&self.domain()));
        let user = signer(Voucher { identity, ..voucher }.digest(&self.domain()), &signature);
        (signature, VoucherRow { user, cap, claimed, epoch })
    }

    fn settle(&mut self, pod: PodId, rows: &[Claimed], tail: usize, sig: Sig) -> Asked {
        let mut packed = Vec::new();
        for row in rows {
            let (signature, _) = self.voucher(pod, row, Address::ZERO);
            packed.extend(settle_row(amount(row.cap), amount(row.claimed), row.epoch, &signature));
        }
        packed.extend(std::iter::repeat_n(0, tail));
        let digest = Batch { pod_id: pod, rows_hash: rows_hash(&packed) }.digest(&self.domain());
        let (signature, identity) = signed(sig, digest);
        let call =
            E::settleCall { podId: encode::pod(pod), rows: packed.clone().into(), signature };
        if packed.is_empty() || !tail.is_multiple_of(SETTLE_ROW_LEN) {
            let (length, rowLength) = (U256::from(packed.len()), U256::from(SETTLE_ROW_LEN));
            let expected = Err(E::RowsLength { length, rowLength }.abi_encode());
            let caller = a(Key::Stranger.address());
            return Asked { caller, to: self.escrow, data: call.abi_encode(), expected };
        }
        let mut told: Vec<_> = rows.iter().map(|row| self.voucher(pod, row, identity).1).collect();
        // Zeros are rows too, signed by nobody.
        let nobody = VoucherRow { user: Address::ZERO, cap: 0, claimed: 0, epoch: 0 };
        told.extend(std::iter::repeat_n(nobody, tail / SETTLE_ROW_LEN));
        let said = self.model.settle(pod, identity, &told);
        self.answered(Key::Stranger, call, said, |done| batch(&done))
    }

    fn settle_receipts(&mut self, pod: PodId, rows: &[Receipted]) -> Asked {
        let (told, rows): (Vec<_>, Vec<_>) = rows.iter().map(|row| self.receipt(pod, row)).unzip();
        let said = self.model.settle_receipts(pod, &told);
        let call = E::settleReceiptsCall { podId: encode::pod(pod), rows };
        self.answered(Key::Stranger, call, said, |done| batch(&done))
    }

    fn receipt(&self, pod: PodId, row: &Receipted) -> (ReceiptClaim, E::ReceiptRow) {
        let Receipted { row: claimed, identity, seq, settles, settlement } = *row;
        let identity = identity.address();
        let (voucher, told) = self.voucher(pod, &claimed, identity);
        let signed_about = Settlement {
            channel: channel_id(settles.address(), pod),
            epoch: claimed.epoch,
            seq,
            cumulative: amount(claimed.claimed),
            receipt_hash: TERMS,
        };
        let signature = settlement.over(signed_about.digest(&self.domain()));
        let read = Settlement { channel: channel_id(told.user, pod), ..signed_about };
        let signer = signer(read.digest(&self.domain()), &signature);
        let row = E::ReceiptRow {
            identity: a(identity),
            cap: U96::from(claimed.cap),
            cumulative: U96::from(claimed.claimed),
            epoch: U24::from(claimed.epoch),
            seq,
            receiptHash: TERMS.0.into(),
            voucher: compact(&voucher),
            settlement: compact(&signature),
        };
        (ReceiptClaim { row: told, identity, signer }, row)
    }

    fn asked(&self, caller: Key, call: impl SolCall, said: Result<(), Refusal>) -> Asked {
        self.answered(caller, call, said, |()| Vec::new())
    }

    fn answered<O>(
        &self,
        caller: Key,
        call: impl SolCall,
        said: Result<O, Refusal>,
        returns: impl FnOnce(O) -> Vec<u8>,
    ) -> Asked {
        let expected = said.map(returns).map_err(|refused| encode::refusal(&refused));
        let caller = a(caller.address());
        Asked { caller, to: self.escrow, data: call.abi_encode(), expected }
    }
}

fn batch(done: &BatchOutcome) -> Vec<u8> {
    (U256::from(done.amount), Bytes::from(done.skipped.clone())).abi_encode_params()
}

fn amount(units: u128) -> Amount {
    Amount::new(units).expect("actions carry amounts of 96 bits")
}

/// The signature, and who it recovers to.
fn signed(sig: Sig, digest: [u8; 32]) -> (E::CompactSignature, Address) {
    let signature = sig.over(digest);
    (compact(&signature), signer(digest, &signature))
}

fn signer(digest: [u8; 32], signature: &Signature) -> Address {
    recover(&digest, signature).unwrap_or_default()
}

fn compact(signature: &Signature) -> E::CompactSignature {
    let (r, vs) = signature.0.split_at(32);
    E::CompactSignature { r: B256::from_slice(r), vs: B256::from_slice(vs) }
}

fn deploy(chain: &mut State, name: &str, arguments: &[u8]) -> A {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/artifacts");
    let path = format!("{folder}/{name}.json");
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let code = json["bytecode"]["object"].as_str().expect("creation code");
    let code = [&code.parse::<Bytes>().expect("hex")[..], arguments].concat();
    let done = chain.send(A::ZERO, TxKind::Create, code.into());
    done.ok().and_then(|done| done.created).expect("the contract deploys")
}
