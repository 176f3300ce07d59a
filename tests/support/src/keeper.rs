//! Changes of the administrator's password with a test keeper that interrupts them at chosen points.

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

/// The point of the interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The new password is stored, but the server still has the old one.
    AfterStaging,
    /// The server has the new password, but the file still has the old one.
    BeforePromotion,
}

/// Keeps the password in its file, up to the point of interruption.
struct Keeper {
    file: PathBuf,
    cut: Option<Cut>,
    reached: Notify,
}

impl Keeper {
    fn new(file: &Path, cut: Option<Cut>) -> Self {
        Self { file: file.to_owned(), cut, reached: Notify::new() }
    }

    /// Never returns at the point of the interruption.
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

/// Changes the password of server `main` completely.
pub async fn change(services: &ServiceSettings, file: &Path) -> Result<(), PasswordChangeError> {
    change_password(services, &"main".into(), &Keeper::new(file, None), Duration::ZERO).await
}

/// Begins to change the password of server `main`, like a process that is killed at the cut.
pub async fn begin_to_change(services: &ServiceSettings, file: &Path, cut: Cut) {
    let (server, keeper) = ("main".into(), Keeper::new(file, Some(cut)));
    tokio::select! {
        outcome = change_password(services, &server, &keeper, Duration::ZERO) => panic!("{cut:?}: {outcome:?}"),
        () = keeper.reached.notified() => {}
    }
}
