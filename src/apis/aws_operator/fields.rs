//! The fields of each kind's spec, with the defaults of the AWS Service Operator and the limits that AWS documents.

use super::field::Field;

/// Sources: `SetQueueAttributes` of the Amazon SQS API reference.
pub(super) const SQS_QUEUE: &[Field] = &[
    Field::flag(
        "contentBasedDeduplication",
        "ContentBasedDeduplication",
        true,
        "Whether two messages with the same body within five minutes are one. Only for FIFO queues.",
    ),
    Field::whole(
        "delaySeconds",
        "DelaySeconds",
        (0, 900),
        Some(5),
        "How long a new message stays hidden, in seconds.",
    ),
    Field::whole(
        "maximumMessageSize",
        "MaximumMessageSize",
        (1024, 262_144),
        Some(262_144),
        "The largest message, in bytes.",
    ),
    Field::whole(
        "messageRetentionPeriod",
        "MessageRetentionPeriod",
        (60, 1_209_600),
        Some(345_600),
        "How long a message is kept, in seconds.",
    ),
    Field::whole(
        "receiveMessageWaitTimeSeconds",
        "ReceiveMessageWaitTimeSeconds",
        (0, 20),
        Some(0),
        "How long a receiver waits for a message, in seconds.",
    ),
    Field::flag(
        "usedeadletterQueue",
        "UsedeadletterQueue",
        false,
        "Whether a message that was received five times without being deleted moves to a second queue.",
    ),
    Field::whole(
        "visibilityTimeout",
        "VisibilityTimeout",
        (0, 43_200),
        Some(5),
        "How long a received message stays hidden from other receivers, in seconds.",
    ),
    Field::flag(
        "fifoQueue",
        "FifoQueue",
        false,
        "Whether the queue keeps the order and delivers each message once.",
    )
    .immutable(),
];

const KEY_TYPES: &[&str] = &["S", "N", "B"];

/// Sources: `AttributeDefinition` and `ProvisionedThroughput` of the Amazon DynamoDB API reference.
pub(super) const DYNAMODB: &[Field] = &[
    Field::text("hashAttribute.name", "HashAttributeName", "", "The name of the partition key.")
        .required()
        .immutable(),
    Field::choice(
        "hashAttribute.type",
        "HashAttributeType",
        KEY_TYPES,
        "S",
        "The type of the partition key: S for text, N for a number, B for bytes.",
    )
    .immutable(),
    Field::text(
        "rangeAttribute.name",
        "RangeAttributeName",
        "",
        "The name of the sort key. Empty for a table without one.",
    )
    .immutable(),
    Field::choice("rangeAttribute.type", "RangeAttributeType", KEY_TYPES, "S", "The type of the sort key.")
        .immutable(),
    Field::whole(
        "readCapacityUnits",
        "ReadCapacityUnits",
        (1, 40_000),
        Some(5),
        "How many strongly consistent reads of 4 KiB per second the table serves.",
    ),
    Field::whole(
        "writeCapacityUnits",
        "WriteCapacityUnits",
        (1, 40_000),
        Some(5),
        "How many writes of 1 KiB per second the table serves.",
    ),
];

const ACCESS_CONTROLS: &[&str] = &[
    "Private",
    "PublicRead",
    "PublicReadWrite",
    "AuthenticatedRead",
    "LogDeliveryWrite",
    "BucketOwnerRead",
    "BucketOwnerFullControl",
    "AwsExecRead",
];

