//! A stand-in for llama-server in tests of faults: it takes the same command line and speaks the
//! same protocol, and does what the last user message (or the raw prompt) tells it to do. It
//! computes nothing and prints nothing of what it is sent.
//!
//! Commands (`N` tokens, `MS` milliseconds; a token is a word, `max_tokens` is obeyed):
//!
//! - `say WORDS…`: answers with the words, one per token.
//! - `echo`: answers with the whole message.
//! - `tokens N`: N tokens at once.
//! - `slow N MS`: N tokens, MS before each.
//! - `think WORDS…`: the words as reasoning, then `done`.
//! - `tool NAME`: calls the tool NAME with `{}`.
//! - `logprobs N`: N tokens with log probabilities.
//! - `split`: characters of several bytes, each byte written on its own.
//! - `batch N`: N tokens in a single event.
//! - `die N`: N tokens, then the process ends. `kill N`: N tokens, then it is killed as the system
//!   kills for want of memory.
//! - `eof N`: N tokens, then the connection closes without an end of the answer.
//! - `done N`: N tokens, then `[DONE]` without a reason or usage.
//! - `hang N`: N tokens, then nothing until the client leaves.
//! - `mute`: not even a response head until the client leaves.
//! - `garbage`: an event that is not JSON. `binary`: one that is not UTF-8. `flood`: one without
//!   end.
//! - `error N`: N tokens, then an error event.
//! - `refuse STATUS`: an error answer with that status. `long`: the prompt is too long. `unable`:
//!   the model cannot do it.
//! - `reflect`: the JSON of all fields of the request but the prompt, as one token.
//! - `running`: the number of other answers in progress.
//!
//! Anything else is answered as an obliging model would. If functions are offered and none was
//! called before, the one that is named in the message is called, or the first. If a schema is
//! given, the answer is an instance of it. Numbers and texts are those of the message: its next
//! number, what it quotes or its last word. Where thinking is asked for, a thought comes first.
//! Everything else is answered with `ok`.
//!
//! Started with `--embeddings` it makes vectors: words, bytes, 1. The tokens of a text are the
//! lengths of its words, and the text of tokens is their numbers.
//!
//! Command line beyond llama-server's, for `extra_args`: `--fake-load-ms MS` answers `/health` with
//! 503 for that long, `--fake-fail-start` ends at once with a message on stderr, `--fake-slots N`
//! says that it has N slots whatever it was told, `--fake-unpooled` makes no vectors of texts,
//! `--fake-toolless` has a chat template without tools.
//!
//! Prompt tokens are the words of all messages. A slot remembers the words of its last prompt, so
//! `cached_tokens` shows what `id_slot` and `cache_prompt` did.

mod answer;
mod http;
mod inputs;
mod obliging;
mod script;

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What all connections share.
pub(crate) struct Shared {
    ready_at: Instant,
    /// The answer to `/props`.
    props: String,
    /// Answers in progress.
    running: AtomicUsize,
    /// Words of the last prompt, by slot.
    slots: Mutex<HashMap<i64, Vec<String>>>,
    arguments: Vec<String>,
}

impl Shared {
    pub(crate) fn was_told(&self, argument: &str) -> bool {
        self.arguments.iter().any(|told| told == argument)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--version") {
        let _ = writeln!(std::io::stderr(), "version: 1 (fake)");
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--fake-fail-start") {
        let _ = writeln!(std::io::stderr(), "fake worker: told to fail");
        return ExitCode::FAILURE;
    }
    let Some(listener) = option(&arguments, "--host").map(UnixListener::bind) else {
        let _ = writeln!(std::io::stderr(), "fake worker: --host with a UNIX socket is missing");
        return ExitCode::FAILURE;
    };
    let Ok(listener) = listener else {
        let _ = writeln!(std::io::stderr(), "fake worker: cannot listen on the socket");
        return ExitCode::FAILURE;
    };
    let load_ms = option(&arguments, "--fake-load-ms").and_then(|ms| ms.parse().ok());
    let shared = Arc::new(Shared {
        ready_at: Instant::now() + Duration::from_millis(load_ms.unwrap_or(0)),
        props: props(&arguments),
        running: AtomicUsize::new(0),
        slots: Mutex::new(HashMap::new()),
        arguments,
    });
    for stream in listener.incoming().map_while(Result::ok) {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            // An error here is a client that left, which is its right.
            let _ = serve(&shared, &stream);
        });
    }
    ExitCode::SUCCESS
}

fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().rposition(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}

/// What it was told, as llama-server repeats it.
fn props(arguments: &[String]) -> String {
    let number = |name| option(arguments, name).and_then(|value| value.parse::<u64>().ok());
    let parallel = number("--parallel").unwrap_or(1).max(1);
    let context = number("--ctx-size").unwrap_or(0) / parallel;
    let slots = number("--fake-slots").unwrap_or(parallel);
    let told = |name: &str| arguments.iter().any(|argument| argument == name);
    let (tools, vision) = (!told("--fake-toolless"), told("--mmproj"));
    format!(
        r#"{{"total_slots":{slots},"default_generation_settings":{{"n_ctx":{context}}},
            "build_info":"b1-fake","modalities":{{"vision":{vision},"audio":false}},
            "chat_template":"none","chat_template_caps":{{"supports_tools":{tools}}}}}"#
    )
}

fn serve(shared: &Shared, stream: &UnixStream) -> std::io::Result<()> {
    let request = http::read_request(stream)?;
    if Instant::now() < shared.ready_at {
        return http::json_response(stream, 503, r#"{"error":{"message":"Loading model"}}"#);
    }
    match request.path.as_str() {
        "/health" => http::json_response(stream, 200, r#"{"status":"ok"}"#),
        "/props" => http::json_response(stream, 200, &shared.props),
        "/v1/embeddings" => inputs::embeddings(shared, stream, &request),
        "/tokenize" => inputs::tokens(stream, &request),
        "/detokenize" => inputs::text(stream, &request),
        "/v1/chat/completions" | "/v1/completions" | "/infill" => {
            shared.running.fetch_add(1, Ordering::SeqCst);
            let result = script::run(shared, stream, &request);
            shared.running.fetch_sub(1, Ordering::SeqCst);
            result
        }
        _ => http::json_response(stream, 404, r#"{"error":{"message":"File Not Found"}}"#),
    }
}
