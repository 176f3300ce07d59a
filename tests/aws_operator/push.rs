//! Stacks whose events are pushed are listed when an event comes, instead of all the time.

use bindery::cloud::aws::Account;
use serde_json::json;

use crate::ground::{
    CLUSTER, OTHER_ACCOUNT, Place, SERVER, account, account_of, ensure_operator, kill_operator,
    start_with_push, until,
};

/// How long a resource takes, in seconds. The operator of the tests would list its stack forty times meanwhile.
const DELAY: u32 = 12;

#[tokio::test]
async fn stacks_whose_events_are_pushed_are_listed_seldom() {
    let place = Place::alone().await;
    let channel = format!("{CLUSTER}-bindery-events");
    kill_operator().await;
    SERVER.set(&json!({"reset_calls": true}));
    start_with_push().await;
    // Each account has a channel, which is looked for until it is there.
    let received = || SERVER.calls().iter().filter(|call| *call == "sqs:ReceiveMessage").count();
    let is_made = async |account: Account| {
        let stack = account.stack(&channel).await.unwrap();
        stack.is_some_and(|stack| stack.status.is_usable())
    };
    until("the events of both accounts are received", async || {
        is_made(account()).await && is_made(account_of(OTHER_ACCOUNT)).await && received() >= 2
    })
    .await;
    SERVER.set(&json!({"reset_calls": true, "delay": DELAY}));
    let lists = || SERVER.calls().iter().filter(|call| *call == "cloudformation:DescribeStacks").count();
    place.apply("SNSTopic", "news", &json!({}));
    let topic = place.is("snstopic", "news", "CREATE_COMPLETE").await;
    assert_ne!(topic["output"]["topicARN"], "");
    assert!(lists() <= 6, "{:?}", SERVER.calls());
    assert_eq!(place.stack("snstopic", "news").await.unwrap().topics.len(), 1);
    SERVER.set(&json!({"reset_calls": true}));
    place.delete("snstopic", "news");
    place.gone("snstopic", "news").await;
    assert!(lists() <= 6, "{:?}", SERVER.calls());
    SERVER.reset();

    // Another operator that polls removes the topic and the queue.
    kill_operator().await;
    ensure_operator().await;
    until("the queue is gone", async || place.account.stack(&channel).await.unwrap().is_none()).await;
}
