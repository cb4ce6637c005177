//! The two ways to ask the same: an app at the local server, and the client library alone.

use std::net::SocketAddr;
use std::time::Instant;

use phallama_client::{Answer, AnswerEvent, AskOptions, Client, Method};
use phallama_protocol::frames::FrameClass;
use reqwest::Response;
use serde_json::{Value, json};

use super::Order;
use crate::scripted::MODEL;
use crate::stack::Failure;

/// What is asked for where only time counts.
const SAY: &str = "say two words";
const SAID: &str = "two words";
/// More than any answer here has.
const TOKENS_MAX: u32 = 1_000;

/// One way. Clones share their connections.
#[derive(Clone)]
pub(crate) enum Side {
    App(App),
    Library(Client),
}

/// A part of an answer, and when it came.
pub(crate) type Part = (Instant, String);

impl Side {
    /// Both, with a few answers behind them: pods are verified, channels locked, connections open.
    pub(super) async fn both(order: &Order) -> Result<[Self; 2], Failure> {
        let sides = [Self::App(App::new(order.server)?), Self::Library(order.library().await?)];
        for side in &sides {
            for _ in 0..3 {
                side.ask().await?;
            }
        }
        Ok(sides)
    }

    /// One small request, to its accepted receipt.
    pub(super) async fn ask(&self) -> Result<(), Failure> {
        let said = match self {
            Self::App(app) => Told::of(app.post(SAY, false).await?).await?.content,
            Self::Library(client) => {
                let mut answer = ask(client, SAY).await?;
                let mut said = String::new();
                parts(&mut answer, |part| said.push_str(&part.1)).await?;
                said
            }
        };
        if said != SAID {
            return Err(format!("`{said}` was answered, expected `{SAID}`").into());
        }
        Ok(())
    }

    /// A streamed answer to its accepted end; each of its parts is passed on as it comes.
    pub(super) async fn stream(
        &self,
        script: &str,
        on_part: impl FnMut(Part),
    ) -> Result<(), Failure> {
        match self {
            Self::App(app) => events(app.post(script, true).await?, on_part).await.map(drop),
            Self::Library(client) => parts(&mut ask(client, script).await?, on_part).await,
        }
    }
}

async fn ask(client: &Client, script: &str) -> Result<Answer, Failure> {
    let body = json!({
        "messages": [{ "role": "user", "content": script }], "max_tokens": TOKENS_MAX,
    });
    let options = AskOptions { class: Some(FrameClass::Unpaced), ..AskOptions::default() };
    Ok(client.ask(Method::Chat, MODEL, body, options).await?)
}

async fn parts(answer: &mut Answer, mut on_part: impl FnMut(Part)) -> Result<(), Failure> {
    while let Some(event) = answer.next().await {
        match event? {
            AnswerEvent::Content(text) => on_part((Instant::now(), text)),
            AnswerEvent::Finished(_) => return Ok(()),
            _ => {}
        }
    }
    Err("an answer without an end".into())
}

/// An app of the local server's user.
#[derive(Clone)]
pub(crate) struct App {
    http: reqwest::Client,
    url: String,
}

impl App {
    pub(super) fn new(server: SocketAddr) -> Result<Self, Failure> {
        phallama_chain::use_ring();
        let http = reqwest::Client::builder().http1_only().tcp_nodelay(true).no_proxy().build()?;
        Ok(Self { http, url: format!("http://{server}/v1/chat/completions") })
    }

    /// Asks; the status may be any.
    pub(super) async fn post(&self, script: &str, stream: bool) -> Result<Response, Failure> {
        let body = json!({
            "model": MODEL, "messages": [{ "role": "user", "content": script }],
            "max_tokens": TOKENS_MAX, "stream": stream,
        });
        Ok(self.http.post(&self.url).json(&body).send().await?)
    }
}

/// A whole answer.
pub(super) struct Told {
    content: String,
    /// In the token's smallest unit.
    pub(super) cost: u128,
}

impl Told {
    /// Reads a response that has to be an answer with what proves it.
    pub(super) async fn of(response: Response) -> Result<Self, Failure> {
        let status = response.status();
        let cost = response.headers().get("x-phallama-cost").cloned();
        let text = response.text().await?;
        let Some(cost) = cost.filter(|_| status == 200) else {
            return Err(format!("{status}: {text}").into());
        };
        let body: Value = serde_json::from_str(&text)?;
        let content = body["choices"][0]["message"]["content"].as_str().ok_or("no content")?;
        Ok(Self { content: content.to_owned(), cost: cost.to_str()?.parse()? })
    }
}

/// Reads an event stream to its proper end; what it cost.
pub(super) async fn events(
    mut response: Response,
    mut on_part: impl FnMut(Part),
) -> Result<u128, Failure> {
    if response.status() != 200 {
        return Err(format!("{}: {}", response.status(), response.text().await?).into());
    }
    let (mut buffer, mut cost) = (Vec::new(), None);
    while let Some(bytes) = response.chunk().await? {
        buffer.extend_from_slice(&bytes);
        while let Some(end) = buffer.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            let Some(data) = event.strip_prefix(b"data: ") else { continue };
            if data.starts_with(b"[DONE]") {
                return cost.ok_or_else(|| "an end without a receipt".into());
            }
            let event: Value = serde_json::from_slice(data)?;
            if let Some(paid) = event["phallama"]["cost"].as_str() {
                cost = Some(paid.parse()?);
            }
            match event["choices"][0]["delta"]["content"].as_str() {
                Some(text) if !text.is_empty() => on_part((Instant::now(), text.to_owned())),
                _ => {}
            }
        }
    }
    Err("a stream without an end".into())
}
