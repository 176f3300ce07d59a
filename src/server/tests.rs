//! TLS over real sockets: which certificate a client sees, and which clients are accepted.

mod drain;
mod limits;
mod rotation;

use std::path::Path;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Version, tls::TlsInfo};

use super::*;
use crate::{
    server::{
        certificates::{CertificateKeeper, CertificateSource, TrustedElsewhere},
        pki::ServingCertificate,
    },
    telemetry::{Metrics, ops::Readiness},
};

const NAME: &str = "broker.example";

/// A server with its files.
struct Bench {
    folder: tempfile::TempDir,
    keeper: CertificateKeeper,
    clients: Option<TrustedClients>,
    address: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Bench {
    async fn new(client_ca: Option<&str>) -> (Self, ServingCertificate) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        let first = made();
        write(folder.path(), &first.leaf);
        let keeper = CertificateKeeper {
            role: "broker",
            source: CertificateSource::Files { certificate: at("tls.crt"), key: at("tls.key") },
            anchors: Box::new(TrustedElsewhere),
            presented: PresentedCertificate::default(),
            metrics: Arc::new(Metrics::new()),
            readiness: Readiness::default(),
        };
        keeper.look().await.unwrap();
        let clients = match client_ca {
            Some(ca) => {
                std::fs::write(at("clients.crt"), ca).unwrap();
                Some(TrustedClients::of_file(&at("clients.crt")).await.unwrap())
            }
            None => None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = TlsSettings { certificate: keeper.presented.clone(), clients: clients.clone() };
        let stop = CancellationToken::new();
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        tokio::spawn(serve_tls_on(listener, router, tls, Limits::DEFAULT, stop.clone()));
        (Self { folder, keeper, clients, address, _stop: stop.drop_guard() }, first)
    }

    /// A client that trusts this server and has no connection yet.
    fn client(&self, trusted: &ServingCertificate) -> ClientBuilder {
        Client::builder()
            .tls_certs_only([Certificate::from_pem(trusted.bundle.as_bytes()).unwrap()])
            .tls_info(true)
            .resolve(NAME, self.address)
            .timeout(Duration::from_secs(20))
    }

    async fn get(&self, client: &Client) -> Result<reqwest::Response, reqwest::Error> {
        client.get(format!("https://{NAME}:{}/", self.address.port())).send().await
    }
}

fn made() -> ServingCertificate {
    ServingCertificate::generate(&[NAME.to_owned()], Timestamp::now()).unwrap()
}

fn write(folder: &Path, leaf: &KeyedCertificate) {
    std::fs::write(folder.join("tls.crt"), &leaf.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), leaf.key.expose_secret()).unwrap();
}

/// The certificate of the connection on which this answer came.
fn met(response: &reqwest::Response) -> Vec<u8> {
    response.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

fn der(certificate: &ServingCertificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(certificate.leaf.certificate.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_old_ones_continue() {
    let (bench, first) = Bench::new(None).await;
    let early = bench.client(&first).build().unwrap();
    assert_eq!(met(&bench.get(&early).await.unwrap()), der(&first));

    let second = made();
    write(bench.folder.path(), &second.leaf);
    bench.keeper.look().await.unwrap();
    let late = bench.client(&second).build().unwrap();
    assert_eq!(met(&bench.get(&late).await.unwrap()), der(&second));
    // The early client does not trust the second certificate, so this is its old connection.
    assert_eq!(met(&bench.get(&early).await.unwrap()), der(&first));
}

#[tokio::test]
async fn half_of_a_certificate_pair_changes_nothing() {
    let (bench, first) = Bench::new(None).await;
    let second = made();
    for (file, text) in
        [("tls.crt", second.leaf.certificate.as_str()), ("tls.crt", ""), ("tls.crt", "nonsense")]
    {
        std::fs::write(bench.folder.path().join(file), text).unwrap();
        assert!(bench.keeper.look().await.is_err(), "{text:.30}");
        let client = bench.client(&first).build().unwrap();
        assert_eq!(met(&bench.get(&client).await.unwrap()), der(&first));
    }
    write(bench.folder.path(), &second.leaf);
    bench.keeper.look().await.unwrap();
    let client = bench.client(&second).build().unwrap();
    assert_eq!(met(&bench.get(&client).await.unwrap()), der(&second));
}

#[tokio::test]
async fn both_versions_of_http_are_served() {
    let (bench, first) = Bench::new(None).await;
    let two = bench.client(&first).build().unwrap();
    assert_eq!(bench.get(&two).await.unwrap().version(), Version::HTTP_2);
    let one = bench.client(&first).http1_only().build().unwrap();
    assert_eq!(bench.get(&one).await.unwrap().version(), Version::HTTP_11);
}

/// A CA and a client of it, both PEM; the client with its key.
fn client_of_a_ca() -> (String, Identity) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::from_ca_cert_pem(&authority, key).unwrap();
    let mut params = CertificateParams::new(["platform".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let identity = Identity::from_pem(format!("{certificate}{}", key.serialize_pem()).as_bytes()).unwrap();
    (authority, identity)
}

#[tokio::test]
async fn clients_without_a_certificate_of_the_ca_are_refused() {
    let (authority, known) = client_of_a_ca();
    let (_, stranger) = client_of_a_ca();
    let (bench, first) = Bench::new(Some(&authority)).await;
    let nobody = bench.client(&first).build().unwrap();
    assert!(bench.get(&nobody).await.is_err());
    let stranger = bench.client(&first).identity(stranger).build().unwrap();
    assert!(bench.get(&stranger).await.is_err());
    let known = bench.client(&first).identity(known).build().unwrap();
    assert_eq!(bench.get(&known).await.unwrap().text().await.unwrap(), "here");
}

#[tokio::test]
async fn the_clients_ca_can_be_replaced() {
    let ((old_ca, old), (new_ca, new)) = (client_of_a_ca(), client_of_a_ca());
    let (bench, first) = Bench::new(Some(&old_ca)).await;
    let clients = bench.clients.as_ref().unwrap();
    let file = bench.folder.path().join("clients.crt");
    let admitted = async |identity: &Identity| {
        let client = bench.client(&first).identity(identity.clone()).build().unwrap();
        bench.get(&client).await.is_ok()
    };
    assert!(!clients.reload().await.unwrap());
    std::fs::write(&file, format!("{old_ca}{new_ca}")).unwrap();
    assert!(clients.reload().await.unwrap());
    assert!(admitted(&old).await && admitted(&new).await);
    std::fs::write(&file, &new_ca).unwrap();
    assert!(clients.reload().await.unwrap());
    assert!(!admitted(&old).await && admitted(&new).await);
    for broken in ["", "nonsense"] {
        std::fs::write(&file, broken).unwrap();
        let message = clients.reload().await.unwrap_err().to_string();
        assert!(message.contains("clients.crt"), "{message}");
    }
    assert!(!admitted(&old).await && admitted(&new).await, "the former CAs");
}
