//! Every service: a binding's key on its own resource, on a sibling's, and after unbind. The services of a table share an
//! emulator.

use bindery_test_support::ministack::{Key, Request};
use serde_json::{Value, json};

use crate::cloud::{Cloud, text};

/// The request of an application to the resource of these credentials.
type Use = fn(&Value) -> Request;

struct Service {
    plan: (&'static str, &'static str),
    parameters: Value,
    using: Use,
    /// What instances do not have in common, if a name may be used once only.
    each: fn(&str) -> Value,
}

impl Service {
    fn new(plan: (&'static str, &'static str), parameters: Value, using: Use) -> Self {
        Self { plan, parameters, using, each: |_| json!({}) }
    }

    fn parameters(&self, instance: &str) -> Value {
        let mut parameters = self.parameters.clone();
        parameters.as_object_mut().unwrap().extend((self.each)(instance).as_object().unwrap().clone());
        parameters
    }
}

async fn own_yes_sibling_no_after_unbind_no(cloud: &Cloud, service: &Service) {
    let (plan, using) = (service.plan, service.using);
    let instances = ["own", "sibling"].map(|of| format!("{}-{}-{of}", plan.0, plan.1));
    for instance in &instances {
        cloud.provisioned(plan, instance, service.parameters(instance)).await;
    }
    for kind in ["user", "session"] {
        let bind = async |instance: &str| {
            let binding = format!("{instance}-{kind}");
            let bound = cloud.bound(plan, instance, &binding, json!({"credentials": kind})).await;
            bound["credentials"].clone()
        };
        let (own, sibling) = (bind(&instances[0]).await, bind(&instances[1]).await);
        let (status, body) = cloud.server.ask(&Key::of(&own), &using(&own));
        assert_eq!(status, 200, "{plan:?} {kind}: {body}");
        cloud.refuses(&own, &using(&sibling));
        assert_eq!(cloud.unbind(plan, &instances[0], &format!("{}-{kind}", instances[0])).await.0, 200);
        cloud.refuses(&own, &using(&own));
    }
    for instance in &instances {
        cloud.deprovisioned(plan, instance).await;
    }
}

