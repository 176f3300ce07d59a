//! What is a credential and what is none. The samples are made up; some are cut in two so that scanners of this
//! repository do not report them.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn kinds(text: &str) -> Vec<&'static str> {
    in_text(text).map(|detector| detector.what).collect()
}

#[rstest]
#[case::amazon(concat!("AKIA", "IOSFODNN7EXAMPLE"), 0)]
#[case::amazon_session(concat!("key=ASIA", "IOSFODNN7EXAMPLE,"), 0)]
#[case::alibaba(concat!("LTAI", "5tKBzWvQm3xYpR7sNcD2"), 0)]
#[case::google(concat!("AIza", "SyA1234567890abcdefghijklmnopqrstuv"), 0)]
#[case::azure(&format!("AccountName=x;AccountKey={}==", "aB3/".repeat(22)), 0)]
#[case::digitalocean(&format!("dop_v1_{}", "0a".repeat(32)), 0)]
#[case::vault(concat!("hvs.", "CAESIJ1234567890abcdefghij"), 0)]
#[case::github(&format!("ghp_{}", "aB3".repeat(12)), 1)]
#[case::github_fine(&format!("github_pat_{}", "aB3".repeat(25)), 1)]
#[case::gitlab(concat!("glpat-", "abcdefghij0123456789"), 1)]
#[case::npm(&format!("//registry.npmjs.org/:_authToken=npm_{}", "aB3".repeat(12)), 1)]
#[case::slack(concat!("xoxb-", "123456789012-abcdefghijkl"), 1)]
#[case::slack_hook(concat!("https://hooks.slack.com/services/", "T0000/B0000/abcdefghijklmnopqrstuvwx"), 1)]
#[case::stripe(concat!("sk_live_", "4eC39HqLyjWDarjtT1zdp7dc"), 1)]
#[case::jwt(concat!("eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiIxMjM0In0", ".abcdefghijklmnop"), 2)]
#[case::basic("Basic dXNlcjpwYXNzd29yZA==", 2)]
#[case::bearer_header("curl -H 'Authorization: Bearer abcdefgh12345678' x", 2)]
#[case::private_key("-----BEGIN RSA PRIVATE KEY-----\nMIIE", 3)]
#[case::private_key_8("x\n-----BEGIN PRIVATE KEY-----", 3)]
#[case::url("postgres://app:s3cret@db:5432/app", 4)]
#[case::url_without_user("redis://:s3cret@cache:6379", 4)]
#[case::url_escaped("amqp://a:%40b@mq", 4)]
#[case::url_within("--db=mysql://root:root@db/x --verbose", 4)]
#[case::assignment("--password=hunter22", 4)]
#[case::assignment_in_shell("PGPASSWORD='correcthorse' psql", 4)]
#[case::dsn("host=db user=app password=s3cret!", 4)]
fn credentials_are_found(#[case] text: &str, #[case] expected: usize) {
    assert_eq!(kinds(text), [IN_TEXT[expected].what]);
}

#[rstest]
#[case("")]
#[case("info")]
#[case("postgres://$(DB_USER):$(DB_PASSWORD)@db:5432/app")]
#[case("postgres://app:${DB_PASSWORD}@db/app")]
#[case("postgres://app:<password>@db/app")]
#[case("postgres://app:{{ .Password }}@db/app")]
#[case("postgres://app:****@db/app")]
#[case("postgres://app@db:5432/app")]
#[case("http://localhost:8080/a:b@c")]
#[case("git@github.com:org/repo.git")]
#[case("registry:5000/image@sha256:0123456789abcdef")]
#[case("--password=$(DB_PASSWORD)")]
#[case("--password=$DB_PASSWORD")]
#[case("--password-file=/etc/secret/password")]
#[case("--password=/etc/secret/password")]
#[case("--allow-empty-password=true")]
#[case("PGPASSWORD=\"$POSTGRES_PASSWORD\" psql")]
#[case("if [ -z \"$PASSWORD\" ]; then exit 1; fi")]
#[case("-----BEGIN CERTIFICATE-----")]
#[case("-----BEGIN PUBLIC KEY-----")]
#[case("AKIAIOSFODNN7")]
#[case("notAKIAIOSFODNN7EXAMPLE")]
#[case("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
#[case("https://grafana.example.com/d/abc?orgId=1&from=now-6h")]
#[case("basic-auth is on, bearer tokens are not")]
fn other_text_is_no_credential(#[case] text: &str) {
    assert_eq!(kinds(text), Vec::<&str>::new());
}

