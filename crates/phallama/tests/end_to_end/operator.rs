//! What an operator does and reads: a quote tried, a machine shared, a platform refused.

use phallama_attest::Evidence;
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::Chain;
use phallama_host::attestation::{PlatformQuote, RefusalKind};
use phallama_host::{Pod, PodError, PodProgress};
use phallama_protocol::frames::FrameClass;
use serde_json::json;
use sha2::Digest as _;
use tokio::io::AsyncBufReadExt as _;

use crate::stack::{
    MODEL, Options, Stack, deploy_under, developer, pod_config, program, scripted_weights,
};

pub(crate) async fn evidence(stack: &Stack) -> Vec<u8> {
    let url = format!("{}/.well-known/phallama/evidence", stack.pod_url);
    reqwest::get(url).await.expect("the pod answers").bytes().await.expect("whole").to_vec()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn a_pods_own_evidence_is_checked_and_costs_little() {
    let stack = Stack::start(Options::scripted()).await;
    let path = stack.dir.path().join("evidence.json");
    std::fs::write(&path, evidence(&stack).await).expect("written");
    let file = path.to_str().expect("UTF-8");
    let output = stack.phallama(&["pod", "check", file]).await;
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for expected in ["accepts it: UpToDate", "remembered", "to bring", "nothing"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let output = stack.phallama(&["--json", "pod", "check", file]).await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&shown["to_bring"], &shown["pck_known"]), (&serde_json::json!([]), &true.into()));
    let backs = shown["machine_backs"].as_str().expect("a prefix");
    assert!(stack.pod_id.to_string().starts_with(&format!("0x{backs}")));
}

#[tokio::test]
async fn a_real_quote_is_refused_by_a_development_deployment() {
    let stack = Stack::start(Options::scripted()).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/attestation/intel");
    let file = format!("{folder}/sgx_quote.hex");
    let output = stack.phallama(&["pod", "check", &file]).await;
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!(text(&output.stderr));
}

#[tokio::test]
async fn a_second_pod_on_a_machine_needs_both_operators_word() {
    let stack = Stack::start(Options::scripted()).await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = pod_config(dir.path(), stack.chain.config(), &Options::scripted());
    config.salt = [8; 32];
    let Err(PodError::Refused(refusal)) = Pod::start(config.clone(), |_| {}).await else {
        panic!("the machine is taken");
    };
    assert_eq!(refusal.kind, RefusalKind::MachineTaken);

    let evidence = Evidence::from_json(&evidence(&stack).await).expect("a document");
    let machine = PlatformQuote::cut(&evidence.quote).expect("a quote").pck.machine.to_string();
    let second = phallama_protocol::eip712::pod_id(config.operator.address(), &config.salt);
    let key = stack.dir.path().join("operator.key");
    std::fs::write(&key, hex::encode(developer(1).to_bytes().as_slice())).expect("written");
    let key = key.to_str().expect("UTF-8");
    for pod in [second, stack.pod_id] {
        let pod = pod.to_string();
        let arguments =
            ["pod", "share-machine", &machine, "--pod", &pod, "--operator-key-file", key];
        let output = stack.phallama(&arguments).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let agreed = format!("pod {pod} agrees to share machine {machine}");
        assert!(text(&output.stdout).starts_with(&agreed), "{}", text(&output.stdout));
    }
    let (tell, told) = std::sync::mpsc::channel();
    let pod = Pod::start(config, move |step| drop(tell.send(step))).await.expect("both agreed");
    pod.shutdown().await.expect("a clean end");
    let sent = told.into_iter().filter_map(|step| match step {
        PodProgress::Registered { what, .. } => Some(what),
        _ => None,
    });
    // Listed and known from the first try; the port is another one.
    assert_eq!(sent.collect::<Vec<_>>(), ["updateUrl", "attestKnown"]);
}

