//! An endpoint that fails on request: an HTTP JSON-RPC proxy in front of a chain, for tests of
//! programs that talk to one, in this process or in another.
//!
//! ```
//! use phallama_devchain::{ChainOptions, DevChain, Fault, FaultyRpc, Rule};
//!
//! let chain = DevChain::new(ChainOptions::default());
//! let rpc = FaultyRpc::start(&chain);
//! let slow = rpc.inject(Rule::every(Fault::Slow(std::time::Duration::from_millis(50))));
//! rpc.inject(Rule::method("eth_sendRawTransaction", Fault::Refuse).times(1));
//! // … a client of `rpc.url()` …
//! rpc.withdraw(slow);
//! rpc.heal();
//! ```
//!
//! Of several rules that fit a request, the one injected last decides.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::chain::DevChain;

mod hold;
mod past;
mod rule;
mod serve;
mod upstream;

pub use hold::{Hold, Moment};
use rule::Action;
pub use rule::{Fault, Rewriter, Rule};
pub use upstream::Upstream;

/// A running proxy. Dropping it closes the port and every connection, as when a process ends.
#[derive(Debug)]
pub struct FaultyRpc {
    address: SocketAddr,
    script: Arc<Script>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Names an injected rule, to withdraw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectedFault(u64);

/// What the test wants and what the proxy saw.
#[derive(Debug, Default)]
struct Script {
    state: Mutex<ScriptState>,
}

#[derive(Debug, Default)]
struct ScriptState {
    rules: Vec<(InjectedFault, Rule)>,
    next_id: u64,
    arrivals: HashMap<String, usize>,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, ScriptState> {
        self.state.lock().expect("nothing panics while it holds the script")
    }

    /// Counts a request and chooses its fault. A rule for a number of requests is used up here.
    fn arrive(&self, method: &str, params: &serde_json::Value) -> Option<Action> {
        let mut state = self.lock();
        *state.arrivals.entry(method.to_owned()).or_default() += 1;
        let position = state.rules.iter().rposition(|(_, rule)| rule.fits(method, params))?;
        let (_, rule) = &mut state.rules[position];
        let action = rule.action.clone();
        if rule.use_up() {
            state.rules.remove(position);
        }
        Some(action)
    }

    /// Whether nothing is answered at all, on any connection.
    fn refuses_connections(&self) -> bool {
        let state = self.lock();
        state.rules.last().is_some_and(|(_, rule)| rule.refuses_everything())
    }
}

impl FaultyRpc {
    /// A proxy at a free port of the loopback address, without faults.
    pub fn start(upstream: impl Into<Upstream>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a listening socket can be made so");
        let script = Arc::new(Script::default());
        let (stop, stopped) = oneshot::channel();
        let (shared, upstream) = (Arc::clone(&script), upstream.into());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = serve::serve(listener, upstream, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, script, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens, e.g. `http://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes requests fail from now on.
    pub fn inject(&self, rule: Rule) -> InjectedFault {
        let mut state = self.script.lock();
        let id = InjectedFault(state.next_id);
        state.next_id += 1;
        state.rules.push((id, rule));
        id
    }

    /// Ends one fault; requests that it holds or leaves without an answer stay so.
    pub fn withdraw(&self, fault: InjectedFault) {
        self.script.lock().rules.retain(|(id, _)| *id != fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.script.lock().rules.clear();
    }

    /// How many requests for `method` have arrived, whatever became of them.
    pub fn arrivals(&self, method: &str) -> usize {
        self.script.lock().arrivals.get(method).copied().unwrap_or(0)
    }

    /// Stops every request for `method` at `moment` and tells the test that it is there, until the
    /// test lets go.
    pub fn hold(&self, method: &str, moment: Moment) -> Hold {
        let (hold, held) = hold::pair(moment);
        let rule = self.inject(Rule::held(method, held));
        hold.with_rule(Arc::clone(&self.script), rule)
    }
}

impl Drop for FaultyRpc {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It has ended already if the thread panicked.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy panicked");
        }
    }
}

impl From<&DevChain> for Upstream {
    fn from(chain: &DevChain) -> Self {
        Self::Chain(chain.clone())
    }
}
