//! A node to test against: the embedded chain behind HTTP, or an `anvil` process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use phallama_devchain::{ChainOptions, DevChain, serve};
use phallama_protocol::ids::Address;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Time of block 0 on every node here, so that calldata and therefore gas are the same on both.
pub(crate) const GENESIS_UNIX_S: u64 = 1_800_000_000;
const ANVIL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
);

pub(crate) struct Node {
    port: u16,
    running: Running,
}

enum Running {
    Embedded(Embedded),
    Anvil(Anvil),
}

/// A thread of its own: when it ends, its connections end, as when a process ends.
struct Embedded {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Anvil(Child);

impl Node {
    pub(crate) fn embedded() -> Self {
        let (port, embedded) = Embedded::start(0);
        Self { port, running: Running::Embedded(embedded) }
    }

    /// `None`, and a loud line, where `anvil` is not installed.
    pub(crate) fn anvil(test: &str) -> Option<Self> {
        Self::anvil_of(test, Anvil::HARDFORK)
    }

    /// The same under the rules before P-256 had a precompile.
    pub(crate) fn anvil_before_p256(test: &str) -> Option<Self> {
        Self::anvil_of(test, "prague")
    }

    fn anvil_of(test: &str, hardfork: &str) -> Option<Self> {
        if !Path::new(ANVIL).exists() {
            let hint = "no anvil (`tools/setup.sh contracts` installs it)";
            // Not eprintln!, which the test harness hides when the test passes.
            let _ = writeln!(std::io::stderr(), "NOT TESTED against anvil: {test}: {hint}");
            return None;
        }
        let (port, anvil) = Anvil::start(0, hardfork);
        Some(Self { port, running: Running::Anvil(anvil) })
    }

    /// Ends the node and starts another one, with an empty chain, at the same URL.
    pub(crate) fn restart(self) -> Self {
        let Self { port, running } = self;
        let (port, running) = match running {
            Running::Embedded(old) => {
                drop(old);
                let (port, new) = Embedded::start(port);
                (port, Running::Embedded(new))
            }
            Running::Anvil(old) => {
                drop(old);
                let (port, new) = Anvil::start(port, Anvil::HARDFORK);
                (port, Running::Anvil(new))
            }
        };
        Self { port, running }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A raw JSON-RPC request that must succeed.
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        phallama_chain::use_ring();
        let response = reqwest::Client::new().post(self.url()).json(&request).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].clone()
    }

    /// Makes ether for gas.
    pub(crate) async fn fund(&self, account: Address) {
        self.rpc("anvil_setBalance", json!([account, "0x56bc75e2d63100000"])).await;
    }

    /// Makes a block this many seconds after the newest one; the clock goes on from there.
    pub(crate) async fn advance(&self, seconds: u64) {
        let head = self.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
        let next = number(&head["timestamp"]) + seconds;
        self.rpc("evm_setNextBlockTimestamp", json!([next])).await;
        self.rpc("evm_mine", json!([])).await;
    }
}

/// A number as JSON-RPC writes it.
pub(crate) fn number(hex: &Value) -> u64 {
    let digits = hex.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(digits.unwrap_or_else(|| panic!("{hex} is no hex number")), 16).unwrap()
}

impl Embedded {
    fn start(port: u16) -> (u16, Self) {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let options = ChainOptions {
                    genesis_unix_s: Some(GENESIS_UNIX_S),
                    // As on anvil.
                    safe_depth_blocks: 32,
                    ..ChainOptions::default()
                };
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = serve(DevChain::new(options), listener) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        (port, Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.stop.take().expect("dropped once").send(());
        let ended = self.thread.take().expect("dropped once").join();
        // A panic of the chain must fail the test, unless that is failing already.
        assert!(ended.is_ok() || std::thread::panicking(), "the embedded chain panicked");
    }
}

impl Anvil {
    /// The rules of the embedded chain.
    const HARDFORK: &str = "osaka";

    fn start(port: u16, hardfork: &str) -> (u16, Self) {
        let mut process = Command::new(ANVIL)
            .args(["--host", "127.0.0.1", "--accounts", "1", "--port", &port.to_string()])
            .args(["--timestamp", &GENESIS_UNIX_S.to_string(), "--hardfork", hardfork])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (port_sender, port_found) = mpsc::channel();
        // Reads on after the port is known: a full pipe would stop the node.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("Listening on 127.0.0.1:") {
                    let _ = port_sender.send(address.parse::<u16>());
                }
            }
        });
        let port = port_found.recv().expect("anvil ended before it listened").unwrap();
        (port, Self(process))
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
