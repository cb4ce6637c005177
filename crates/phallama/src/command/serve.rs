//! `phallama serve`

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use phallama_client::Client;

use crate::cli::Serve;
use crate::context::{Context, listening};
use crate::error::CliError;
use crate::server::{self, Guard, Metrics, Page};
use crate::tokens::Tokens;
use crate::{notify, print, signal};

pub(super) async fn run(context: &Context, mut options: Serve) -> Result<(), CliError> {
    let context = &context.wanting(&options.wanted);
    let metrics = Metrics::default();
    let scraped = match options.metrics {
        Some(listen) => Some(server::bind(listen, false).await?),
        None => None,
    };
    let serving = prepare(context, &mut options, &metrics).await?;
    let client = Arc::clone(&serving.client);
    let scraping = async {
        let Some(listener) = scraped else { return std::future::pending().await };
        let guard = Guard::new(listener.local_addr().ok(), &[], &[], Tokens::none(), false);
        server::serve_metrics(listener, Arc::clone(&client), metrics, guard).await;
    };
    print::note(&serving.says);
    notify::ready();
    tokio::select! {
        () = serving.run() => Ok(()),
        () = scraping => Ok(()),
        () = client.keep_ready() => Ok(()),
        () = signal::interrupted() => Ok(()),
    }
}

/// What is listened on.
enum Door {
    Address(tokio::net::TcpListener),
    Socket(tokio::net::UnixListener),
}

/// Everything that is needed to serve.
struct Serving {
    door: Door,
    client: Arc<Client>,
    page: Option<Page>,
    guard: Guard,
    says: String,
}

impl Serving {
    async fn run(self) {
        let Self { door, client, page, guard, .. } = self;
        match door {
            Door::Address(listener) => {
                // Parts of an answer leave when they are there, not when a segment is full.
                let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
                server::serve(listener, client, page, guard).await;
            }
            Door::Socket(listener) => server::serve(listener, client, page, guard).await,
        }
    }
}

async fn prepare(
    context: &Context,
    options: &mut Serve,
    metrics: &Metrics,
) -> Result<Serving, CliError> {
    let settings = &context.config.serve;
    let listen = listen(options, &settings.listen)?;
    let tokens = Tokens::of(&context.home);
    let is_remote = options.socket.is_none() && !listen.ip().is_loopback();
    let has_tokens = !tokens.entries()?.is_empty();
    if is_remote && options.danger_allow_remote && !has_tokens {
        return Err(CliError::NoToken { listen });
    }
    let (door, address) = match &options.socket {
        Some(path) => (Door::Socket(server::bind_socket(path)?), None),
        None => {
            let listener = server::bind(listen, options.danger_allow_remote).await?;
            let address = listener.local_addr().map_err(CliError::Server)?;
            (Door::Address(listener), Some(address))
        }
    };
    let needs_token = settings.require_token || options.require_token || is_remote;
    let client = Arc::new(context.observed_client(Some(metrics.observer())).await?);
    // What the page is sent, and sends, is for this machine alone.
    let page = if is_remote {
        None
    } else {
        Some(Page::new(context, Arc::clone(&client), options.owner_key_file.take())?)
    };
    let page_words = match (&page, needs_token || has_tokens) {
        (None, _) => "off: other machines reach this address",
        (Some(_), true) => ", which asks for a token",
        (Some(_), false) => "",
    };
    let says = says(options, address, page_words);
    let guard = Guard::new(address, &settings.hosts, &settings.origins, tokens, needs_token);
    if is_remote {
        print::warning("other machines can reach this server: whoever has a token can spend");
    }
    Ok(Serving { door, client, page, guard, says })
}

fn listen(options: &Serve, configured: &str) -> Result<SocketAddr, CliError> {
    options.listen.map_or_else(|| listening(configured), Ok)
}

fn says(options: &Serve, address: Option<SocketAddr>, page_words: &str) -> String {
    let Some(address) = address else {
        let path = options.socket.as_deref().unwrap_or(std::path::Path::new("")).display();
        return format!("Socket  {path}\nCtrl-C ends the server.");
    };
    let page = if page_words.starts_with("off") {
        page_words.to_owned()
    } else {
        format!("http://{address}/ui/{page_words}")
    };
    format!(
        "OpenAI  http://{address}/v1\nOllama  http://{address}\nPage    {page}\n\
         Ctrl-C ends the server."
    )
}
