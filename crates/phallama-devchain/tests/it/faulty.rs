//! The endpoint that fails on request, as a client sees it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_devchain::{DevChain, Fault, FaultyRpc, Moment, Rule, Upstream, dev_account};
use serde_json::{Value, json};

use crate::support::*;

/// Status, header `Retry-After` and body of an answer.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

/// A client without a pool or a TLS provider: one request per connection.
fn post(rpc: &FaultyRpc, method: &str, params: Value, limit: Duration) -> Option<Answer> {
    let url = rpc.url();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).ok()?;
    stream.set_read_timeout(Some(limit)).unwrap();
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string();
    let head =
        "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().unwrap(),
        retry_after: retry_after.map(str::to_owned),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

const PATIENT: Duration = Duration::from_secs(30);

fn ask(rpc: &FaultyRpc, method: &str, params: Value) -> Option<Answer> {
    post(rpc, method, params, PATIENT)
}

fn result(rpc: &FaultyRpc, method: &str, params: Value) -> Value {
    let answer = ask(rpc, method, params).expect("an answer");
    assert_eq!(answer.body["id"], 7);
    answer.body["result"].clone()
}

fn error_code(rpc: &FaultyRpc, method: &str, params: Value) -> i64 {
    ask(rpc, method, params).expect("an answer").body["error"]["code"].as_i64().unwrap()
}

fn proxied() -> (DevChain, FaultyRpc) {
    let chain = chain();
    let rpc = FaultyRpc::start(&chain);
    (chain, rpc)
}

#[test]
fn without_faults_it_is_the_chain() {
    let (chain, rpc) = proxied();
    get(&chain, "anvil_mine", json!([3]));
    assert_eq!(result(&rpc, "eth_blockNumber", json!([])), "0x3");
    assert_eq!(error_code(&rpc, "eth_coffee", json!([])), -32_601);
    assert_eq!(rpc.arrivals("eth_blockNumber"), 1);
}

#[test]
fn it_stands_in_front_of_any_node() {
    let (_chain, rpc) = proxied();
    let before = FaultyRpc::start(Upstream::node(&rpc.url()).unwrap());
    assert_eq!(result(&before, "eth_chainId", json!([])), "0x7a69");
    assert_eq!(rpc.arrivals("eth_chainId"), 1);
    rpc.inject(Rule::every(Fault::Refuse));
    assert!(ask(&before, "eth_chainId", json!([])).is_none());
}

#[test]
fn it_refuses_and_comes_back() {
    let (_chain, rpc) = proxied();
    let down = rpc.inject(Rule::every(Fault::Refuse));
    assert!(ask(&rpc, "eth_chainId", json!([])).is_none());
    rpc.withdraw(down);
    assert_eq!(result(&rpc, "eth_chainId", json!([])), "0x7a69");
}

#[test]
fn a_black_hole_takes_the_request_and_says_nothing() {
    let (_chain, rpc) = proxied();
    rpc.inject(Rule::method("eth_chainId", Fault::BlackHole));
    assert!(post(&rpc, "eth_chainId", json!([]), Duration::from_millis(50)).is_none());
    while rpc.arrivals("eth_chainId") == 0 {
        std::thread::yield_now();
    }
    assert_eq!(result(&rpc, "eth_blockNumber", json!([])), "0x0");
}

#[test]
fn a_status_can_say_when_to_come_again_and_last_for_one_request() {
    let (_chain, rpc) = proxied();
    rpc.inject(Rule::every(Fault::Status { code: 429, retry_after_s: Some(3) }).times(1));
    let answer = ask(&rpc, "eth_chainId", json!([])).unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("3")));
    assert_eq!(ask(&rpc, "eth_chainId", json!([])).unwrap().status, 200);
}

#[test]
fn slow_is_right_and_late() {
    let (_chain, rpc) = proxied();
    rpc.inject(Rule::every(Fault::Slow(Duration::from_millis(120))));
    let began = Instant::now();
    assert_eq!(result(&rpc, "eth_chainId", json!([])), "0x7a69");
    assert!(began.elapsed() >= Duration::from_millis(120));
}

#[test]
fn a_stale_node_answers_as_of_its_block() {
    let (chain, rpc) = proxied();
    let counter = deploy(&chain, COUNTER);
    let old = head(&chain);
    let receipt = mined(&chain, &sign(0, tx(1, counter, [])));
    rpc.inject(Rule::every(Fault::AsOf(old)));
    assert_eq!(result(&rpc, "eth_blockNumber", json!([])), "0x1");
    assert_eq!(result(&rpc, "eth_getBlockByNumber", json!(["latest", false]))["number"], "0x1");
    assert_eq!(result(&rpc, "eth_getBlockByNumber", json!(["0x2", false])), Value::Null);
    assert_eq!(
        result(&rpc, "eth_getBlockByHash", json!([receipt["blockHash"], false])),
        Value::Null
    );
    let hash = json!([receipt["transactionHash"]]);
    assert_eq!(result(&rpc, "eth_getTransactionReceipt", hash), Value::Null);
    let account = dev_account(0).0;
    for tag in [json!("latest"), json!("pending"), json!("0x1")] {
        assert_eq!(result(&rpc, "eth_getTransactionCount", json!([account, tag])), "0x1");
    }
    let call = json!({ "to": counter });
    assert_eq!(result(&rpc, "eth_call", json!([call])), json!(word(1)));
    let newer = json!([call, { "blockHash": receipt["blockHash"] }]);
    assert_eq!(error_code(&rpc, "eth_call", newer), -32_001);
}

