//! A TCP proxy whose connections can be cut.

use std::sync::{Arc, Mutex};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Listens on a port of its own, as long as the test runs.
pub(super) struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    goes: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (goes, mut going) = watch::channel(true);
        let made = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if going.wait_for(|goes| *goes).await.is_err() {
                    return;
                }
                let connection = tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
                made.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self { port, connections, goes }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections.
    pub(super) fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    /// Lets new connections wait.
    pub(super) fn pause(&self) {
        self.goes.send_replace(false);
    }

    pub(super) fn go_on(&self) {
        self.goes.send_replace(true);
    }
}
