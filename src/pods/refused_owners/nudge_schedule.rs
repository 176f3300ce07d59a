//! The times at which owners are nudged. Pure: callers pass the time.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::Owner;

/// How long a refusal is remembered: the back-off of Kubernetes' controllers ends at 1,000 s.
pub(super) const REFUSAL_TTL: Duration = Duration::from_mins(17);
/// The time until all nodes know new endpoints; also the first pause before a nudge.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause between two nudges of an owner whose pods are still refused.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Owners whose pods were refused.
#[derive(Debug, Default)]
pub(super) struct NudgeSchedule {
    refused: HashMap<Owner, Refused>,
    is_available: bool,
}

#[derive(Debug)]
struct Refused {
    last: Instant,
    /// The number of nudges since the webhook became available.
    nudges: u32,
    /// When the next nudge is due; `None` while the webhook is unavailable, or if no pod was refused since the last
    /// nudge.
    due: Option<Instant>,
}

impl NudgeSchedule {
    /// Records that a pod of this owner was refused.
    pub(super) fn refused(&mut self, owner: Owner, now: Instant) {
        let refused = self.refused.entry(owner).or_insert(Refused { last: now, nudges: 0, due: None });
        refused.last = now;
        if self.is_available && refused.due.is_none() {
            refused.due = Some(now + pause(refused.nudges));
        }
    }

    /// Records whether the webhook is available. When it becomes available, all owners whose pods were refused are
    /// scheduled, including those that were nudged before, because controllers do not write an event for every refusal.
    pub(super) fn set_webhook_available(&mut self, is_available_now: bool, now: Instant) {
        if is_available_now == self.is_available {
            return;
        }
        self.is_available = is_available_now;
        self.refused.retain(|_, refused| now < refused.last + REFUSAL_TTL);
        for refused in self.refused.values_mut() {
            refused.nudges = 0;
            refused.due = is_available_now.then_some(now + FIRST_PAUSE);
        }
    }

    /// When the next nudge is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.refused.values().filter_map(|refused| refused.due).min()
    }

    /// The owners to nudge now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Owner> {
        self.refused.retain(|_, refused| refused.due.is_some() || now < refused.last + REFUSAL_TTL);
        let mut owners = Vec::new();
        for (owner, refused) in &mut self.refused {
            if refused.due.is_some_and(|due| due <= now) {
                refused.due = None;
                refused.nudges += 1;
                owners.push(owner.clone());
            }
        }
        owners
    }
}

/// The pause before the next nudge of an owner after this number of nudges.
fn pause(nudges: u32) -> Duration {
    2_u32.checked_pow(nudges).map_or(MAX_PAUSE, |factor| (FIRST_PAUSE * factor).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::{super::OwnerKind, *};

    fn owner(name: &str) -> Owner {
        Owner { kind: OwnerKind::ReplicaSet, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn names(owners: Vec<Owner>) -> Vec<String> {
        let mut names: Vec<String> = owners.into_iter().map(|owner| owner.name).collect();
        names.sort();
        names
    }

    #[test]
    fn nobody_is_nudged_while_the_webhook_is_away() {
        let (mut nudges, now) = (NudgeSchedule::default(), Instant::now());
        nudges.refused(owner("a"), now);
        assert_eq!(nudges.next_due(), None);
        nudges.set_webhook_available(true, now);
        nudges.set_webhook_available(false, now);
        assert_eq!(nudges.next_due(), None);
        assert!(nudges.take_due(now + REFUSAL_TTL / 2).is_empty());
    }

    #[test]
    fn everybody_who_was_refused_is_nudged_once_when_it_is_back() {
        let (mut nudges, now) = (NudgeSchedule::default(), Instant::now());
        for name in ["a", "b", "a"] {
            nudges.refused(owner(name), now);
        }
        let back = now + Duration::from_mins(3);
        nudges.set_webhook_available(true, back);
        assert_eq!(nudges.next_due(), Some(back + FIRST_PAUSE));
        assert!(nudges.take_due(back).is_empty(), "not before it is known everywhere");
        assert_eq!(names(nudges.take_due(back + FIRST_PAUSE)), ["a", "b"]);
        assert_eq!(nudges.next_due(), None);
        // An additional endpoint is not a recovery.
        nudges.set_webhook_available(true, back + FIRST_PAUSE);
        assert_eq!(nudges.next_due(), None);
    }

    #[test]
    fn the_next_time_it_is_back_everybody_is_nudged_again() {
        let (mut nudges, now) = (NudgeSchedule::default(), Instant::now());
        nudges.refused(owner("a"), now);
        for minutes in [1, 2] {
            let back = now + Duration::from_mins(minutes);
            nudges.set_webhook_available(true, back);
            assert_eq!(names(nudges.take_due(back + FIRST_PAUSE)), ["a"]);
            nudges.set_webhook_available(false, back + FIRST_PAUSE);
        }
    }

    #[test]
    fn what_was_refused_long_ago_is_forgotten() {
        let (mut nudges, now) = (NudgeSchedule::default(), Instant::now());
        nudges.refused(owner("a"), now);
        nudges.set_webhook_available(true, now + REFUSAL_TTL);
        assert_eq!(nudges.next_due(), None);
    }

    #[test]
    fn who_goes_on_being_refused_is_nudged_ever_more_seldom() {
        let (mut nudges, mut now) = (NudgeSchedule::default(), Instant::now());
        nudges.set_webhook_available(true, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            nudges.refused(owner("a"), now);
            nudges.refused(owner("a"), now + Duration::from_millis(1));
            let due = nudges.next_due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
            assert_eq!(names(nudges.take_due(now)), ["a"]);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
