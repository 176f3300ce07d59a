//! A server that stops under load, behind a simulated Service that learns of it late: no request may fail.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::*;

const LIMITS: Limits =
    Limits { quiet: Duration::from_secs(1), drain: Duration::from_secs(20), ..Limits::DEFAULT };

/// A server that answers with its name after a moment.
struct Replica {
    address: SocketAddr,
    stop: CancellationToken,
    served: Arc<AtomicUsize>,
    ended: JoinHandle<std::io::Result<()>>,
}

impl Replica {
    async fn start(certificate: &ServingCertificate) -> Self {
        let presented = PresentedCertificate::default();
        presented.present(&certificate.leaf).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, served) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let count = served.clone();
        let answer = async move || {
            sleep(Duration::from_millis(3)).await;
            count.fetch_add(1, Ordering::Relaxed);
        };
        let router = Router::new().route("/", axum::routing::get(answer));
        let tls = TlsSettings { certificate: presented, clients: None };
        let ended = tokio::spawn(serve_tls_on(listener, router, tls, LIMITS, stop.clone()));
        Self { address, stop, served, ended }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// Routes new connections to one of the replicas, as kube-proxy does; open connections stay where they are.
async fn service(towards: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let replica = *towards.lock().unwrap();
            tokio::spawn(async move {
                let mut replica = TcpStream::connect(replica).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut replica).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_a_server_stops_under_load() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = made();
    let [first, second] = [Replica::start(&certificate).await, Replica::start(&certificate).await];
    let towards = Arc::new(Mutex::new(first.address));
    let address = service(towards.clone()).await;
    let client = |is_http1: bool| {
        let builder = Client::builder();
        let builder = if is_http1 { builder.http1_only() } else { builder };
        builder
            .tls_certs_only([Certificate::from_pem(certificate.bundle.as_bytes()).unwrap()])
            .resolve(NAME, address)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap()
    };
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    // Some clients share a connection, some have their own, and some open a new one for each request. API servers
    // speak HTTP/1.1.
    let shared = client(false);
    for worker in 0..16 {
        let is_http1 = worker >= 12;
        let (mut http, over) = (if worker < 6 { shared.clone() } else { client(is_http1) }, over.clone());
        let fresh = (9..12).contains(&worker).then(|| (0..2000).map(|_| client(false)).collect::<Vec<_>>());
        workers.spawn(async move {
            let mut fresh = fresh.into_iter().flatten();
            while !over.load(Ordering::Relaxed) {
                if (9..12).contains(&worker) {
                    http = fresh.next().unwrap();
                }
                let asked = http.get(format!("https://{NAME}:{}/", address.port())).send().await;
                let version = asked.unwrap_or_else(|error| panic!("worker {worker}: {error:?}")).version();
                assert_eq!(version, if is_http1 { Version::HTTP_11 } else { Version::HTTP_2 });
            }
        });
    }
    let reached = async |replica: &Replica, more: usize| {
        let goal = replica.served() + more;
        let reached = async {
            while replica.served() < goal {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), reached).await.unwrap();
    };
    reached(&first, 300).await;

    let stopped = Instant::now();
    first.stop.cancel();
    // New connections still arrive, because the Service has not learned of the stop yet.
    reached(&first, 100).await;
    *towards.lock().unwrap() = second.address;
    first.ended.await.unwrap().unwrap();
    assert!(stopped.elapsed() < LIMITS.drain, "connections stayed until they were cut off");
    let served = first.served.load(Ordering::Relaxed);
    reached(&second, 300).await;
    over.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    assert_eq!(first.served.load(Ordering::Relaxed), served, "served after its end");
}
