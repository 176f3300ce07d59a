//! False positives: what the rule about credentials in plain text finds in manifests like those of popular charts.

use std::path::{Path, PathBuf};

use bindery::cli::check::{self, CheckArgs, Outcome};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckArgs,
}

/// The output and the outcome for a file or folder of the repository.
fn checked(given: &str, policy: &str) -> (String, Outcome) {
    let path = |name: &str| -> PathBuf { Path::new(env!("CARGO_MANIFEST_DIR")).join(name) };
    let (given, policy) = (path(given), path(policy));
    let arguments = ["check", "-f", given.to_str().unwrap(), "-p", policy.to_str().unwrap()];
    let mut output = Vec::new();
    let outcome = check::run(Cli::try_parse_from(arguments).unwrap().args, &[][..], &mut output, Vec::new());
    (String::from_utf8(output).unwrap(), outcome.unwrap())
}

#[test]
fn manifests_of_popular_charts_have_no_false_positives() {
    let (output, _) = checked("tests/corpus", "examples/policies/baseline.yaml");
    let (findings, counts) = output.trim_end().rsplit_once('\n').unwrap();
    let of_rule: Vec<_> = findings.lines().filter(|line| line.contains("/noPlainText: ")).collect();
    assert_eq!(of_rule, Vec::<&str>::new());
    let judged: usize = counts.split(' ').next().unwrap().parse().unwrap();
    assert!(judged > 25, "{counts}");
}

#[test]
fn config_maps_of_popular_charts_have_no_false_positives() {
    let (output, _) = checked("tests/corpus", "tests/policies/config-maps.yaml");
    assert_eq!(
        output.lines().filter(|line| line.contains("/noPlainText: ")).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

#[test]
fn random_values_are_not_found_in_popular_charts() {
    let (output, _) = checked("tests/corpus", "tests/policies/random-values.yaml");
    let found: Vec<_> = output.lines().filter(|line| line.contains("/noRandomValues: ")).collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn the_example_policies_are_valid() {
    let (_, outcome) = checked("tests/corpus", "examples/policies/baseline.yaml");
    assert_eq!(outcome, Outcome::Fine, "the beginning refuses nothing");
    let (output, outcome) = checked("tests/corpus", "examples/policies/strict.yaml");
    assert_eq!(outcome, Outcome::Violated);
    for rule in ["bindingsOnly", "filesOnly", "noServiceAccountTokens"] {
        assert!(output.contains(&format!("strict/{rule}: ")), "{rule}");
    }
}
