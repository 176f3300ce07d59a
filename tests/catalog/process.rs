//! `bindery serve` as a process, for what is measured of it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{fs::OpenOptions, net::TcpListener, path::PathBuf, sync::Arc};

use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

/// A process with some roles. It ends when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// The port of the metrics.
    port: u16,
    /// The log of all processes of the run.
    pub(crate) log: Arc<NamedTempFile>,
}

/// The memory of a process, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What the process does not share with the program's file.
    pub(crate) anonymous: u64,
    /// Mapped pages of files: the program.
    pub(crate) of_files: u64,
}

impl Memory {
    pub(crate) fn total(self) -> u64 {
        self.anonymous + self.of_files
    }
}

/// A port of this machine that is free.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Process {
    /// Starts the program under test, or that of `BINDERY_SOAK_PROGRAM`, with these arguments of `serve`.
    pub(crate) fn start(log: Arc<NamedTempFile>, arguments: &[&str]) -> Self {
        let append = || OpenOptions::new().append(true).open(log.path()).unwrap();
        let port = free_port();
        let program = std::env::var_os("BINDERY_SOAK_PROGRAM")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_bindery")), PathBuf::from);
        let child = Command::new(program)
            .args(["serve", "--namespace", "default", "--listen-ops"])
            .arg(format!("127.0.0.1:{port}"))
            .args(arguments)
            // As in the chart: freed memory goes back to the system at once.
            .envs([("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_GENERIC_COLLECT", "200")])
            .stdout(append())
            .stderr(append())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, port, log }
    }

    /// How often a process of the run became the active catalog.
    pub(crate) fn starts(&self) -> usize {
        std::fs::read_to_string(self.log.path()).unwrap().matches("the catalog is active").count()
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let of = |field: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
        };
        Memory { anonymous: of("RssAnon:"), of_files: of("RssFile:") }
    }

    /// How many objects of this kind were looked at.
    pub(crate) async fn reconciled(&self, kind: &str) -> usize {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let Ok(answer) = reqwest::get(url).await else { return 0 };
        let name = format!(r#"bindery_reconcile_duration_seconds_count{{kind="{kind}"}} "#);
        let text = answer.text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }
}
