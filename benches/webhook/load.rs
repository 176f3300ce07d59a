//! Two kinds of load: as fast as the server answers, or at a fixed rate, however long the answers take.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{client::Client, reviews::Review};

/// The number of concurrent requests.
const WORKERS: usize = 8;

/// Sends requests without pauses. Returns the number of answers and the time.
pub(crate) async fn flat_out(client: &Client, review: &Review, span: Duration) -> (u32, Duration) {
    let begin = Instant::now();
    let work = async |()| {
        let mut answered = 0;
        while begin.elapsed() < span {
            client.ask(review).await;
            answered += 1;
        }
        answered
    };
    let answered: Vec<u32> = join_all([(); WORKERS].map(work)).await;
    (answered.into_iter().sum(), begin.elapsed())
}

/// The latencies of answers, the shortest first.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn count(&self) -> u32 {
        self.0.len().try_into().unwrap()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part of a few thousand"
    )]
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }
}

/// Sends requests at the review's rate. A latency counts from the time at which its request was due, even if it was
/// sent later: a server that is slow for a while cannot slow down its clients (no coordinated omission).
pub(crate) async fn paced(client: &Client, review: &Review, span: Duration) -> Latencies {
    let count = review.rate * u32::try_from(span.as_secs()).unwrap();
    let (answered, mut answers) = mpsc::unbounded_channel();
    let review = Arc::new(Review { body: review.body.clone(), ..*review });
    let (runtime, client) = (Handle::current(), client.clone());
    // tokio's clock has a resolution of milliseconds, a thread's is finer.
    let pacer = thread::spawn(move || {
        let begin = Instant::now();
        for number in 0..count {
            let due = begin + Duration::from_secs(1) * number / review.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (client, review, answered) = (client.clone(), review.clone(), answered.clone());
            runtime.spawn(async move {
                client.ask(&review).await;
                let _ = answered.send(due.elapsed());
            });
        }
    });
    let mut took = Vec::new();
    while let Some(answer) = answers.recv().await {
        took.push(answer);
    }
    pacer.join().expect("the pacer does not fail");
    took.sort_unstable();
    assert_eq!(took.len(), count as usize, "some were not answered");
    Latencies(took)
}
