//! The chain as alloy sees it, without a socket and with one.

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{U256, bytes};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::sol;
use phallama_devchain::DevChain;

use crate::http::with_server;
use crate::support::*;

sol! {
    /// What `REVERTER` returns when it is called with this error's encoding.
    #[derive(Debug, PartialEq)]
    error TooLittle(uint256 have, uint256 want);
}

/// Deploys, calls, reads logs and reverts, all with alloy's own fillers for nonce, gas and fees.
async fn tour(provider: impl Provider) {
    let deploy = |runtime| {
        let request = TransactionRequest::default().with_deploy_code(init_code(runtime));
        provider.send_transaction(request)
    };
    let counter = deploy(COUNTER).await.unwrap().get_receipt().await.unwrap();
    let counter = counter.contract_address.unwrap();
    for _ in 0..3 {
        let request = TransactionRequest::default().with_to(counter);
        let receipt =
            provider.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
        assert!(receipt.status());
    }
    assert_eq!(provider.get_storage_at(counter, U256::ZERO).await.unwrap(), U256::from(3));

    let emitter = deploy(EMITTER).await.unwrap().get_receipt().await.unwrap();
    let emitter = emitter.contract_address.unwrap();
    let input = [word(1), word(2), word(3)].concat();
    let request = TransactionRequest::default().with_to(emitter).with_input(input);
    provider.send_transaction(request).await.unwrap().watch().await.unwrap();
    let filter = Filter::new().address(emitter).from_block(0).topic1(U256::from(2));
    let logs = provider.get_logs(&filter).await.unwrap();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].data().data, word(3));

    let block = provider.get_block(6.into()).full().await.unwrap().unwrap();
    assert_eq!(block.transactions.len(), 1);
    assert_eq!(provider.get_block_number().await.unwrap(), 6);
}

/// A custom error comes back as data that alloy decodes.
async fn custom_error(provider: impl Provider, chain: &DevChain) {
    use alloy::sol_types::SolError;
    let reverter = deploy(chain, REVERTER);
    let expected = TooLittle { have: U256::from(1), want: U256::from(2) };
    let request = TransactionRequest::default().with_to(reverter).with_input(expected.abi_encode());
    let error = provider.call(request).await.unwrap_err();
    let payload = error.as_error_resp().unwrap();
    assert_eq!(payload.code, 3);
    assert_eq!(payload.as_decoded_error::<TooLittle>(), Some(expected));
}

#[test]
fn alloy_works_in_process() {
    let chain = chain();
    let wallet = EthereumWallet::from(wallet(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let provider = ProviderBuilder::new().wallet(wallet).connect_client(chain.rpc_client());
        tour(&provider).await;
        custom_error(&provider, &chain).await;
    });
}

#[test]
fn alloy_works_over_http() {
    let chain = chain();
    let wallet = EthereumWallet::from(wallet(0));
    with_server(&chain, |address| async move {
        let url = format!("http://{address}/").parse().unwrap();
        tour(ProviderBuilder::new().wallet(wallet).connect_http(url)).await;
    });
}

#[test]
fn alloy_batches_work_in_process() {
    let chain = chain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = chain.rpc_client();
        let mut batch = client.new_batch();
        let id = batch.add_call::<_, U256>("eth_chainId", &()).unwrap();
        let unknown = batch.add_call::<_, U256>("eth_coffee", &()).unwrap();
        batch.send().await.unwrap();
        assert_eq!(id.await.unwrap(), U256::from(CHAIN_ID));
        assert_eq!(unknown.await.unwrap_err().as_error_resp().unwrap().code, -32601);
    });
}

#[test]
fn alloy_sees_why_a_transaction_was_refused() {
    let chain = chain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let provider = ProviderBuilder::new().connect_client(chain.rpc_client());
        let raw = sign(0, tx(65, wallet(1).address(), bytes!("00")));
        let error = provider.send_raw_transaction(&raw).await.unwrap_err();
        let payload = error.as_error_resp().unwrap();
        assert!(payload.message.starts_with("nonce too high"), "{payload}");
    });
}
