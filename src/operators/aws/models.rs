//! What each kind becomes (pure): its template, the parameters that do not come from the spec's fields alone, the ConfigMap
//! and the Service.

use std::collections::BTreeMap;

use crate::apis::aws_operator::{AwsObject, Kind};

/// The template of a kind.
pub(super) fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::DynamoDb => include_str!("templates/dynamodb.yaml"),
        Kind::EcrRepository => include_str!("templates/ecrrepository.yaml"),
        Kind::ElastiCache => include_str!("templates/elasticache.yaml"),
        Kind::S3Bucket => include_str!("templates/s3bucket.yaml"),
        Kind::SnsSubscription => include_str!("templates/snssubscription.yaml"),
        Kind::SnsTopic => include_str!("templates/snstopic.yaml"),
        // A queue is the same for the broker and for the operator.
        Kind::SqsQueue => include_str!("../../broker/backends/aws/templates/sqs.yaml"),
        Kind::CloudFormationTemplate => "",
    }
}

/// The parameter that takes the object's name.
pub(super) fn name_parameter(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::DynamoDb => Some("TableName"),
        Kind::EcrRepository => Some("RepositoryName"),
        Kind::S3Bucket => Some("BucketName"),
        _ => None,
    }
}

/// The data of the object's ConfigMap, once the stack has its outputs.
pub(super) fn config_map(kind: Kind, object: &AwsObject, region: &str) -> Option<BTreeMap<String, String>> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let mut data = match kind {
        Kind::DynamoDb | Kind::S3Bucket | Kind::SqsQueue => object.output.clone(),
        _ => return None,
    };
    if matches!(kind, Kind::DynamoDb | Kind::S3Bucket) {
        data.insert("region".to_owned(), region.to_owned());
    }
    if kind == Kind::S3Bucket {
        data.insert("serviceName".to_owned(), name.to_owned());
        data.insert("bucketURL".to_owned(), bucket_host(object, region));
    }
    Some(data)
}

/// The host and the port of the object's ExternalName Service.
pub(super) fn external_name(kind: Kind, object: &AwsObject, region: &str) -> Option<(String, i32)> {
    let output = |name: &str| object.output.get(name).filter(|value| !value.is_empty());
    let (host, port) = match kind {
        Kind::S3Bucket => return Some((bucket_host(object, region), 443)),
        Kind::ElastiCache => match output("redisEndpointAddress") {
            Some(host) => (host, output("redisEndpointPort")),
            None => (output("configurationEndpoint")?, output("configurationEndpointPort")),
        },
        _ => return None,
    };
    Some((host.clone(), port?.parse().ok()?))
}

fn bucket_host(object: &AwsObject, region: &str) -> String {
    let bucket = object.output.get("bucketName").map(String::as_str).unwrap_or_default();
    format!("{bucket}.s3.{region}.amazonaws.com")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloud::aws::template::Template;

    #[test]
    fn the_fields_of_every_kind_are_parameters_of_its_template() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.has_stack()) {
            let template = Template::parse(template(kind)).unwrap();
            for field in kind.facts().fields {
                assert!(template.parameters.contains_key(field.parameter), "{kind:?}: {}", field.parameter);
            }
            for (_, output) in kind.facts().outputs {
                assert!(template.outputs.contains_key(*output), "{kind:?}: {output}");
            }
            if let Some(name) = name_parameter(kind) {
                assert!(template.parameters.contains_key(name), "{kind:?}: {name}");
            }
        }
    }

    #[test]
    fn a_bucket_has_the_keys_of_the_original() {
        let object = json!({"metadata": {"name": "pictures"}, "output": {"bucketName": "pictures", "bucketARN": "a",
            "websiteURL": ""}});
        let object: AwsObject = serde_json::from_value(object).unwrap();
        let data = config_map(Kind::S3Bucket, &object, "us-west-2").unwrap();
        let keys: Vec<_> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["bucketARN", "bucketName", "bucketURL", "region", "serviceName", "websiteURL"]);
        let expected = ("pictures.s3.us-west-2.amazonaws.com".to_owned(), 443);
        assert_eq!(external_name(Kind::S3Bucket, &object, "us-west-2"), Some(expected));
    }

    #[test]
    fn memcached_has_its_configuration_endpoint_as_service() {
        let output = json!({"redisEndpointAddress": "", "configurationEndpoint": "m.cache", "configurationEndpointPort": "11211"});
        let object: AwsObject = serde_json::from_value(json!({"output": output})).unwrap();
        assert_eq!(external_name(Kind::ElastiCache, &object, "r"), Some(("m.cache".to_owned(), 11211)));
    }
}
