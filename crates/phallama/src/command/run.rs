//! `phallama run`

use std::io::Read as _;

use phallama_client::{AnswerEvent, FinishedAnswer};
use serde_json::{Map, Value, json};

use crate::cli::Run;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::print;

pub(super) async fn run(context: &Context, options: Run) -> Result<(), CliError> {
    let prompt = match options.prompt {
        Some(prompt) => prompt,
        None => from_stdin()?,
    };
    let mut messages = Vec::new();
    messages.extend(options.system.map(|system| json!({"role": "system", "content": system})));
    messages.push(json!({"role": "user", "content": prompt}));
    let mut body = Map::new();
    body.insert("messages".to_owned(), messages.into());
    body.extend(options.max_tokens.map(|limit| ("max_tokens".to_owned(), limit.into())));

    let client = context.client().await?;
    let token = client.token().await?.clone();
    let priced = |error| CliError::Priced { error: Box::new(error), token: token.clone() };
    let mut answer = client.chat(&options.model, Value::Object(body)).await.map_err(priced)?;
    let mut text = String::new();
    while let Some(event) = answer.next().await {
        match event.map_err(priced)? {
            AnswerEvent::Content(content) if context.global.json => text.push_str(&content),
            AnswerEvent::Content(content) => print::piece(&content),
            AnswerEvent::Finished(finished) => {
                if context.global.json {
                    print::json(&as_json(&text, &finished));
                } else {
                    print::line("");
                }
                if options.verbose {
                    print::note(summary(&finished, &money(finished.cost, &token)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn from_stdin() -> Result<String, CliError> {
    let mut prompt = String::new();
    let read = std::io::stdin().read_to_string(&mut prompt);
    read.map_err(|source| CliError::Input { what: "prompt", source })?;
    Ok(prompt)
}

fn summary(answer: &FinishedAnswer, cost: &str) -> String {
    let usage = &answer.usage;
    format!(
        "pod      {}\ntokens   {} in, {} out\ncost     {cost}\nreceipt  {}\nbytes    {} sent, {} received",
        answer.pod_id,
        usage.prompt_tokens,
        usage.completion_tokens,
        answer.receipt_hash,
        answer.wire_bytes_up,
        answer.wire_bytes_down,
    )
}

fn as_json(text: &str, answer: &FinishedAnswer) -> Value {
    json!({
        "content": text, "pod": answer.pod_id, "receipt": answer.receipt_hash, "cost": answer.cost,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
    })
}
