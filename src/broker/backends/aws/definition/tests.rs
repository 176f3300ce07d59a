//! The built-in definitions: the templates pass cfn-lint, the policies pass parliament.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::cloud::aws::policy::{self, Use};

const ACCOUNT: &str = "123456789012";

/// Outputs as AWS would give them.
fn outputs(definition: &Definition) -> BTreeMap<String, String> {
    let arn = |name: &str| match name {
        "QueueARN" | "DeadLetterQueueARN" => format!("arn:aws:sqs:eu-west-1:{ACCOUNT}:{name}"),
        "TopicARN" => format!("arn:aws:sns:eu-west-1:{ACCOUNT}:{name}"),
        "BucketArn" => "arn:aws:s3:::bucket".to_owned(),
        "TableArn" => format!("arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/{name}"),
        other => other.to_owned(),
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
    let names: BTreeSet<_> = built_in().iter().flat_map(|it| it.service.names.keys()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["dh-sqs", "dynamodb", "s3", "sns", "sqs"]);
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
    let definition = built_in().iter().find(|it| it.service.names.contains_key("dh-sqs")).unwrap();
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
    let text = BUILT_IN[0].replacen(from, to, 1);
    assert_ne!(text, BUILT_IN[0]);
    let message = Definition::parse(&text).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}

#[test]
fn templates_pass_cfn_lint() {
    for definition in built_in() {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), &definition.text).unwrap();
        let output = program("cfn-lint").arg(file.path()).output().expect("run tests/preflight aws");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn policies_pass_parliament() {
    for definition in built_in() {
        for access in Access::ALL {
            let statements = definition.statements(*access, &outputs(definition));
            let policy = policy::document(&statements, Use::User).unwrap();
            let mut linter = program("parliament")
                .arg("--json")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("run tests/preflight aws");
            linter.stdin.take().unwrap().write_all(policy.as_bytes()).unwrap();
            let output = linter.wait_with_output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{policy}");
        }
    }
}
