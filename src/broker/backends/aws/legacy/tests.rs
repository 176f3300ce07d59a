use super::*;
use crate::cloud::aws::long_form;

/// A template as `sb` of the AWS Service Broker publishes it, in short.
const TEMPLATE: &str = r#"
AWSTemplateFormatVersion: 2010-09-09
Metadata:
  AWS::ServiceBroker::Specification:
    Version: 1.0
    Name: team-queue
    DisplayName: Team queue
    Tags: [AWS]
    UpdatableParameters: [DelaySeconds]
    Bindings:
      IAM:
        AddKeypair: True
        Policies:
          - PolicyDocument:
              Version: 2012-10-17
              Statement:
                - Action: [sqs:SendMessage, sqs:ReceiveMessage]
                  Effect: Allow
                  Resource: !GetAtt Queue.Arn
                - Action: sqs:ReceiveMessage
                  Effect: Allow
                  Resource: [!GetAtt [Dead, Arn], !Sub "${Dead.Arn}/x", "arn:aws:sqs:*:*:shared"]
    ServicePlans:
      standard:
        Description: A queue
        ParameterValues: {Fifo: "false"}
        ParameterDefaults: {DelaySeconds: 3}
Parameters:
  Fifo: {Type: String, AllowedValues: ["true", "false"]}
  HasDead: {Type: String, AllowedValues: ["true", "false"], Default: "false"}
  DelaySeconds: {Type: Number}
Conditions:
  WithDead: !Equals [!Ref HasDead, "true"]
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {DelaySeconds: !Ref DelaySeconds}}
  Dead: {Type: AWS::SQS::Queue, Condition: WithDead}
  AWSSBInjectedIAMUser: {Type: AWS::IAM::User, Properties: {Path: !Sub "/${AWS::StackName}/"}}
  AWSSBInjectedIAMUserCreds:
    Type: Custom::IAMUser
    Properties: {ServiceToken: !GetAtt AWSSBInjectedIAMUserLambda.Arn, UserName: !Ref AWSSBInjectedIAMUser}
Outputs:
  QueueURL: {Value: !Ref Queue}
  QueueARN: {Value: !GetAtt Queue.Arn}
  PolicyArnFull: {Value: "arn:aws:iam::aws:policy/x"}
  SqsAwsAccessKeyId: {Value: !GetAtt AWSSBInjectedIAMUserCreds.KeyId}
"#;

fn parsed(text: &str) -> Result<Definition, DefinitionError> {
    definition(long_form::parse(text).unwrap())
}

#[test]
fn a_template_becomes_a_definition_without_the_shared_key() {
    let definition = parsed(TEMPLATE).unwrap();
    assert!(
        !definition.text.contains(INJECTED) && !definition.text.contains(METADATA),
        "{}",
        definition.text
    );
    let service = &definition.service;
    let naming = &service.names["team-queue"];
    assert_eq!((naming.keys, naming.prefix.as_deref()), (Keys::UpperCase, Some("TEAM_QUEUE")));
    assert_eq!(service.updatable_parameters, ["DelaySeconds"]);
    assert_eq!(service.variables, ["QueueARN", "QueueURL"]);
    let plan = &service.plans["standard"];
    assert_eq!((&plan.values["Fifo"], &plan.defaults["DelaySeconds"]), (&json!("false"), &json!(3)));
    let outputs = |dead: &str| {
        let pairs = [
            ("QueueURL", "https://q"),
            ("QueueARN", "arn:q"),
            ("PolicyArnFull", "arn:p"),
            ("BinderyPolicyResource0", "arn:q"),
            ("BinderyPolicyResource1", dead),
            ("BinderyPolicyResource2", dead),
        ];
        BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    assert_eq!(definition.shown(&outputs("")).into_keys().collect::<Vec<_>>(), ["QueueARN", "QueueURL"]);
    let resources = |dead| {
        let statements = definition.statements(Access::ReadWrite, &outputs(dead));
        statements.into_iter().map(|statement| statement.resources).collect::<Vec<_>>()
    };
    assert_eq!(resources("arn:d"), [vec!["arn:q"], vec!["arn:d", "arn:d", "arn:aws:sqs:*:*:shared"]]);
    assert_eq!(resources(""), [vec!["arn:q"], vec!["arn:aws:sqs:*:*:shared"]]);
    let template: Value = serde_json::from_str(&definition.text).unwrap();
    assert_eq!(
        template["Outputs"]["BinderyPolicyResource1"]["Value"],
        json!({"Fn::If": ["WithDead", {"Fn::GetAtt": ["Dead", "Arn"]}, ""]})
    );
}

#[test]
fn outputs_as_is_and_listed_outputs_are_kept() {
    let text = TEMPLATE.replace("    Tags: [AWS]", "    OutputsAsIs: true");
    let text = text.replace("      IAM:", "      CFNOutputs: [QueueURL]\n      IAM:");
    let definition = parsed(&text).unwrap();
    assert_eq!(definition.service.names["team-queue"].keys, Keys::AsOutputs);
    assert_eq!(definition.service.variables, ["QueueURL"]);
}

#[rstest::rstest]
#[case("    Tags: [AWS]", "    BindViaLambda: True", "calls no function")]
#[case("Effect: Allow", "Effect: Deny", "Effect other than Allow")]
#[case("Effect: Allow", "Effect: Allow\n                  Condition: {}", "has Condition")]
#[case("Policies:", "Others:", "Policies is empty")]
#[case("DelaySeconds: !Ref DelaySeconds", "Q: !Ref AWSSBInjectedIAMUser", "the resource Queue refers to")]
#[case("Name: team-queue", "Title: x", "Name")]
#[case("Name: team-queue", "Name: ../x", "../x")]
#[case("UpdatableParameters: [DelaySeconds]", "UpdatableParameters: [Delay]", "Delay")]
#[case("ParameterValues: {Fifo", "ParameterValues: {Fif", "Fif")]
fn what_cannot_be_done_is_refused(#[case] from: &str, #[case] to: &str, #[case] named: &str) {
    assert!(TEMPLATE.contains(from));
    let message = parsed(&TEMPLATE.replace(from, to)).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}
