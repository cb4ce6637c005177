//! `phallama pods`

use phallama_chain::PodRecord;
use phallama_protocol::ids::Amount;
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::{clock, print, units};

pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    let pods = chain.pods().await?;
    if context.global.json {
        let pods: Vec<_> = pods.iter().map(as_json).collect();
        print::json(&json!({"token": meta.symbol, "decimals": meta.decimals, "pods": pods}));
        return Ok(());
    }
    let price = |amount: Amount| units::show(amount, meta.decimals);
    let mut rows = Vec::new();
    for pod in &pods {
        for offer in &pod.offers {
            rows.push(vec![
                short(&pod.pod_id.to_string()),
                offer.model.clone(),
                price(offer.input_price_per_mtok),
                price(offer.output_price_per_mtok),
                offer.context_tokens.to_string(),
                state(pod),
                pod.url.clone(),
            ]);
        }
    }
    let (input, output) = (format!("in, {}/M", meta.symbol), format!("out, {}/M", meta.symbol));
    let header = ["pod", "model", &input, &output, "context", "key", "URL"];
    print::line(print::table(&header, &rows, &[2, 3, 4]));
    if pods.is_empty() {
        print::note("no pod is registered here yet");
    }
    Ok(())
}

fn state(pod: &PodRecord) -> String {
    let left_s = pod.key_expiry_unix_s.saturating_sub(clock::now_unix_s());
    match (pod.retired, left_s) {
        (true, _) => "retired".to_owned(),
        (_, 0) => "expired".to_owned(),
        (_, left_s) => format!("{} h left", left_s / 3600),
    }
}

/// `0x12345678…` of a long hexadecimal text.
pub(super) fn short(id: &str) -> String {
    format!("{}…", id.chars().take(10).collect::<String>())
}

fn as_json(pod: &PodRecord) -> serde_json::Value {
    let offers: Vec<_> = pod
        .offers
        .iter()
        .map(|offer| {
            json!({
                "model": offer.model, "weights_sha256": offer.weights_sha256,
                "input_price_per_mtok": offer.input_price_per_mtok,
                "output_price_per_mtok": offer.output_price_per_mtok,
                "context_tokens": offer.context_tokens,
                "max_output_tokens": offer.max_output_tokens,
            })
        })
        .collect();
    json!({
        "pod": pod.pod_id, "url": pod.url, "operator": pod.operator, "identity": pod.identity,
        "key_expiry_unix_s": pod.key_expiry_unix_s, "measurement": pod.measurement,
        "quote_hash": pod.quote_hash, "evidence_uri": pod.evidence_uri, "retired": pod.retired,
        "offers": offers,
    })
}
