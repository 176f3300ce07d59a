//! One HTTP/2 connection with TLS, like that of an API server to a webhook.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use bindery::admission::pods;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::TlsConnector;

use crate::{
    reviews::Review,
    server::{NAME, Server},
};

/// A client with one connection.
#[derive(Clone)]
pub(crate) struct Client(SendRequest<Body>);

impl Client {
    /// Connects as soon as the server is available.
    pub(crate) async fn connect(server: &Server) -> Self {
        let (stream, authority) = loop {
            let stream = TcpStream::connect(server.address).await;
            if let (Ok(stream), Some(authority)) = (stream, server.authority()) {
                break (stream, authority);
            }
            sleep(Duration::from_millis(10)).await;
        };
        stream.set_nodelay(true).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(NAME.try_into().unwrap(), stream).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a review, and reads the whole answer.
    pub(crate) async fn ask(&self, review: &Review) {
        let mut sender = self.0.clone();
        sender.ready().await.unwrap();
        let request = Request::post(format!("https://{NAME}{}?timeout=5s", pods::PATH))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, review.body.len())
            .body(Body::from(review.body.clone()))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        to_bytes(Body::new(response.into_body()), usize::MAX).await.unwrap();
    }
}
