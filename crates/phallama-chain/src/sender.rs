//! Sending transactions from one account, exactly once each.
//!
//! # States of a nonce
//!
//! Every transaction is an *entry* of the [outbox](crate::outbox): a nonce, what it does, and every
//! transaction signed for it. It is recorded before anybody else sees it, so a process that dies at
//! any moment finds it again.
//!
//! ```text
//!   recorded ──broadcast──▶ waiting ──in a block──▶ mined ──nonce below `safe`──▶ forgotten
//!      │                    │  ▲  ▲                  │
//!      │ refused by every   │  │  └──reorganised─────┘
//!      ▼ node               │  └──replaced: same nonce, at least an eighth more per gas
//!   withdrawn               └──the nonce is in a block and none of ours is there──▶ taken
//! ```
//!
//! - *recorded → withdrawn*: no node has it, so the nonce is free and the caller gets the reason.
//!   When the reason is the nonce or the fee, the same call is signed anew.
//! - *waiting*: broadcast again to every endpoint now and then; the one whose turn it is gets
//!   replaced when it waited too long while blocks came without it, up to the configured ceiling.
//! - *mined → waiting*: the account's count went back below the nonce.
//! - *taken*: another program uses the account. The caller is told and has to look at the chain.
//! - *forgotten*: the sequencer cannot take it back (`safe`, or 64 blocks where a chain has no such
//!   tag).
//!
//! What may be believed for good (mined, taken, forgotten) is asked of two endpoints where there
//! are two, and so is the count that a new nonce starts from; sending is tried with whatever
//! answers. Only when no endpoint at all has a receipt is a nonce taken. A call with the same
//! payload as a waiting entry is that entry: it never gets a second nonce. A gap below the entries
//! (the chain lost transactions that were forgotten) is closed with transactions that do nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy::eips::{BlockNumberOrTag, Encodable2718 as _};
use alloy::network::TxSignerSync as _;
use alloy::primitives::{B256, Bytes, TxKind, U256};
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::types::{Log, TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::Chain;
use crate::at::AtBlock;
use crate::broadcast::Broadcast;
use crate::call::Call;
use crate::convert::{from_address, to_address};
use crate::error::ChainError;
use crate::outbox::{Entry, Fees, Outbox, Payload, Try};
use crate::record::BlockTag;
use crate::rounds::{Progress, State};

/// Estimates are exact for the state they saw; storage may turn cold until the transaction is
/// mined.
const GAS_MARGIN_PERCENT: u64 = 20;
/// EIP-7825: no transaction may carry more gas. The margin must not push one over it.
const TX_GAS_MAX: u64 = 1 << 24;
/// How often one call is signed anew because of its nonce or its fees.
const SIGN_TRIES: u32 = 8;
/// How far beyond the mined and our own transactions a node's word about the pool is believed: an
/// entry further up would wait for ever behind a gap that nobody closes.
const POOL_MAX: u64 = 16;
/// The pause between two looks at a waiting transaction, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long to wait before something is done about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPolicy {
    /// A transaction whose turn it is and that is not mined by then, although there were blocks, is
    /// replaced by one that pays more.
    pub replace_after: Duration,
    /// A transaction that is not mined is handed to every endpoint again this often.
    pub rebroadcast_after: Duration,
    /// The caller is told [`ChainError::NotMined`]; the transaction stays in the outbox.
    pub mined_within: Duration,
    /// A nonce that is in a block counts as used by somebody else when for this long no endpoint
    /// has a receipt of ours: nodes behind one address may know the count long before the receipt.
    pub taken_after: Duration,
}

impl Default for SendPolicy {
    fn default() -> Self {
        Self {
            replace_after: Duration::from_secs(30),
            rebroadcast_after: Duration::from_secs(10),
            mined_within: Duration::from_secs(90),
            taken_after: Duration::from_mins(1),
        }
    }
}

/// A funded account that sends transactions. Clones share the account's nonces and its outbox.
#[derive(Clone)]
pub struct Sender {
    pub(crate) chain: Chain,
    pub(crate) policy: SendPolicy,
    pub(crate) account: Arc<Account>,
}

pub(crate) struct Account {
    key: PrivateKeySigner,
    pub(crate) outbox: Outbox,
    pub(crate) state: Mutex<State>,
}

/// A mined, successful transaction.
#[derive(Clone, Debug)]
pub struct Tx {
    /// Transaction hash.
    pub hash: [u8; 32],
    /// Block it was mined in.
    pub block: u64,
    /// Hash of that block, which names the branch of the chain.
    pub block_hash: [u8; 32],
    /// Gas used by the whole transaction.
    pub gas_used: u64,
    /// Price paid per gas, in wei.
    pub effective_gas_price_wei: u128,
    pub(crate) logs: Vec<Log>,
    pub(crate) created: Option<alloy::primitives::Address>,
}

