//! `phallama show`

use phallama_chain::{PodRecord, TokenMeta};
use phallama_client::{Client, ClientError, ModelListing};
use phallama_protocol::offers::Offer;
use serde_json::{Value, json};

use super::pods::{short, state};
use crate::cli::Show;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(super) async fn run(context: &Context, options: &Show) -> Result<(), CliError> {
    let client = context.reader().await?;
    if !context.global.json {
        return print(&client, &options.model).await;
    }
    let listing = offered(&client, &options.model).await?;
    let offers = offers(&client, &listing).await?;
    let mut json = as_json(&listing, client.token().await?);
    json["pods"] = offers.iter().map(|(pod, offer)| offer_json(pod, offer)).collect();
    print::json(Schema::Model, json);
    Ok(())
}

/// A model that can be asked now. Ollama's users add `:latest` to a name without a tag.
pub(super) async fn offered(client: &Client, asked: &str) -> Result<ModelListing, CliError> {
    let models = client.models().await?;
    let plain = asked.strip_suffix(":latest");
    let is_it = |model: &ModelListing| model.model == asked || Some(&*model.model) == plain;
    if let Some(found) = models.iter().find(|model| is_it(model)) {
        return Ok(found.clone());
    }
    let available = models.into_iter().map(|model| model.model).collect();
    Err(ClientError::ModelUnknown { asked: asked.to_owned(), available }.into())
}

/// Facts about a model for people.
pub(super) async fn print(client: &Client, asked: &str) -> Result<(), CliError> {
    let listing = offered(client, asked).await?;
    let meta = client.token().await?;
    print::line(format!("model    {}", listing.model));
    print::line(format!("context  {} tokens", listing.context_tokens));
    print::line(format!("answer   {} tokens at most", listing.max_output_tokens));
    let rows: Vec<Vec<String>> = offers(client, &listing)
        .await?
        .iter()
        .map(|(pod, offer)| {
            vec![
                short(&pod.pod_id.to_string()),
                money(offer.input_price_per_mtok, meta),
                money(offer.output_price_per_mtok, meta),
                offer.context_tokens.to_string(),
                state(pod),
                offer
                    .weights_sha256
                    .to_string()
                    .trim_start_matches("0x")
                    .chars()
                    .take(12)
                    .collect(),
            ]
        })
        .collect();
    let header = ["pod", "in per 1M", "out per 1M", "context", "key on chain", "weights"];
    print::line(format!("\n{}", print::table(&header, &rows, &[1, 2, 3])));
    print::note(
        "\nThe weights are named by the beginning of their SHA-256; each pod proves its own before \
         a prompt is sent. `phallama verify POD` shows how.",
    );
    Ok(())
}

/// Each pod of the listing with its offer, cheapest first.
async fn offers(
    client: &Client,
    listing: &ModelListing,
) -> Result<Vec<(PodRecord, Offer)>, CliError> {
    let records = client.pods().await?;
    let of = |id| {
        let pod = records.iter().find(|pod| pod.pod_id == id)?;
        let offer = pod.offers.iter().find(|offer| offer.model == listing.model)?;
        Some((pod.clone(), offer.clone()))
    };
    Ok(listing.pods.iter().filter_map(|id| of(*id)).collect())
}

/// What `list` and `show` both tell.
pub(super) fn as_json(listing: &ModelListing, meta: &TokenMeta) -> Value {
    json!({
        "model": listing.model, "token": meta.symbol, "decimals": meta.decimals,
        "input_price_per_mtok": listing.input_price_per_mtok,
        "output_price_per_mtok": listing.output_price_per_mtok,
        "context_tokens": listing.context_tokens, "max_output_tokens": listing.max_output_tokens,
        "updated_at_unix_s": listing.updated_at_unix_s,
    })
}

fn offer_json(pod: &PodRecord, offer: &Offer) -> Value {
    json!({
        "pod": pod.pod_id, "url": pod.url, "key": pod.key, "weights_sha256": offer.weights_sha256,
        "input_price_per_mtok": offer.input_price_per_mtok,
        "output_price_per_mtok": offer.output_price_per_mtok,
        "context_tokens": offer.context_tokens, "max_output_tokens": offer.max_output_tokens,
    })
}
