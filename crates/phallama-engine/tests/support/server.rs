//! A scripted HTTP/1.1 server on a port of its own: what answers is a function of path and body.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How an answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Properly.
    Whole,
    /// The connection closes in the middle.
    Cut,
    /// Nothing comes any more.
    Silent,
}

/// What is answered. Each piece is a write of its own.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self { status: 200, pieces: vec![value.to_string().into_bytes()], end: End::Whole }
    }

    pub(crate) fn refusal(status: u16, value: &Value) -> Self {
        Self { status, ..Self::json(value) }
    }

    /// Each value on a line.
    pub(crate) fn lines(values: &[Value]) -> Self {
        let pieces = values.iter().map(|value| format!("{value}\n").into_bytes()).collect();
        Self { status: 200, pieces, end: End::Whole }
    }
}

/// What it was asked, in order: path and body.
pub(crate) type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves until the runtime ends.
pub(crate) async fn serve(
    answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
) -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (log, answer) = (Log::default(), Arc::new(answer));
    let asked = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let Some((path, body)) = read(&mut stream).await else { return };
                asked.lock().unwrap().push((path.clone(), body.clone()));
                // An error here is a client that left, which is its right.
                let _ = write(&mut stream, answer(&path, &body)).await;
            });
        }
    });
    (address, log)
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}

async fn write(stream: &mut BufReader<TcpStream>, reply: Reply) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {} Fake\r\ntransfer-encoding: chunked\r\n\r\n", reply.status);
    stream.write_all(head.as_bytes()).await?;
    for piece in &reply.pieces {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;
    }
    match reply.end {
        End::Whole => stream.write_all(b"0\r\n\r\n").await?,
        End::Cut => return Ok(()),
        End::Silent => std::future::pending().await,
    }
    // Until the client closes, so that it never sees a reset.
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}