#[test]
fn a_pruned_node_has_the_state_of_its_newest_blocks_only() {
    let (chain, rpc) = proxied();
    get(&chain, "anvil_mine", json!([4]));
    rpc.inject(Rule::every(Fault::Pruned { keep_blocks: 2 }));
    let balance = |block: Value| json!([dev_account(0).0, block]);
    let hash = |number: &str| block(&chain, number)["hash"].clone();
    assert_eq!(error_code(&rpc, "eth_getBalance", balance(json!("0x1"))), -32_000);
    let named = balance(json!({ "blockHash": hash("0x1") }));
    assert_eq!(error_code(&rpc, "eth_getBalance", named), -32_000);
    assert_eq!(error_code(&rpc, "eth_getBalance", balance(hash("0x1"))), -32_000);
    for kept in [json!("0x2"), json!("latest"), hash("0x3")] {
        assert_ne!(result(&rpc, "eth_getBalance", balance(kept)), Value::Null);
    }
    assert_eq!(result(&rpc, "eth_getBlockByNumber", json!(["0x1", false]))["number"], "0x1");
}

#[test]
fn it_lies_about_one_call_of_one_contract() {
    let (chain, rpc) = proxied();
    let counter = deploy(&chain, COUNTER);
    let selector = [0xaa, 0xbb, 0xcc, 0xdd];
    rpc.inject(Rule::call(counter.into(), selector, Fault::Answer(json!(word(77)))));
    rpc.inject(Rule::method("eth_chainId", Fault::chain_id(5)));
    let call = |data: &str| json!([{ "to": counter, "data": data }, "latest"]);
    assert_eq!(result(&rpc, "eth_call", call("0xaabbccdd00")), json!(word(77)));
    assert_eq!(result(&rpc, "eth_call", call("0xaabbccde")), json!(word(1)));
    assert_eq!(result(&rpc, "eth_chainId", json!([])), "0x5");
    rpc.heal();
    assert_eq!(result(&rpc, "eth_call", call("0xaabbccdd00")), json!(word(1)));
}

#[test]
fn it_changes_a_receipt_and_loses_an_answer() {
    let (chain, rpc) = proxied();
    let raw = sign(0, tx(0, dev_account(1).0, []));
    rpc.inject(Rule::method("eth_sendRawTransaction", Fault::LoseAnswer).times(1));
    assert!(ask(&rpc, "eth_sendRawTransaction", json!([raw])).is_none());
    assert_eq!(nonce(&chain, 0), 1);
    let failed = |_: &Value, mut receipt: Value| {
        receipt["status"] = json!("0x0");
        receipt
    };
    rpc.inject(Rule::method("eth_getTransactionReceipt", Fault::Rewrite(Arc::new(failed))));
    let hash = block(&chain, "latest")["transactions"][0].clone();
    assert_eq!(result(&rpc, "eth_getTransactionReceipt", json!([hash]))["status"], "0x0");
}

/// Holds `eth_sendRawTransaction` at `moment`; returns how many transactions the chain has while
/// the request is held, what the sender got, and how many there are at the end.
fn held(moment: Moment, end: fn(phallama_devchain::Hold)) -> (u64, bool, u64) {
    let (chain, rpc) = proxied();
    let raw = sign(0, tx(0, dev_account(1).0, []));
    let mut hold = rpc.hold("eth_sendRawTransaction", moment);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| ask(&rpc, "eth_sendRawTransaction", json!([raw])).is_some());
        assert_eq!(hold.wait_arrived(), json!([raw]));
        let during = nonce(&chain, 0);
        end(hold);
        (during, sender.join().unwrap(), nonce(&chain, 0))
    })
}

#[test]
fn a_request_is_held_before_and_after_it_is_passed_on() {
    use phallama_devchain::Hold;
    assert_eq!(held(Moment::BeforeForwarding, Hold::release), (0, true, 1));
    assert_eq!(held(Moment::BeforeForwarding, Hold::cut), (0, false, 0));
    assert_eq!(held(Moment::BeforeAnswering, Hold::release), (1, true, 1));
    assert_eq!(held(Moment::BeforeAnswering, Hold::cut), (1, false, 1));
    assert_eq!(held(Moment::BeforeForwarding, drop), (0, true, 1));
}
