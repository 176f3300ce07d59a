//! `bindery rotate-admin`: changes the administrator's password of a database server, and stores the new password
//! where the old one was.

use std::{
    io::Write,
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::broker_source::from_file;
use crate::{
    broker::{
        PasswordKeeper, change_password,
        config::{BackendName, Lifetime, next_to},
        password_file,
    },
    k8s::{self, explain},
};

/// Change the administrator's password of a database server.
///
/// The new password is first stored beside the old one, under the same name with `.next` appended. Then the server
/// gets the new password, and finally it replaces the old one. Meanwhile brokers try both. If the command was
/// interrupted, repeat it.
#[derive(Debug, clap::Args)]
pub(super) struct RotateAdminArgs {
    /// The name of the backend in the configuration's `backends`.
    #[arg(long)]
    backend: String,
    /// The Secret from which the backend's passwordFile is mounted, in the installation's namespace. Without it the
    /// command writes the file itself.
    #[arg(long)]
    secret: Option<String>,
    /// The password's key in that Secret.
    #[arg(long, default_value = "password", requires = "secret")]
    secret_key: String,
    /// How long to wait until other brokers have read the changed Secret. Default: 90s, or no wait without a Secret.
    #[arg(long)]
    settle: Option<Lifetime>,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    /// The broker's configuration.
    #[arg(long, env = "BINDERY_CONFIG", value_name = "FILE", default_value = "/etc/bindery/bindery.yaml")]
    config: PathBuf,
}

/// Kubelets update mounted Secrets within this time.
const SECRETS_SETTLE: Duration = Duration::from_secs(90);

/// The password in its file.
struct InFile(PathBuf);

/// The password in the Secret that the file is mounted from.
struct InSecret {
    api: Api<Secret>,
    name: String,
    key: String,
}

/// Returns a report of what was done.
///
/// # Errors
/// When the password is still the old one, or may be either one. The command can be repeated.
pub(super) async fn run(args: &RotateAdminArgs) -> anyhow::Result<String> {
    let services = from_file(&args.config)?.services;
    let backend = BackendName::from(args.backend.as_str());
    let (keeper, settle): (Box<dyn PasswordKeeper>, _) = match &args.secret {
        Some(name) => {
            let api = Api::namespaced(k8s::client().await?, &args.namespace);
            let keeper = InSecret { api, name: name.clone(), key: args.secret_key.clone() };
            (Box::new(keeper), SECRETS_SETTLE)
        }
        None => (Box::new(InFile(password_file(&services, &backend)?)), Duration::ZERO),
    };
    let settle = args.settle.map_or(settle, Lifetime::duration);
    change_password(&services, &backend, keeper.as_ref(), settle).await?;
    Ok(format!("backend {backend}: the administrator has a new password\n"))
}

#[async_trait]
impl PasswordKeeper for InFile {
    async fn stage(&self, _current: &SecretString, next: &SecretString) -> anyhow::Result<()> {
        let staged = next_to(&self.0);
        let written = write_like(&self.0, &staged, next.expose_secret());
        written.with_context(|| format!("cannot write {}", staged.display()))
    }

    async fn promote(&self, _next: &SecretString) -> anyhow::Result<()> {
        let staged = next_to(&self.0);
        std::fs::rename(&staged, &self.0)
            .with_context(|| format!("cannot rename {} to {}", staged.display(), self.0.display()))
    }
}

#[async_trait]
impl PasswordKeeper for InSecret {
    async fn stage(&self, current: &SecretString, next: &SecretString) -> anyhow::Result<()> {
        let found = match self.api.get(&self.name).await {
            Ok(found) => found,
            Err(error) => bail!(
                "Secret {}: {}; name the right Secret, and let bindery get and patch it",
                self.name,
                explain(&error)
            ),
        };
        let held = found.data.as_ref().and_then(|data| data.get(&self.key));
        let held = held.and_then(|held| std::str::from_utf8(&held.0).ok());
        if held.map(|held| held.trim_end_matches(['\r', '\n'])) != Some(current.expose_secret()) {
            bail!(
                "key {} of Secret {} is not the password that the broker reads from its file; name the Secret that is mounted there",
                self.key,
                self.name
            );
        }
        // The patch fails if the Secret was changed since.
        let version = found.metadata.resource_version;
        let next = STANDARD.encode(next.expose_secret());
        self.patch(json!({"metadata": {"resourceVersion": version}, "data": {self.staged(): next}})).await
    }

    async fn promote(&self, next: &SecretString) -> anyhow::Result<()> {
        let next = STANDARD.encode(next.expose_secret());
        self.patch(json!({"data": {&self.key: next, self.staged(): null}})).await
    }
}

impl InSecret {
    fn staged(&self) -> String {
        next_to(Path::new(&self.key)).display().to_string()
    }

    async fn patch(&self, patch: serde_json::Value) -> anyhow::Result<()> {
        match self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                bail!("Secret {} cannot be written: {}; let bindery patch it", self.name, explain(&error))
            }
        }
    }
}

/// Writes a file with the permissions of another file, atomically.
fn write_like(model: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    let (model, own) = (std::fs::metadata(model)?, file.as_file().metadata()?);
    if (model.uid(), model.gid()) != (own.uid(), own.gid()) {
        fchown(file.as_file(), Some(model.uid()), Some(model.gid()))?;
    }
    file.as_file().set_permissions(model.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
