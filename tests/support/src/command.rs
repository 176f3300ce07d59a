//! Programs that tests run with an input, such as kubectl with a manifest.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How long a program may take, long enough for two cores under full load.
const LIMIT: Duration = Duration::from_mins(4);

/// The output of a command, and whether it succeeded.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn expect_success(self) -> String {
        assert!(self.success, "the command failed:\n{}", self.all());
        self.stdout
    }

    pub fn expect_failure(self) -> String {
        assert!(!self.success, "the command succeeded:\n{}", self.all());
        self.stderr
    }

    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// What the program printed, or all that it said about a failure.
    pub fn ok(self) -> Result<String, String> {
        if self.success { Ok(self.stdout) } else { Err(self.all()) }
    }
}

/// Runs a program and waits for it. The program ends when the caller stops waiting.
pub async fn run(program: impl AsRef<OsStr>, arguments: &[&str], input: &str) -> Output {
    let name = program.as_ref().to_owned();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", name.display()));
    let mut stdin = child.stdin.take().expect("piped");
    let write = async move {
        // A program that does not read its input may close it.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    // Both at once: the program may print before it has read everything.
    let both = async { tokio::join!(child.wait_with_output(), write).0 };
    let output = timeout(LIMIT, both)
        .await
        .unwrap_or_else(|_| panic!("{} {arguments:?} does not end", name.display()))
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// [`run`] for tests without a runtime, and for closures that cannot wait. Blocks the thread.
pub fn run_blocking(program: impl AsRef<OsStr>, arguments: &[&str], input: &str) -> Output {
    let program = program.as_ref();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(program, arguments, input))
        });
        running.join().expect("the command ran")
    })
}
