//! `phallama run`

mod editor;
mod images;
mod repl;
mod reply;
mod saved;
mod session;
mod slash;
mod wrap;

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use phallama_chain::TokenMeta;
use serde_json::{Value, json};

use self::reply::{Ended, Reply, Shown};
use self::session::Session;
use crate::cli::Run;
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;
use crate::signal::Interrupts;

pub(super) async fn run(context: &Context, options: Run) -> Result<(), CliError> {
    let context = &context.wanting(&options.wanted);
    let mut session = Session::new(&options.model);
    session.system.clone_from(&options.system);
    session.format = options.format.as_deref().map(format).transpose()?;
    session.think = options.think.as_deref().map(think);
    let limit = options.max_tokens.map(|limit| ("num_predict".to_owned(), limit.into()));
    session.options.extend(limit);
    if options.keepalive.is_some() {
        print::note("--keepalive changes nothing: how long a model stays loaded is up to its pod");
    }
    let shown = Shown {
        verbose: options.verbose,
        hide_thinking: options.hidethinking,
        wordwrap: !options.nowordwrap,
    };
    match prompt(&options.prompt)? {
        Some(prompt) => once(context, session, shown, &prompt).await,
        None if context.global.json || !std::io::stdout().is_terminal() => Err(CliError::NoPrompt),
        None => repl::run(context, session, shown).await,
    }
}

/// What comes from stdin, and behind it what was typed; nothing when a person is to type.
fn prompt(typed: &[String]) -> Result<Option<String>, CliError> {
    let typed = typed.join(" ");
    let mut piped = String::new();
    if !std::io::stdin().is_terminal() {
        let read = std::io::stdin().read_to_string(&mut piped);
        read.map_err(|source| CliError::Input { what: "prompt", source })?;
    }
    let piped = piped.trim_end_matches(['\r', '\n']);
    let prompt = match (piped.is_empty(), typed.is_empty()) {
        (_, true) => piped.to_owned(),
        (true, false) => typed,
        (false, false) => format!("{piped}\n\n{typed}"),
    };
    Ok((!prompt.is_empty()).then_some(prompt))
}

async fn once(
    context: &Context,
    mut session: Session,
    shown: Shown,
    prompt: &str,
) -> Result<(), CliError> {
    session.ask(prompt)?;
    let body = session.body()?;
    let mut interrupts = Interrupts::watch();
    let client = context.client().await?;
    let token = client.token().await?.clone();
    let streamed = (!context.global.json).then_some(shown);
    match reply::read(&client, &session.model, body, streamed, &mut interrupts).await {
        Err(error) => Err(CliError::Priced { error: Box::new(error), token }),
        Ok(Ended::Stopped { stop, .. }) => Err(CliError::Stopped(stop)),
        Ok(Ended::Whole(reply)) => {
            if context.global.json {
                print::json(Schema::Run, as_json(&session.model, &reply, &token));
            }
            if shown.verbose {
                print::note(reply.summary(&token));
            }
            Ok(())
        }
    }
}

fn as_json(model: &str, reply: &Reply, token: &TokenMeta) -> Value {
    let answer = &reply.finished;
    json!({
        "model": model, "content": reply.text, "thinking": reply.thinking,
        "finish": format!("{:?}", answer.finish).to_lowercase(),
        "pod": answer.pod_id, "request": answer.request_id, "receipt": answer.receipt_hash,
        "cost": answer.cost, "token": token.symbol, "decimals": token.decimals,
        "prompt_tokens": answer.usage.prompt_tokens, "cached_tokens": answer.usage.cached_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "total_ms": reply.total_ms(), "prompt_ms": answer.prompt_ms,
        "predicted_ms": answer.predicted_ms,
    })
}

/// `json`, a schema, or a file with one.
fn format(text: &str) -> Result<Value, CliError> {
    if text == "json" {
        return Ok("json".into());
    }
    let schema = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| CliError::File { path: Path::new(path).to_owned(), source })?,
    };
    let bad = |reason: String| CliError::BadValue {
        what: "format",
        got: text.to_owned(),
        expected: format!("`json`, or a JSON schema ({reason})"),
    };
    match serde_json::from_str(&schema) {
        Ok(schema @ Value::Object(_)) => Ok(schema),
        Ok(_) => Err(bad("which is an object".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Yes, no, or how much.
fn think(level: &str) -> Value {
    match level {
        "true" => true.into(),
        "false" => false.into(),
        level => level.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_json_or_a_schema() {
        assert_eq!(format("json").unwrap(), json!("json"));
        assert_eq!(format("{\"type\":\"object\"}").unwrap(), json!({"type": "object"}));
        for bad in ["yaml", "[1]", "{"] {
            let error = format(bad).unwrap_err().to_string();
            assert!(error.contains("is not a valid format"), "{error}");
        }
        assert!(matches!(format("@/nowhere/schema.json"), Err(CliError::File { .. })));
    }
}
