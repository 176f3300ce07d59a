//! `bindery check` as a user runs it.

use clap::Parser;
use rstest::rstest;
use serde_json::Value;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckArgs,
}

const POLICY: &str = "apiVersion: bindery.dev/v1alpha1\nkind: CredentialPolicy\nmetadata: {name: base}\n\
    spec:\n  mode: Enforce\n  rules: {noPlainText: {message: Ask the platform team}, filesOnly: {mode: Warn}}\n";
const BAD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
    spec: {template: {spec: {containers: [{name: app, env: [{name: DB_PASSWORD, value: hunter22}]}]}}}\n";
const BOUND: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {bindery.dev/bind: db}}\n\
    spec: {containers: [{name: app}]}\n";
const GOOD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app}]}\n";

/// Standard output and standard error, and the outcome, for these documents.
fn checked(args: &[&str], documents: &[&str]) -> Result<(String, String, Outcome), String> {
    let arguments = [&["check", "-f", "-"], args].concat();
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let stdin = documents.join("---\n");
    let outcome = run(cli.args, stdin.as_bytes(), &mut stdout, &mut stderr);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    match outcome {
        Ok(outcome) => Ok((stdout, stderr, outcome)),
        Err(error) => {
            assert_eq!(stdout, "");
            Err(format!("{error:#}"))
        }
    }
}

#[test]
fn findings_name_line_object_place_and_message() {
    let (stdout, stderr, outcome) = checked(&[], &[POLICY, BAD]).unwrap();
    assert_eq!(
        stdout,
        "-:7: Enforce: base/noPlainText: Deployment web in namespace shop: \
         spec.template.spec.containers[app].env[DB_PASSWORD]: the value of a variable contains a password. \
         Ask the platform team\n\
         1 objects judged: 1 findings refused (Enforce), 0 warned of (Warn), 0 recorded (Audit), 0 exempt\n"
    );
    assert_eq!((stderr.as_str(), outcome), ("", Outcome::Violated));
}

/// As the API server, which judges pods after the webhook.
#[test]
fn pods_are_judged_as_they_will_be_bound() {
    let (stdout, _, outcome) = checked(&[], &[POLICY, BOUND]).unwrap();
    assert!(
        stdout.contains("spec.containers[app].envFrom[0].secretRef: all variables from a Secret"),
        "{stdout}"
    );
    assert_eq!(outcome, Outcome::Fine, "the rule only warns");
    let broken = BOUND.replace("db}", "'db,'}");
    let error = checked(&[], &[POLICY, &broken]).unwrap_err();
    assert!(error.starts_with("-:7: Pod web: "), "{error}");
}

#[rstest]
#[case(&[], Outcome::Fine)]
#[case(&["--fail-on", "enforce"], Outcome::Fine)]
#[case(&["--fail-on", "warn"], Outcome::Violated)]
#[case(&["--fail-on", "audit"], Outcome::Violated)]
fn the_mildest_mode_that_fails_can_be_chosen(#[case] args: &[&str], #[case] expected: Outcome) {
    assert_eq!(checked(args, &[POLICY, BOUND]).unwrap().2, expected);
    assert_eq!(checked(args, &[POLICY, GOOD]).unwrap().2, Outcome::Fine);
}

