//! `phallama list`

use std::collections::BTreeMap;

use futures::StreamExt as _;
use phallama_chain::PodRecord;
use phallama_client::{Client, ModelListing};
use phallama_protocol::ids::PodId;
use serde_json::{Value, json};

use super::show::as_json;
use crate::cli::List;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::print::{self, Spinner};
use crate::schema::Schema;

/// Pods that are verified at the same time.
const PODS_AT_A_TIME: usize = 8;

/// Whether each pod proved now what it has to prove; nothing when nobody was asked.
type Verified = BTreeMap<PodId, bool>;

pub(super) async fn run(context: &Context, options: &List) -> Result<(), CliError> {
    let client = context.reader().await?;
    let mut models = client.models().await?;
    let begin = options.name.as_deref().unwrap_or_default();
    models.retain(|model| model.model.starts_with(begin));
    let verified = if options.verify { verify(&client, &models).await } else { Verified::new() };
    let (records, meta) = (client.pods().await?, client.token().await?);
    if context.global.json {
        let models: Vec<Value> = models
            .iter()
            .map(|model| {
                let mut json = as_json(model, meta);
                let told = |id: &PodId| json!({"pod": id, "verified": verified.get(id)});
                json["pods"] = model.pods.iter().map(told).collect();
                json["tee"] = tees(model, &records).into();
                json
            })
            .collect();
        print::json(Schema::Models, json!({"models": models}));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            vec![
                model.model.clone(),
                model.pods.len().to_string(),
                money(model.input_price_per_mtok, meta),
                money(model.output_price_per_mtok, meta),
                model.context_tokens.to_string(),
                tees(model, &records).join(", "),
                state(model, &verified),
            ]
        })
        .collect();
    let header = ["model", "pods", "in per 1M", "out per 1M", "context", "TEE", "verified"];
    print::line(print::table(&header, &rows, &[1, 2, 3, 4]));
    if models.is_empty() {
        print::note("no pod offers a model here; `phallama pods` lists all that are registered");
    }
    Ok(())
}

async fn verify(client: &Client, models: &[ModelListing]) -> Verified {
    let mut pods: Vec<PodId> = models.iter().flat_map(|model| model.pods.clone()).collect();
    pods.sort_unstable();
    pods.dedup();
    let _waiting = Spinner::start("pods are being verified");
    let verdicts = futures::stream::iter(pods).map(|pod| async move {
        let verdict = client.verify(pod).await;
        if let Err(error) = &verdict {
            print::warning(error);
        }
        (pod, verdict.is_ok())
    });
    verdicts.buffer_unordered(PODS_AT_A_TIME).collect().await
}

/// By which hardware the pods say that they are protected.
fn tees(model: &ModelListing, records: &[PodRecord]) -> Vec<String> {
    let serving = records.iter().filter(|pod| model.pods.contains(&pod.pod_id));
    let mut tees: Vec<String> =
        serving.filter_map(|pod| pod.key.map(|key| key.tee.to_string())).collect();
    tees.sort_unstable();
    tees.dedup();
    tees
}

/// Every pod here has a key whose quote the registry verified.
fn state(model: &ModelListing, verified: &Verified) -> String {
    let known: Vec<bool> = model.pods.iter().filter_map(|pod| verified.get(pod).copied()).collect();
    if known.is_empty() {
        return "by the registry".to_owned();
    }
    format!("{} of {} now", known.iter().filter(|it| **it).count(), known.len())
}
