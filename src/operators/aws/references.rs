//! What an object's spec names: the topic and the queue of a subscription, and the template of the user's own. A reference
//! never leaves the namespace, except to a template whose owner lists the namespace.

use std::collections::BTreeMap;

use kube::{Api, Client, ResourceExt};

use super::{long_templates::Longest, policies};
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    k8s::explain,
};

/// Why an object has to wait for another.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("{field}: there is no {kind} {name:?} in this namespace; create it")]
    Missing { field: &'static str, kind: &'static str, name: String },
    #[error("{field}: the {kind} {name:?} has no {output} yet")]
    NotReady { field: &'static str, kind: &'static str, name: String, output: &'static str },
    #[error(
        "cloudFormationTemplateName: the CloudFormationTemplate {name:?} of the namespace {namespace:?} does not exist or does \
         not list this namespace; its owner lists it in the annotation bindery.dev/allowed-namespaces"
    )]
    ForeignTemplate { name: String, namespace: String },
    #[error("cloudFormationTemplateName: the template {name:?} has {size} bytes; {longest}")]
    TooLarge { name: String, size: usize, longest: Longest },
    #[error("the API server cannot be asked: {0}")]
    Unread(String),
}

/// What the fields of an object stand for, by parameter.
pub(super) async fn resolve(
    client: &Client,
    kind: Kind,
    object: &AwsObject,
) -> Result<BTreeMap<&'static str, String>, Unresolved> {
    let mut resolved = BTreeMap::new();
    if kind != Kind::SnsSubscription {
        return Ok(resolved);
    }
    let from = Named { client, namespace: object.namespace().unwrap_or_default() };
    let topic = object.spec_text("topicName");
    resolved.insert("TopicARN", from.output("topicName", Kind::SnsTopic, topic, "topicARN").await?);
    let endpoint = object.spec_text("endpoint");
    // An ARN names a queue that is not an object of the cluster.
    if object.spec_text("protocol") == "sqs" && !endpoint.starts_with("arn:") {
        let arn = from.output("endpoint", Kind::SqsQueue, endpoint, "queueARN").await?;
        resolved.insert("Endpoint", arn);
        if object.spec_text("queueURL").is_empty() {
            let url = from.output("endpoint", Kind::SqsQueue, endpoint, "queueURL").await?;
            resolved.insert("QueueURL", url);
        }
    }
    Ok(resolved)
}

struct Named<'a> {
    client: &'a Client,
    namespace: String,
}

impl Named<'_> {
    async fn output(
        &self,
        field: &'static str,
        kind: Kind,
        name: &str,
        output: &'static str,
    ) -> Result<String, Unresolved> {
        let found = get(self.client, kind, &self.namespace, name).await?;
        let (kind, named) = (kind.facts().name, name.to_owned());
        let found = found.ok_or_else(|| Unresolved::Missing { field, kind, name: named.clone() })?;
        let value = found.output.get(output).filter(|value| !value.is_empty()).cloned();
        value.ok_or(Unresolved::NotReady { field, kind, name: named, output })
    }
}

/// The template that the object names; `None` if it names none.
pub(super) async fn user_template(
    client: &Client,
    default_namespace: Option<&str>,
    longest: Longest,
    object: &AwsObject,
) -> Result<Option<String>, Unresolved> {
    let name = object.spec_text("cloudFormationTemplateName");
    if name.is_empty() {
        return Ok(None);
    }
    let own = object.namespace().unwrap_or_default();
    let namespace = match object.spec_text("cloudFormationTemplateNamespace") {
        "" => default_namespace.unwrap_or(&own),
        named => named,
    };
    let found = get(client, Kind::CloudFormationTemplate, namespace, name).await?;
    // The namespace of the installation's templates is open to all.
    let is_open = namespace == own || default_namespace == Some(namespace);
    let usable = found
        .filter(|template| is_open || policies::allows_namespace(template.annotations(), &own))
        .ok_or_else(|| Unresolved::ForeignTemplate {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })?;
    let text = usable.data.get("template").and_then(|text| text.as_str()).unwrap_or_default();
    if text.len() > longest.bytes() {
        return Err(Unresolved::TooLarge { name: name.to_owned(), size: text.len(), longest });
    }
    Ok(Some(text.to_owned()))
}

async fn get(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<AwsObject>, Unresolved> {
    // The API server refuses an empty name as if all objects were asked for.
    if name.is_empty() || namespace.is_empty() {
        return Ok(None);
    }
    let api: Api<AwsObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    api.get_opt(name).await.map_err(|error| Unresolved::Unread(explain(&error)))
}