#[rstest]
#[case("POSTGRES_PASSWORD", "changeme", Some(0))]
#[case("dbPassword", "x", Some(0))]
#[case("KEYSTORE_PASSPHRASE", "a-b-c", Some(0))]
#[case("POSTGRES_PASSWORD", "", None)]
#[case("POSTGRES_PASSWORD", "$(OTHER)", None)]
#[case("POSTGRES_PASSWORD", "{{ x }}", None)]
#[case("POSTGRES_PASSWORD_FILE", "/run/secrets/x", None)]
#[case("POSTGRES_PASSWORD", "/run/secrets/x", None)]
#[case("ALLOW_EMPTY_PASSWORD", "yes", None)]
#[case("ALLOW_EMPTY_PASSWORD", "true", None)]
#[case("REDIS_PASSWORD_SECRET_NAME", "redis-auth", None)]
#[case("CLIENT_SECRET", "0f8fad5b-d9cb-469f-a165-70867728950e", Some(1))]
#[case("API_KEY", "aGVsbG8gd29ybGQ0Mg", Some(1))]
#[case("SESSION_SECRET", "0123456789abcdef0123456789abcdef", Some(1))]
#[case("TLS_SECRET", "ingress-nginx-admission", None)]
#[case("SIGNING_KEY", "KMS_KEY_2", None)]
#[case("SIGNING_KEY", "/etc/keys/Signing1", None)]
#[case("TOKEN", "short1A", None)]
#[case("CACHE_KEY", "user id and tenant", None)]
fn variables_are_judged_by_name_and_value(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: Option<usize>,
) {
    let found: Vec<_> = by_name(name, value).map(|detector| detector.what).collect();
    assert_eq!(found, expected.map(|index| BY_NAME[index].what).into_iter().collect::<Vec<_>>());
}

/// RE2 reads these differently, or not at all.
#[test]
fn patterns_use_only_what_both_engines_read_alike() {
    let in_text = IN_TEXT.iter().flat_map(|detector| detector.patterns);
    let by_name = BY_NAME.iter().flat_map(|it| it.all.iter().chain(it.none).chain([&it.name]));
    for pattern in in_text.chain(by_name) {
        for foreign in ["\\", "(?", "[[:", "&&", "--[", "{,"] {
            assert!(!pattern.contains(foreign), "{pattern} contains {foreign}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_search_fail(name in "\\PC{0,20}", value in "\\PC{0,200}") {
        let _ = (kinds(&value), by_name(&name, &value).count());
    }
}

/// Texts that match a pattern.
fn matching(pattern: &str) -> impl Strategy<Value = String> {
    // The generator knows no anchors; the alternatives to them remain.
    let pattern = pattern.replace("(^|", "(").replace("($|", "(");
    proptest::string::string_regex(&pattern).unwrap()
}

fn sample() -> impl Strategy<Value = (&'static Detector, String)> {
    let each = IN_TEXT.iter().flat_map(|detector| {
        detector
            .patterns
            .iter()
            .map(move |pattern| matching(pattern).prop_map(move |text| (detector, text)).boxed())
    });
    proptest::strategy::Union::new(each.collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn every_credential_contains_a_hint((detector, text) in sample()) {
        prop_assert!(detector.hints.iter().any(|hint| text.contains(hint)), "{text}");
    }
}
