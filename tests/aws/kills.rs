//! A broker that is killed between any two calls of AWS, before or after the last one has had its effect: a repetition
//! completes the work with one key, and a deletion leaves nothing.

use std::{sync::Arc, time::Duration};

use bindery::broker::{
    BindingSpec, InstanceSpec, Progress, Provider, Registry, ServiceError,
    config::{LoadedConfig, plan_id},
};
use bindery_test_support::ministack::{Key, Ministack, Request};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::{
    cloud::{backend, leftovers},
    pods,
};

struct Killed {
    server: Ministack,
    provider: Arc<dyn Provider>,
    _secret: NamedTempFile,
}

impl Killed {
    fn start() -> Self {
        let server = Ministack::start();
        pods::create_cluster(&server);
        let broker = server.create_prerequisites().broker;
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), &broker.secret).unwrap();
        let text = backend(&server, &broker, secret.path(), &pods::settings());
        let services = LoadedConfig::from_yaml(&text).unwrap().services;
        let backends = Registry::builtin().configure(&services).unwrap();
        let provider = backends.providers("tests").into_values().next().unwrap();
        Self { server, provider, _secret: secret }
    }

    /// Runs the work until it stands still at a call, and kills it there. Returns whether the work ended instead.
    async fn killed_at<T>(&self, call: usize, after_work: bool, work: impl Future<Output = T>) -> bool {
        self.server.set(&json!({"reset_calls": true, "hang_at": call, "hang_after_work": after_work}));
        let hung = async {
            while !self.server.is_hanging() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let is_done = tokio::select! { _ = work => true, () = hung => false };
        self.server.reset();
        is_done
    }

    async fn provision(&self) {
        let instance = instance();
        done(|| self.provider.provision(&instance)).await.unwrap();
    }

    async fn deprovision(&self) {
        let instance = instance();
        done(|| self.provider.deprovision(&instance)).await.unwrap();
    }
}

fn instance() -> InstanceSpec {
    let value = json!({"id": "killed", "service_id": "s", "plan_id": plan_id("dh-sqs", "standard"),
        "organization_guid": "o", "space_guid": "s", "parameters": {}, "context": {}, "maintenance_version": null});
    serde_json::from_value(value).unwrap()
}

fn binding(credentials: &str) -> BindingSpec {
    let value = json!({"id": "b", "parameters": {"credentials": credentials}, "context": {"namespace": "shop"}, "bind_resource": {}});
    serde_json::from_value(value).unwrap()
}

/// Calls until the work is done.
async fn done<T, F>(call: impl Fn() -> F) -> Result<T, ServiceError>
where
    F: Future<Output = Result<Progress<T>, ServiceError>>,
{
    loop {
        match call().await? {
            Progress::Done(done) => return Ok(done),
            Progress::Pending(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn an_instance_leaves_nothing() {
    let killed = Killed::start();
    let mut call = 0;
    for after_work in [false, true] {
        loop {
            call += 1;
            let instance = instance();
            let is_done =
                killed.killed_at(call, after_work, done(|| killed.provider.provision(&instance))).await;
            killed.deprovision().await;
            assert_eq!(leftovers(&killed.server), Vec::<String>::new(), "killed at call {call}");
            if is_done {
                break;
            }
        }
        assert!(call > 1, "something was killed");
        call = 0;
    }
}

#[rstest::rstest]
#[case("user")]
#[case("session")]
#[case("pod-identity")]
#[tokio::test]
async fn a_binding_has_one_key_and_leaves_nothing(#[case] credentials: &str) {
    let killed = Killed::start();
    killed.provision().await;
    let (instance, binding) = (instance(), binding(credentials));
    for after_work in [false, true] {
        let mut call = 0;
        loop {
            call += 1;
            let bind = || killed.provider.bind(&instance, &binding);
            let is_done = killed.killed_at(call, after_work, done(bind)).await;
            if call % 2 == 0 {
                let bound = done(bind).await.unwrap();
                assert_eq!(keys_of_users(&killed.server), usize::from(credentials == "user"), "{bound:?}");
            }
            let unbind = || killed.provider.unbind(&instance, &binding);
            done(unbind).await.unwrap();
            assert_eq!(leftovers(&killed.server).len(), 1, "killed at call {call}");
            assert_eq!(pods::associations(&killed.server).len(), 0, "killed at call {call}");
            if is_done {
                break;
            }
        }
        assert!(call > 4, "only {call} calls");
    }
    // An unbind that is killed is repeated by the engine.
    let mut call = 0;
    loop {
        call += 1;
        done(|| killed.provider.bind(&instance, &binding)).await.unwrap();
        let unbind = || killed.provider.unbind(&instance, &binding);
        let is_done = killed.killed_at(call, call % 2 == 0, done(unbind)).await;
        done(unbind).await.unwrap();
        assert_eq!(leftovers(&killed.server).len(), 1, "killed at call {call}");
        assert_eq!(pods::associations(&killed.server).len(), 0, "killed at call {call}");
        if is_done {
            break;
        }
    }
    done(|| killed.provider.bind(&instance, &binding)).await.unwrap();
    killed.deprovision().await;
    assert_eq!(leftovers(&killed.server), Vec::<String>::new());
}

/// The number of access keys of all users below bindery's path.
fn keys_of_users(server: &Ministack) -> usize {
    let users = leftovers(server).into_iter().filter(|name| name.starts_with("bindery-"));
    let keys = users.map(|user| {
        let list = Request::query("iam", "ListAccessKeys", &[("UserName", &user)]);
        let (status, body) = server.ask(&Key::root(), &list);
        if status == 200 { body.matches("<AccessKeyId>").count() } else { 0 }
    });
    keys.sum()
}
