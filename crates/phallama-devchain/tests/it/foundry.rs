//! The chain beside Foundry's tools: the same script on `anvil`, and `cast` as a client.
//!
//! The tools come with `npm ci` in `contracts/`. Where they are absent these tests say on stderr
//! what they did not test.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::consensus::{TxEip1559, TxEip2930};
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use phallama_devchain::{DevChain, dev_account};
use serde_json::{Value, json};

use crate::http::{post, with_server};
use crate::support::*;

/// Foundry's program `name`, or a loud word that `untested` was not tested.
fn tool(name: &str, untested: &str) -> Option<PathBuf> {
    let package = format!("../../contracts/node_modules/@foundry-rs/{name}-linux-amd64/bin/{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    if path.exists() {
        return Some(path);
    }
    let warning =
        format!("\n*** NOT TESTED: {untested}: {name} is absent, run `npm ci` in contracts/\n");
    // Written past the test harness, which hides what passing tests print.
    std::io::stderr().write_all(warning.as_bytes()).unwrap();
    None
}

/// A running anvil, killed when the test ends.
struct Anvil {
    process: Child,
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Anvil {
    fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .args(["--port", "0", "--hardfork", "osaka"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("Listening on ").map(|at| at.parse().unwrap()))
            .expect("anvil says where it listens");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { process, address, runtime }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A node that the script runs on.
trait Node {
    /// The answer's `result` or `error`.
    fn ask(&self, method: &str, params: Value) -> Result<Value, Value>;

    fn get(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

impl Node for DevChain {
    fn ask(&self, method: &str, params: Value) -> Result<Value, Value> {
        self.request(method, params).map_err(|error| error.to_json())
    }
}

impl Node for Anvil {
    fn ask(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, text) = self.runtime.block_on(post(self.address, body.to_string()));
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }
}

/// Runtime code by hand, for what the shared contracts do not do.
mod code {
    /// Logs `BASEFEE`, `GASPRICE`, `CHAINID`, `CALLER`, `CALLVALUE`, `ADDRESS`, `GAS`, `NUMBER`,
    /// `SELFBALANCE`, `COINBASE`, `BLOBBASEFEE` and `GASLIMIT`.
    pub(super) const ENVIRONMENT: &str = "485f52 3a602052 46604052 33606052 34608052 3060a052 \
         5a60c052 4360e052 4761010052 4161012052 4a61014052 4561016052 6101805fa000";
    /// `TSTORE`, `TLOAD`, `MCOPY`, `CLZ`, `KECCAK256` of 4 kB of memory.
    pub(super) const NEW_INSTRUCTIONS: &str = "60075f5d5f5c5f5260205f6110005e6110205f201e5f5500";
    /// Sends its whole balance to address zero.
    pub(super) const LEAVER: &str = "5fff";
    /// `CREATE2` of an empty contract with salt 0, then of the same again, which collides.
    pub(super) const TWINS: &str = "5f5f5f5ff55f525f5f5f5ff560205260405fa000";
    /// Writes three slots of which one returns to what it was.
    pub(super) const WRITER: &str = "60015f5560025f555f5f5560036001556004600255 00";
}

/// Transactions of account 0 in order, built so that every contract address is known.
struct Script {
    raws: Vec<(&'static str, Bytes)>,
    nonce: u64,
}

impl Script {
    fn push(&mut self, name: &'static str, raw: Bytes) {
        self.raws.push((name, raw));
        self.nonce += 1;
    }

    fn call(&mut self, name: &'static str, to: Address, input: impl Into<Bytes>) {
        self.push(name, sign(0, tx(self.nonce, to, input)));
    }

    fn pay(&mut self, name: &'static str, to: Address, value: u64) {
        let value = U256::from(value);
        self.push(name, sign(0, TxEip1559 { value, ..tx(self.nonce, to, []) }));
    }

    fn create(&mut self, name: &'static str, init_code: impl Into<Bytes>) -> Address {
        let address = dev_account(0).0.create(self.nonce);
        let gas_limit = 8_000_000;
        let creation = TxEip1559 { gas_limit, ..tx(self.nonce, TxKind::Create, init_code) };
        self.push(name, sign(0, creation));
        address
    }

    fn deploy(&mut self, name: &'static str, runtime: &str) -> Address {
        self.create(name, init_code(&runtime.replace(' ', "")))
    }
}

fn script() -> Script {
    let mut script = Script { raws: Vec::new(), nonce: 0 };
    transfers(&mut script);
    contracts(&mut script);
    creations(&mut script);
    precompiles(&mut script);
    script
}

fn transfers(script: &mut Script) {
    script.pay("transfer to a new account", Address::repeat_byte(1), 5);
    script.pay("transfer to an old account", Address::repeat_byte(1), 5);
    script.call("calldata at the floor price", Address::repeat_byte(1), vec![1; 3_000]);
    script.call("zero calldata", Address::repeat_byte(1), vec![0; 3_000]);
    let raw = sign(0, legacy(script.nonce, Address::repeat_byte(2), [1, 0, 2]));
    script.push("legacy", raw);
    let tipless =
        TxEip1559 { max_priority_fee_per_gas: 0, ..tx(script.nonce, Address::repeat_byte(2), []) };
    script.push("no tip", sign(0, tipless));
    let squeezed = TxEip1559 {
        max_fee_per_gas: 1_000_000_100,
        max_priority_fee_per_gas: 1_000_000_100,
        ..tx(script.nonce, Address::repeat_byte(2), [])
    };
    script.push("a tip cut by the fee cap", sign(0, squeezed));
}

fn contracts(script: &mut Script) {
    let counter = script.deploy("deploy counter", COUNTER);
    script.call("a slot from zero", counter, []);
    script.call("a slot from one", counter, []);
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: script.nonce,
        gas_price: 20 * GWEI,
        gas_limit: 100_000,
        to: counter.into(),
        value: U256::from(1),
        access_list: AccessList(vec![AccessListItem {
            address: counter,
            storage_keys: vec![B256::ZERO, B256::repeat_byte(1)],
        }]),
        input: Bytes::new(),
    };
    script.push("a slot on the access list", sign(0, listed));
    let storer = script.deploy("deploy storer", STORER);
    script.call("store", storer, word(7));
    script.call("clear, with refund", storer, word(0));
    script.call("clear what is clear", storer, word(0));
    let emitter = script.deploy("deploy emitter", EMITTER);
    script.call("emit", emitter, [word(1), word(2), word(3)].concat());
    let reverter = script.deploy("deploy reverter", REVERTER);
    script.call("revert with data", reverter, [1, 2, 3]);
    let circle = script.deploy("deploy circle", CIRCLE);
    script.call("run out of gas", circle, []);
    let invalid = script.deploy("deploy invalid", INVALID);
    script.call("invalid instruction", invalid, []);
    let writer = script.deploy("deploy writer", code::WRITER);
    script.call("write and restore", writer, []);
    script.call("write and restore, warm values", writer, []);
    let environment = script.deploy("deploy environment", code::ENVIRONMENT);
    script.pay("log the environment", environment, 9);
    let new = script.deploy("deploy new instructions", code::NEW_INSTRUCTIONS);
    script.call("new instructions", new, []);
    let leaver = script.deploy("deploy leaver", code::LEAVER);
    script.pay("self-destruct in a later transaction", leaver, 11);
    let twins = script.deploy("deploy twins", code::TWINS);
    script.call("create2, then a collision", twins, []);
}

fn creations(script: &mut Script) {
    script.create("create nothing", Bytes::new());
    script.create("self-destruct while created", [0x5f, 0xff]);
    script.create("fail to create", [0xfe]);
    // 0xEF may not begin a contract's code (EIP-3541).
    script.create("create with a forbidden first byte", hex!("60ef5f5360015ff3"));
    script.create("create code of the largest size", hex!("6160005ff3"));
    script.create("create code above the largest size", hex!("6160015ff3"));
}

fn precompiles(script: &mut Script) {
    let caller = script.deploy("deploy caller", CALLER);
    for number in (1..=0x12).chain([0x100]) {
        for length in [0_usize, 96, 160, 192, 213, 384] {
            let mut input = word(number).to_vec();
            input.resize(32 + length, 0);
            script.call("precompile", caller, input);
        }
    }
    // 3^(2^256 - 1) mod (2^256 - 2): base, exponent and modulus of 32 bytes each.
    let lengths = [word(32), word(32), word(32)].concat();
    let numbers = [word(3).to_vec(), vec![0xff; 32], [vec![0xff; 31], vec![0xfe]].concat()];
    script.call("modexp", caller, [word(5).to_vec(), lengths, numbers.concat()].concat());
}

/// Sends a transaction and waits for its receipt: anvil mines after it has answered.
fn receipt(node: &impl Node, raw: &Bytes) -> Value {
    let hash = node.get("eth_sendRawTransaction", json!([raw]));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let receipt = node.get("eth_getTransactionReceipt", json!([hash]));
        if receipt != Value::Null {
            return receipt;
        }
        assert!(Instant::now() < deadline, "no receipt for {hash} in 20 s");
    }
}

/// What the outcome of a transaction is compared by.
fn essence(node: &impl Node, receipt: &Value) -> Value {
    let logs: Vec<Value> = receipt["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| json!([log["address"], log["topics"], log["data"], log["logIndex"]]))
        .collect();
    let created =
        if receipt["status"] == "0x1" { &receipt["contractAddress"] } else { &Value::Null };
    let block = node.get("eth_getBlockByNumber", json!([receipt["blockNumber"], false]));
    json!({
        "status": receipt["status"],
        "gasUsed": receipt["gasUsed"],
        "cumulativeGasUsed": receipt["cumulativeGasUsed"],
        "effectiveGasPrice": receipt["effectiveGasPrice"],
        "type": receipt["type"],
        "from": receipt["from"],
        "to": receipt["to"],
        "contractAddress": created,
        "logs": logs,
        "logsBloom": receipt["logsBloom"],
        "blockNumber": receipt["blockNumber"],
        "baseFee": block["baseFeePerGas"],
        "transactionsRoot": block["transactionsRoot"],
        "receiptsRoot": block["receiptsRoot"],
    })
}

/// Sends the script to an empty node.
fn run(node: &impl Node, script: &Script) -> Vec<Value> {
    let rich = U256::from(10).pow(U256::from(21));
    node.get("anvil_setBalance", json!([dev_account(0).0, rich]));
    let outcome = |raw| essence(node, &receipt(node, raw));
    script.raws.iter().map(|(name, raw)| json!([name, outcome(raw)])).collect()
}

#[test]
fn receipts_are_those_of_anvil_to_the_last_unit_of_gas() {
    let Some(program) = tool("anvil", "whether receipts equal anvil's") else { return };
    let script = script();
    let anvil = Anvil::start(&program);
    let expected = run(&anvil, &script);
    let got = run(&chain(), &script);
    assert_eq!(got.len(), script.raws.len());
    for (number, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_eq!(got, expected, "transaction {number}");
    }
}

#[test]
fn estimates_and_refusals_are_those_of_anvil() {
    let Some(program) = tool("anvil", "whether estimates and errors equal anvil's") else { return };
    let anvil = Anvil::start(&program);
    let ours = chain();
    let mut script = Script { raws: Vec::new(), nonce: 0 };
    let counter = script.deploy("counter", COUNTER);
    let reverter = script.deploy("reverter", REVERTER);
    run(&anvil, &script);
    run(&ours, &script);
    let both = |method: &str, params: &Value| {
        (ours.ask(method, params.clone()), anvil.ask(method, params.clone()))
    };
    let from = dev_account(0).0;
    for request in [
        json!({ "from": from, "to": Address::repeat_byte(8), "value": "0x1" }),
        json!({ "from": from, "to": counter }),
        json!({ "from": from, "input": init_code(COUNTER) }),
        json!({ "from": from, "to": Address::repeat_byte(8), "input": Bytes::from(vec![1; 500]) }),
    ] {
        let (got, expected) = both("eth_estimateGas", &json!([request]));
        assert_eq!(got, expected, "{request}");
    }
    let revert = json!([{ "to": reverter, "input": "0xdeadbeef" }, "latest"]);
    let (got, expected) = both("eth_call", &revert);
    let (got, expected) = (got.unwrap_err(), expected.unwrap_err());
    assert_eq!((&got["code"], &got["data"]), (&expected["code"], &expected["data"]));

    let poor = sign(99, tx(0, counter, []));
    let used = sign(0, tx(0, counter, []));
    let foreign = sign(0, TxEip1559 { chain_id: 1, ..tx(2, counter, []) });
    let cheap = TxEip1559 { max_fee_per_gas: 1, max_priority_fee_per_gas: 0, ..tx(2, counter, []) };
    for raw in [poor, used, foreign, sign(0, cheap)] {
        let (got, expected) = both("eth_sendRawTransaction", &json!([raw]));
        let (got, expected) = (got.unwrap_err(), expected.unwrap_err());
        assert_eq!(got["code"], expected["code"], "{got} {expected}");
        let words = |error: &Value| error["message"].as_str().unwrap().to_lowercase();
        let (got, expected) = (words(&got), words(&expected));
        let common = expected.split([':', '(']).next().unwrap().trim();
        assert!(got.starts_with(common), "{got} / {expected}");
    }
}

/// Runs `cast` against a served chain; returns what it printed.
async fn cast(program: PathBuf, address: SocketAddr, arguments: Vec<String>) -> String {
    let output = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(&arguments)
            .env("ETH_RPC_URL", format!("http://{address}"))
            .env("NO_PROXY", "*")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}

#[test]
fn cast_deploys_sends_and_reads() {
    let Some(program) = tool("cast", "whether cast can use the chain") else { return };
    let (address, secret_key) = dev_account(0);
    let key = format!("0x{}", hex::encode(secret_key));
    let counter = address.create(0);
    with_server(&chain(), |server| async move {
        let run = |line: &str| {
            let arguments = line.split_whitespace().map(str::to_owned).collect();
            cast(program.clone(), server, arguments)
        };
        assert_eq!(run("chain-id").await, "31337");
        assert_eq!(run(&format!("balance -e {address}")).await, "10000.000000000000000000");
        let deploy = format!("send --json --private-key {key} --create {}", init_code(COUNTER));
        let receipt: Value = serde_json::from_str(&run(&deploy).await).unwrap();
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        assert_eq!(run(&format!("code {counter}")).await, format!("0x{COUNTER}"));
        let count = format!("send --json --private-key {key} {counter} count()");
        let receipt: Value = serde_json::from_str(&run(&count).await).unwrap();
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        assert_eq!(run(&format!("call {counter} count()(uint256)")).await, "2");
        assert_eq!(run(&format!("storage {counter} 0")).await, word(1).to_string());
        assert_eq!(run(&format!("nonce {address}")).await, "2");
        assert_eq!(run("block-number").await, "2");
        assert_eq!(run("block 2 -f hash").await, receipt["blockHash"]);
        assert_eq!(run("logs --from-block 0").await, "");
        let hash = receipt["transactionHash"].as_str().unwrap();
        assert_eq!(run(&format!("tx {hash} nonce")).await, "1");
        assert_eq!(run("rpc evm_mine").await, "\"0x0\"");
    });
}
