//! A broker that is killed between any two calls of Alibaba Cloud, before or after the last one has had its effect: a
//! repetition completes the work with one key or account, and a deletion leaves nothing.

use std::{sync::Arc, time::Duration};

use bindery::broker::{
    BindingSpec, InstanceSpec, Progress, Provider, Registry, ServiceError, config::LoadedConfig,
};
use bindery_test_support::alibaba::{Alibaba, Fault};
use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::cloud::{POLICY, backend};

const SERVER: &str = "rds-427559f1-bf2a-45d3-8844-32374a3e58aa";
const BUCKET: &str = "oss-edc2badc-d93b-4d9c-9d8e-da2f1c8c2221";
const PAUSE: Duration = Duration::from_millis(20);
/// How long a call that has come may take for its effect.
const EFFECT: Duration = Duration::from_millis(300);

/// An account of its own for each kill, so that all kills of a test run at a time.
struct Killed {
    server: Alibaba,
    provider: Arc<dyn Provider>,
    instance: InstanceSpec,
    _secret: NamedTempFile,
}

impl Killed {
    fn start(plan: &str) -> Self {
        let server = Alibaba::start();
        let broker = server.key("broker", POLICY);
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), &broker.secret).unwrap();
        let text = backend(&server, &broker, secret.path(), "");
        let services = LoadedConfig::from_yaml(&text).unwrap().services;
        let backends = Registry::builtin().configure(&services).unwrap();
        let provider = backends.providers("tests").into_values().next().unwrap();
        let instance = json!({"id": "killed", "service_id": "s", "plan_id": plan, "organization_guid": "o",
            "space_guid": "s", "parameters": {}, "context": {}, "maintenance_version": null,
            "settled": {"reclaimPolicy": "delete"}});
        Self { server, provider, instance: serde_json::from_value(instance).unwrap(), _secret: secret }
    }

    /// Runs the work until it stands still at a call, and kills it there. Returns whether the work ended instead.
    async fn killed_at<T>(&self, call: usize, fault: Fault, work: impl Future<Output = T>) -> bool {
        self.server.reset();
        self.server.hang_from(call, fault);
        let is_done = tokio::select! { _ = work => true, () = self.hanging(call) => false };
        self.server.release();
        is_done
    }

    /// Waits until the call has come and had its effect, if it is to have one.
    async fn hanging(&self, call: usize) {
        while self.server.calls().len() < call {
            sleep(PAUSE).await;
        }
        sleep(EFFECT).await;
    }

    async fn provision(&self) {
        done(|| self.provider.provision(&self.instance)).await.unwrap();
    }

    async fn deprovision(&self) {
        done(|| self.provider.deprovision(&self.instance)).await.unwrap();
    }
}

fn binding(parameters: &Value) -> BindingSpec {
    let value = json!({"id": "b", "parameters": parameters, "context": {}, "bind_resource": {}});
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
            Progress::Pending(_) => sleep(PAUSE).await,
        }
    }
}

/// Kills at each call up to `most`, before and after its effect. The last ones must find the work done, or `most` is too
/// small.
async fn kills<F>(most: usize, kill: impl Fn(usize, Fault) -> F)
where
    F: Future<Output = bool>,
{
    let all = |fault| (1..=most).map(move |call| (call, fault));
    let kills = all(Fault::HangsBefore).chain(all(Fault::HangsAfter));
    let ended = join_all(kills.map(|(call, fault)| kill(call, fault))).await;
    for ended in ended.chunks(most) {
        assert!(!ended[0], "the first call is killed");
        assert!(ended[most - 1], "{most} calls are too few to see the end: {ended:?}");
    }
}

#[rstest::rstest]
#[case(SERVER, 14)]
#[case(BUCKET, 5)]
#[tokio::test]
async fn an_instance_leaves_nothing(#[case] plan: &str, #[case] most: usize) {
    kills(most, |call, fault| async move {
        let killed = Killed::start(plan);
        let provision = done(|| killed.provider.provision(&killed.instance));
        let is_done = killed.killed_at(call, fault, provision).await;
        killed.deprovision().await;
        assert_eq!(killed.server.left(), Vec::<String>::new(), "killed at call {call}, {fault:?}");
        is_done
    })
    .await;
}

#[rstest::rstest]
#[case(SERVER, json!({}), 14, 1)]
#[case(SERVER, json!({"Username": "orders", "Password": "replace-Me-1"}), 14, 1)]
// A user, a policy, an attachment and a key.
#[case(BUCKET, json!({}), 14, 4)]
// A role, a policy and an attachment.
#[case(BUCKET, json!({"credentials": "session"}), 16, 3)]
#[tokio::test]
async fn a_binding_is_one_and_leaves_nothing(
    #[case] plan: &str,
    #[case] parameters: Value,
    #[case] most: usize,
    #[case] resources: usize,
) {
    kills(most, |call, fault| {
        let binding = binding(&parameters);
        async move {
            let killed = Killed::start(plan);
            killed.provision().await;
            let before = killed.server.left();
            let bind = || killed.provider.bind(&killed.instance, &binding);
            let is_done = killed.killed_at(call, fault, done(bind)).await;
            if call % 2 == 0 {
                done(bind).await.unwrap();
                let left = killed.server.left();
                assert_eq!(
                    left.len(),
                    before.len() + resources,
                    "killed at call {call}, {fault:?}: {left:?}"
                );
            }
            done(|| killed.provider.unbind(&killed.instance, &binding)).await.unwrap();
            assert_eq!(killed.server.left(), before, "killed at call {call}, {fault:?}");
            is_done
        }
    })
    .await;
}

#[rstest::rstest]
#[case(SERVER, json!({}), 12)]
#[case(BUCKET, json!({}), 10)]
#[case(BUCKET, json!({"credentials": "session"}), 10)]
#[tokio::test]
async fn an_end_that_is_killed_is_repeated(
    #[case] plan: &str,
    #[case] parameters: Value,
    #[case] most: usize,
) {
    kills(most, |call, fault| {
        let binding = binding(&parameters);
        async move {
            let killed = Killed::start(plan);
            killed.provision().await;
            let before = killed.server.left();
            done(|| killed.provider.bind(&killed.instance, &binding)).await.unwrap();
            let unbind = || killed.provider.unbind(&killed.instance, &binding);
            let is_done = killed.killed_at(call, fault, done(unbind)).await;
            done(unbind).await.unwrap();
            assert_eq!(killed.server.left(), before, "killed at call {call}, {fault:?}");
            is_done
        }
    })
    .await;
}

#[tokio::test]
async fn a_deletion_ends_bindings_that_are_left() {
    for (plan, parameters) in
        [(SERVER, json!({})), (BUCKET, json!({})), (BUCKET, json!({"credentials": "session"}))]
    {
        let killed = Killed::start(plan);
        killed.provision().await;
        let binding = binding(&parameters);
        done(|| killed.provider.bind(&killed.instance, &binding)).await.unwrap();
        killed.deprovision().await;
        assert_eq!(killed.server.left(), Vec::<String>::new(), "{plan}");
    }
}