/// The same machine, and a registry that trusts another root.
#[tokio::test]
async fn pod_up_on_a_deployment_of_another_root_ends_with_code_3() {
    let stack = Stack::start(Options::scripted()).await;
    let root = DevelopmentRoot::from_seed(b"another root");
    let rpc_url = &stack.chain.config().rpc_urls[0];
    let chain = deploy_under(rpc_url, root.root_der()).await;
    let home = phallama::home::Home::at(stack.dir.path().join("operator"));
    let mut config = home.config().expect("none yet");
    config.chain = Some(chain.clone());
    config.trust.danger_accept_simulated_tee = true;
    home.write_config(&config).expect("written");
    home.write("key", hex::encode(developer(1).to_bytes().as_slice()).as_bytes()).expect("written");

    let (key, weights) = (home.path("key"), scripted_weights(stack.dir.path()));
    let (worker, enclave) = (program("phallama-fake-worker"), program("phallama-enclave"));
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_phallama"))
        .args(["pod", "up", "--listen", "127.0.0.1:0", "--name", "test-model"])
        .arg("--operator-key-file")
        .arg(&key)
        .arg("--model")
        .arg(&weights)
        .arg("--worker")
        .arg(&worker)
        .arg("--enclave")
        .arg(&enclave)
        .env_clear()
        .env("PHALLAMA_HOME", stack.dir.path().join("operator"))
        .env("NO_COLOR", "1")
        .output()
        .await
        .expect("the binary runs");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let (_, refusal) = stderr.split_once("error: ").expect("a refusal");
    insta::assert_snapshot!(refusal);
    let trusted = hex::encode(<[u8; 32]>::from(sha2::Sha256::digest(
        DevelopmentRoot::from_seed(DEVELOPMENT_SEED).root_der(),
    )));
    assert!(refusal.contains(&trusted), "the quote's own root is named");
    let chain = Chain::connect(chain).await.expect("the contracts are there");
    assert_eq!(chain.pods().await.expect("read"), [], "nothing was sent");
}

fn say(words: &str) -> serde_json::Value {
    json!({"messages": [{"role": "user", "content": words}], "max_tokens": 64})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_settles_and_collects_what_a_pod_earns() {
    let mut stack = Stack::start(Options::scripted()).await;
    let mut answer = stack.client.chat(MODEL, say("say hello")).await.expect("admitted");
    let cost = answer.text().await.expect("a whole answer").1.cost;
    let shown = said(&stack, &["pod", "status"]).await;
    for expected in [stack.pod_id.to_string(), "serves      yes".to_owned()] {
        assert!(shown.contains(&expected), "{expected}: {shown}");
    }
    let earnings = answered(&stack, &["pod", "earnings"]).await;
    assert_eq!((&earnings["unsettled"], &earnings["settled"]), (&json!(cost), &json!("0")));
    let planned = answered(&stack, &["pod", "settle", "--dry-run"]).await;
    assert_eq!(planned["planned"][0]["payable"], json!(cost));
    let settled = answered(&stack, &["pod", "settle"]).await;
    assert_eq!(settled["settled"][0]["paid"], json!(cost));
    assert_eq!(said(&stack, &["pod", "settle"]).await, "nothing to settle\n");
    let before = stack.chain.token_balance(developer(1).address()).await.expect("read");
    let collected = answered(&stack, &["pod", "collect"]).await;
    assert_eq!(collected["collected"]["amount"], json!(cost));
    let after = stack.chain.token_balance(developer(1).address()).await.expect("read");
    assert_eq!(after - before, cost.value());

    let drained = said(&stack, &["pod", "drain"]).await;
    assert!(drained.starts_with("the pod refuses new requests; 0 are still open"), "{drained}");
    assert!(stack.client.chat(MODEL, say("say hello")).await.is_err());
    said(&stack, &["pod", "drain", "--resume"]).await;
    let mut answer = stack.client.chat(MODEL, say("say hello")).await.expect("taken again");
    answer.text().await.expect("a whole answer");

    stack.stop_pod().await;
    let output = stack.phallama(&["--json", "pod", "earnings"]).await;
    assert!(text(&output.stderr).contains("no pod runs here"), "{}", text(&output.stderr));
    let earnings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&earnings["unsettled"], &earnings["credit"]), (&json!("0"), &json!(null)));
    let twice = cost.value() * 2;
    assert_eq!(earnings["settled"], json!(twice.to_string()), "the end settled the rest");
    assert_eq!(stack.phallama(&["pod", "status"]).await.status.code(), Some(7));
}

