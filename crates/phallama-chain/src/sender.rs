//! Sending transactions from one account, one nonce after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::consensus::TxEip1559;
use alloy::eips::{BlockNumberOrTag, Encodable2718 as _};
use alloy::network::TxSignerSync as _;
use alloy::primitives::{B256, Bytes, TxKind, U256};
use alloy::providers::Provider as _;
use alloy::rpc::types::{Log, TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::{RpcError, TransportErrorKind};
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;
use tokio::sync::Mutex;

use crate::Chain;
use crate::call::Call;
use crate::convert::{from_address, to_address};
use crate::error::{ChainError, from_rpc};

/// How long a sent transaction may take to be mined.
const MINED_WITHIN: Duration = Duration::from_secs(90);
/// Estimates are exact for the state they saw; storage may turn cold until the transaction is
/// mined.
const GAS_MARGIN_PERCENT: u64 = 20;
/// EIP-7825: no transaction may carry more gas. The margin must not push one over it.
const TX_GAS_MAX: u64 = 1 << 24;
const TIP_WEI: u128 = 1_000_000;

/// A funded account that sends transactions. Clones share the account's nonce.
#[derive(Clone)]
pub struct Sender {
    pub(crate) chain: Chain,
    account: Arc<Account>,
}

struct Account {
    key: PrivateKeySigner,
    /// The next nonce by our own count, which is ahead of a node that has not seen our last one
    /// yet.
    next_nonce: Mutex<Option<u64>>,
    /// Transactions sent and not known to be mined. While there are none, the node's count is the
    /// truth: it may have been restarted or set back, or another process uses the account.
    unmined: Arc<AtomicUsize>,
}

/// A mined, successful transaction.
#[derive(Clone, Debug)]
pub struct Tx {
    /// Transaction hash.
    pub hash: [u8; 32],
    /// Block it was mined in.
    pub block: u64,
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

/// A transaction before it has a nonce and a price.
struct Draft {
    what: &'static str,
    to: TxKind,
    data: Bytes,
    value: U256,
}

struct Fees {
    max_fee_wei: u128,
    gas_limit: u64,
}

/// A transaction that was sent; counted for as long as somebody waits for it.
struct Sent {
    hash: B256,
    unmined: Arc<AtomicUsize>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.unmined.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Sender {
    pub(crate) fn new(chain: Chain, signer: &Signer) -> Self {
        let secret = B256::from_slice(signer.to_bytes().as_slice());
        let key = PrivateKeySigner::from_bytes(&secret).expect("a Signer holds a valid scalar");
        let account = Account { key, next_nonce: Mutex::default(), unmined: Arc::default() };
        Self { chain, account: Arc::new(account) }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        from_address(self.account.key.address())
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
        let (what, to) = (call.what, TxKind::Call(to_address(call.to)));
        let draft = Draft { what, to, data: call.data.clone().into(), value: U256::ZERO };
        let failed = |error| self.failed(what, &error);
        let provider = &self.chain.provider;
        let gas = provider.estimate_gas(self.request(&draft)).await.map_err(failed)?;
        let price_wei = provider.get_gas_price().await.map_err(failed)?;
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
        let draft = Draft { what, to, data, value };
        let fees = self.fees(&draft).await?;
        let sent = self.submit(&draft, &fees).await?;
        let receipt = self.mined(what, sent.hash).await?;
        if receipt.status() {
            Ok(mined_tx(&receipt))
        } else {
            Err(self.why(&draft, &receipt).await)
        }
    }

    /// The estimate runs the call, so a revert shows here, before anything is paid.
    async fn fees(&self, draft: &Draft) -> Result<Fees, ChainError> {
        let provider = &self.chain.provider;
        let failed = |error| self.failed(draft.what, &error);
        let gas = provider.estimate_gas(self.request(draft)).await.map_err(failed)?;
        let price = provider.get_gas_price().await.map_err(failed)?;
        let with_margin = gas.saturating_add(gas.saturating_mul(GAS_MARGIN_PERCENT) / 100);
        let gas_limit = with_margin.min(TX_GAS_MAX.max(gas));
        Ok(Fees { max_fee_wei: price.saturating_mul(2).saturating_add(TIP_WEI), gas_limit })
    }

    fn request(&self, draft: &Draft) -> TransactionRequest {
        let from = self.account.key.address();
        let mut request = TransactionRequest::default().from(from).value(draft.value);
        request.to = Some(draft.to);
        request.input(draft.data.clone().into())
    }

    /// Signs with the next nonce and hands the transaction to the node. A nonce that the node does
    /// not agree with is asked for again, once.
    async fn submit(&self, draft: &Draft, fees: &Fees) -> Result<Sent, ChainError> {
        let mut next = self.account.next_nonce.lock().await;
        if self.account.unmined.load(Ordering::Acquire) == 0 {
            *next = None;
        }
        let mut asked_again = false;
        loop {
            let nonce = match *next {
                Some(nonce) => nonce,
                None => self.nonce(draft.what).await?,
            };
            let raw = self.sign(nonce, draft, fees);
            match self.chain.provider.send_raw_transaction(&raw).await {
                Ok(pending) => {
                    *next = Some(nonce.saturating_add(1));
                    return Ok(self.sent(*pending.tx_hash()));
                }
                Err(error) if !asked_again && is_nonce_error(&error) => asked_again = true,
                Err(error) => return Err(self.failed(draft.what, &error)),
            }
            *next = None;
        }
    }

    fn sent(&self, hash: B256) -> Sent {
        let unmined = Arc::clone(&self.account.unmined);
        unmined.fetch_add(1, Ordering::AcqRel);
        Sent { hash, unmined }
    }

    async fn nonce(&self, what: &'static str) -> Result<u64, ChainError> {
        let count = self.chain.provider.get_transaction_count(self.account.key.address()).pending();
        count.await.map_err(|error| self.failed(what, &error))
    }

    fn sign(&self, nonce: u64, draft: &Draft, fees: &Fees) -> Vec<u8> {
        let mut tx = TxEip1559 {
            chain_id: self.chain.config().chain_id,
            nonce,
            gas_limit: fees.gas_limit,
            max_fee_per_gas: fees.max_fee_wei,
            max_priority_fee_per_gas: TIP_WEI,
            to: draft.to,
            value: draft.value,
            input: draft.data.clone(),
            ..TxEip1559::default()
        };
        let key = &self.account.key;
        let signature = key.sign_transaction_sync(&mut tx).expect("a local key signs");
        let signed = alloy::consensus::SignableTransaction::into_signed(tx, signature);
        alloy::consensus::TxEnvelope::from(signed).encoded_2718()
    }

    async fn mined(
        &self,
        what: &'static str,
        hash: B256,
    ) -> Result<TransactionReceipt, ChainError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(20);
        while began.elapsed() < MINED_WITHIN {
            let receipt = self.chain.provider.get_transaction_receipt(hash).await;
            if let Some(receipt) = receipt.map_err(|error| self.failed(what, &error))? {
                return Ok(receipt);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        let waited_s = MINED_WITHIN.as_secs();
        Err(ChainError::NotMined { what, hash: format!("{hash:x}"), waited_s })
    }

    /// Why a mined transaction reverted: receipts do not say, so the call is made once more on the
    /// state it left behind.
    async fn why(&self, draft: &Draft, receipt: &TransactionReceipt) -> ChainError {
        let what = draft.what;
        let block = receipt.block_number.map_or(BlockNumberOrTag::Latest, Into::into);
        let again = self.chain.provider.call(self.request(draft)).block(block.into()).await;
        let repeated = again.map_err(|error| self.failed(what, &error));
        if let Err(error @ ChainError::Reverted { .. }) = repeated {
            return error;
        }
        let reason = format!("reverted in block {block} after {} gas", receipt.gas_used);
        ChainError::Reverted { what, reason }
    }

    fn failed(&self, what: &'static str, error: &RpcError<TransportErrorKind>) -> ChainError {
        if error.to_string().to_lowercase().contains("insufficient funds") {
            let reason = error.to_string();
            return ChainError::InsufficientGasFunds { address: self.address(), what, reason };
        }
        from_rpc(&self.chain.config().rpc_url, what, error)
    }
}

fn mined_tx(receipt: &TransactionReceipt) -> Tx {
    Tx {
        hash: receipt.transaction_hash.0,
        block: receipt.block_number.unwrap_or_default(),
        gas_used: receipt.gas_used,
        effective_gas_price_wei: receipt.effective_gas_price,
        logs: receipt.inner.logs().to_vec(),
        created: receipt.contract_address,
    }
}

/// The words that nodes use, there being no code for it.
fn is_nonce_error(error: &RpcError<TransportErrorKind>) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("nonce") || text.contains("underpriced")
}
