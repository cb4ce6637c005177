//! What an operator may do to a journal: run two pods on it, or put an older copy back (F6, F18).

use std::time::Duration;

use crate::apps::{Apps, Told};
use crate::stack::Stack;

/// So many answers to each of two apps, and nothing open afterwards.
async fn answers(stack: &Stack, seed: u64, count: u64) -> Told {
    let apps = Apps::start(&stack.users[0].url(), 2, seed);
    apps.answers(count).await;
    let told = apps.stop().await;
    assert_eq!(told.faults, Vec::<String>::new());
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_pod_on_the_same_journal_ends_and_disturbs_nobody() {
    let stack = Stack::start(1).await;
    let before = stack.health().await.expect("it serves");
    let mut second = stack.another_pod();
    let status = second.ended(Duration::from_secs(30)).await;
    assert!(!status.success());
    let said = second.last_lines();
    // The outbox of its transactions is opened before the journal.
    assert!(said.contains("in use by another process"), "{said}");
    let after = stack.health().await.expect("it still serves");
    assert_eq!((&after["ready"], &after["identity"]), (&true.into(), &before["identity"]));
    answers(&stack, 7, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_copy_of_the_journal_costs_the_pod_and_nobody_else() {
    let mut stack = Stack::start(1).await;
    let first = answers(&stack, 1, 2).await.cost;
    stack.pod.kill();
    let file = stack.journal_file();
    let copy = file.with_extension("older");
    std::fs::copy(&file, &copy).expect("copied");
    stack.start_pod().await;
    let forgotten = answers(&stack, 2, 12).await.cost;
    stack.pod.kill();
    std::fs::copy(&copy, &file).expect("put back");

    stack.start_pod().await;
    assert!(stack.pod_log().contains("is an older copy"), "{}", stack.pod_log());
    assert_eq!(stack.health().await.expect("it serves")["journal_behind"], true);
    // The wallet knows better: it takes no receipt that says less than an earlier one.
    let apps = Apps::start(&stack.users[0].url(), 1, 3);
    let told = apps.failed().await;
    assert_eq!((told.answers, told.faults), (0, Vec::new()));
    assert!(told.failures.contains_key("receipt_rejected"), "{:?}", told.failures);

    stack.pod.interrupt();
    let status = stack.pod.ended(Duration::from_mins(1)).await;
    assert!(status.success(), "{}", stack.pod_log());
    let user = &stack.users[0];
    let claimed = stack.channel(&user.key).await.claimed.value();
    let refused = u128::from(told.failures["receipt_rejected"]) * stack.reserve().await;
    assert!((first..=first + refused).contains(&claimed), "{claimed} after {first}");
    // The evidence stays with the user: receipts for more than the pod now claims to have earned,
    // signed by its attested keys.
    let receipts = user.receipts().await;
    let signed = receipts.iter().map(|stored| stored.check().expect("a valid receipt").receipt);
    let highest = signed.map(|receipt| receipt.cumulative.value()).max();
    assert_eq!(highest, Some(first + forgotten));
}
