//! Derives which revision of the credentials a container holds from the times of writes and starts. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::apis::servicecatalog::binding::Revision;

/// The tolerance for the difference between the clocks of node and catalog, and for the kubelet's cached Secret.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);
/// The time in which a kubelet refreshes files: its sync period of a minute, its cache, and a margin.
const FILE_REFRESH: Duration = Duration::from_mins(2);

/// The history of a binding's credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life<'a> {
    /// The creation of the binding. Credentials of an earlier binding of the same name are revoked.
    pub(super) created: Option<Timestamp>,
    /// The revisions, the newest last.
    pub(super) revisions: &'a [Revision],
}

/// The credentials that a container holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The newest revision, with this number.
    Newest(i64),
    /// An older revision, and the time since which it has been outdated.
    Outdated(i64, Timestamp),
    /// Credentials of an earlier binding of the same name, which was deleted before this time.
    Revoked(Timestamp),
    /// No credentials: the container started without them.
    Nothing,
    /// One of several revisions.
    Unknown,
}

/// The credentials in the environment of a container with this start time. An `optional` Secret may have been absent
/// then.
pub(super) fn in_variables(life: Life<'_>, started: Timestamp, optional: bool) -> Held {
    if let Some(created) = life.created.filter(|created| started < *created) {
        let is_clear = started + CLOCK_TOLERANCE <= created && !optional;
        return if is_clear { Held::Revoked(created) } else { Held::Unknown };
    }
    if let Some(first) = life.revisions.first().filter(|_| optional)
        && started < first.written_at.0 + CLOCK_TOLERANCE
    {
        return if started + CLOCK_TOLERANCE <= first.written_at.0 { Held::Nothing } else { Held::Unknown };
    }
    // A container's variables are set at its start.
    let before = |revision: &Revision| revision.written_at.0 + CLOCK_TOLERANCE <= started;
    let after = |revision: &Revision| revision.written_at.0 >= started + CLOCK_TOLERANCE;
    held(life.revisions, before, after)
}

/// The credentials in the files of a container with this start time.
pub(super) fn in_files(life: Life<'_>, started: Timestamp, now: Timestamp) -> Held {
    let is_refreshed = |revision: &Revision| revision.written_at.0 + FILE_REFRESH <= now;
    let is_older = life.created.is_some_and(|created| started < created);
    if is_older && !life.revisions.first().is_some_and(is_refreshed) {
        return Held::Unknown; // The files may still be those of the earlier binding.
    }
    held(life.revisions, is_refreshed, |_| false)
}

/// `before`: written so early that an older revision is impossible; `after`: written so late that this revision is
/// impossible.
fn held(
    revisions: &[Revision],
    before: impl Fn(&Revision) -> bool,
    after: impl Fn(&Revision) -> bool,
) -> Held {
    let first = revisions.iter().rposition(before).unwrap_or_default();
    let possible = revisions.iter().enumerate().skip(first);
    // The first revision is possible even if it was written later, because there was no other.
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
        let revisions = written(seconds);
        let life = Life { created: Some(at(900)), revisions: &revisions };
        assert_eq!(in_variables(life, at(started), false), expected);
    }

    #[rstest]
    #[case::there_is_one(&[1000], 1001, Held::Newest(1))]
    #[case::refreshed(&[1000, 2000], 2120, Held::Newest(2))]
    #[case::perhaps_not_refreshed_yet(&[1000, 2000], 2119, Held::Unknown)]
    #[case::never_written(&[], 1500, Held::Unknown)]
    fn files_follow(#[case] seconds: &[i64], #[case] now: i64, #[case] expected: Held) {
        let revisions = written(seconds);
        let life = Life { created: Some(at(900)), revisions: &revisions };
        assert_eq!(in_files(life, at(950), at(now)), expected);
    }

    /// The binding was deleted and recreated at 1000; its credentials were written at 1002.
    #[rstest]
    #[case::long_before(500, false, Held::Revoked(at(1000)))]
    #[case::before(990, false, Held::Revoked(at(1000)))]
    #[case::about_then(991, false, Held::Unknown)]
    #[case::afterwards(1000, false, Held::Newest(1))]
    #[case::perhaps_without(500, true, Held::Unknown)]
    #[case::about_when_they_were_written(1003, true, Held::Unknown)]
    #[case::with(1012, true, Held::Newest(1))]
    fn what_a_binding_of_the_same_name_had_is_revoked(
        #[case] started: i64,
        #[case] optional: bool,
        #[case] expected: Held,
    ) {
        let revisions = written(&[1002]);
        let life = Life { created: Some(at(1000)), revisions: &revisions };
        assert_eq!(in_variables(life, at(started), optional), expected);
    }

    #[test]
    fn who_starts_without_what_is_optional_has_nothing() {
        let revisions = written(&[2000]);
        let life = Life { created: Some(at(1000)), revisions: &revisions };
        assert_eq!(in_variables(life, at(1500), true), Held::Nothing);
        assert_eq!(in_variables(life, at(1500), false), Held::Newest(1), "it cannot have started without");
    }

    #[rstest]
    #[case::perhaps_still_the_old_ones(1100, Held::Unknown)]
    #[case::refreshed(1122, Held::Newest(1))]
    fn files_of_a_binding_made_anew_follow(#[case] now: i64, #[case] expected: Held) {
        let revisions = written(&[1002]);
        let life = Life { created: Some(at(1000)), revisions: &revisions };
        assert_eq!(in_files(life, at(500), at(now)), expected);
    }
}
