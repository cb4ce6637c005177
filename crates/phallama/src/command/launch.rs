//! `phallama launch`: writes other programs' configuration, and can take it back.

mod apps;
mod edit;
mod kept;

use std::path::Path;

use clap::ValueEnum as _;
use phallama_client::ModelListing;
use serde_json::{Value, json};

use self::apps::{Recipe, Source};
use self::kept::Kept;
use super::local::{self, Found};
use super::{show, token};
use crate::cli::{App, Launch};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;
use crate::server::{DEFAULT_PORT, FALLBACK_PORT};
use crate::tokens::{self, Tokens};

/// Stands for a token that was not made.
const PLACEHOLDER: &str = "TOKEN";
/// What it means.
const NOT_MADE: &str = "\nTOKEN is where one goes that is made without `--dry-run`.";

pub(super) async fn run(context: &Context, options: &Launch) -> Result<(), CliError> {
    let Some(app) = options.app else { return list(context) };
    if options.restore {
        return restore(context, app, options.yes);
    }
    let model = model(context, options.model.as_deref()).await?;
    let (server, needs_token) = server(context).await?;
    let token = needs_token.then(|| PLACEHOLDER.to_owned());
    let mut recipe = Recipe::new(app, Source { server, model, token })?;
    let path = recipe.path.clone();
    let before = path.as_deref().map(kept::read).transpose()?.flatten();
    // A file that is not changed voids no token.
    recipe.write(before.as_deref())?;
    if needs_token && !options.dry_run {
        recipe.source.token = Some(tokens::renew(&context.home, &token_name(app))?.to_string());
    }
    let after = recipe.write(before.as_deref())?;
    let Some(path) = path else {
        show_only(context, options, &recipe, &after);
        return Ok(());
    };
    if !options.dry_run {
        Kept::of(&context.home, app).write(&path, before.as_deref(), after.as_bytes())?;
    }
    told(context, options, &recipe, &path, &after);
    Ok(())
}

/// The model that was named, else the cheapest.
async fn model(context: &Context, named: Option<&str>) -> Result<ModelListing, CliError> {
    let client = context.reader().await?;
    if let Some(named) = named {
        return show::offered(&client, named).await;
    }
    let price = |model: &ModelListing| {
        model.input_price_per_mtok.value() + model.output_price_per_mtok.value()
    };
    let cheapest = client.models().await?.into_iter().min_by_key(price);
    cheapest.ok_or_else(|| CliError::BadValue {
        what: "model",
        got: "none".to_owned(),
        expected: "a model that a pod offers; none does now".to_owned(),
    })
}

/// `host:port` of the local server, or where it would be, and whether it wants a token.
async fn server(context: &Context) -> Result<(String, bool), CliError> {
    let address = match local::find(context).await? {
        Found::Phallama { address, .. } => return Ok((address.to_string(), false)),
        Found::Guarded { address } => return Ok((address.to_string(), true)),
        Found::Free { address } => address,
        Found::Others { mut address } => {
            if address.port() == DEFAULT_PORT {
                address.set_port(FALLBACK_PORT);
            }
            address
        }
    };
    print::warning("the local server does not run yet: start it with `phallama serve`");
    let has_tokens = !Tokens::of(&context.home).entries()?.is_empty();
    Ok((address.to_string(), has_tokens || context.config.serve.require_token))
}

/// What the program's token is called; tokens that a person made have other names.
fn token_name(app: App) -> String {
    format!("launch.{}", name(app))
}

/// Programs that take no file are told by variables.
fn show_only(context: &Context, options: &Launch, recipe: &Recipe, text: &str) {
    if context.global.json {
        print::json(Schema::Launch, as_json(recipe, None, false, text));
        return;
    }
    print::line(text.trim_end());
    print::note(format!("\nTo start it with them: {}", recipe.start()));
    match &recipe.source.token {
        None => {}
        Some(_) if options.dry_run => print::note(NOT_MADE),
        Some(_) => print::note(format!(
            "The token is not shown again; to take it back: `phallama token revoke {}`",
            token_name(recipe.app)
        )),
    }
}

fn as_json(recipe: &Recipe, path: Option<&Path>, written: bool, contents: &str) -> Value {
    json!({"app": name(recipe.app), "path": path, "model": recipe.source.model.model,
        "written": written, "contents": contents, "start": recipe.start()})
}

fn told(context: &Context, options: &Launch, recipe: &Recipe, path: &Path, after: &str) {
    if context.global.json {
        print::json(Schema::Launch, as_json(recipe, Some(path), !options.dry_run, after));
        return;
    }
    if options.dry_run {
        print::note(format!("would write to {}:\n", path.display()));
        print::line(after.trim_end());
        if recipe.source.token.is_some() {
            print::note(NOT_MADE);
        }
        return;
    }
    let model = &recipe.source.model.model;
    print::line(format!("wrote {}: {model} through the local server", path.display()));
    if recipe.source.token.is_some() {
        print::note("It holds a token of its own for the local server, in place of the last one.");
        if kept::is_open_to_others(path) {
            let path = path.display();
            print::warning(format!("others may read the token: run `chmod go= {path}`"));
        }
    }
    print::note(format!(
        "To start it: {}\nTo put back what was there: `phallama launch {} --restore`",
        recipe.start(),
        name(recipe.app)
    ));
}

fn restore(context: &Context, app: App, yes: bool) -> Result<(), CliError> {
    let path = Kept::of(&context.home, app).restore(yes)?;
    let own = token_name(app);
    if Tokens::of(&context.home).entries()?.iter().any(|entry| entry.name == own) {
        token::revoke(context, &own)?;
    }
    if context.global.json {
        let json = json!({"app": name(app), "path": path, "restored": true});
        print::json(Schema::LaunchRestored, json);
    } else {
        print::line(format!("{} is as it was", path.display()));
    }
    Ok(())
}

fn list(context: &Context) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for app in App::value_variants() {
        let written = Kept::of(&context.home, *app).is_there();
        rows.push((name(*app), apps::path(*app)?, written));
    }
    if context.global.json {
        let apps: Vec<Value> = rows
            .iter()
            .map(|(app, path, written)| json!({"app": app, "path": path, "written": written}))
            .collect();
        print::json(Schema::LaunchApps, json!({"apps": apps}));
        return Ok(());
    }
    let row = |(app, path, written): &(String, Option<std::path::PathBuf>, bool)| {
        let path = path.as_ref().map_or_else(
            || "variables, which are shown".to_owned(),
            |path| path.display().to_string(),
        );
        vec![app.clone(), path, if *written { "written" } else { "" }.to_owned()]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    print::line(print::table(&["program", "configuration", ""], &rows, &[]));
    Ok(())
}

/// As it is typed.
fn name(app: App) -> String {
    app.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