/// What a transaction would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gas {
    /// Units of gas.
    pub gas: u64,
    /// Price of one, in wei.
    pub price_wei: u128,
}

/// What an outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// Not in a block.
    pub waiting: usize,
    /// In a block that could still be reorganised away.
    pub mined: usize,
}

impl Sender {
    pub(crate) fn in_memory(chain: Chain, signer: &Signer) -> Self {
        Self::new(chain, key(signer), Outbox::Memory, Vec::new())
    }

    pub(crate) fn durable(chain: Chain, signer: &Signer, path: &Path) -> Result<Self, ChainError> {
        let key = key(signer);
        let (outbox, entries) = Outbox::open(path, chain.config().chain_id, key.address())?;
        Ok(Self::new(chain, key, outbox, entries))
    }

    fn new(chain: Chain, key: PrivateKeySigner, outbox: Outbox, entries: Vec<Entry>) -> Self {
        let state = Mutex::new(State::found(entries));
        let account = Arc::new(Account { key, outbox, state });
        Self { chain, policy: SendPolicy::default(), account }
    }

    /// The same account and outbox with another patience.
    #[must_use]
    pub fn with_policy(self, policy: SendPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        from_address(self.account.key.address())
    }

    /// Looks after what was sent earlier, by this process or by one before it: finds what was
    /// mined, broadcasts what was forgotten, sends again what a reorganisation took out, replaces
    /// what waits too long. To be called at every new head.
    ///
    /// # Errors
    /// [`ChainError`]; the outbox is then as before or further.
    pub async fn tend(&self) -> Result<Outstanding, ChainError> {
        let mut state = self.account.state.lock().await;
        self.round(&mut state).await?;
        Ok(state.outstanding())
    }

