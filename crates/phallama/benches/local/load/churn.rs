//! Connections that come and go, heads that never end, and somebody who asks all the time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::Order;
use super::quantile::Times;
use super::side::Side;
use crate::note;
use crate::scripted::begin;
use crate::stack::Failure;

/// Connects per second.
const CONNECTS_PER_S: u32 = 200;
/// Requests per second of the others, and how long they ask alone.
const OTHERS_PER_S: u32 = 10;
const ALONE_S: u32 = 30;
/// How long a half-open head is watched, and how often some of them send another byte.
const PATIENCE: Duration = Duration::from_secs(30);
const DRIP_EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
pub(crate) struct Churned {
    /// Connections that were not answered as they should.
    pub(crate) failed: u32,
    pub(crate) half_open_left: u32,
    pub(crate) half_open_longest_s: f64,
    pub(crate) others_before: Times,
    pub(crate) others: Times,
    pub(crate) others_failed: u32,
}

pub(super) async fn run(order: &Order, connects: u32, half_open: u32) -> Result<Churned, Failure> {
    let [app, _] = Side::both(order).await?;
    begin();
    let alone = others(&app, ALONE_S).await?;
    let seconds = connects / CONNECTS_PER_S;
    let (among, failed, held) = tokio::join!(
        others(&app, seconds),
        come_and_go(order.server, connects),
        hold_open(order.server, half_open),
    );
    let (among, failed, (half_open_left, half_open_longest_s)) = (among?, failed?, held?);
    Ok(Churned {
        failed,
        half_open_left,
        half_open_longest_s,
        others_before: alone.0,
        others_failed: alone.1 + among.1,
        others: among.0,
    })
}

/// Asks at a steady rate: how long it took, and how many requests failed.
async fn others(app: &Side, seconds: u32) -> Result<(Times, u32), Failure> {
    let mut due = interval(Duration::from_secs(1) / OTHERS_PER_S);
    let mut asked = JoinSet::new();
    for _ in 0..OTHERS_PER_S * seconds {
        due.tick().await;
        let (app, began) = (app.clone(), Instant::now());
        asked.spawn(async move { app.ask().await.map(|()| began.elapsed().as_secs_f64() * 1e3) });
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(one) = asked.join_next().await {
        match one? {
            Ok(ms) => times.push(ms),
            Err(error) => {
                note(&format!("failed: {error}"));
                failed += 1;
            }
        }
    }
    Ok((Times::of(times), failed))
}

/// Every second connection asks something and is answered, the others leave without a word.
async fn come_and_go(server: SocketAddr, connects: u32) -> Result<u32, Failure> {
    let mut due = interval(Duration::from_secs(1) / CONNECTS_PER_S);
    let mut visits = JoinSet::new();
    for index in 0..connects {
        due.tick().await;
        visits.spawn(async move {
            let mut stream = TcpStream::connect(server).await?;
            if index % 2 == 1 {
                return Ok::<bool, std::io::Error>(true);
            }
            let request =
                format!("GET /api/version HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer.starts_with("HTTP/1.1 200") && answer.contains("version"))
        });
    }
    let mut failed = 0;
    while let Some(one) = visits.join_next().await {
        failed += u32::from(!matches!(one?, Ok(true)));
    }
    Ok(failed)
}

/// Begins so many heads and ends none; how many were left open, and how long the longest was.
async fn hold_open(server: SocketAddr, count: u32) -> Result<(u32, f64), Failure> {
    let mut held = JoinSet::new();
    for index in 0..count {
        held.spawn(async move {
            let began = Instant::now();
            let drips = index % 2 == 1;
            let closed = timeout(PATIENCE, closed(server, drips)).await;
            closed.map_or(Ok(None), |closed| closed.map(|()| Some(began.elapsed().as_secs_f64())))
        });
    }
    let (mut left, mut longest) = (0, 0.0_f64);
    while let Some(one) = held.join_next().await {
        match one?? {
            Some(seconds) => longest = longest.max(seconds),
            None => left += 1,
        }
    }
    Ok((left, longest))
}

/// Returns when the server has closed the connection.
async fn closed(server: SocketAddr, drips: bool) -> Result<(), std::io::Error> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nx-slow: ").await?;
    let (mut reads, mut writes) = stream.split();
    let drip = async {
        let mut due = interval(DRIP_EVERY);
        while drips && writes.write_all(b"a").await.is_ok() {
            due.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let mut rest = Vec::new();
    tokio::select! {
        // Whether it says something before or resets is its own affair.
        _ = reads.read_to_end(&mut rest) => Ok(()),
        () = drip => Ok(()),
    }
}