async fn said(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack.phallama(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

async fn answered(stack: &Stack, arguments: &[&str]) -> serde_json::Value {
    let shown = said(stack, &[&["--json"], arguments].concat()).await;
    serde_json::from_str(&shown).expect("JSON")
}

/// `phallama pod up` as a program of its own, beside the pod of the stack.
struct Program {
    process: tokio::process::Child,
    stderr: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStderr>>,
}

impl Program {
    async fn start(stack: &Stack) -> Self {
        let home = phallama::home::Home::at(stack.dir.path().join("operator"));
        let mut config = home.config().expect("read");
        config.chain = Some(stack.chain.config().clone());
        config.trust.danger_accept_simulated_tee = true;
        home.write_config(&config).expect("written");
        let key = hex::encode(developer(1).to_bytes().as_slice());
        home.write("key", key.as_bytes()).expect("written");
        let weights = scripted_weights(stack.dir.path());
        let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_phallama"))
            .args(["pod", "up", "--listen", "127.0.0.1:0", "--name", "another-model"])
            .arg("--operator-key-file")
            .arg(home.path("key"))
            .arg("--model")
            .arg(&weights)
            .arg("--worker")
            .arg(program("phallama-fake-worker"))
            .arg("--enclave")
            .arg(program("phallama-enclave"))
            .env_clear()
            .env("PHALLAMA_HOME", stack.dir.path().join("operator"))
            .env("NO_COLOR", "1")
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let stderr = tokio::io::BufReader::new(process.stderr.take().expect("piped"));
        let mut this = Self { process, stderr: stderr.lines() };
        this.says("Ctrl-C settles").await;
        this
    }

    /// Waits for a line with these words.
    async fn says(&mut self, words: &str) {
        let mut said = Vec::new();
        while let Some(line) = self.stderr.next_line().await.expect("read") {
            if line.contains(words) {
                return;
            }
            said.push(line);
        }
        panic!("it ended without `{words}`: {said:#?}");
    }

    fn terminate(&self) {
        let pid = self.process.id().expect("it runs").to_string();
        let killed = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.expect("kill runs").success());
    }

    async fn code(&mut self, within_s: u64) -> Option<i32> {
        let within = std::time::Duration::from_secs(within_s);
        let ended = tokio::time::timeout(within, self.process.wait()).await;
        ended.expect("it ends in time").expect("waited").code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_asked_to_end_settles_first_and_ends_at_once_when_asked_again() {
    let stack = Stack::start(Options::scripted()).await;
    let mut pod = Program::start(&stack).await;
    let client = stack.another_client(FrameClass::Fast, "of another pod").await;
    let mut answer = client.chat("another-model", say("say hello")).await.expect("admitted");
    answer.text().await.expect("a whole answer");
    drop(client);
    pod.terminate();
    pod.says("settled ").await;
    // Thirty seconds are the most for open answers, and there are none.
    assert_eq!(pod.code(60).await, Some(0));

    let mut pod = Program::start(&stack).await;
    let client = stack.another_client(FrameClass::Fast, "of another pod").await;
    let body = json!({
        "messages": [{"role": "user", "content": "slow 100000 50"}], "max_tokens": 1000,
    });
    let mut answer = client.chat("another-model", body).await.expect("admitted");
    answer.next().await.expect("an event").expect("it runs");
    pod.terminate();
    pod.says("again ends the pod at once").await;
    pod.terminate();
    assert_eq!(pod.code(20).await, Some(143), "as shells say of SIGTERM");
}
