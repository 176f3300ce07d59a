//! A TCP proxy that can cut connections and counts what clients send.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Listens on a port of its own while the test runs.
pub(super) struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    goes: watch::Sender<bool>,
    sent: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (goes, mut going) = watch::channel(true);
        let made = connections.clone();
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if going.wait_for(|goes| *goes).await.is_err() {
                    return;
                }
                let counted = counted.clone();
                let connection = tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let _ = forward(&mut client, &mut server, &counted).await;
                });
                made.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self { port, connections, goes, sent }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The number of round trips: a client sends nothing more until it has the answer.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Cuts all connections.
    pub(super) fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    /// Blocks new connections.
    pub(super) fn pause(&self) {
        self.goes.send_replace(false);
    }

    pub(super) fn go_on(&self) {
        self.goes.send_replace(true);
    }
}

async fn forward(client: &mut TcpStream, server: &mut TcpStream, sent: &AtomicUsize) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            sent.fetch_add(1, Ordering::SeqCst);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::try_join!(requests, answers).map(drop)
}
