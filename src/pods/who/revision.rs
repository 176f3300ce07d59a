//! Which set of credentials a container holds, as far as it can be told from when what was written and started. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::catalog::api::binding::Revision;

/// How far the clocks of the node and of the catalog may be apart, and a kubelet's picture of a Secret behind.
const VARIABLES: Duration = Duration::from_secs(10);
/// How long a kubelet may take to refresh files: its sync period of a minute, what it has cached, and some slack.
const FILES: Duration = Duration::from_mins(2);

/// What a container holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The newest set, which has this number.
    Newest(i64),
    /// An older set, and since when it is.
    Outdated(i64, Timestamp),
    /// One of several.
    Unknown,
}

/// What a container that started then has in its environment.
pub(super) fn in_variables(revisions: &[Revision], started: Timestamp) -> Held {
    // It read them about when it started.
    let before = |revision: &Revision| revision.written_at.0 + VARIABLES <= started;
    let after = |revision: &Revision| revision.written_at.0 >= started + VARIABLES;
    held(revisions, before, after)
}

/// What lies in the files of a container now.
pub(super) fn in_files(revisions: &[Revision], now: Timestamp) -> Held {
    held(revisions, |revision| revision.written_at.0 + FILES <= now, |_| false)
}

/// `before`: written so early that nothing older can be held; `after`: so late that it cannot be held.
fn held(
    revisions: &[Revision],
    before: impl Fn(&Revision) -> bool,
    after: impl Fn(&Revision) -> bool,
) -> Held {
    let first = revisions.iter().rposition(before).unwrap_or_default();
    let possible = revisions.iter().enumerate().skip(first);
    // There was nothing else to be held than the first.
    let possible: Vec<usize> = possible
        .filter(|(index, revision)| *index == 0 || !after(revision))
        .map(|(index, _)| index)
        .collect();
    match possible[..] {
        [index] => match revisions.get(index + 1) {
            None => Held::Newest(revisions[index].n),
            Some(next) => Held::Outdated(revisions[index].n, next.written_at.0),
        },
        _ => Held::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Revisions from 1 on, written at these seconds.
    fn written(seconds: &[i64]) -> Vec<Revision> {
        let revision =
            |(n, second): (i64, &i64)| Revision { n, written_at: Time(at(*second)), username: None };
        (1..).zip(seconds).map(revision).collect()
    }

    #[rstest]
    #[case::there_is_one(&[1000], 1500, Held::Newest(1))]
    #[case::there_is_one_and_the_clocks_differ(&[1000], 999, Held::Newest(1))]
    #[case::started_after_the_second(&[1000, 2000], 2010, Held::Newest(2))]
    #[case::started_about_when_the_second_was_written(&[1000, 2000], 2009, Held::Unknown)]
    #[case::started_just_before(&[1000, 2000], 1991, Held::Unknown)]
    #[case::started_before_the_second(&[1000, 2000], 1990, Held::Outdated(1, at(2000)))]
    #[case::two_behind(&[1000, 2000, 3000], 1500, Held::Outdated(1, at(2000)))]
    #[case::one_behind(&[1000, 2000, 3000], 2500, Held::Outdated(2, at(3000)))]
    #[case::never_written(&[], 1500, Held::Unknown)]
    fn variables_are_those_of_the_start(
        #[case] seconds: &[i64],
        #[case] started: i64,
        #[case] expected: Held,
    ) {
        assert_eq!(in_variables(&written(seconds), at(started)), expected);
    }

    #[rstest]
    #[case::there_is_one(&[1000], 1001, Held::Newest(1))]
    #[case::refreshed(&[1000, 2000], 2120, Held::Newest(2))]
    #[case::perhaps_not_refreshed_yet(&[1000, 2000], 2119, Held::Unknown)]
    #[case::never_written(&[], 1500, Held::Unknown)]
    fn files_follow(#[case] seconds: &[i64], #[case] now: i64, #[case] expected: Held) {
        assert_eq!(in_files(&written(seconds), at(now)), expected);
    }
}