    /// Tends until nothing waits, or for as long as `within`; what is left is in the result.
    ///
    /// # Errors
    /// The last [`ChainError`], when the time is over and the chain did not answer.
    pub async fn finish(&self, within: Duration) -> Result<Outstanding, ChainError> {
        let began = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let tended = self.tend().await;
            let is_done = matches!(tended, Ok(Outstanding { waiting: 0, .. }));
            if is_done || began.elapsed() >= within {
                return tended;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Sends ether, in wei.
    pub async fn send_ether(&self, to: Address, wei: u128) -> Result<Tx, ChainError> {
        self.send("transfer", TxKind::Call(to_address(to)), Bytes::new(), U256::from(wei)).await
    }

    /// Sends a call and waits until it is mined.
    ///
    /// # Errors
    /// [`ChainError`]; what reverts is not sent.
    pub async fn send_call(&self, call: &Call) -> Result<Tx, ChainError> {
        self.call(call.what, call.to, call.data.clone()).await
    }

    /// What a call would cost now. Nothing is sent.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the reason why it would fail; [`ChainError`].
    pub async fn gas(&self, call: &Call) -> Result<Gas, ChainError> {
        let (what, to) = (call.what, Some(to_address(call.to)));
        let payload = Payload { to, data: call.data.clone().into(), value: U256::ZERO };
        let gas = self.estimate(what, &payload).await?;
        let price = |provider: RootProvider| async move { provider.get_gas_price().await };
        let price_wei = self.chain.endpoints.any(what, price).await?;
        Ok(Gas { gas, price_wei })
    }

    pub(crate) async fn call(
        &self,
        what: &'static str,
        to: Address,
        data: Vec<u8>,
    ) -> Result<Tx, ChainError> {
        self.send(what, TxKind::Call(to_address(to)), data.into(), U256::ZERO).await
    }

    pub(crate) async fn send(
        &self,
        what: &'static str,
        to: TxKind,
        data: Bytes,
        value: U256,
    ) -> Result<Tx, ChainError> {
        let payload = Payload { to: to.to().copied(), data, value };
        let progress = self.submit(what, &payload).await?;
        let receipt = self.mined(what, progress).await?;
        if receipt.status() {
            Ok(mined_tx(&receipt))
        } else {
            Err(self.why(what, &payload, &receipt).await)
        }
    }

    /// Records and broadcasts a transaction, unless the same one waits already.
    async fn submit(
        &self,
        what: &'static str,
        payload: &Payload,
    ) -> Result<watch::Receiver<Progress>, ChainError> {
        if let Some(waiting) = self.already_waiting(payload).await? {
            return Ok(waiting);
        }
        // The estimate runs the call, so a revert shows here, before anything is paid.
        let gas_limit = self.gas_limit(what, payload).await?;
        let mut fees = self.chain.fees(what).await?;
        let mut state = self.account.state.lock().await;
        if let Some(waiting) = state.waiting_with(payload) {
            return Ok(waiting.progress.subscribe());
        }
        let mut free_from = 0;
        for _ in 0..SIGN_TRIES {
            let nonce = self.next_nonce(what, &state).await?.max(free_from);
            let (entry, raw) = self.entry(nonce, what, payload, gas_limit, fees);
            let waiting = state.push(entry);
            self.store(&state).await?;
            let error = match self.chain.endpoints.broadcast(&raw).await {
                Broadcast::Taken | Broadcast::Unsure => return Ok(waiting),
                Broadcast::NonceUsed => {
                    free_from = nonce + 1;
                    None
                }
                Broadcast::Underpriced => {
                    let ceiling_wei = self.chain.fee_ceiling_wei();
                    match fees.raised(self.chain.fees(what).await?, ceiling_wei) {
                        Ok(raised) => {
                            fees = raised;
                            None
                        }
                        Err(needed_wei) => {
                            Some(ChainError::FeeAboveCeiling { what, needed_wei, ceiling_wei })
                        }
                    }
                }
                Broadcast::CannotPay(reason) => {
                    let address = self.address();
                    Some(ChainError::InsufficientGasFunds { address, what, reason })
                }
                Broadcast::Refused(error) => Some(error),
            };
            state.withdraw(nonce);
            self.store(&state).await?;
            if let Some(error) = error {
                return Err(error);
            }
        }
        Err(ChainError::NonceTaken { what, address: self.address() })
    }

    /// The waiting entry that does the same. One that was mined is looked at first: a
    /// reorganisation may have made it wait again.
    async fn already_waiting(
        &self,
        payload: &Payload,
    ) -> Result<Option<watch::Receiver<Progress>>, ChainError> {
        let mut state = self.account.state.lock().await;
        if state.was_mined(payload) {
            self.round(&mut state).await?;
        }
        Ok(state.waiting_with(payload).map(|waiting| waiting.progress.subscribe()))
    }

    /// What the call takes, with a margin.
    async fn gas_limit(&self, what: &'static str, payload: &Payload) -> Result<u64, ChainError> {
        let gas = self.estimate(what, payload).await?;
        let with_margin = gas.saturating_add(gas.saturating_mul(GAS_MARGIN_PERCENT) / 100);
        Ok(with_margin.min(TX_GAS_MAX.max(gas)))
    }

    async fn estimate(&self, what: &'static str, payload: &Payload) -> Result<u64, ChainError> {
        let request = self.request(payload);
        let estimate = |provider: RootProvider| {
            let request = request.clone();
            async move { provider.estimate_gas(request).await }
        };
        match self.chain.endpoints.any(what, estimate).await {
            Err(ChainError::Unavailable { reason, .. })
                if reason.contains("insufficient funds") =>
            {
                let address = self.address();
                Err(ChainError::InsufficientGasFunds { address, what, reason })
            }
            gas => gas,
        }
    }

    fn request(&self, payload: &Payload) -> TransactionRequest {
        let from = self.account.key.address();
        let mut request = TransactionRequest::default().from(from).value(payload.value);
        request.to = Some(payload.to.into());
        request.input(payload.data.clone().into())
    }

    /// After everything that is mined, everything of ours, and everything that a node has seen.
    async fn next_nonce(&self, what: &'static str, state: &State) -> Result<u64, ChainError> {
        let address = self.address();
        let count = |at: AtBlock| async move { at.nonce(address).await };
        let mined = self.chain.agreed(BlockTag::Latest, count).await?;
        let ours = state.last_nonce().map_or(0, |last| last + 1);
        self.after_the_pool(what, mined.max(ours)).await
    }

    /// The first nonce from `from` on that no pool has, as far as a node can be believed.
    pub(crate) async fn after_the_pool(
        &self,
        what: &'static str,
        from: u64,
    ) -> Result<u64, ChainError> {
        let address = self.account.key.address();
        let count = |provider: RootProvider| async move {
            provider.get_transaction_count(address).pending().await
        };
        let pending = self.chain.endpoints.any(what, count).await?;
        let is_near = pending > from && pending - from <= POOL_MAX;
        Ok(if is_near { pending } else { from })
    }

    pub(crate) async fn mined_nonce(&self, what: &'static str) -> Result<u64, ChainError> {
        let address = self.account.key.address();
        let count =
            |provider: RootProvider| async move { provider.get_transaction_count(address).await };
        self.chain.endpoints.any(what, count).await
    }

    /// A new entry and its transaction.
    pub(crate) fn entry(
        &self,
        nonce: u64,
        what: &str,
        payload: &Payload,
        gas_limit: u64,
        fees: Fees,
    ) -> (Entry, Vec<u8>) {
        let mut entry = Entry {
            nonce,
            what: what.to_owned(),
            payload: payload.clone(),
            gas_limit,
            tries: Vec::new(),
            mined: None,
        };
        let (hash, raw) = self.sign(&entry, fees);
        entry.tries.push(Try { hash, fees });
        (entry, raw)
    }

    /// The same key, nonce, payload and fees make the same transaction (RFC 6979).
    pub(crate) fn sign(&self, entry: &Entry, fees: Fees) -> (B256, Vec<u8>) {
        let mut tx = TxEip1559 {
            chain_id: self.chain.config().chain_id,
            nonce: entry.nonce,
            gas_limit: entry.gas_limit,
            max_fee_per_gas: fees.max_fee_wei.into(),
            max_priority_fee_per_gas: fees.tip_wei.into(),
            to: entry.payload.to.into(),
            value: entry.payload.value,
            input: entry.payload.data.clone(),
            ..TxEip1559::default()
        };
        let key = &self.account.key;
        let signature = key.sign_transaction_sync(&mut tx).expect("a local key signs");
        let signed = TxEnvelope::from(tx.into_signed(signature));
        (*signed.tx_hash(), signed.encoded_2718())
    }

    pub(crate) async fn store(&self, state: &State) -> Result<(), ChainError> {
        self.account.outbox.store(state.entries()).await
    }

    /// Waits for a transaction, and looks after all of them meanwhile.
    async fn mined(
        &self,
        what: &'static str,
        mut progress: watch::Receiver<Progress>,
    ) -> Result<Arc<TransactionReceipt>, ChainError> {
        let began = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            // Trouble with an endpoint is no news about the transaction: the wait goes on.
            let _ = self.round_if_older(pause).await;
            match &*progress.borrow_and_update() {
                Progress::Mined(receipt) => return Ok(Arc::clone(receipt)),
                Progress::Taken => {
                    return Err(ChainError::NonceTaken { what, address: self.address() });
                }
                Progress::Waiting { hash } if began.elapsed() >= self.policy.mined_within => {
                    let waited_s = self.policy.mined_within.as_secs();
                    return Err(ChainError::NotMined { what, hash: format!("{hash:x}"), waited_s });
                }
                Progress::Waiting { .. } => {}
            }
            pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            // Another waiting call may see it first.
            let _ = tokio::time::timeout(pause, progress.changed()).await;
        }
    }

    async fn round_if_older(&self, age: Duration) -> Result<(), ChainError> {
        let mut state: MutexGuard<'_, State> = self.account.state.lock().await;
        if state.looked_at.is_some_and(|at| at.elapsed() < age) {
            return Ok(());
        }
        self.round(&mut state).await
    }

    /// Why a mined transaction reverted: receipts do not say, so the call is made once more on the
    /// state it left behind.
    async fn why(
        &self,
        what: &'static str,
        payload: &Payload,
        receipt: &TransactionReceipt,
    ) -> ChainError {
        let block = receipt.block_number.map_or(BlockNumberOrTag::Latest, Into::into);
        let request = self.request(payload);
        let again = |provider: RootProvider| {
            let request = request.clone();
            async move { provider.call(request).block(block.into()).await }
        };
        if let Err(error @ ChainError::Reverted { .. }) =
            self.chain.endpoints.any(what, again).await
        {
            return error;
        }
        let reason = format!("reverted in block {block} after {} gas", receipt.gas_used);
        ChainError::Reverted { what, reason }
    }
}

fn key(signer: &Signer) -> PrivateKeySigner {
    let secret = B256::from_slice(signer.to_bytes().as_slice());
    PrivateKeySigner::from_bytes(&secret).expect("a Signer holds a valid scalar")
}

fn mined_tx(receipt: &TransactionReceipt) -> Tx {
    Tx {
        hash: receipt.transaction_hash.0,
        block: receipt.block_number.unwrap_or_default(),
        block_hash: receipt.block_hash.unwrap_or_default().0,
        gas_used: receipt.gas_used,
        effective_gas_price_wei: receipt.effective_gas_price,
        logs: receipt.inner.logs().to_vec(),
        created: receipt.contract_address,
    }
}
