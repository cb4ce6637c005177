//! What an operator does and reads: a quote tried, a machine shared, a platform refused.

use phallama_attest::Evidence;
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::Chain;
use phallama_host::attestation::{PlatformQuote, RefusalKind};
use phallama_host::{Pod, PodError, PodProgress};
use sha2::Digest as _;

use crate::stack::{
    Options, Stack, deploy_under, developer, pod_config, program, scripted_weights,
};

async fn evidence(stack: &Stack) -> Vec<u8> {
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
    let rpc_url = &stack.chain.config().rpc_url;
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
