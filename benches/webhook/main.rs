//! The cost of an injection, compared with a webhook that allows everything on the same stack: HTTP/2, TLS, the same
//! server and decoding, and one connection, as an API server has. Each server is a separate process, so that its
//! processor time and memory can be measured. `make bench` runs it. `BINDERY_BENCH_SECONDS` sets the length of each
//! round; long rounds show whether memory grows.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what fails in the set-up fails the benchmark, which prints what it measured"
)]

mod client;
mod load;
mod reviews;
mod server;

use std::time::Duration;

use self::{
    client::Client,
    load::{Latencies, flat_out, paced},
    reviews::Review,
    server::Server,
};

/// Each round measures everything once, so that other load on the machine affects all servers alike.
const ROUNDS: usize = 5;
/// The servers.
const KINDS: [&str; 2] = [server::ALLOW, server::INJECT];

/// The measurements of one server in one round.
struct Figures {
    per_second: f64,
    busy_cpu: Duration,
    paced: Latencies,
    paced_cpu: Duration,
    /// The memory at the end of the round.
    memory_mib: f64,
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if server::is_one() {
        return server::serve();
    }
    // `cargo test --benches` only checks that the benchmark builds and starts.
    let seconds = std::env::var("BINDERY_BENCH_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(compare(Duration::from_secs(seconds)));
}

async fn compare(round: Duration) {
    println!(
        "medians of {ROUNDS} rounds of {} s each; ratio: bindery to a webhook that allows everything",
        round.as_secs()
    );
    println!("{:8} {:>9} {:22} {:>10} {:>10} {:>7}", "pod", "bytes", "", "allow all", "bindery", "ratio");
    for review in reviews::all() {
        let servers = KINDS.map(Server::start);
        let mut figures: [Vec<Figures>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (server, figures) in servers.iter().zip(&mut figures) {
                figures.push(measure(server, &review, round).await);
            }
        }
        print(&review, &figures);
        for (what, round) in [("first", 0), ("last", ROUNDS - 1)] {
            let held = figures.each_ref().map(|rounds| rounds[round].memory_mib);
            line(&review, &format!("MiB after {what} round"), held);
        }
        line(&review, "peak memory, MiB", servers.each_ref().map(|server| server.memory_mib("VmHWM")));
    }
}

async fn measure(server: &Server, review: &Review, round: Duration) -> Figures {
    let client = Client::connect(server).await;
    client.ask(review).await;
    let before = server.cpu();
    let (count, took) = flat_out(&client, review, round).await;
    let busy_cpu = server.cpu().saturating_sub(before) / count;
    let before = server.cpu();
    let paced = paced(&client, review, round).await;
    let paced_cpu = server.cpu().saturating_sub(before) / paced.count();
    let memory_mib = server.memory_mib("VmRSS");
    Figures { per_second: f64::from(count) / took.as_secs_f64(), busy_cpu, paced, paced_cpu, memory_mib }
}

fn print(review: &Review, figures: &[Vec<Figures>; 2]) {
    let of = |what: &dyn Fn(&Figures) -> f64| {
        figures.each_ref().map(|rounds| median(rounds.iter().map(what).collect()))
    };
    line(review, "flat out, per second", of(&|figures| figures.per_second));
    line(review, "flat out, CPU µs", of(&|figures| micros(figures.busy_cpu)));
    line(review, &format!("{}/s, CPU µs", review.rate), of(&|figures| micros(figures.paced_cpu)));
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        line(
            review,
            &format!("{}/s, {name} µs", review.rate),
            of(&|figures| micros(figures.paced.quantile(part))),
        );
    }
}

fn line(review: &Review, what: &str, [allow, bindery]: [f64; 2]) {
    let bytes = review.body.len();
    println!("{:8} {bytes:9} {what:22} {allow:10.1} {bindery:10.1} {:7.2}", review.name, bindery / allow);
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
