//! AWS for tests: moto, from the Python environment that `tests/preflight aws` creates.

use crate::python_server::PythonServer;

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
pub struct Moto(PythonServer);

impl Moto {
    /// Starts a server and waits until it listens.
    pub fn start() -> Self {
        Self(PythonServer::start(&["-c", SERVER]))
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port())
    }
}
