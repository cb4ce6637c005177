//! Sending transactions from one account, one nonce after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::consensus::TxEip1559;
use alloy::eips::Encodable2718 as _;
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
use crate::convert::{from_address, to_address};
use crate::error::{ChainError, from_rpc};

/// How long a sent transaction may take to be mined.
const MINED_WITHIN: Duration = Duration::from_secs(90);
/// Estimates are exact for the state they saw; storage may turn cold until the transaction is mined.
const GAS_MARGIN_PERCENT: u64 = 20;
const TIP_WEI: u128 = 1_000_000;

/// A funded account that sends transactions. Clones share the account's nonce.
#[derive(Clone)]
pub struct Sender {
    pub(crate) chain: Chain,
    key: Arc<PrivateKeySigner>,
    /// The next nonce, or `None` when the node must be asked.
    next_nonce: Arc<Mutex<Option<u64>>>,
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

struct Fees {
    max_fee_wei: u128,
    gas_limit: u64,
}

impl Sender {
    pub(crate) fn new(chain: Chain, signer: &Signer) -> Self {
        let secret = B256::from_slice(signer.to_bytes().as_slice());
        let key = PrivateKeySigner::from_bytes(&secret).expect("a Signer holds a valid scalar");
        Self { chain, key: Arc::new(key), next_nonce: Arc::new(Mutex::new(None)) }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        from_address(self.key.address())
    }

    /// Sends ether, in wei.
    pub async fn send_ether(&self, to: Address, wei: u128) -> Result<Tx, ChainError> {
        self.send("transfer", TxKind::Call(to_address(to)), Bytes::new(), U256::from(wei)).await
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
        let fees = self.fees(what, to, &data, value).await?;
        let hash = self.submit(what, to, &data, value, &fees).await?;
        self.mined(what, hash).await
    }

    /// The estimate runs the call, so a revert shows here, before anything is paid.
    async fn fees(
        &self,
        what: &'static str,
        to: TxKind,
        data: &Bytes,
        value: U256,
    ) -> Result<Fees, ChainError> {
        let mut request = TransactionRequest::default().from(self.key.address()).value(value);
        request.to = Some(to);
        request = request.input(data.clone().into());
        let provider = &self.chain.provider;
        let gas = provider.estimate_gas(request).await.map_err(|e| self.failed(what, &e))?;
        let price = provider.get_gas_price().await.map_err(|e| self.failed(what, &e))?;
        let gas_limit = gas.saturating_add(gas.saturating_mul(GAS_MARGIN_PERCENT) / 100);
        Ok(Fees { max_fee_wei: price.saturating_mul(2).saturating_add(TIP_WEI), gas_limit })
    }

    /// Signs with the next nonce and hands the transaction to the node. A nonce that the node does not
    /// agree with (it was restarted, or another process uses the account) is asked for again, once.
    async fn submit(
        &self,
        what: &'static str,
        to: TxKind,
        data: &Bytes,
        value: U256,
        fees: &Fees,
    ) -> Result<B256, ChainError> {
        let mut next = self.next_nonce.lock().await;
        for attempt in 0..2 {
            let nonce = match *next {
                Some(nonce) => nonce,
                None => self.nonce(what).await?,
            };
            let raw = self.sign(nonce, to, data, value, fees);
            match self.chain.provider.send_raw_transaction(&raw).await {
                Ok(pending) => {
                    *next = Some(nonce.saturating_add(1));
                    return Ok(*pending.tx_hash());
                }
                Err(error) => {
                    *next = None;
                    if attempt == 1 || !is_nonce_error(&error) {
                        return Err(self.failed(what, &error));
                    }
                }
            }
        }
        unreachable!("the second attempt returns")
    }

    async fn nonce(&self, what: &'static str) -> Result<u64, ChainError> {
        let count = self.chain.provider.get_transaction_count(self.key.address()).pending();
        count.await.map_err(|e| self.failed(what, &e))
    }

    fn sign(&self, nonce: u64, to: TxKind, data: &Bytes, value: U256, fees: &Fees) -> Vec<u8> {
        let mut tx = TxEip1559 {
            chain_id: self.chain.config().chain_id,
            nonce,
            gas_limit: fees.gas_limit,
            max_fee_per_gas: fees.max_fee_wei,
            max_priority_fee_per_gas: TIP_WEI,
            to,
            value,
            input: data.clone(),
            ..TxEip1559::default()
        };
        let signature = self.key.sign_transaction_sync(&mut tx).expect("a local key signs");
        let signed = alloy::consensus::SignableTransaction::into_signed(tx, signature);
        alloy::consensus::TxEnvelope::from(signed).encoded_2718()
    }

    async fn mined(&self, what: &'static str, hash: B256) -> Result<Tx, ChainError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(20);
        while began.elapsed() < MINED_WITHIN {
            let receipt = self.chain.provider.get_transaction_receipt(hash).await;
            if let Some(receipt) = receipt.map_err(|e| self.failed(what, &e))? {
                return finished(what, &receipt);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        let waited_s = MINED_WITHIN.as_secs();
        Err(ChainError::NotMined { what, hash: format!("{hash:x}"), waited_s })
    }

    fn failed(&self, what: &'static str, error: &RpcError<TransportErrorKind>) -> ChainError {
        if error.to_string().to_lowercase().contains("insufficient funds") {
            let reason = error.to_string();
            return ChainError::InsufficientGasFunds { address: self.address(), what, reason };
        }
        from_rpc(&self.chain.config().rpc_url, what, error)
    }
}

fn finished(what: &'static str, receipt: &TransactionReceipt) -> Result<Tx, ChainError> {
    if !receipt.status() {
        let reason = format!("mined in block {:?} and reverted", receipt.block_number);
        return Err(ChainError::Reverted { what, reason });
    }
    Ok(Tx {
        hash: receipt.transaction_hash.0,
        block: receipt.block_number.unwrap_or_default(),
        gas_used: receipt.gas_used,
        effective_gas_price_wei: receipt.effective_gas_price,
        logs: receipt.inner.logs().to_vec(),
        created: receipt.contract_address,
    })
}

/// The words that nodes use, there being no code for it.
fn is_nonce_error(error: &RpcError<TransportErrorKind>) -> bool {
    error.to_string().to_lowercase().contains("nonce")
}
