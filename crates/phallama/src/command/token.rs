//! `phallama token`

use serde_json::json;

use crate::cli::Token;
use crate::context::Context;
use crate::error::CliError;
use crate::schema::Schema;
use crate::tokens::{self, Tokens};
use crate::{clock, print};

pub(super) fn run(context: &Context, command: &Token) -> Result<(), CliError> {
    match command {
        Token::Create { name } => {
            let token = tokens::create(&context.home, name)?;
            print::line(&*token);
            print::note("It is not shown again. From now on, apps need a token of this home.");
            Ok(())
        }
        Token::List => list(context),
        Token::Revoke { name } => {
            if tokens::revoke(&context.home, name)? == 0 {
                print::warning(
                    "no token is left: every program on this machine may ask again, unless \
                     `phallama serve --require-token` runs",
                );
            }
            Ok(())
        }
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let entries = Tokens::of(&context.home).entries()?;
    if context.global.json {
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| json!({"name": entry.name, "created_at_unix_s": entry.created_at_unix_s}))
            .collect();
        print::json(Schema::Tokens, json!({"tokens": shown}));
        return Ok(());
    }
    let row = |entry: &tokens::TokenEntry| {
        vec![entry.name.clone(), clock::rfc3339(entry.created_at_unix_s)]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    print::line(print::table(&["name", "created"], &rows, &[]));
    Ok(())
}
