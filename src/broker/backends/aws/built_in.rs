//! The definitions that bindery comes with. Templates that differ in the engine alone are one text with gaps.

use std::sync::{Arc, LazyLock};

use super::definition::Definition;

/// A template, and what its gaps are filled with.
struct Source {
    text: &'static str,
    /// The name of each gap, which stands between two `@`, and its content.
    gaps: &'static [(&'static str, &'static str)],
}

impl Source {
    const fn whole(text: &'static str) -> Self {
        Self { text, gaps: &[] }
    }

    fn filled(&self) -> String {
        self.gaps
            .iter()
            .fold(self.text.to_owned(), |text, (gap, content)| text.replace(&format!("@{gap}@"), content))
    }
}

const RDS: &str = include_str!("templates/rds.yaml");
const AURORA: &str = include_str!("templates/aurora.yaml");

const MAJOR_VERSION: &str = r"[0-9]+(\.[0-9]+)?";
const TWO_PART_VERSION: &str = r"[0-9]+\.[0-9]+(\.[0-9]+)?";

const SOURCES: &[Source] = &[
    Source::whole(include_str!("templates/sqs.yaml")),
    Source::whole(include_str!("templates/sns.yaml")),
    Source::whole(include_str!("templates/s3.yaml")),
    Source::whole(include_str!("templates/dynamodb.yaml")),
    Source::whole(include_str!("templates/kinesis.yaml")),
    Source::whole(include_str!("templates/kms.yaml")),
    Source::whole(include_str!("templates/elasticache.yaml")),
    Source::whole(include_str!("templates/valkey.yaml")),
    Source::whole(include_str!("templates/athena.yaml")),
    Source::whole(include_str!("templates/route53.yaml")),
    Source::whole(include_str!("templates/cognito.yaml")),
    Source::whole(include_str!("templates/polly.yaml")),
    Source::whole(include_str!("templates/rekognition.yaml")),
    Source::whole(include_str!("templates/translate.yaml")),
    Source::whole(include_str!("templates/redshift.yaml")),
    Source::whole(include_str!("templates/elasticsearch.yaml")),
    Source::whole(include_str!("templates/codecommit.yaml")),
    Source::whole(include_str!("templates/emr.yaml")),
    Source::whole(include_str!("templates/lex.yaml")),
    Source::whole(include_str!("templates/mq.yaml")),
    Source {
        text: RDS,
        gaps: &[
            ("TITLE", "Amazon RDS for PostgreSQL"),
            ("SERVICE", "rdspostgresql"),
            ("DIALECT", "PostgreSQL"),
            ("ENGINE", "postgres"),
            ("VERSION", "17"),
            ("VERSION_PATTERN", MAJOR_VERSION),
            (
                "FAMILY",
                "!Sub [\"postgres${Major}\", {Major: !Select [0, !Split [\".\", !Ref EngineVersion]]}]",
            ),
            ("PORT", "5432"),
            ("REQUIRE_TLS", "rds.force_ssl"),
            ("ZONE_PARAMETER", "timezone"),
            ("ZONE_NAME", "PostgresServerTimezone"),
        ],
    },
    Source {
        text: RDS,
        gaps: &[
            ("TITLE", "Amazon RDS for MySQL"),
            ("SERVICE", "rdsmysql"),
            ("DIALECT", "MySQL"),
            ("ENGINE", "mysql"),
            ("VERSION", "8.4"),
            ("VERSION_PATTERN", TWO_PART_VERSION),
            (
                "FAMILY",
                "!Sub [\"mysql${First}.${Second}\", {First: !Select [0, !Split [\".\", !Ref EngineVersion]], \
                       Second: !Select [1, !Split [\".\", !Ref EngineVersion]]}]",
            ),
            ("PORT", "3306"),
            ("REQUIRE_TLS", "require_secure_transport"),
            ("ZONE_PARAMETER", "time_zone"),
            ("ZONE_NAME", "MysqlServerTimezone"),
        ],
    },
    Source {
        text: RDS,
        gaps: &[
            ("TITLE", "Amazon RDS for MariaDB"),
            ("SERVICE", "rdsmariadb"),
            ("DIALECT", "MySQL"),
            ("ENGINE", "mariadb"),
            ("VERSION", "11.4"),
            ("VERSION_PATTERN", TWO_PART_VERSION),
            (
                "FAMILY",
                "!Sub [\"mariadb${First}.${Second}\", {First: !Select [0, !Split [\".\", !Ref EngineVersion]], \
                       Second: !Select [1, !Split [\".\", !Ref EngineVersion]]}]",
            ),
            ("PORT", "3306"),
            ("REQUIRE_TLS", "require_secure_transport"),
            ("ZONE_PARAMETER", "time_zone"),
            ("ZONE_NAME", "MariaDBServerTimezone"),
        ],
    },
    Source {
        text: AURORA,
        gaps: &[
            ("TITLE", "Amazon Aurora PostgreSQL"),
            ("SERVICE", "aurorapostgresql"),
            ("DIALECT", "PostgreSQL"),
            ("ENGINE", "aurora-postgresql"),
            ("VERSION", "17.4"),
            ("VERSION_PATTERN", MAJOR_VERSION),
            (
                "FAMILY",
                "!Sub [\"aurora-postgresql${Major}\", {Major: !Select [0, !Split [\".\", !Ref DBEngineVersion]]}]",
            ),
            ("PORT", "5432"),
            ("REQUIRE_TLS", "rds.force_ssl"),
            ("TLS_ON", "\"1\""),
            ("ZONE_PARAMETER", "timezone"),
        ],
    },
    Source {
        text: AURORA,
        gaps: &[
            ("TITLE", "Amazon Aurora MySQL"),
            ("SERVICE", "auroramysql"),
            ("DIALECT", "MySQL"),
            ("ENGINE", "aurora-mysql"),
            ("VERSION", "8.0.mysql_aurora.3.08.0"),
            ("VERSION_PATTERN", r"[0-9]+\.[0-9]+(\.mysql_aurora(\.[0-9]+)+)?"),
            (
                "FAMILY",
                "!Sub [\"aurora-mysql${First}.${Second}\", {First: !Select [0, !Split [\".\", !Ref DBEngineVersion]], \
                       Second: !Select [1, !Split [\".\", !Ref DBEngineVersion]]}]",
            ),
            ("PORT", "3306"),
            ("REQUIRE_TLS", "require_secure_transport"),
            ("TLS_ON", "\"ON\""),
            ("ZONE_PARAMETER", "time_zone"),
        ],
    },
];

/// Services of the AWS Service Broker that bindery does not offer, and why.
pub(super) const NOT_OFFERED: &[(&str, &str)] = &[
    (
        "documentdb",
        "bindery makes no users of DocumentDB, so that bindings would share the master user's password",
    ),
    (
        "rdsmssql",
        "bindery makes no users of SQL Server, so that bindings would share the master user's password",
    ),
    (
        "rdsoracle",
        "bindery makes no users of Oracle, so that bindings would share the master user's password",
    ),
];

/// The definitions that bindery comes with.
pub(super) fn built_in() -> &'static [Arc<Definition>] {
    #[expect(clippy::expect_used, reason = "the templates are part of the program, and a test parses them")]
    static DEFINITIONS: LazyLock<Vec<Arc<Definition>>> = LazyLock::new(|| {
        let parse = |source: &Source| {
            Arc::new(Definition::parse(&source.filled()).expect("a built-in template is valid"))
        };
        SOURCES.iter().map(parse).collect()
    });
    &DEFINITIONS
}
