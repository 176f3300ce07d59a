//! The Open Service Broker API over each product.

use serde_json::{Value, json};

use crate::cloud::{BUCKET, Cloud, MYSQL, POSTGRESQL};

#[rstest::rstest]
#[case(BUCKET, json!({}))]
#[case(("alibaba-cloud-oss", "oss-self-define"), json!({"StorageClass": "IA"}))]
#[case(MYSQL, json!({}))]
#[case(POSTGRESQL, json!({}))]
#[tokio::test]
async fn a_plan_conforms_from_its_creation_to_its_end(#[case] plan: (&str, &str), #[case] parameters: Value) {
    let cloud = Cloud::with_databases().await;
    cloud.conforms(plan, parameters).await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}
