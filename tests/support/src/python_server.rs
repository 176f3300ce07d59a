//! A server in Python, from the environment that `tests/preflight aws` creates. The server prints its port, and ends
//! when its standard input is closed, that is, with the process that started it, so that a static can hold it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::target_folder::in_target;

/// A running server. It is stopped when dropped.
pub(crate) struct PythonServer {
    child: Child,
    port: u16,
}

impl PythonServer {
    /// Starts Python with these arguments and waits until the server listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let python = in_target("venv/bin/python");
        let mut child = Command::new(&python)
            .args(arguments)
            // No real AWS account may be used, even if the machine has credentials.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run tests/preflight aws", python.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server's port; run tests/preflight aws");
        Self { child, port }
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
