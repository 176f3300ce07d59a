//! A scenario: its own namespace, and the steps of a user in it.

use std::{fmt::Debug, time::Duration};

use bindery::apis::servicecatalog::{
    Condition, ConditionType, Conditions, ExternalResource, ServiceBinding, ServiceInstance,
};
pub(crate) use bindery_test_support::command::{Output, run};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
    runtime::wait::{Condition as Awaited, await_condition, conditions},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{installation::Installation, turns::Turn};

/// The limit of every wait, long enough for two cores under full load.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The story's manifests, as a user finds them in `examples/`.
pub(crate) const INSTANCE: &str = include_str!("../../examples/cockroachdb/serviceinstance.yaml");
/// See [`INSTANCE`].
pub(crate) const BINDING: &str = include_str!("../../examples/cockroachdb/servicebinding.yaml");
/// See [`INSTANCE`].
pub(crate) const POD: &str = include_str!("../../examples/cockroachdb/clientapp.yaml");

/// A namespaced kind that can be waited for.
pub(crate) trait Watched:
    Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Send
    + DeserializeOwned
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Send
        + DeserializeOwned
        + 'static
{
}

/// A namespace and access to it. Scenarios run side by side, unless one needs bindery for itself.
pub(crate) struct Scenario {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) installation: &'static Installation,
    _turn: Turn,
}

impl Scenario {
    /// A scenario that can run beside others.
    pub(crate) async fn new(name: &str) -> Self {
        let installation = Installation::get().await;
        Self::start(named(name), installation, installation.turns.shared().await).await
    }

    /// A scenario that disturbs bindery and so runs alone.
    pub(crate) async fn alone(name: &str) -> Self {
        let installation = Installation::get().await;
        Self::start(named(name), installation, installation.turns.own().await).await
    }

    /// A scenario that runs alone, in the namespace of this name.
    pub(crate) async fn alone_in(namespace: &str) -> Self {
        let installation = Installation::get().await;
        let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
        Self::start(metadata, installation, installation.turns.own().await).await
    }

    async fn start(metadata: ObjectMeta, installation: &'static Installation, turn: Turn) -> Self {
        let client = Client::try_default().await.expect("a cluster: run this as `tests/run cluster`");
        let namespace = Namespace { metadata, ..Namespace::default() };
        let api = Api::<Namespace>::all(client.clone());
        let namespace = api.create(&PostParams::default(), &namespace).await.unwrap().name_any();
        Self { client, namespace, installation, _turn: turn }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `kubectl apply -f -` in the scenario's namespace.
    pub(crate) async fn apply(&self, manifest: &str) -> Output {
        self.kubectl_with_input(&["apply", "-f", "-"], manifest).await
    }

    /// `kubectl` in the scenario's namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with_input(arguments, "").await
    }

