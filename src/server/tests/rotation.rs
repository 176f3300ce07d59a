//! A change of authority under load: a client that trusts the former or the new bundle, whenever it learns of the new
//! one, always meets a certificate that it trusts.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{Json, extract::State, routing::get};
use k8s_openapi::api::core::v1::Secret;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::DropGuard;

use super::*;
use crate::server::certificates::{Pace, PublishError, TrustAnchors, to_secret};

const PACE: Pace = Pace {
    every: Duration::from_millis(50),
    least: Duration::from_millis(10),
    spread: Duration::from_millis(1500),
};

/// Publishes bundles to the clients that watch it.
struct Published(watch::Sender<String>);

#[async_trait]
impl TrustAnchors for Published {
    async fn publish(&self, bundle: &str) -> Result<(), PublishError> {
        self.0.send_if_modified(|published| {
            let changes = published != bundle;
            bundle.clone_into(published);
            changes
        });
        Ok(())
    }
}

/// An API server with one Secret.
async fn api_server(secret: Arc<Mutex<Secret>>) -> kube::Client {
    let read = async |State(secret): State<Arc<Mutex<Secret>>>| Json(secret.lock().unwrap().clone());
    let router = Router::new().route("/api/v1/namespaces/n/secrets/s", get(read)).with_state(secret);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
}

async fn keeper(
    secret: Arc<Mutex<Secret>>,
    published: watch::Sender<String>,
    presented: PresentedCertificate,
) -> CertificateKeeper {
    CertificateKeeper {
        role: "admission",
        source: CertificateSource::Secret {
            client: api_server(secret).await,
            namespace: "n".to_owned(),
            name: "s".to_owned(),
            dns_names: vec![NAME.to_owned()],
        },
        anchors: Box::new(Published(published)),
        presented,
        metrics: Arc::new(Metrics::new()),
        readiness: Readiness::default(),
    }
}

/// A server whose certificate is stored in a Secret.
struct Served {
    secret: Arc<Mutex<Secret>>,
    /// The published bundle.
    known: watch::Receiver<String>,
    address: SocketAddr,
    _stop: DropGuard,
}

/// Serves with this certificate once its bundle is published.
async fn served(first: &ServingCertificate, pace: Pace) -> Served {
    let secret = Arc::new(Mutex::new(to_secret("s", first)));
    let (published, known) = watch::channel(String::new());
    let presented = PresentedCertificate::default();
    let keeper = keeper(secret.clone(), published, presented.clone()).await;
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    tokio::spawn(keeper.keep(pace, stop.clone()));
    known.clone().wait_for(|bundle| *bundle == first.bundle).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(async || "here"));
    let tls = TlsSettings { certificate: presented, clients: None };
    tokio::spawn(serve_tls_on(listener, router, tls, Limits::DEFAULT, stop));
    Served { secret, known, address, _stop: guard }
}

/// Opens one connection after the other with the bundle that was published this long ago.
async fn connects(
    address: SocketAddr,
    mut published: watch::Receiver<String>,
    lag: Duration,
    over: Arc<AtomicBool>,
    shaken: Arc<AtomicUsize>,
) {
    let mut known = published.borrow_and_update().clone();
    let mut news = None;
    while !over.load(Ordering::Relaxed) {
        if published.has_changed().unwrap() {
            news = Some((tokio::time::Instant::now() + lag, published.borrow_and_update().clone()));
        }
        if let Some((_, bundle)) = news.take_if(|(at, _)| *at <= tokio::time::Instant::now()) {
            known = bundle;
        }
        let trusted = Certificate::from_pem_bundle(known.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only(trusted).resolve(NAME, address).build().unwrap();
        let answer = client.get(format!("https://{NAME}:{}/", address.port())).send().await;
        answer.unwrap_or_else(|error| panic!("with a lag of {lag:?}: {error:?}"));
        shaken.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_while_the_authority_changes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (first, second) = (made(), made());
    // As `renewed` creates it for an authority in its last year.
    let second = ServingCertificate { bundle: format!("{}{}", second.bundle, first.bundle), ..second };
    let Served { secret, known, address, _stop } = served(&first, PACE).await;

    let (over, shaken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for part in 0..4 {
        let lag = PACE.spread * part / 5;
        clients.spawn(connects(address, known.clone(), lag, over.clone(), shaken.clone()));
    }
    let more = async |count: usize| {
        let goal = shaken.load(Ordering::Relaxed) + count;
        while shaken.load(Ordering::Relaxed) < goal {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), more(20)).await.unwrap();
    *secret.lock().unwrap() = to_secret("s", &second);
    let both = known.clone();
    let client = async || {
        let trusted = Certificate::from_pem_bundle(both.borrow().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only(trusted).tls_info(true).resolve(NAME, address);
        let answer = client.build().unwrap().get(format!("https://{NAME}:{}/", address.port())).send().await;
        met(&answer.unwrap())
    };
    let changed = async {
        while client().await != der(&second) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), changed).await.expect("the new certificate is never presented");
    timeout(Duration::from_secs(20), more(20)).await.unwrap();
    over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

/// As after the deletion of the Secret: waiting would not help, because clients with the new bundle do not trust the
/// former certificate.
#[tokio::test]
async fn a_certificate_of_an_unrelated_authority_is_presented_at_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (first, second) = (made(), made());
    let Served { secret, address, _stop, .. } =
        served(&first, Pace { spread: Duration::from_hours(1), ..PACE }).await;
    *secret.lock().unwrap() = to_secret("s", &second);
    let trusted = Certificate::from_pem_bundle(second.bundle.as_bytes()).unwrap();
    let trusting = async || {
        let client =
            Client::builder().tls_certs_only(trusted.clone()).resolve(NAME, address).build().unwrap();
        client.get(format!("https://{NAME}:{}/", address.port())).send().await
    };
    let served = async {
        while trusting().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), served).await.expect("the new certificate is not presented");
}
