//! How fast bindings are made and removed: by the broker over HTTP, beside the same statements without it, on a real
//! PostgreSQL that waits for the disk; and what the broker costs alone, with a service in memory. `make bench`.
//!
//! `BINDERY_BENCH_SECONDS` says how long each of the rounds lasts that are compared.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what fails in the set-up fails the benchmark, which prints what it measured"
)]

mod broker;
mod engine;
#[path = "../../tests/support/fake.rs"]
mod fake;
mod floor;
#[path = "../../tests/support/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};

use criterion::Criterion;
use futures::future::join_all;

use self::{broker::Served, floor::Floor, postgres::Postgres};

const INSTANCES: usize = 8;
const WORKERS: [usize; 2] = [1, 8];
/// Each compares all once, so that whatever else the machine does meets all of them.
const ROUNDS: usize = 5;

/// Makes and removes bindings on so many instances.
trait Bindings {
    /// Makes one and removes it again.
    async fn pair(&self, worker: usize, instance: usize);
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(compare());
    let mut criterion = Criterion::default().configure_from_args();
    engine::alone(&mut criterion, &runtime);
    criterion.final_summary();
}

async fn compare() {
    let server = Postgres::start_durable("127.0.0.1", &["127.0.0.1"]);
    server.psql(&format!("CREATE DATABASE records OWNER {}", postgres::ADMIN));
    let folder = tempfile::tempdir().unwrap();
    let in_file = Served::start(&server, &format!("sqlite:{}", folder.path().join("db").display())).await;
    let in_database = Served::start(&server, &floor::url(&server, "records")).await;
    let most = WORKERS.into_iter().max().unwrap();
    let floor = Floor::of(&server, in_file.databases(), most).await;
    println!("pairs of bind and unbind each second, on {INSTANCES} instances, medians of {ROUNDS} rounds");
    for workers in WORKERS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let raw = rate(&floor, workers).await;
            rounds.push([raw, rate(&in_file, workers).await, rate(&in_database, workers).await]);
        }
        let of = |what: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(what).collect());
        println!("{workers} workers: SQL alone {:.1}", of(&|round| round[0]));
        for (index, store) in [(1, "a file"), (2, "PostgreSQL")] {
            let (pairs, ratio) = (of(&|round| round[index]), of(&|round| round[index] / round[0]));
            println!("{workers} workers: broker with its store in {store} {pairs:.1}, ratio {ratio:.2}");
        }
    }
}

/// Pairs each second.
async fn rate(bindings: &impl Bindings, workers: usize) -> f64 {
    let seconds = std::env::var("BINDERY_BENCH_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let work = async |worker: usize| {
        let mut pairs = 0_u32;
        while Instant::now() < end {
            bindings.pair(worker, (worker + pairs as usize) % INSTANCES).await;
            pairs += 1;
        }
        pairs
    };
    let pairs: u32 = join_all((0..workers).map(work)).await.into_iter().sum();
    f64::from(pairs) / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