#[test]
fn exceptions_and_namespaces_of_the_input_count() {
    let exception = |until: &str| {
        format!(
            "apiVersion: bindery.dev/v1alpha1\nkind: CredentialPolicyException\nmetadata: {{name: legacy}}\n\
             spec: {{policy: base, namespaces: [shop], reason: r, owner: o, expiresAt: '{until}'}}\n"
        )
    };
    let (stdout, _, outcome) = checked(&[], &[POLICY, &exception("2999-01-01T00:00:00Z"), BAD]).unwrap();
    assert!(stdout.contains(": exempt by legacy: base/noPlainText: "), "{stdout}");
    assert_eq!(outcome, Outcome::Fine);
    assert_eq!(
        checked(&[], &[POLICY, &exception("2001-01-01T00:00:00Z"), BAD]).unwrap().2,
        Outcome::Violated
    );
    let stray = exception("2999-01-01T00:00:00Z").replace("base", "other");
    let (_, stderr, _) = checked(&[], &[POLICY, &stray, BAD]).unwrap();
    assert_eq!(stderr, "CredentialPolicyException legacy: no CredentialPolicy other is given\n");

    let of_team = POLICY.replace("  mode", "  scope: {namespaceSelector: {matchLabels: {team: a}}}\n  mode");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n";
    assert_eq!(checked(&[], &[&of_team, namespace, BAD]).unwrap().2, Outcome::Violated);
    let (_, stderr, outcome) = checked(&[], &[&of_team, BAD]).unwrap();
    assert_eq!(outcome, Outcome::Fine);
    assert!(stderr.starts_with("the labels of Namespace shop are unknown"), "{stderr}");
    assert_eq!(checked(&["--exclude-namespaces", "shop"], &[POLICY, BAD]).unwrap().2, Outcome::Fine);
    assert_eq!(checked(&["--namespace", "kube-system"], &[POLICY, BOUND]).unwrap().0.lines().count(), 1);
}

#[test]
fn lists_and_secrets_are_judged() {
    let policy = POLICY.replace("noPlainText: {", "noServiceAccountTokens: {");
    let token = "apiVersion: v1\nkind: SecretList\nitems:\n- metadata: {name: t, annotations: \
        {kubernetes.io/service-account.name: a}}\n  type: kubernetes.io/service-account-token\n";
    let (stdout, _, outcome) = checked(&[], &[&policy, token]).unwrap();
    assert!(stdout.contains("Secret t in namespace default: type: a token of a service account"), "{stdout}");
    assert_eq!(outcome, Outcome::Violated);
}

#[rstest]
#[case::no_policy(&[GOOD], "no CredentialPolicy is given")]
#[case::not_yaml(&[POLICY, "a: [\n"], "-:7: this is not valid YAML")]
#[case::unknown_field(
    &["apiVersion: bindery.dev/v1alpha1\nkind: CredentialPolicy\nmetadata: {name: p}\nspec: {rules: {filesOnly: {}}, modus: Warn}\n"],
    "-:1: CredentialPolicy p: spec: Additional properties are not allowed ('modus' was unexpected)"
)]
#[case::no_expiry(
    &["apiVersion: bindery.dev/v1alpha1\nkind: CredentialPolicyException\nmetadata: {name: e}\n\
       spec: {policy: p, namespaces: [a], reason: r, owner: o}\n"],
    "-:1: CredentialPolicyException e: spec: \"expiresAt\" is a required property"
)]
#[case::no_rule(
    &["apiVersion: bindery.dev/v1alpha1\nkind: CredentialPolicy\nmetadata: {name: p}\nspec: {rules: {}}\n"],
    "CredentialPolicy p: spec.rules: name at least one rule"
)]
fn errors_say_what_to_correct(#[case] documents: &[&str], #[case] expected: &str) {
    let error = checked(&[], documents).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn sarif_has_levels_lines_and_suppressions() {
    let (stdout, ..) = checked(&["-o", "sarif"], &[POLICY, BAD, BOUND]).unwrap();
    let log: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results[0]["ruleId"], "noPlainText");
    assert_eq!(results[0]["level"], "error");
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"]["startLine"], 7);
    assert!(results[1..].iter().all(|result| result["level"] == "warning"), "{stdout}");
    assert!(!stdout.contains("hunter22"));
}

#[test]
fn junit_has_a_test_for_each_object() {
    let (stdout, ..) = checked(&["-o", "junit"], &[POLICY, BAD, BOUND, GOOD]).unwrap();
    assert!(stdout.contains("<testsuite name=\"bindery check\" tests=\"3\" failures=\"1\">"), "{stdout}");
    assert!(stdout.contains("<failure message=\"Enforce: base/noPlainText: spec.template"), "{stdout}");
    assert!(stdout.contains("<system-out>Warn: base/filesOnly: "), "{stdout}");
    let (stdout, ..) = checked(&["-o", "junit", "--fail-on", "warn"], &[POLICY, BOUND]).unwrap();
    assert!(stdout.contains("failures=\"1\""), "{stdout}");
}
