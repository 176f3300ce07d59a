//! The kinds of `service-operator.aws`: names, fields and outputs, as the AWS Service Operator had them.

use super::{
    field::Field,
    fields::{CLOUDFORMATION_TEMPLATE, DYNAMODB, ELASTICACHE, S3_BUCKET, SNS_SUBSCRIPTION, SQS_QUEUE},
};

/// A kind of `service-operator.aws/v1alpha1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A template of the user's own.
    CloudFormationTemplate,
    /// A table of Amazon DynamoDB.
    DynamoDb,
    /// A repository of Amazon ECR.
    EcrRepository,
    /// A cluster of Amazon ElastiCache.
    ElastiCache,
    /// A bucket of Amazon S3.
    S3Bucket,
    /// A subscription of a topic of Amazon SNS.
    SnsSubscription,
    /// A topic of Amazon SNS.
    SnsTopic,
    /// A queue of Amazon SQS.
    SqsQueue,
}

/// What the API server needs to know of a kind.
#[derive(Debug)]
pub struct Facts {
    /// The kind's name.
    pub name: &'static str,
    /// The plural for URLs.
    pub plural: &'static str,
    /// The short names for kubectl.
    pub short_names: &'static [&'static str],
    /// The description for `kubectl explain`.
    pub description: &'static str,
    /// The fields of the spec, or of `data` of a CloudFormationTemplate.
    pub fields: &'static [Field],
    /// The fields of `output`, with the output of the template that each takes.
    pub outputs: &'static [(&'static str, &'static str)],
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::CloudFormationTemplate,
        Self::DynamoDb,
        Self::EcrRepository,
        Self::ElastiCache,
        Self::S3Bucket,
        Self::SnsSubscription,
        Self::SnsTopic,
        Self::SqsQueue,
    ];

    /// Whether an object of the kind is a stack. A CloudFormationTemplate only holds a template.
    #[must_use]
    pub fn has_stack(self) -> bool {
        self != Self::CloudFormationTemplate
    }

    /// Whether a resource of the kind holds data, so that a replacement loses them.
    #[must_use]
    pub fn holds_data(self) -> bool {
        !matches!(self, Self::SnsSubscription | Self::SnsTopic | Self::CloudFormationTemplate)
    }

    /// The kind's name in lower case, which is its singular and part of the stack's name.
    #[must_use]
    pub fn singular(self) -> String {
        self.facts().name.to_ascii_lowercase()
    }

    /// The kind of this name, plural or singular, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let is_named = |kind: &Self| {
            let facts = kind.facts();
            facts.plural.eq_ignore_ascii_case(name) || facts.name.eq_ignore_ascii_case(name)
        };
        Self::ALL.into_iter().find(is_named)
    }

    /// What the API server needs to know.
    #[must_use]
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::CloudFormationTemplate => &Facts {
                name: "CloudFormationTemplate",
                plural: "cloudformationtemplates",
                short_names: &["cft", "cfts", "cfn", "cfns", "cloudformation"],
                description: "A CloudFormation template for objects that name it in spec.cloudFormationTemplateName.",
                fields: CLOUDFORMATION_TEMPLATE,
                outputs: &[("url", "")],
            },
            Self::DynamoDb => &Facts {
                name: "DynamoDB",
                plural: "dynamodbs",
                short_names: &["ddb", "ddbs", "dynamo", "dynamotable", "dynamotables"],
                description: "A table of Amazon DynamoDB, named after the object.",
                fields: DYNAMODB,
                outputs: &[("tableName", "TableName"), ("tableARN", "TableArn")],
            },
            Self::EcrRepository => &Facts {
                name: "ECRRepository",
                plural: "ecrrepositories",
                short_names: &["ecr", "repository"],
                description: "A repository of Amazon ECR for container images, named after the object.",
                fields: &[],
                outputs: &[
                    ("repositoryName", "RepositoryName"),
                    ("repositoryARN", "RepositoryARN"),
                    ("repositoryURL", "RepositoryURL"),
                ],
            },
            Self::ElastiCache => &Facts {
                name: "ElastiCache",
                plural: "elasticaches",
                short_names: &["ec"],
                description: "A cluster of Amazon ElastiCache: Memcached, or one node of Redis.",
                fields: ELASTICACHE,
                outputs: &[
                    ("redisEndpointAddress", "RedisEndpointAddress"),
                    ("redisEndpointPort", "RedisEndpointPort"),
                    ("configurationEndpoint", "ConfigurationEndpointAddress"),
                    ("configurationEndpointPort", "ConfigurationEndpointPort"),
                ],
            },
            Self::S3Bucket => &Facts {
                name: "S3Bucket",
                plural: "s3buckets",
                short_names: &["s3", "bucket", "buckets"],
                description: "A bucket of Amazon S3, named after the object. Names of buckets are unique in the world.",
                fields: S3_BUCKET,
                outputs: &[
                    ("bucketName", "BucketName"),
                    ("bucketARN", "BucketArn"),
                    ("websiteURL", "WebsiteURL"),
                ],
            },
            Self::SnsSubscription => &Facts {
                name: "SNSSubscription",
                plural: "snssubscriptions",
                short_names: &["subscription"],
                description: "A subscription of an SNSTopic of the same namespace.",
                fields: SNS_SUBSCRIPTION,
                outputs: &[("subscriptionARN", "SubscriptionARN")],
            },
            Self::SnsTopic => &Facts {
                name: "SNSTopic",
                plural: "snstopics",
                short_names: &["sns", "topic", "topics"],
                description: "A topic of Amazon SNS.",
                fields: &[],
                outputs: &[("topicARN", "TopicARN")],
            },
            Self::SqsQueue => &Facts {
                name: "SQSQueue",
                plural: "sqsqueues",
                short_names: &["sqs", "queue", "queues"],
                description: "A queue of Amazon SQS, with a dead-letter queue if wanted.",
                fields: SQS_QUEUE,
                outputs: &[
                    ("queueURL", "QueueURL"),
                    ("queueARN", "QueueARN"),
                    ("queueName", "QueueName"),
                    ("deadLetterQueueURL", "DeadLetterQueueURL"),
                    ("deadLetterQueueARN", "DeadLetterQueueARN"),
                    ("deadLetterQueueName", "DeadLetterQueueName"),
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_the_names_of_the_original() {
        for name in ["DynamoDB", "dynamodb", "dynamodbs"] {
            assert_eq!(Kind::parse(name), Some(Kind::DynamoDb), "{name}");
        }
        assert_eq!(Kind::parse("table"), None);
    }
}