async fn all(services: &[Service], settings: &str) {
    let cloud = Cloud::with(settings).await;
    for service in services {
        own_yes_sibling_no_after_unbind_no(&cloud, service).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn topics_buckets_and_tables() {
    let topic = Service::new(("sns", "topic"), json!({"DisplayName": "shop"}), |credentials| {
        let topic = text(credentials, "TOPIC_ARN");
        Request::query("sns", "Publish", &[("TopicArn", &topic), ("Message", "hello")])
    });
    let bucket = Service::new(("s3", "custom"), json!({"Versioning": true}), |credentials| {
        Request::path("s3", "GET", &format!("/{}", text(credentials, "BUCKET_NAME")), "")
    });
    let parameters =
        json!({"HashAttributeName": "user_id", "BillingMode": "PROVISIONED", "ReadCapacityUnits": 2});
    let table = Service::new(("dynamodb", "hashrange"), parameters, |credentials| {
        let item = json!({"user_id": {"S": "u"}, "created_at": {"S": "now"}});
        let put = json!({"TableName": text(credentials, "TABLE_NAME"), "Item": item});
        Request::json("dynamodb", "DynamoDB_20120810.PutItem", &put)
    });
    all(&[topic, bucket, table], "").await;
}

#[tokio::test]
async fn streams_keys_and_zones() {
    let parameters = json!({"RetentionPeriodHours": 48, "ShardCount": 1, "StreamEncrypted": true});
    let stream = Service::new(("kinesis", "default"), parameters, |credentials| {
        let put =
            json!({"StreamName": text(credentials, "STREAM_NAME"), "Data": "aGVsbG8=", "PartitionKey": "k"});
        Request::json("kinesis", "Kinesis_20131202.PutRecord", &put)
    });
    let parameters = json!({"EnableKeyRotation": true, "PendingWindowInDays": 7,
        "KeyAdministratorRoleArn": "arn:aws:iam::123456789012:role/keepers"});
    let key = Service::new(("kms", "default"), parameters, |credentials| {
        let encrypt = json!({"KeyId": text(credentials, "KMS_KEY_ARN"), "Plaintext": "aGVsbG8="});
        Request::json("kms", "TrentService.Encrypt", &encrypt)
    });
    let zone = Service {
        each: |instance| json!({"NewHostedZoneName": format!("{instance}.example")}),
        ..Service::new(("route53", "hostedzone"), json!({}), |credentials| {
            let zone = text(credentials, "HOSTED_ZONE_ID");
            Request::path("route53", "GET", &format!("/2013-04-01/hostedzone/{zone}/rrset"), "")
        })
    };
    all(&[stream, key, zone], "").await;
}

#[tokio::test]
async fn workgroups_and_user_pools() {
    let workgroup = Service::new(("athena", "default"), json!({"ResultDays": 3}), |credentials| {
        let get = json!({"WorkGroup": text(credentials, "WORK_GROUP")});
        Request::json("athena", "AmazonAthena.GetWorkGroup", &get)
    });
    let parameters =
        json!({"AuthName": "people", "MfaConfiguration": "OPTIONAL", "PasswordMinimumLength": 16});
    let pool = Service::new(("cognito", "custom"), parameters, |credentials| {
        let list = json!({"UserPoolId": text(credentials, "USER_POOL_ID")});
        Request::json("cognito-idp", "AWSCognitoIdentityProviderService.ListUsers", &list)
    });
    let settings = "services: {athena: {values: {S3Source: 's3://sales/2026/'}}, cognito: {}}";
    all(&[workgroup, pool], settings).await;
}

/// What AWS has no resource for: the region is the limit.
#[tokio::test]
async fn services_without_a_resource_are_policies() {
    let cloud = Cloud::start().await;
    for plan in [("polly", "default"), ("rekognition", "default"), ("translate", "default")] {
        cloud.provisioned(plan, plan.0, json!({})).await;
        let bound = cloud.bound(plan, plan.0, plan.0, json!({})).await;
        let credentials = &bound["credentials"];
        let prefix = plan.0.to_uppercase();
        assert_eq!(credentials[format!("{prefix}_AWS_ACCESS_KEY_ID")], credentials["AWS_ACCESS_KEY_ID"]);
        let translate = json!({"Text": "hello", "SourceLanguageCode": "en", "TargetLanguageCode": "de"});
        let request =
            Request::json("translate", "AWSShineFrontendService_20170701.TranslateText", &translate);
        if plan.0 == "translate" {
            // The emulator lets the call through, and has no translation.
            let (_, body) = cloud.server.ask(&Key::of(credentials), &request);
            assert!(body.contains("not implemented"), "{body}");
        } else {
            cloud.refuses(credentials, &request);
        }
        assert_eq!(cloud.unbind(plan, plan.0, plan.0).await.0, 200);
        cloud.refuses(credentials, &request);
        cloud.deprovisioned(plan, plan.0).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn caches_are_reached_by_iam_or_by_everybody() {
    let cloud = Cloud::with("services: {elasticache: {}, elasticache-valkey: {}}").await;
    let parameters = json!({"AccessCidr": "10.0.0.0/16", "NumCacheNodes": 2, "AZMode": "single-az", "AllowVersionUpgrade": true,
        "PortNumber": 11300, "PreferredMaintenanceWindowDay": "Sun", "CidrBlocks": "Auto"});
    let memcached = ("elasticache", "custom");
    cloud.provisioned(memcached, "memory", parameters).await;
    let (status, body) = cloud.bind(memcached, "memory", "b", json!({"access": "read"})).await;
    assert_eq!(status, 400, "{body}");
    let bound = cloud.bound(memcached, "memory", "b", json!({})).await;
    let credentials = bound["credentials"].as_object().unwrap();
    assert_eq!(credentials.keys().collect::<Vec<_>>(), ["AWS_REGION", "ENDPOINT_ADDRESS", "PORT"]);
    assert_eq!(cloud.leftovers().len(), 1, "the stack alone");
    cloud.deprovisioned(memcached, "memory").await;

    let valkey = ("elasticache-valkey", "production");
    cloud.provisioned(valkey, "v", json!({"AccessCidr": "10.0.0.0/16", "SnapshotRetentionLimit": 0})).await;
    let bound = cloud.bound(valkey, "v", "b", json!({"access": "read"})).await;
    assert!(text(&bound["credentials"], "READER_NAME").starts_with("r-"), "{bound}");
    cloud.deprovisioned(valkey, "v").await;
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

/// Manifests of the AWS Service Broker apply, and what has no meaning any more is refused with the reason.
#[tokio::test]
async fn parameters_of_the_aws_service_broker_are_understood_or_refused() {
    let cloud = Cloud::with("services: {elasticache: {}, kms: {}, route53: {}}").await;
    for (plan, parameters, named) in [
        (
            ("elasticache", "custom"),
            json!({"AccessCidr": "10.0.0.0/8", "CidrBlocks": "10.0.1.0/24"}),
            "SubnetIds",
        ),
        (("elasticache", "custom"), json!({"AccessCidr": "10.0.0.0/8", "VpcId": "vpc-1"}), "VpcId"),
        (
            ("kms", "default"),
            json!({"CloudformationRoleArn": "arn:aws:iam::1:role/r"}),
            "setting of the backend",
        ),
        (("kms", "default"), json!({"region": "us-west-2"}), "region"),
    ] {
        let (status, body) = cloud.provision(plan, "old", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
    let (_, catalog) = cloud.platform.ask("GET", "/v2/catalog", None).await;
    let services = catalog["services"].as_array().unwrap();
    let zones = services.iter().find(|service| service["name"] == "route53").unwrap();
    assert_eq!(zones["plans"].as_array().unwrap().len(), 1, "a record needs a zone that the operator names");
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}