    pub(crate) async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(arguments);
        run("kubectl", &all, input).await
    }

    /// Waits until the object satisfies `condition`.
    pub(crate) async fn until<K: Watched>(
        &self,
        name: &str,
        what: &str,
        condition: impl Awaited<K>,
    ) -> Option<K> {
        if let Ok(object) = timeout(LIMIT, await_condition(self.api::<K>(), name, condition)).await {
            return object.unwrap();
        }
        let kind = K::kind(&());
        let state = self.kubectl(&["describe", &kind, name]).await;
        panic!("{kind} {}/{name} is not {what} after {LIMIT:?}:\n{}", self.namespace, state.all());
    }

    pub(crate) async fn running(&self, pod: &str) {
        self.until::<Pod>(pod, "running", conditions::is_pod_running()).await;
    }

    pub(crate) async fn gone<K: Watched>(&self, name: &str) {
        self.until::<K>(name, "gone", |object: Option<&K>| object.is_none()).await;
    }

    /// Waits until the instance's condition `Ready` has this reason.
    pub(crate) async fn instance_says(&self, name: &str, reason: &str) -> Condition {
        let says = |instance: Option<&ServiceInstance>| ready(&instance?.status.as_ref()?.conditions, reason);
        let instance = self
            .until::<ServiceInstance>(name, reason, |found: Option<&ServiceInstance>| says(found).is_some())
            .await;
        says(instance.as_ref()).expect("it was so a moment ago")
    }

    /// Waits until the binding's condition `Ready` has this reason.
    pub(crate) async fn binding_says(&self, name: &str, reason: &str) -> Condition {
        let says = |binding: Option<&ServiceBinding>| ready(&binding?.status.as_ref()?.conditions, reason);
        let binding = self
            .until::<ServiceBinding>(name, reason, |found: Option<&ServiceBinding>| says(found).is_some())
            .await;
        says(binding.as_ref()).expect("it was so a moment ago")
    }

    /// Waits until binding and Secret exist, and returns the Secret's values.
    pub(crate) async fn credentials(&self, binding: &str) -> Credentials {
        self.binding_says(binding, "InjectedBindResult").await;
        Credentials(self.api::<Secret>().get(binding).await.unwrap())
    }

    /// Runs a command in a pod's container.
    pub(crate) async fn exec(&self, pod: &str, command: &[&str]) -> Output {
        let mut arguments = vec!["exec", pod, "--"];
        arguments.extend(command);
        self.kubectl(&arguments).await
    }

    /// Runs SQL in a pod, with the URL from its environment.
    pub(crate) async fn sql(&self, pod: &str, sql: &str) -> Output {
        let script = format!("psql --no-psqlrc -qtA -v ON_ERROR_STOP=1 \"$COCKROACH_URL\" -c {sql:?}");
        self.exec(pod, &["sh", "-c", &script]).await
    }

    /// Deletes binding and instance as a user would, then checks that nothing of this scenario is left anywhere.
    pub(crate) async fn finish(self, credentials: &[&Credentials]) {
        self.finish_with(credentials, async || {}).await;
    }

    /// [`Scenario::finish`] with an additional check while the scenario still has its turn.
    pub(crate) async fn finish_with(self, credentials: &[&Credentials], and: impl AsyncFnOnce()) {
        // The containers only sleep as process 1, which ignores SIGTERM.
        let pods = ["delete", "pods", "--all", "--grace-period=1", "--timeout=120s"];
        self.kubectl(&pods).await.expect_success();
        let others = ["delete", "servicebindings,serviceinstances", "--all", "--timeout=120s"];
        self.kubectl(&others).await.expect_success();
        self.nothing_left(credentials).await;
        and().await;
        Api::<Namespace>::all(self.client.clone())
            .delete(&self.namespace, &DeleteParams::background())
            .await
            .unwrap();
    }

    /// Checks that no ExternalResource, Secret, role or database of this scenario is left.
    pub(crate) async fn nothing_left(&self, credentials: &[&Credentials]) {
        let external_resources =
            Api::<ExternalResource>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let ours: Vec<_> = external_resources
            .iter()
            .filter(|external_resource| external_resource.spec.namespace == self.namespace)
            .collect();
        assert!(ours.is_empty(), "ExternalResources are left: {ours:?}");
        let secrets = self.api::<Secret>().list(&ListParams::default()).await.unwrap();
        let names: Vec<_> = secrets.iter().map(ResourceExt::name_any).collect();
        assert!(names.is_empty(), "Secrets are left: {names:?}");
        for credentials in credentials {
            let (user, database) = (credentials.get("username"), credentials.get("database"));
            let postgres = &self.installation.postgres;
            let roles = postgres.psql(&format!(
                "select rolname from pg_roles where rolname = '{user}' or rolname like '{database}%'"
            ));
            assert!(roles.is_empty(), "roles are left: {roles:?}");
            let databases =
                postgres.psql(&format!("select datname from pg_database where datname = '{database}'"));
            assert!(databases.is_empty(), "the database is left");
        }
    }
}

fn named(prefix: &str) -> ObjectMeta {
    ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() }
}

fn ready(conditions: &Conditions, reason: &str) -> Option<Condition> {
    conditions.get(ConditionType::Ready).filter(|condition| condition.reason == reason).cloned()
}

/// The values of a binding's Secret.
pub(crate) struct Credentials(Secret);

impl Credentials {
    pub(crate) fn get(&self, key: &str) -> String {
        let data = self.0.data.as_ref().expect("a Secret with data");
        let value = data.get(key).unwrap_or_else(|| panic!("no key {key:?} among {:?}", data.keys()));
        String::from_utf8(value.0.clone()).expect("text")
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0.data.iter().flatten().map(|(key, _)| key.as_str()).collect()
    }
}
