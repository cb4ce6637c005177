//! `phallama pods`

use phallama_chain::PodRecord;
use phallama_client::Client;
use phallama_protocol::ids::{Amount, PodId};
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print, units};

pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    let pods = chain.pods().await?;
    if context.global.json {
        let pods: Vec<_> = pods.iter().map(as_json).collect();
        let pods = json!({"token": meta.symbol, "decimals": meta.decimals, "pods": pods});
        print::json(Schema::Pods, pods);
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

/// What the registry verified, and how long it is good for.
pub(super) fn state(pod: &PodRecord) -> String {
    let Some(key) = pod.key.filter(|_| !pod.retired) else {
        return if pod.retired { "retired" } else { "none" }.to_owned();
    };
    match key.expiry_unix_s.saturating_sub(clock::now_unix_s()) {
        0 => "expired".to_owned(),
        left_s => format!("{} {}, {} h left", key.tee, key.tcb_status, left_s / 3600),
    }
}

/// The pod that is named: by its whole id, or by the beginning of one that the wallet has used or
/// that is registered.
pub(super) async fn of_wallet(client: &Client, asked: &str) -> Result<PodId, CliError> {
    if let Ok(pod) = asked.parse() {
        return Ok(pod);
    }
    let used = client.spending().await?.pods;
    let mut used = used.iter().filter(|(pod, _)| pod.to_string().starts_with(asked));
    if let (Some((pod, _)), None) = (used.next(), used.next()) {
        return Ok(*pod);
    }
    let found = super::verify::select(client, Some(asked)).await?;
    Ok(*found.first().expect("a pod is named, and exactly one is selected by a name"))
}

/// `0x12345678…` of a long hexadecimal text.
pub(super) fn short(id: &str) -> String {
    format!("{}…", id.chars().take(10).collect::<String>())
}

/// For programs.
pub(crate) fn as_json(pod: &PodRecord) -> serde_json::Value {
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
        "pod": pod.pod_id, "url": pod.url, "operator": pod.operator, "key": pod.key,
        "retired": pod.retired, "offers": offers,
    })
}
