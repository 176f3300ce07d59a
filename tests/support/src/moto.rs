//! AWS for tests: moto, from the Python environment that `tests/preflight aws` creates. It is stopped when dropped, and
//! ends with the process that started it, so that a static can hold it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::target_folder::in_target;

/// The server's program. It handles one request at a time, unlike `moto_server`: moto rolls back a transaction by
/// restoring a copy of the table, which would undo concurrent writes. It ends when its standard input is closed.
const SERVER: &str = r"
import os, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

def end_with_caller():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=end_with_caller, daemon=True).start()
app = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()

def one_at_a_time(environ, start_response):
    with lock:
        return list(app(environ, start_response))

server = make_server('127.0.0.1', 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
print(server.port, flush=True)
server.serve_forever()
";

/// A running server.
pub struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// Starts a server and waits until it listens.
    pub fn start() -> Self {
        let python = in_target("venv/bin/python");
        let mut child = Command::new(&python)
            .args(["-c", SERVER])
            // No real AWS account may be used, even if the machine has credentials.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run tests/preflight aws", python.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("moto's port; run tests/preflight aws");
        Self { child, port }
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
