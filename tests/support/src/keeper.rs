//! Changes of the administrator's password with a keeper of the test's own, which are cut off where it matters.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bindery::broker::{
    PasswordChangeError, PasswordKeeper, change_password,
    config::{ServiceSettings, next_to},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

/// Where a change is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The new password is kept, and the server does not know it.
    AfterStaging,
    /// The server knows the new password, and the file has the old one.
    BeforePromotion,
}

/// Keeps the password in its file, up to some point.
struct Keeper {
    file: PathBuf,
    cut: Option<Cut>,
    reached: Notify,
}

impl Keeper {
    fn new(file: &Path, cut: Option<Cut>) -> Self {
        Self { file: file.to_owned(), cut, reached: Notify::new() }
    }

    /// Does not come back from where the change is cut off.
    async fn passes(&self, point: Cut) {
        if self.cut == Some(point) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl PasswordKeeper for Keeper {
    async fn stage(&self, _: &SecretString, next: &SecretString) -> anyhow::Result<()> {
        fs::write(next_to(&self.file), next.expose_secret())?;
        self.passes(Cut::AfterStaging).await;
        Ok(())
    }

    async fn promote(&self, _: &SecretString) -> anyhow::Result<()> {
        self.passes(Cut::BeforePromotion).await;
        Ok(fs::rename(next_to(&self.file), &self.file)?)
    }
}

/// Changes the password of server `main` to the end.
pub async fn change(services: &ServiceSettings, file: &Path) -> Result<(), PasswordChangeError> {
    change_password(services, &"main".into(), &Keeper::new(file, None), Duration::ZERO).await
}

/// Begins to change the password of server `main`, as somebody does who is killed there.
pub async fn begin_to_change(services: &ServiceSettings, file: &Path, cut: Cut) {
    let (server, keeper) = ("main".into(), Keeper::new(file, Some(cut)));
    tokio::select! {
        outcome = change_password(services, &server, &keeper, Duration::ZERO) => panic!("{cut:?}: {outcome:?}"),
        () = keeper.reached.notified() => {}
    }
}
