//! Server processes: their user, the wait until they answer, and sessions that only wait.

use std::{
    fs,
    os::unix::fs::chown,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

/// Longer than anything takes, even beside a compiler and two clusters.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// Variables of a server's environment.
pub(crate) type Environment = Vec<(&'static str, &'static str)>;

/// The user of a Debian package. Its server refuses to run as root, so a test that runs as root uses this user.
pub(crate) struct PackageUser {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

impl PackageUser {
    /// The user and group to change to, if any.
    fn ids(&self) -> Option<(u32, u32)> {
        let id = |arguments: &[&str]| -> u32 {
            let output = Command::new("id").args(arguments).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.trim()
                .parse()
                .unwrap_or_else(|_| panic!("user {}: apt-get install {}", self.name, self.package))
        };
        (id(&["-u"]) == 0).then(|| (id(&["-u", self.name]), id(&["-g", self.name])))
    }

    /// Gives a file or folder to the user.
    pub(crate) fn own(&self, path: &Path) {
        if let Some((user, group)) = self.ids() {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// A command that runs a program as the user with these environment variables.
    pub(crate) fn command(&self, program: &Path, environment: &Environment) -> Command {
        let mut command = match self.ids() {
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={group}")]);
                command.args(["--clear-groups", "env"]);
                command
            }
            None => Command::new("env"),
        };
        // `env` comes after `setpriv`: a library that is preloaded into `setpriv` would create files as root.
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
        command
    }
}

/// Waits until a started server answers.
pub(crate) fn wait_until_ready(server: &str, child: &mut Child, log: &Path, is_ready: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_ready() {
        let log = || fs::read_to_string(log).unwrap_or_default();
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{server} ended with {status}: {}", log());
        }
        assert!(Instant::now() < deadline, "{server} is not ready: {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until this condition holds.
pub(crate) async fn until(question: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not true: {question}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An application's session that only waits.
pub struct Session(pub(crate) Child);

impl Session {
    /// Waits until the session ends.
    pub async fn ended(mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the session goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
