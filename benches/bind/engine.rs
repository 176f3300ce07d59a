//! The cost of the broker alone: HTTP requests to a broker with a service in memory and a store in a file.

use std::sync::Arc;

use bindery::broker::Provider;
use criterion::{Criterion, Throughput};
use futures::future::join_all;
use reqwest::Method;
use tokio::runtime::Runtime;

use crate::{INSTANCES, broker::Served, fake::Fake};

pub(crate) fn alone(criterion: &mut Criterion, runtime: &Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let provider: Arc<dyn Provider> = Arc::new(Fake::default());
    let store = format!("sqlite:{}", folder.path().join("db").display());
    let served = runtime.block_on(Served::with(&store, provider));
    let instances: Vec<String> = (0..INSTANCES).map(|index| index.to_string()).collect();
    for instance in &instances {
        runtime.block_on(served.provision(instance));
    }
    let mut group = criterion.benchmark_group("engine alone");
    group.throughput(Throughput::Elements(1));
    group.bench_function("fetch", |bencher| {
        bencher.to_async(runtime).iter(|| served.ask(Method::GET, &instances[0], 200));
    });
    group.throughput(Throughput::Elements(2));
    group.bench_function("bind, unbind", |bencher| {
        bencher.to_async(runtime).iter(|| served.bind_and_unbind(&instances[0]));
    });
    group.throughput(Throughput::Elements(2 * INSTANCES as u64));
    group.bench_function("bind, unbind on all instances at once", |bencher| {
        let pairs = || join_all(instances.iter().map(|instance| served.bind_and_unbind(instance)));
        bencher.to_async(runtime).iter(pairs);
    });
    group.finish();
}
