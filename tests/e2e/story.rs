//! The story, with its three applies in every order.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use crate::{
    postgres::Postgres,
    scenario::{BINDING, INSTANCE, POD, Scenario},
};

/// Applies the manifests in this order, then uses, revokes and deletes the result.
async fn story(name: &str, manifests: [&str; 3]) {
    let scenario = Scenario::new(name).await;
    for manifest in manifests {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;

    let statements = "create table t (id int); insert into t values (42); select id from t";
    assert_eq!(scenario.sql("client-app01", statements).await.expect_success().trim(), "42");
    let files = scenario.exec("client-app01", &["ls", "/var/secrets/mydb01-binding"]).await.expect_success();
    assert_eq!(
        files.split_whitespace().collect::<Vec<_>>(),
        ["database", "host", "jdbcURL", "password", "port", "uri", "username"]
    );
    let password = scenario.exec("client-app01", &["cat", "/var/secrets/mydb01-binding/password"]).await;
    assert_eq!(password.expect_success(), credentials.get("password"));

    scenario.kubectl(&["delete", "servicebinding", "mydb01-binding", "--timeout=60s"]).await.expect_success();
    let refused = scenario.sql("client-app01", "select 1").await.expect_failure();
    assert!(refused.contains("authentication failed"), "{refused}");
    scenario.gone::<Secret>("mydb01-binding").await;
    scenario.gone::<Secret>("mydb01-binding-env").await;
    scenario.kubectl(&["delete", "serviceinstance", "mydb01", "--timeout=60s"]).await.expect_success();
    scenario.finish(&[&credentials]).await;
}

macro_rules! orders {
    ($($name:ident: $first:ident $second:ident $third:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            story(&stringify!($name).replace('_', "-"), [$first, $second, $third]).await;
        }
    )*};
}

orders! {
    story_pod_binding_instance: POD BINDING INSTANCE;
    story_pod_instance_binding: POD INSTANCE BINDING;
    story_binding_pod_instance: BINDING POD INSTANCE;
    story_binding_instance_pod: BINDING INSTANCE POD;
    story_instance_pod_binding: INSTANCE POD BINDING;
    story_instance_binding_pod: INSTANCE BINDING POD;
}

#[tokio::test]
async fn a_live_session_ends_with_its_binding() {
    let scenario = Scenario::new("live-session").await;
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("mydb01-binding").await;
    let session = Postgres::session(&credentials.get("uri"));
    let connected = format!(
        "select count(*) > 0 from pg_stat_activity where usename = '{}'",
        credentials.get("username")
    );
    scenario.installation.postgres.until(&connected).await;
    scenario.kubectl(&["delete", "servicebinding", "mydb01-binding", "--timeout=60s"]).await.expect_success();
    session.ended().await;
    scenario.finish(&[&credentials]).await;
}

#[tokio::test]
async fn a_secret_of_another_owner_is_never_overwritten() {
    let scenario = Scenario::new("taken").await;
    let secret = Secret {
        metadata: ObjectMeta { name: Some("mydb01-binding".to_owned()), ..ObjectMeta::default() },
        string_data: Some([("mine".to_owned(), "stays".to_owned())].into()),
        ..Secret::default()
    };
    scenario.api::<Secret>().create(&kube::api::PostParams::default(), &secret).await.unwrap();
    for manifest in [INSTANCE, BINDING] {
        scenario.apply(manifest).await.expect_success();
    }
    let condition = scenario.binding_says("mydb01-binding", "SecretNameTaken").await;
    assert!(condition.message.contains("mydb01-binding"), "{}", condition.message);
    let data = scenario.api::<Secret>().get("mydb01-binding").await.unwrap().data.unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["mine"]);

    scenario.kubectl(&["delete", "secret", "mydb01-binding"]).await.expect_success();
    let credentials = scenario.credentials("mydb01-binding").await;
    assert_eq!(credentials.keys().len(), 7);
    scenario.finish(&[&credentials]).await;
}
