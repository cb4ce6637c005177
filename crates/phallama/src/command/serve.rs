//! `phallama serve`

use std::sync::Arc;

use crate::cli::Serve;
use crate::context::Context;
use crate::error::CliError;
use crate::{print, server, signal};

pub(super) async fn run(context: &Context, options: Serve) -> Result<(), CliError> {
    let context = &context.wanting(&options.wanted);
    let listen = match options.listen {
        Some(listen) => listen,
        None => context.config.serve.listen.parse().map_err(|_| CliError::BadValue {
            what: "listening address",
            got: context.config.serve.listen.clone(),
            expected: "an address with a port, e.g. 127.0.0.1:11434".to_owned(),
        })?,
    };
    let listener = server::bind(listen).await?;
    let client = Arc::new(context.client().await?);
    let page = server::Page::new(context, Arc::clone(&client), options.owner_key_file)?;
    let address = listener.local_addr().map_err(CliError::Server)?;
    print::note(format!(
        "OpenAI  http://{address}/v1\nOllama  http://{address}\nPage    http://{address}/ui/\nCtrl-C ends the server."
    ));
    tokio::select! {
        served = server::serve_with_page(listener, Arc::clone(&client), page) => served,
        () = client.keep_ready() => Ok(()),
        () = signal::interrupted() => Ok(()),
    }
}
