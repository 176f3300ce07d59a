//! Policies decide as the documentation says.

use super::super::policy::{Access, Context, allows, parse};

fn decide(policies: &[&str], action: &str, resource: &str, context: &[(&str, &str)]) -> bool {
    let policies: Vec<_> = policies.iter().map(|policy| parse(policy).unwrap()).collect();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let context: Context = context.iter().map(owned).collect();
    let access = Access { action: action.to_owned(), resources: vec![resource.to_owned()], context };
    allows(&policies, &access)
}

fn policy(effect: &str, action: &str, resource: &str, condition: &str) -> String {
    format!(
        r#"{{"Version": "1", "Statement": [{{"Effect": "{effect}", "Action": "{action}", "Resource": ["{resource}"], "Condition": {condition}}}]}}"#
    )
}

#[test]
fn what_no_statement_allows_is_refused_and_a_deny_wins() {
    let read = policy("Allow", "oss:Get*", "acs:oss:*:*:mine/*", "{}");
    let deny = policy("Deny", "oss:*", "acs:oss:*:*:mine/secret", "{}");
    let object = |key: &str| format!("acs:oss:cn-hangzhou:1:mine/{key}");
    assert!(decide(&[&read], "oss:GetObject", &object("a"), &[]));
    assert!(!decide(&[&read], "oss:PutObject", &object("a"), &[]));
    assert!(!decide(&[&read], "oss:GetObject", "acs:oss:cn-hangzhou:1:other/a", &[]));
    assert!(!decide(&[&read, &deny], "oss:GetObject", &object("secret"), &[]));
    assert!(!decide(&[], "oss:GetObject", &object("a"), &[]));
}

#[test]
fn conditions_limit_a_statement() {
    let key = "rds:ResourceTag/bindery:installation";
    for (condition, tags, wanted) in [
        (r#"{"StringEquals": {"KEY": ["a", "b"]}}"#, &[(key, "b")][..], true),
        (r#"{"StringEquals": {"KEY": "a"}}"#, &[(key, "b")], false),
        (r#"{"StringEquals": {"KEY": "a"}}"#, &[], false),
        (r#"{"StringLike": {"KEY": "*"}}"#, &[(key, "b")], true),
        (r#"{"StringLike": {"KEY": "*"}}"#, &[], false),
        (r#"{"StringNotEquals": {"KEY": "a"}}"#, &[], true),
        (r#"{"StringNotLike": {"KEY": "a?"}}"#, &[(key, "ab")], false),
    ] {
        let condition = condition.replace("KEY", key);
        let allow = policy("Allow", "rds:*", "*", &condition);
        assert_eq!(decide(&[&allow], "rds:DeleteDBInstance", "*", tags), wanted, "{condition} {tags:?}");
    }
}

#[test]
fn a_pattern_does_not_match_the_resource_star() {
    let all_instances = policy("Allow", "rds:CreateDBInstance", "acs:rds:*:*:dbinstance/*", "{}");
    assert!(!decide(&[&all_instances], "rds:CreateDBInstance", "*", &[]));
}

#[test]
fn mistakes_of_grammar_are_refused() {
    let good = policy("Allow", "a", "*", "{}");
    assert!(parse(&good).is_ok());
    for (from, to) in [
        (r#""1""#, r#""2012-10-17""#),
        ("Allow", "allow"),
        (r#""Resource""#, r#""Resources""#),
        (r#""Condition": {}"#, r#""Condition": {"IpEquals": {}}"#),
        (r#""Action": "a""#, r#""Action": []"#),
        ("}]}", "}]"),
    ] {
        assert!(parse(&good.replace(from, to)).is_err(), "{to}");
    }
}
