//! A web server that says and does what a test wants, down to the byte.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) path: String,
    /// First byte of the range.
    pub(super) from: Option<usize>,
    pub(super) if_range: Option<String>,
}

/// What is answered; then the connection closes, or stays open in silence.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    head: String,
    body: Vec<u8>,
    hangs: bool,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { head: format!("HTTP/1.1 {status} X\r\n"), ..Self::default() }.header("x", "y")
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// With its length.
    pub(super) fn body(self, body: &[u8]) -> Self {
        let mut reply = self.header("content-length", &body.len().to_string());
        reply.body = body.to_vec();
        reply
    }

    /// Without its length: what comes until the connection closes.
    pub(super) fn body_of_unknown_length(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Only the first bytes of the body are sent.
    pub(super) fn cut(mut self, after: usize) -> Self {
        self.body.truncate(after);
        self
    }

    /// Nothing more comes, and the connection stays open.
    pub(super) fn hangs(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// `file` with an entity tag, from where it was asked for if the tag is still the same.
    pub(super) fn file(asked: &Asked, file: &[u8], etag: &str) -> Self {
        match asked.from {
            Some(from) if asked.if_range.as_deref().is_none_or(|tag| tag == etag) => {
                Self::range(file, from).header("etag", etag)
            }
            _ => Self::status(200).header("etag", etag).body(file),
        }
    }

    pub(super) fn range(file: &[u8], from: usize) -> Self {
        let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
        Self::status(206).header("content-range", &range).body(&file[from..])
    }
}

type Answer = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

/// A running server.
pub(super) struct Server {
    pub(super) authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers each request with what `answer` makes of it and of the number of earlier ones.
    pub(super) async fn start(
        answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (asked, answer): (Arc<Mutex<Vec<Asked>>>, Answer) = (Arc::default(), Arc::new(answer));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answer)));
            }
        });
        Self { authority, asked }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Where each request began.
    pub(super) fn ranges(&self) -> Vec<Option<usize>> {
        self.asked().iter().map(|asked| asked.from).collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Asked>>>, answer: Answer) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let asked = parse(&String::from_utf8(head).unwrap());
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len() - 1
    };
    let reply = answer(&asked, before);
    let head = format!("{}connection: close\r\n\r\n", reply.head);
    // A client that has had enough leaves, as it may.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&reply.body).await;
    if reply.hangs {
        let _ = stream.read_u8().await;
    }
    let _ = stream.shutdown().await;
}

fn parse(head: &str) -> Asked {
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let mut asked = Asked { path, ..Asked::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.strip_prefix("bytes=").and_then(|value| value.strip_suffix('-'));
                asked.from = Some(from.unwrap().parse().unwrap());
            }
            "if-range" => asked.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    asked
}
