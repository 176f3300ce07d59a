//! The built-in definitions: the templates pass cfn-lint, the policies pass parliament.

use std::process::Command;

use serde_json::json;

use super::{
    super::{built_in::*, templates::Definitions},
    *,
};
use crate::cloud::aws::policy::{self, Use};

const ACCOUNT: &str = "123456789012";

/// Outputs as AWS would give them.
fn outputs(definition: &Definition) -> BTreeMap<String, String> {
    let (first, _) = definition.service.names.first_key_value().unwrap();
    let of = |service: &str, resource: &str| format!("arn:aws:{service}:eu-west-1:{ACCOUNT}:{resource}");
    let arn = |name: &str| match (first.as_str(), name) {
        (_, "QueueARN" | "DeadLetterQueueARN") => of("sqs", name),
        (_, "TopicARN") => of("sns", name),
        (_, "BucketArn" | "ResultBucketArn" | "SourceBucketArn" | "DataBucketArn") => {
            "arn:aws:s3:::bucket".to_owned()
        }
        (_, "SourceArn") => "arn:aws:s3:::bucket/folder/*".to_owned(),
        ("dynamodb", "TableArn") => of("dynamodb", "table/orders"),
        (_, "StreamArn") => of("kinesis", "stream/orders"),
        (_, "KmsKeyArn") => of("kms", "key/0f3c0a4e-8b7e-4a4f-9d62-3c2b1a0d9e8f"),
        (_, "LexiconArn") => of("polly", "lexicon/shop*"),
        (_, "HostedZoneArn" | "OwnHostedZoneArn") => "arn:aws:route53:::hostedzone/Z0123456789".to_owned(),
        (_, "UserPoolArn") => of("cognito-idp", "userpool/eu-west-1_abc"),
        (_, "WorkGroupArn") => of("athena", "workgroup/orders"),
        ("athena", "CatalogArn") => of("glue", "catalog"),
        ("athena", "DatabaseArn") => of("glue", "database/base"),
        ("athena", "TableArn") => of("glue", "table/base/*"),
        (_, "ReplicationGroupArn") => of("elasticache", "replicationgroup:c-1"),
        ("elasticache-valkey", "ReaderArn" | "WriterArn" | "OwnerArn") => of("elasticache", "user:r-1"),
        ("redshift", "ClusterArn") => of("redshift", "cluster:c-1"),
        ("redshift", "DatabaseArn") => of("redshift", "dbname:c-1/bindery"),
        ("redshift", "ReaderArn" | "WriterArn" | "OwnerArn") => of("redshift", "dbuser:c-1/reader"),
        (_, "DomainArn") => of("es", "domain/orders"),
        (_, "RepositoryArn") => of("codecommit", "orders"),
        ("emr", "ClusterArn") => of("elasticmapreduce", "cluster/j-1"),
        (_, "BotArn") => of("lex", "bot/ABCDEFGHIJ"),
        (_, "BotAliasArn") => of("lex", "bot-alias/ABCDEFGHIJ/TSTALIASID"),
        (_, "Region") => "eu-west-1".to_owned(),
        (_, other) => other.to_owned(),
    };
    definition.template.outputs.keys().map(|name| (name.clone(), arn(name))).collect()
}

fn program(name: &str) -> Command {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    Command::new(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("venv/bin").join(name))
}

#[test]
fn every_built_in_template_defines_services() {
    let definitions = Definitions::built_in();
    assert!(definitions.names().contains(&"dh-sqs"));
    assert!(NOT_OFFERED.iter().all(|(name, _)| definitions.named(name).is_none()));
    let count = built_in().iter().map(|definition| definition.service.names.len()).sum::<usize>();
    assert_eq!(definitions.names().len(), count, "each name is that of one template");
    for definition in built_in() {
        assert!(definition.text.len() < 51_200, "CloudFormation takes no longer text");
        assert!(definition.template.parameters.values().all(|parameter| !parameter.no_echo));
    }
}

#[test]
fn every_policy_fits_and_names_only_the_instances_resources() {
    for definition in built_in() {
        for access in Access::ALL {
            let statements = definition.statements(*access, &outputs(definition));
            assert!(
                !statements.is_empty() || definition.service.shared || definition.service.server.is_some(),
                "{:?}",
                definition.service.names
            );
            for usage in [Use::User, Use::Session] {
                policy::document(&statements, usage).unwrap();
            }
            assert!(
                statements
                    .iter()
                    .flat_map(|statement| &statement.actions)
                    .all(|action| !action.contains('*'))
            );
        }
    }
}

#[test]
fn a_resource_that_does_not_exist_has_no_part_in_the_policy() {
    let definitions = Definitions::built_in();
    let definition = definitions.named("dh-sqs").unwrap();
    let mut outputs = outputs(definition);
    assert_eq!(definition.statements(Access::ReadWrite, &outputs).len(), 2);
    outputs.insert("DeadLetterQueueARN".to_owned(), String::new());
    let statements = definition.statements(Access::ReadWrite, &outputs);
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0].resources, [format!("arn:aws:sqs:eu-west-1:{ACCOUNT}:QueueARN")]);
}

#[rstest::rstest]
#[case("Values: {FifoQueue", "Values: {Fifo", "Fifo")]
#[case("- DelaySeconds", "- Delay", "Delay")]
#[case("Variables: [QueueURL", "Variables: [QueueUrl", "QueueUrl")]
#[case("\"${QueueARN}\"", "\"${Queue}\"", "Queue")]
#[case("      owner:", "      admin:", "admin")]
fn metadata_that_do_not_fit_the_template_are_refused(
    #[case] from: &str,
    #[case] to: &str,
    #[case] named: &str,
) {
    let definitions = Definitions::built_in();
    let sqs = &definitions.named("dh-sqs").unwrap().text;
    let text = sqs.replacen(from, to, 1);
    assert_ne!(text, *sqs);
    let message = Definition::parse(&text).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}

#[test]
fn templates_pass_cfn_lint() {
    let folder = tempfile::tempdir().unwrap();
    let files = built_in().iter().enumerate().map(|(number, definition)| {
        let file = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&file, &definition.text).unwrap();
        file
    });
    let output = program("cfn-lint").args(files).output().expect("run tests/preflight aws");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// parliament takes a second to start, so it looks at all policies at once. One of them is bad, to see that it looks.
#[test]
fn policies_pass_parliament() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: String, policy: &str| std::fs::write(folder.path().join(name), policy).unwrap();
    for definition in built_in() {
        let (service, _) = definition.service.names.first_key_value().unwrap();
        for access in Access::ALL {
            let statements = definition.statements(*access, &outputs(definition));
            if !statements.is_empty() {
                let policy = policy::document(&statements, Use::User).unwrap();
                write(format!("{service}-{}.json", access.as_str()), &policy);
            }
        }
    }
    let bad = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Nothing", "Resource": "*"}]});
    write("bad.json".to_owned(), &bad.to_string());
    let output = program("parliament").arg("--json").arg("--directory").arg(folder.path()).output();
    let findings = String::from_utf8(output.expect("run tests/preflight aws").stdout).unwrap();
    assert!(findings.contains("bad.json"), "{findings}");
    let others: Vec<_> = findings.lines().filter(|finding| !finding.contains("bad.json")).collect();
    assert_eq!(others, Vec::<&str>::new());
}
