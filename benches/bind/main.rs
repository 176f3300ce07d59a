//! The speed of creating and removing bindings: by the broker over HTTP, compared with the same statements without it,
//! on a real PostgreSQL and a real MariaDB that wait for the disk; and the cost of the broker alone, with a service in
//! memory. `make bench` runs it. `BINDERY_BENCH_SECONDS` sets the length of each round.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails in the set-up fails the benchmark, which prints what it measured"
)]

mod broker;
mod engine;
mod floor;

use std::time::{Duration, Instant};

use bindery_test_support::{
    fake,
    mariadb::{self, MariaDb},
    postgres::{self, Postgres},
};
use criterion::Criterion;
use futures::future::join_all;

use self::{
    broker::Served,
    floor::{OnMariaDb, OnPostgres},
};

const INSTANCES: usize = 8;
const WORKERS: [usize; 2] = [1, 8];
/// Each round measures everything once, so that other load on the machine affects all candidates alike.
const ROUNDS: usize = 5;

/// Creates and removes bindings on several instances.
trait Bindings {
    /// Creates a binding and removes it again.
    async fn pair(&self, worker: usize, instance: usize);
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("pairs of bind and unbind each second, on {INSTANCES} instances, medians of {ROUNDS} rounds");
    runtime.block_on(on_postgres());
    runtime.block_on(on_mariadb());
    let mut criterion = Criterion::default().configure_from_args();
    engine::alone(&mut criterion, &runtime);
    criterion.final_summary();
}

async fn on_postgres() {
    let server = Postgres::start_durable("127.0.0.1", &["127.0.0.1"]);
    server.psql(&format!("CREATE DATABASE records OWNER {}", postgres::ADMIN));
    let folder = tempfile::tempdir().unwrap();
    let in_file = Served::start(&server, &format!("sqlite:{}", folder.path().join("db").display())).await;
    let in_database = Served::start(&server, &floor::url(&server, "records")).await;
    let floor = OnPostgres::of(&server, in_file.databases(), most_workers()).await;
    compare("PostgreSQL: SQL alone", &floor, &[("a file", &in_file), ("PostgreSQL", &in_database)]).await;
    let floor = floor.with_records(&server, "records").await;
    compare("PostgreSQL: SQL and durable records alone", &floor, &[("PostgreSQL", &in_database)]).await;
}

async fn on_mariadb() {
    let server = MariaDb::start_durable("127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let in_file = Served::start(&server, &format!("sqlite:{}", folder.path().join("db").display())).await;
    let floor = OnMariaDb::of(&server, in_file.databases(), most_workers()).await;
    let [expected, found] = [statements(&server, &in_file).await, statements(&server, &floor).await];
    assert_eq!(found, expected, "the broker sends other statements than these");
    server.root("SET GLOBAL general_log = OFF");
    compare("MariaDB: SQL alone", &floor, &[("a file", &in_file)]).await;
}

/// The statements of a pair, with names and other texts replaced.
async fn statements(server: &MariaDb, bindings: &impl Bindings) -> Vec<String> {
    let before = server.statements().len();
    bindings.pair(0, 0).await;
    let log = server.statements();
    let asked = log[before..].lines().filter_map(|line| line.split_once(" Query\t")).map(|(_, sql)| sql);
    // The broker's checks for expired logins run at any time.
    let asked = asked.filter(|sql| !sql.contains("expires_at <=") && !sql.starts_with("SET "));
    asked.map(|sql| sql.split('\'').step_by(2).collect::<Vec<_>>().join("'…'")).collect()
}

fn most_workers() -> usize {
    WORKERS.into_iter().max().unwrap()
}

/// Prints the rates of brokers with these stores beside that of a floor.
async fn compare(name: &str, floor: &impl Bindings, brokers: &[(&str, &Served)]) {
    for workers in WORKERS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut round = vec![rate(floor, workers).await];
            for (_, broker) in brokers {
                round.push(rate(*broker, workers).await);
            }
            rounds.push(round);
        }
        let of = |what: &dyn Fn(&Vec<f64>) -> f64| median(rounds.iter().map(what).collect());
        println!("{name}, {workers} workers: {:.1}", of(&|round| round[0]));
        for (index, (store, _)) in (1..).zip(brokers) {
            let (pairs, ratio) = (of(&|round| round[index]), of(&|round| round[index] / round[0]));
            println!("  broker with its store in {store} {pairs:.1}, ratio {ratio:.2}");
        }
    }
}

/// The number of pairs per second.
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
