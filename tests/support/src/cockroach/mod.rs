//! A stand-in for CockroachDB: a relay in front of a PostgreSQL server that identifies itself as CockroachDB. It
//! forwards only statements that were checked against CockroachDB's documentation (`statements`), refuses what
//! CockroachDB refuses, and drops connections and fails transactions as planned by a test (`faults`). It proves that
//! bindery sends only the listed statements, and how bindery handles refusals; it does not prove that CockroachDB
//! accepts the list.

mod faults;
mod jobs;
mod session;
mod statements;
mod wire;

use std::{
    io,
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot, task::JoinSet};
use tokio_rustls::TlsAcceptor;

pub use self::{
    faults::{Fault, Faults},
    statements::{REFUSED, Sender, UNKNOWN, judge},
};
use self::{jobs::Socket, wire::Side};
use crate::certificates::Authority;

/// Roles with this prefix are the stand-in's system privileges: `GRANT SYSTEM x TO r` is membership in `system:x`.
pub const SYSTEM: &str = "system:";

/// The message by which a client requests TLS (`SSLRequest`).
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A running stand-in. It stops when dropped; PostgreSQL continues to run.
pub struct StandIn {
    port: u16,
    folder: TempDir,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The state that all connections share.
#[derive(Default)]
struct Shared {
    faults: Mutex<Faults>,
    unknown: Mutex<Vec<String>>,
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    fn note_unknown(&self, sql: &str) {
        self.unknown.lock().unwrap().push(sql.to_owned());
    }
}

impl StandIn {
    /// Starts in front of a PostgreSQL server whose socket is in `sockets`, with a certificate for 127.0.0.1 from its
    /// own CA.
    pub fn before(sockets: PathBuf, port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("bindery-stand-in-").tempdir().unwrap();
        let acceptor = acceptor(&folder);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let socket = Socket { folder: sockets, port };
        let accepting = accept(listener, acceptor, socket, Arc::clone(&shared));
        // Each test has its own runtime; the stand-in needs another one to outlive the first test.
        let thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! { () = accepting => {} _ = stopped => {} }
            });
        });
        Self { port: own_port, folder, shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The CA of the stand-in's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The planned faults, and the statements received.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults()
    }

    /// Returns and clears the statements that are on no list, so that they no longer fail the test.
    pub fn unknown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.unknown.lock().unwrap())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.transpose().expect("the stand-in panicked");
            assert_eq!(self.unknown(), Vec::<String>::new(), "nobody looked these up");
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, socket: Socket, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut sessions = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, socket, shared) = (acceptor.clone(), socket.clone(), Arc::clone(&shared));
        sessions.spawn(async move {
            // An error here means that the client closed the connection.
            let _ = receive(stream, acceptor, socket, shared).await;
        });
        while sessions.try_join_next().is_some() {}
    }
}

/// Handles a connection from its first byte. TLS is required.
async fn receive(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    socket: Socket,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let mut side = Side::new(stream);
    if side.startup().await?.as_deref() != Some(&TLS_REQUEST) {
        let refusal = wire::error("08004", "node is running secure mode, SSL connection required");
        return side.send(refusal.bytes()).await;
    }
    side.send(b"S").await?;
    let client = acceptor.accept(side.into_inner()).await?;
    session::serve(Side::new(client), socket, shared).await
}

fn acceptor(folder: &TempDir) -> TlsAcceptor {
    let at = |name: &str| folder.path().join(name);
    Authority::create("tests", &at("ca.crt")).issue("node", &["127.0.0.1"], &at("node.crt"), &at("node.key"));
    let certificate = CertificateDer::from_pem_file(at("node.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(at("node.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
