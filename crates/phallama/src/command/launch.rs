//! `phallama launch`: writes other programs' configuration, and can take it back.

mod apps;
mod edit;
mod kept;

use std::path::Path;

use clap::ValueEnum as _;
use serde_json::{Value, json};

use self::apps::Recipe;
use self::kept::Kept;
use super::local::{self, Found};
use super::show;
use crate::cli::{App, Launch};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;
use crate::server::{DEFAULT_PORT, FALLBACK_PORT};

pub(super) async fn run(context: &Context, options: &Launch) -> Result<(), CliError> {
    let Some(app) = options.app else { return list(context) };
    if options.restore {
        return restore(context, app, options.yes);
    }
    let model = model(context, options.model.as_deref()).await?;
    let server = server(context).await?;
    let recipe = Recipe::new(app, &server, &model)?;
    let Some(path) = &recipe.path else {
        return show_only(context, app, &recipe, &model);
    };
    let before = kept::read(path)?;
    let after = recipe.write(before.as_deref(), path)?;
    if !options.dry_run {
        Kept::of(&context.home, app).write(path, before.as_deref(), after.as_bytes())?;
    }
    told(context, options, &recipe, path, &model, &after);
    Ok(())
}

/// The model that was named, else the cheapest.
async fn model(context: &Context, named: Option<&str>) -> Result<String, CliError> {
    let client = context.reader().await?;
    if let Some(named) = named {
        return Ok(show::offered(&client, named).await?.model);
    }
    let price = |model: &phallama_client::ModelListing| {
        model.input_price_per_mtok.value() + model.output_price_per_mtok.value()
    };
    let cheapest = client.models().await?.into_iter().min_by_key(price);
    cheapest.map(|model| model.model).ok_or_else(|| CliError::BadValue {
        what: "model",
        got: "none".to_owned(),
        expected: "a model that a pod offers; none does now".to_owned(),
    })
}

/// `host:port` of the local server, or where it would be.
async fn server(context: &Context) -> Result<String, CliError> {
    let address = match local::find(context).await? {
        Found::Phallama { address, .. } => return Ok(address.to_string()),
        Found::Free { address } => address,
        Found::Others { mut address } => {
            if address.port() == DEFAULT_PORT {
                address.set_port(FALLBACK_PORT);
            }
            address
        }
    };
    print::warning("the local server does not run yet: start it with `phallama serve`");
    Ok(address.to_string())
}

/// Programs that take no file are told by variables.
fn show_only(context: &Context, app: App, recipe: &Recipe, model: &str) -> Result<(), CliError> {
    let text = recipe.write(None, Path::new("/dev/null"))?;
    if context.global.json {
        let json = json!({"app": name(app), "path": null, "model": model, "written": false,
            "contents": text, "start": recipe.start});
        print::json(Schema::Launch, json);
        return Ok(());
    }
    print::line(text.trim_end());
    print::note(format!("\nTo start it with them: {}", recipe.start));
    Ok(())
}

fn told(
    context: &Context,
    options: &Launch,
    recipe: &Recipe,
    path: &Path,
    model: &str,
    after: &str,
) {
    let (app, dry) = (options.app.map(name), options.dry_run);
    if context.global.json {
        let json = json!({"app": app, "path": path, "model": model, "written": !dry,
            "contents": after, "start": recipe.start});
        print::json(Schema::Launch, json);
        return;
    }
    if dry {
        print::note(format!("would write to {}:\n", path.display()));
        print::line(after.trim_end());
        return;
    }
    let app = app.unwrap_or_default();
    print::line(format!("wrote {}: {model} through the local server", path.display()));
    print::note(format!(
        "To start it: {}\nTo put back what was there: `phallama launch {app} --restore`",
        recipe.start
    ));
}

fn restore(context: &Context, app: App, yes: bool) -> Result<(), CliError> {
    let path = Kept::of(&context.home, app).restore(yes)?;
    if context.global.json {
        let json = json!({"app": name(app), "path": path, "restored": true});
        print::json(Schema::LaunchRestored, json);
    } else {
        print::line(format!("{} is as it was", path.display()));
    }
    Ok(())
}

fn list(context: &Context) -> Result<(), CliError> {
    let mut apps = Vec::new();
    for app in App::value_variants() {
        let recipe = Recipe::new(*app, "127.0.0.1:0", "")?;
        let written = Kept::of(&context.home, *app).is_there();
        apps.push((name(*app), recipe.path, written));
    }
    if context.global.json {
        let apps: Vec<Value> = apps
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
    let rows: Vec<_> = apps.iter().map(row).collect();
    print::line(print::table(&["program", "configuration", ""], &rows, &[]));
    Ok(())
}

/// As it is typed.
fn name(app: App) -> String {
    app.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
