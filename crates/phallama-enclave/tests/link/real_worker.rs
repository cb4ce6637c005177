//! The real llama-server with a real model behind the enclave: that real token counts, a real chat
//! template and a real cancellation fit the reserve and the receipt.
//!
//! `PHALLAMA_LLAMA_SERVER` and `PHALLAMA_MODEL` name the two files; otherwise `tools/setup.sh`
//! provides them.

use std::path::{Path, PathBuf};
use std::process::Command;

use phallama_engine::weights_digest;
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::receipt::Finish;
use serde_json::json;

use crate::driver::{MODEL, Pod, Script};

fn path(variable: &str, part: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(&setup).arg(part).output().unwrap();
    assert!(output.status.success(), "{} {part} failed", setup.display());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

async fn pod() -> Pod {
    let model_path = path("PHALLAMA_MODEL", "model");
    let digest = weights_digest(&model_path, |_, _| ()).unwrap();
    Pod::start_with(|config| {
        config.worker.path = path("PHALLAMA_LLAMA_SERVER", "llama-server");
        config.worker.slots = 2;
        let model = &mut config.models[0];
        model.model_path = model_path;
        model.weights_sha256 = Digest32(digest);
        model.context_tokens = 1_024;
        model.max_output_tokens = 900;
    })
    .await
}

#[tokio::test]
async fn answers_and_cancellations_of_a_real_model_are_metered() {
    let pod = pod().await;
    let ask = |max_tokens: u32| {
        let body = json!({
            "model": MODEL, "max_tokens": max_tokens,
            "messages": [{ "role": "user", "content": "Hi" }],
        });
        pod.request_with_body(FrameClass::Unpaced, &body)
    };
    let request = ask(16);
    let answer = pod.ask(&request).await;
    let receipt = answer.receipt();
    receipt.check(&pod.expectation(&request, &answer), &pod.domain()).unwrap();
    assert!(receipt.receipt.prompt_tokens > 0 && receipt.receipt.completion_tokens <= 16);
    assert!(!answer.text().is_empty());
    assert!(matches!(receipt.receipt.finish, Finish::Stop | Finish::Length));

    let body = json!({ "model": MODEL, "max_tokens": 900, "ignored": null,
        "messages": [{ "role": "user", "content": "Count from 1 to 500, one number per line." }] });
    let mut exchange = pod.send(&pod.request_with_body(FrameClass::Unpaced, &body)).await;
    exchange.until_first_event(&Script::default()).await;
    exchange.host.client_gone().await;
    let cancelled = exchange.run(&Script::default()).await;
    let claim = cancelled.claim.unwrap();
    assert!((1..900).contains(&claim.completion_tokens), "{}", claim.completion_tokens);
    let before = receipt.receipt.cumulative;
    assert!(claim.cumulative.checked_sub(before).is_some_and(|cost| cost > Amount::ZERO));
}
