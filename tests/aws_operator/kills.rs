//! The operator is killed at each of its calls of AWS, before or after the call has its effect. What another operator then
//! finds leads to one stack, and to none after the deletion.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    adoption,
    ground::{Place, SERVER, ensure_operator, kill_operator, until},
};

/// Kills the operator at its call of this number, and starts another.
async fn kill_at(call: usize) {
    // The operator may be done with fewer calls.
    let deadline = Instant::now() + Duration::from_secs(5);
    while SERVER.calls().len() < call && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    kill_operator().await;
    SERVER.reset();
    ensure_operator().await;
}

#[rstest::rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn a_kill_at_any_call_ends_with_one_stack_and_then_with_none(#[case] has_effect: bool) {
    let place = Place::alone().await;
    for call in 1..=3 {
        let name = format!("news-{call}");
        SERVER.set(&json!({"hang_at": call, "hang_after_work": has_effect, "reset_calls": true}));
        place.apply("SNSTopic", &name, &json!({}));
        kill_at(call).await;
        place.is("snstopic", &name, "CREATE_COMPLETE").await;
        let stacks = place.account.stacks().await.unwrap();
        let ours = stacks.iter().filter(|stack| stack.name == place.stack_name("snstopic", &name));
        assert_eq!(ours.count(), 1);
        SERVER.set(&json!({"hang_at": call, "hang_after_work": has_effect, "reset_calls": true}));
        place.delete("snstopic", &name);
        kill_at(call).await;
        place.gone("snstopic", &name).await;
        until("the stack is gone", async || place.stack("snstopic", &name).await.is_none()).await;
    }
}

#[rstest::rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn a_kill_during_an_adoption_ends_with_the_adopted_queue(#[case] has_effect: bool) {
    let place = Place::alone().await;
    adoption::list(&place, "*");
    // A list, the change set, its description and its execution, then the update with the marks.
    for call in 1..=6 {
        let name = format!("orders-{call}");
        let url = adoption::queue(&format!("{name}-{}", place.namespace));
        SERVER.set(&json!({"hang_at": call, "hang_after_work": has_effect, "reset_calls": true}));
        adoption::apply(&place, "SQSQueue", &name, &json!({}), &adoption::of_queue("adopt", &url));
        kill_at(call).await;
        let adopted = place.is("sqsqueue", &name, "UPDATE_COMPLETE").await;
        assert_eq!(adopted["output"]["queueURL"], *url, "{adopted:#}");
        place.delete("sqsqueue", &name);
        place.gone("sqsqueue", &name).await;
        assert_eq!(place.stack("sqsqueue", &name).await, None);
    }
}
