//! A service of one's own: folders. An instance is a folder, a binding is a file in it with a token. `docs/write-a-service.md`
//! explains it.
//!
//! `cargo run --example service -- /tmp/folders` serves it on <http://127.0.0.1:8080>, user `platform`, password `example`.

use std::{
    io::{Error, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use async_trait::async_trait;
use bindery::{
    broker::{
        Backend, BindingSpec, Bound, Broker, InstanceSpec, PlanSettings, Progress, Provider, Registry,
        Resource, ServiceError, Timing, Unacceptable,
        config::{
            BackendSettings, BrokerConfig, ConfigError, LoadedConfig, Login, PartialSettings, PasswordSource,
            StoreKey,
        },
    },
    osb::{BindingId, InstanceId, Object},
    telemetry::Metrics,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::fs;

/// The folders below `root`.
struct Folders {
    root: PathBuf,
    installation: String,
}

/// Holds the id of the installation that made a folder.
const MARK: &str = ".installation";
const README: &str = "README";

/// What there is to sweep.
const FOLDER: &str = "folder";
const TOKEN: &str = "token";

/// A name that is always the same for the same ids, and fits whatever they contain.
fn name(prefix: &str, ids: &[&str]) -> String {
    let digest = Sha256::digest(ids.join("/"));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}-{hex}")
}

fn folder(instance: &InstanceId) -> String {
    name("folder", &[instance.as_str()])
}

fn token(instance: &InstanceId, binding: &BindingId) -> String {
    name("token", &[instance.as_str(), binding.as_str()])
}

/// What is not there is gone already.
fn unless_gone(done: Result<(), Error>) -> Result<(), Error> {
    done.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Says what failed and what to do. A full disk may be emptied by somebody; a missing right does not come by itself.
fn failed(path: &Path, error: &Error) -> ServiceError {
    let (is_passing, remedy) = match error.kind() {
        ErrorKind::PermissionDenied => (false, "give the broker's user the right"),
        ErrorKind::DirectoryNotEmpty => {
            (false, "it is not of this installation; give each a root of its own")
        }
        _ => (true, "check the disk"),
    };
    let told = ServiceError::new("folders", format!("the folder cannot be used; {remedy}"))
        .detailed(format!("{}: {error}; {remedy}", path.display()));
    if is_passing { told.passing() } else { told }
}

impl Folders {
    /// Whether the folder is there and carries our mark.
    async fn is_ours(&self, name: &str) -> Result<bool, ServiceError> {
        let path = self.root.join(name).join(MARK);
        match fs::read_to_string(&path).await {
            Ok(mark) => Ok(mark == self.installation),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Writes a file all at once: nobody ever sees half of it.
    async fn write(&self, folder: &str, file: &str, text: &str) -> Result<(), ServiceError> {
        let folder = self.root.join(folder);
        let (new, path) = (folder.join(format!(".new-{file}")), folder.join(file));
        let written = async {
            fs::write(&new, text).await?;
            fs::rename(&new, &path).await
        };
        written.await.map_err(|error| failed(&path, &error))
    }

    async fn describe(&self, instance: &InstanceSpec) -> Result<(), ServiceError> {
        let text = instance.parameters.get("readme").and_then(serde_json::Value::as_str).unwrap_or_default();
        self.write(&folder(&instance.id), README, text).await
    }

    /// Moves a folder out of sight with its mark, then removes it; also what a call that was cut off has left of it.
    async fn clear(&self, name: &str, is_there: bool) -> Result<(), ServiceError> {
        let (path, old) = (self.root.join(name), self.root.join(format!("old-{name}")));
        let cleared = async {
            unless_gone(fs::remove_dir_all(&old).await)?;
            if is_there {
                unless_gone(fs::rename(&path, &old).await)?;
                unless_gone(fs::remove_dir_all(&old).await)?;
            }
            unless_gone(fs::remove_dir_all(self.root.join(format!("new-{name}"))).await)
        };
        cleared.await.map_err(|error| failed(&path, &error))
    }

    async fn list(&self) -> Result<Vec<Resource>, Error> {
        let mut found = Vec::new();
        let mut folders = fs::read_dir(&self.root).await?;
        while let Some(entry) = folders.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("folder-") {
                continue;
            }
            let mark = fs::read_to_string(entry.path().join(MARK)).await;
            let ours = mark.is_ok_and(|mark| mark == self.installation);
            let mut files = fs::read_dir(entry.path()).await?;
            while let Some(file) = files.next_entry().await? {
                let name = file.file_name().to_string_lossy().into_owned();
                if name.starts_with("token-") {
                    found.push(Resource { kind: TOKEN.to_owned(), name, ours, exists: true });
                }
            }
            found.push(Resource { kind: FOLDER.to_owned(), name, ours, exists: true });
        }
        Ok(found)
    }
}

#[async_trait]
impl Provider for Folders {
    fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        match wanted.parameters.get("readme") {
            Some(readme) if !readme.is_string() => {
                Err(Unacceptable::Invalid("parameter readme is no text; write it in quotes".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn check_update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        self.check_instance(to)
    }

    fn check_binding(&self, _on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        if wanted.parameters.is_empty() {
            return Ok(());
        }
        Err(Unacceptable::Invalid("a binding has no parameters; leave them out".to_owned()))
    }

    /// The mark comes into being with the folder, by a rename, so that no folder is ever without one. What is there
    /// without our mark is in the way of the rename.
    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let name = folder(&instance.id);
        if !self.is_ours(&name).await? {
            let (new, path) = (self.root.join(format!("new-{name}")), self.root.join(&name));
            let made = async {
                fs::create_dir_all(&new).await?;
                fs::write(new.join(MARK), &self.installation).await?;
                fs::rename(&new, &path).await
            };
            made.await.map_err(|error| failed(&path, &error))?;
        }
        self.describe(instance).await?;
        Ok(Progress::Done(()))
    }

    async fn update(&self, _from: &InstanceSpec, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.describe(to).await?;
        Ok(Progress::Done(()))
    }

    async fn deprovision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let name = folder(&instance.id);
        let is_there = self.is_ours(&name).await?;
        self.clear(&name, is_there).await?;
        Ok(Progress::Done(()))
    }

    /// A repeated call makes another token in place of the first, which then works no more.
    async fn bind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<Bound>, ServiceError> {
        let (name, secret) = (folder(&on.id), uuid::Uuid::new_v4().to_string());
        let path = self.root.join(&name);
        if !self.is_ours(&name).await? {
            let gone = format!("{} is not there any more; delete the instance", path.display());
            return Err(ServiceError::new("folders", gone));
        }
        self.write(&name, &token(&on.id, &binding.id), &secret).await?;
        let credentials = Object::from_iter([
            ("folder".to_owned(), path.to_string_lossy().into()),
            ("token".to_owned(), secret.into()),
        ]);
        Ok(Progress::Done(Bound { credentials: credentials.into(), ..Bound::default() }))
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let name = folder(&on.id);
        if self.is_ours(&name).await? {
            let path = self.root.join(name).join(token(&on.id, &binding.id));
            unless_gone(fs::remove_file(&path).await).map_err(|error| failed(&path, &error))?;
        }
        Ok(Progress::Done(()))
    }

    async fn resources(&self) -> Result<Vec<Resource>, ServiceError> {
        self.list().await.map_err(|error| failed(&self.root, &error))
    }

    fn names(&self, instance: &InstanceId, bindings: &[BindingId]) -> Vec<String> {
        let tokens = bindings.iter().map(|binding| token(instance, binding));
        [folder(instance)].into_iter().chain(tokens).collect()
    }

    async fn remove(&self, resource: &Resource) -> Result<(), ServiceError> {
        if resource.kind == FOLDER {
            let is_there = self.is_ours(&resource.name).await?;
            return self.clear(&resource.name, is_there).await;
        }
        let found = self.resources().await?;
        for folder in found.iter().filter(|found| found.ours && found.kind == FOLDER) {
            let path = self.root.join(&folder.name).join(&resource.name);
            unless_gone(fs::remove_file(&path).await).map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<String, ServiceError> {
        let made = fs::create_dir_all(&self.root).await;
        made.map_err(|error| failed(&self.root, &error))?;
        Ok(format!("folders below {}", self.root.display()))
    }
}

/// The fields of a backend of type `folders`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    root: PathBuf,
}

impl Backend for Settings {
    fn provider(&self, installation: &str) -> Arc<dyn Provider> {
        Arc::new(Folders { root: self.root.clone(), installation: installation.to_owned() })
    }
}

/// The fields of a plan on such a backend: none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {}

/// Reads the settings of a backend and of the plans on it; no IO.
fn configure(backend: &BackendSettings, plans: &[PlanSettings]) -> Result<Box<dyn Backend>, ConfigError> {
    for plan in plans {
        let Plan {} = plan.settings.parse()?;
    }
    Ok(Box::new(backend.settings.parse::<Settings>()?))
}

/// What is offered, and how.
fn config(root: &Path) -> anyhow::Result<BrokerConfig> {
    let loaded = LoadedConfig::from_yaml(&format!(
        r"
        backends: {{folders: {{type: folders, root: {}}}}}
        services:
          - id: 0f5f3c5c-6d1c-4a51-9d0c-5c6a0e1f2a37
            name: folder
            type: folder
            description: A folder per instance, a token per binding
            plans: [{{id: 1d0c9d52-6ad3-44cf-8d4f-4d4c3b6f7a10, name: default, description: Default, backend: folders}}]
        ",
        serde_json::to_string(root)?
    ))?;
    let login = Login::Basic {
        username: "platform".to_owned(),
        password: PasswordSource::Given("example".to_owned().into()),
    };
    Ok(loaded.complete(PartialSettings {
        auth: vec![login],
        store: Some(format!("sqlite:{}", root.join("broker.db").display()).parse()?),
        store_key: Some(StoreKey::FileOrNew(root.join("broker.db.key"))),
        ..PartialSettings::default()
    })?)
}

/// A broker that offers folders below `root`.
async fn broker(root: PathBuf) -> anyhow::Result<Broker> {
    fs::create_dir_all(&root).await?;
    let registry = Registry::default().with("folders", configure);
    Ok(Broker::open_with(config(&root)?, Arc::new(Metrics::new()), Timing::default(), &registry).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let root = std::env::args().nth(1).context("name the folder for all folders")?;
    let broker = broker(root.into()).await?;
    broker.check_servers().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, broker.router()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    const INSTANCE: &str = "/v2/service_instances/any%2Fid";
    const BINDING: &str = "/v2/service_instances/any%2Fid/service_bindings/b";
    const IDS: &str =
        "?service_id=0f5f3c5c-6d1c-4a51-9d0c-5c6a0e1f2a37&plan_id=1d0c9d52-6ad3-44cf-8d4f-4d4c3b6f7a10";

    async fn ask(broker: &Broker, method: &str, path: &str, parameters: Value) -> (u16, Value) {
        let body = json!({
            "service_id": "0f5f3c5c-6d1c-4a51-9d0c-5c6a0e1f2a37",
            "plan_id": "1d0c9d52-6ad3-44cf-8d4f-4d4c3b6f7a10",
            "organization_guid": "o",
            "space_guid": "s",
            "parameters": parameters,
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("X-Broker-API-Version", "2.17")
            .header("Authorization", "Basic cGxhdGZvcm06ZXhhbXBsZQ==")
            .header("Content-Type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = broker.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with("broker.db")).collect()
    }

    #[tokio::test]
    async fn a_folder_lives_as_long_as_its_instance_and_a_token_as_long_as_its_binding() {
        let root = tempfile::tempdir().unwrap();
        let broker = broker(root.path().to_owned()).await.unwrap();
        assert!(broker.check_servers().await[0].result.is_ok());
        let refused = ask(&broker, "PUT", INSTANCE, json!({"readme": 1})).await;
        assert_eq!(refused.0, 400, "{refused:?}");
        assert_eq!(names(root.path()), Vec::<String>::new(), "a refusal makes nothing");

        assert_eq!(ask(&broker, "PUT", INSTANCE, json!({"readme": "first"})).await.0, 201);
        let (status, bound) = ask(&broker, "PUT", BINDING, json!({})).await;
        assert_eq!(status, 201, "{bound}");
        let folder = PathBuf::from(bound["credentials"]["folder"].as_str().unwrap());
        assert_eq!(std::fs::read_to_string(folder.join(README)).unwrap(), "first");
        let token = folder.join(super::token(&"any/id".into(), &"b".into()));
        assert_eq!(std::fs::read_to_string(&token).unwrap(), bound["credentials"]["token"].as_str().unwrap());

        assert_eq!(ask(&broker, "PATCH", INSTANCE, json!({"readme": "second"})).await.0, 200);
        assert_eq!(std::fs::read_to_string(folder.join(README)).unwrap(), "second");
        assert_eq!(ask(&broker, "DELETE", &format!("{BINDING}{IDS}"), json!({})).await.0, 200);
        assert!(!token.exists());
        assert_eq!(ask(&broker, "DELETE", &format!("{INSTANCE}{IDS}"), json!({})).await.0, 200);
        assert_eq!(names(root.path()), Vec::<String>::new());
    }

    #[test]
    fn the_documentation_quotes_this_file() {
        let quoted: Vec<_> = include_str!("../docs/write-a-service.md").split("```rust\n").skip(1).collect();
        assert!(!quoted.is_empty());
        for quote in quoted {
            let quote = quote.split("```").next().unwrap();
            assert!(include_str!("service.rs").contains(quote), "not in this file:\n{quote}");
        }
    }

    /// The rules of `docs/write-a-service.md`, on the provider itself.
    #[tokio::test]
    async fn calls_can_be_repeated_and_others_folders_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let of = |installation: &str| Folders {
            root: root.path().to_owned(),
            installation: installation.to_owned(),
        };
        let (ours, theirs) = (of("ours"), of("theirs"));
        let (instance, binding) = specs();
        for _ in 0..2 {
            ours.provision(&instance).await.unwrap();
        }
        let Progress::Done(first) = ours.bind(&instance, &binding).await.unwrap() else { panic!("pending") };
        let Progress::Done(second) = ours.bind(&instance, &binding).await.unwrap() else { panic!("pending") };
        assert_ne!(first, second);

        assert!(theirs.provision(&instance).await.is_err());
        assert!(theirs.bind(&instance, &binding).await.is_err());
        theirs.deprovision(&instance).await.unwrap();
        assert!(theirs.resources().await.unwrap().iter().all(|found| !found.ours));
        let mut found: Vec<_> = ours.resources().await.unwrap().into_iter().map(|found| found.name).collect();
        let mut named = ours.names(&instance.id, std::slice::from_ref(&binding.id));
        found.sort();
        named.sort();
        assert_eq!(found, named);

        for _ in 0..2 {
            ours.unbind(&instance, &binding).await.unwrap();
            ours.deprovision(&instance).await.unwrap();
        }
        assert_eq!(names(root.path()), Vec::<String>::new());
    }

    fn specs() -> (InstanceSpec, BindingSpec) {
        let instance = InstanceSpec {
            id: "i".into(),
            service_id: "s".into(),
            plan_id: "p".into(),
            organization_guid: "o".to_owned(),
            space_guid: "s".to_owned(),
            parameters: Object::new(),
            context: Object::new(),
            maintenance_version: None,
            settled: Object::new(),
        };
        let binding = BindingSpec {
            id: "b".into(),
            parameters: Object::new(),
            context: Object::new(),
            bind_resource: Object::new(),
        };
        (instance, binding)
    }
}
