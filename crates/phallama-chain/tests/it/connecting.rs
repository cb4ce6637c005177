//! What is refused before anything is read or sent.

use phallama_chain::{Chain, ChainConfig, ChainError};
use phallama_protocol::ids::Address;
use tokio::net::TcpListener;

use crate::node::Node;
use crate::on_both_chains;
use crate::platform::root;
use crate::world::{World, signer};

on_both_chains! {
    another_chains_id_is_refused,
    an_address_without_a_contract_is_refused,
    contracts_of_two_deployments_are_refused_together,
}

async fn another_chains_id_is_refused(node: Node) {
    let world = World::new(node).await;
    let config = ChainConfig { chain_id: 2_035, ..world.chain.config().clone() };
    let error = Chain::connect(config).await.unwrap_err();
    assert!(
        matches!(error, ChainError::WrongChain { got: 31_337, expected: 2_035, .. }),
        "{error}"
    );
}

async fn an_address_without_a_contract_is_refused(node: Node) {
    let world = World::new(node).await;
    let empty = Address([0x11; 20]);
    let good = world.chain.config().clone();
    let configs = [
        ("registry", ChainConfig { registry: empty, ..good.clone() }),
        ("escrow", ChainConfig { escrow: empty, ..good.clone() }),
        ("token", ChainConfig { token: empty, ..good.clone() }),
    ];
    for (missing, config) in configs {
        match Chain::connect(config).await {
            Err(ChainError::NoContract { name, address, chain_id: 31_337 }) => {
                assert_eq!((name, address), (missing, empty));
            }
            other => panic!("expected no contract for {missing}, got {other:?}"),
        }
    }
}

async fn contracts_of_two_deployments_are_refused_together(node: Node) {
    let world = World::new(node).await;
    let other =
        phallama_chain::deploy(&world.node.url(), &signer(0), root().root_der()).await.unwrap();
    let good = world.chain.config().clone();
    let configs = [
        ("registry", ChainConfig { registry: other.registry, ..good.clone() }),
        ("token", ChainConfig { token: other.token, ..good.clone() }),
    ];
    for (differs, config) in configs {
        match Chain::connect(config).await {
            Err(ChainError::Mismatch { name, .. }) => assert_eq!(name, differs),
            other => panic!("expected a mismatch of the {differs}, got {other:?}"),
        }
    }
}

fn nothing_deployed(rpc_url: String) -> ChainConfig {
    let nowhere = Address([0x11; 20]);
    ChainConfig {
        rpc_urls: vec![rpc_url],
        chain_id: 31_337,
        registry: nowhere,
        escrow: nowhere,
        token: nowhere,
        timeout_ms: 200,
        fee_ceiling_gwei: 500,
    }
}

async fn connects_to(rpc_url: String) -> ChainError {
    Chain::connect(nothing_deployed(rpc_url)).await.unwrap_err()
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = connects_to(url.clone()).await;
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_on() {
    // Takes connections, by the kernel's backlog, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = connects_to(format!("http://{}", listener.local_addr().unwrap())).await;
    assert!(matches!(error, ChainError::Unavailable { what: "eth_chainId", .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    let error = connects_to("no url".to_owned()).await;
    assert!(matches!(error, ChainError::BadEndpoint { .. }), "{error}");
}
