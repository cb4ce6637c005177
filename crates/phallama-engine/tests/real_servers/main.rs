//! The engine with real servers in llama-server's place, and a real model: the protocol, never the
//! meaning.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod kinds;
mod ollama;
mod openai;
mod registry;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with the other test programs")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use phallama_engine::{ChatRequest, EmbeddingsRequest, Engine, EngineEvent, Usage};
use serde_json::{Value, json};
use support::{ANNE, Collected, collect};

const CONTEXT: u32 = 1024;

/// A server that runs already. It ends with this.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Runs the command that `with` makes for an address that is free.
    fn start(with: impl FnOnce(SocketAddr) -> Command) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = with(address);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: quiet.spawn().unwrap(), address }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // TERM: an Ollama ends its own llama-server.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn chat(message: &str, more: &Value) -> ChatRequest {
    let mut body = json!({
        "messages": [{ "role": "system", "content": "You are a helpful assistant." },
                     { "role": "user", "content": message }],
        "temperature": 0, "repeat_penalty": 1, "max_tokens": 12,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ChatRequest::parse(body.to_string().as_bytes()).unwrap()
}

async fn said(engine: &Engine, request: ChatRequest, account: [u8; 20]) -> Collected {
    collect(&mut engine.chat(request, account).await.unwrap()).await
}

fn usage(answer: &Collected) -> Usage {
    answer.end.unwrap_or_else(|| panic!("{:?}", answer.error)).1
}

/// What a server itself answers.
fn ask(address: SocketAddr, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Whether two vectors of length one are the same but for rounding, which differs between batches.
fn are_alike(left: &[f32], right: &[f32]) -> bool {
    let cosine: f32 = left.iter().zip(right).map(|(a, b)| a * b).sum();
    left.len() == right.len() && cosine > 0.999
}

/// Makes vectors of two dogs and the sea like those that the server itself makes of one dog and the
/// sea; returns how many tokens that were.
async fn makes_vectors(engine: &Engine, [dog, sea]: &[Vec<f32>; 2]) -> u32 {
    let request = EmbeddingsRequest::parse(br#"{"input":["a dog","a dog","the sea"]}"#).unwrap();
    let made = engine.embed(request, ANNE).await.unwrap();
    assert!(made.vectors.iter().zip([dog, dog, sea]).all(|(made, direct)| are_alike(made, direct)));
    assert!(!are_alike(dog, sea));
    assert_eq!((made.vectors.len(), dog.len()), (3, 576));
    made.prompt_tokens
}

/// Of an object with one whole number.
fn schema() -> Value {
    json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"],
            "additionalProperties": false })
}

async fn keeps_to_a_schema_and_tells_logprobs(engine: &Engine) {
    let wrapper = json!({ "name": "x", "schema": schema() });
    let format = json!({ "type": "json_schema", "json_schema": wrapper });
    let more = json!({ "response_format": format, "max_tokens": 60 });
    let answer = said(engine, chat("Say a number.", &more), ANNE).await;
    let value: Value = serde_json::from_str(&answer.text).unwrap();
    assert!(value["a"].is_i64(), "{value}");

    let more = json!({ "logprobs": true, "top_logprobs": 2, "max_tokens": 3 });
    let answer = said(engine, chat("Hi", &more), ANNE).await;
    let EngineEvent::Logprobs(told) = &answer.others[0] else { panic!("{answer:?}") };
    assert_eq!(told["content"][0]["top_logprobs"].as_array().unwrap().len(), 2);
}
