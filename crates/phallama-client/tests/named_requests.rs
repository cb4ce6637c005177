//! Requests that an app names are asked and charged once.

#[cfg(test)]
mod support;

use phallama_client::{Answer, AskOptions, Client, ClientError, Method};
use phallama_protocol::refusal::Code;
use support::pod::{Act, ScriptedPod};
use support::{World, chat};

const MODEL: &str = "tiny:1b";

async fn scripted(acts: impl IntoIterator<Item = Act>) -> (World, ScriptedPod, Client) {
    let world = World::new(1_000_000).await;
    let pod = world.pod(1).await;
    pod.script(acts);
    let client = world.client().await;
    (world, pod, client)
}

async fn ask(client: &Client, name: &str, max_tokens: u32) -> Result<Answer, ClientError> {
    let options = AskOptions::default();
    client.ask_once(name, Method::Chat, MODEL, chat(max_tokens), options).await
}

async fn text(client: &Client, name: &str) -> Result<String, ClientError> {
    Ok(ask(client, name, 8).await?.text().await?.0)
}

#[tokio::test]
async fn parallel_and_later_calls_with_one_name_are_one_request() {
    let (_world, pod, client) = scripted([]).await;
    let (one, two) = tokio::join!(text(&client, "a"), text(&client, "a"));
    assert_eq!((one.unwrap(), two.unwrap()), ("hello world".to_owned(), "hello world".to_owned()));
    assert_eq!(text(&client.clone(), "a").await.unwrap(), "hello world");
    assert_eq!((pod.posts(), client.receipts(9).await.unwrap().len()), (1, 1));
    assert_eq!(text(&client, "b").await.unwrap(), "hello world");
    assert_eq!((pod.posts(), client.receipts(9).await.unwrap().len()), (2, 2));
}

#[tokio::test]
async fn app_that_goes_away_cancels_nothing() {
    let (_world, pod, client) = scripted([]).await;
    let mut answer = ask(&client, "a", 8).await.unwrap();
    answer.next().await.unwrap().unwrap();
    drop(answer);
    assert_eq!(text(&client, "a").await.unwrap(), "hello world");
    assert_eq!((pod.posts(), client.receipts(9).await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn request_that_cost_nothing_is_asked_anew() {
    let (_world, pod, client) = scripted([Act::ErrorAfterData(Code::WorkerFailed)]).await;
    let error = text(&client, "a").await.unwrap_err();
    assert_eq!(error.class().code, "worker_failed");
    assert_eq!(text(&client, "a").await.unwrap(), "hello world");
    assert_eq!((pod.posts(), client.receipts(9).await.unwrap().len()), (2, 1));
}

#[tokio::test]
async fn request_that_may_have_been_charged_is_not_asked_again() {
    let (_world, pod, client) = scripted([Act::Truncate]).await;
    for _ in 0..2 {
        let error = text(&client, "a").await.unwrap_err();
        assert!(matches!(&error, ClientError::Repeated(_)), "{error:?}");
        assert_eq!(error.class().code, "answer_truncated");
        assert!(error.explain(None).effect.is_some_and(|effect| effect.contains("charged")));
    }
    assert_eq!(pod.posts(), 1);
}

#[tokio::test]
async fn name_of_another_request_is_refused() {
    let (_world, pod, client) = scripted([]).await;
    text(&client, "a").await.unwrap();
    for (name, max_tokens) in [("a", 9), ("", 8), (&*"n".repeat(256), 8)] {
        let error = ask(&client, name, max_tokens).await.unwrap_err();
        let ClientError::InvalidRequest { field, .. } = error else { panic!("{error:?}") };
        assert_eq!(field, Some("Idempotency-Key"));
    }
    assert_eq!(pod.posts(), 1);
}

#[tokio::test]
async fn name_stands_for_one_request_after_a_crash_too() {
    let (world, pod, client) = scripted([Act::Truncate]).await;
    text(&client, "a").await.unwrap_err();
    drop(client);
    // A new process knows the name no more; its id follows from account and name.
    let client = world.client().await;
    pod.script([Act::Error(Code::DuplicateRequest, 0)]);
    let error = text(&client, "a").await.unwrap_err();
    assert_eq!(error.class().code, "duplicate_request");
    assert_eq!(text(&client, "b").await.unwrap(), "hello world");
    let seen: Vec<_> = pod.seen().iter().map(|plain| plain.request_id).collect();
    assert_eq!((seen.len(), seen[0]), (3, seen[1]), "one id for the name");
    assert_ne!(seen[1], seen[2], "and another one for another name");
    drop(client);
    let error = text(&world.client().await, "b").await.unwrap_err();
    assert_eq!(error.class().code, "request_repeated", "answered and paid by the process before");
    assert_eq!(pod.posts(), 3);
}