/// Sources: `AWS::S3::Bucket` of the CloudFormation template reference.
pub(super) const S3_BUCKET: &[Field] = &[
    Field::flag(
        "versioning",
        "EnableVersioning",
        false,
        "Whether the bucket keeps earlier versions of objects.",
    ),
    Field::choice(
        "accessControl",
        "BucketAccessControl",
        ACCESS_CONTROLS,
        "Private",
        "The canned access control list. With Private, AWS blocks all public access.",
    ),
    Field::flag(
        "logging.enabled",
        "EnableLogging",
        false,
        "Whether a second bucket gets a log of each request.",
    ),
    Field::text("logging.prefix", "LoggingPrefix", "-archive", "The prefix of the names of log objects."),
    Field::flag(
        "website.enabled",
        "EnableStaticSite",
        false,
        "Whether the bucket is a public website. Everybody may read its objects.",
    ),
    Field::text("website.indexPage", "StaticSiteIndex", "index.html", "The page of a folder."),
    Field::text("website.errorPage", "StaticSiteError", "500.html", "The page of an error."),
];

const PROTOCOLS: &[&str] =
    &["http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"];

/// Sources: `Subscribe` of the Amazon SNS API reference.
pub(super) const SNS_SUBSCRIPTION: &[Field] = &[
    Field::text("topicName", "TopicARN", "", "The name of an SNSTopic in the same namespace.").required(),
    Field::choice("protocol", "Protocol", PROTOCOLS, "", "How messages are delivered."),
    Field::text(
        "endpoint",
        "Endpoint",
        "",
        "Where messages are delivered: the name of an SQSQueue in the same namespace for sqs, else an address or an ARN.",
    )
    .required(),
    Field::text(
        "queueURL",
        "QueueURL",
        "",
        "The URL of the queue, for sqs. Default: that of the SQSQueue that endpoint names.",
    ),
];

/// Sources: `CreateCacheCluster` of the Amazon ElastiCache API reference.
pub(super) const ELASTICACHE: &[Field] = &[
    Field::flag(
        "autoMinorVersionUpgrade",
        "AutoMinorVersionUpgrade",
        false,
        "Whether AWS upgrades minor versions of the engine in the maintenance window.",
    ),
    Field::choice(
        "azMode",
        "AZMode",
        &["single-az", "cross-az"],
        "",
        "Whether the nodes of Memcached are in one Availability Zone or in several.",
    ),
    Field::text("cacheNodeType", "CacheNodeType", "cache.t4g.micro", "The type of the nodes."),
    Field::text(
        "cacheParameterGroupName",
        "CacheParameterGroupName",
        "",
        "The parameter group. Default: the engine's.",
    ),
    Field::text(
        "cacheSubnetGroupName",
        "CacheSubnetGroupName",
        "",
        "The subnet group, for a cluster in a VPC.",
    ),
    Field::choice("engine", "Engine", &["redis", "memcached"], "redis", "The engine.").immutable(),
    Field::text("engineVersion", "EngineVersion", "", "The version of the engine. Default: AWS's newest."),
    Field::text(
        "notificationTopicArn",
        "NotificationTopicArn",
        "",
        "The ARN of the SNS topic that gets notifications.",
    ),
    Field::whole("numCacheNodes", "NumCacheNodes", (1, 40), Some(1), "The number of nodes. Redis has one."),
    Field::whole("port", "Port", (1024, 65_535), None, "The port. Default: the engine's."),
    Field::text(
        "preferredMaintenanceWindow",
        "PreferredMaintenanceWindow",
        "",
        "The weekly maintenance window in UTC, such as mon:05:00-mon:09:00.",
    ),
    Field::text("preferredAvailabilityZone", "PreferredAvailabilityZone", "", "The Availability Zone."),
    Field::text(
        "preferredAvailabilityZones",
        "PreferredAvailabilityZones",
        "",
        "The Availability Zones of the nodes of Memcached, separated by commas.",
    ),
    Field::text(
        "snapshotWindow",
        "SnapshotWindow",
        "",
        "When Redis takes its daily snapshot, in UTC: 05:00-09:00.",
    ),
    Field::text(
        "vpcSecurityGroupIds",
        "VpcSecurityGroupIds",
        "",
        "The VPC security groups, separated by commas.",
    ),
];

/// The fields of `data`.
pub(super) const CLOUDFORMATION_TEMPLATE: &[Field] =
    &[Field::text("key", "", "", "The name of the template's file.")];
