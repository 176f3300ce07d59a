//! Who is to be nudged when. Pure: whoever asks brings the time.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::Owner;

/// For how long a refusal matters: a controller's own pauses are no longer than 1,000 s.
pub(super) const MEMORY: Duration = Duration::from_mins(17);
/// From ready endpoints to nodes that know them; also the first pause before a nudge.
const SETTLING: Duration = Duration::from_secs(2);
/// The longest pause before another nudge of an owner whose pods go on being refused.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Owners whose pods were refused.
#[derive(Debug, Default)]
pub(super) struct Nudges {
    refused: HashMap<Owner, Refused>,
    is_well: bool,
}

#[derive(Debug)]
struct Refused {
    last: Instant,
    /// Nudges since the webhook could be reached again.
    nudges: u32,
    /// When the next one is due; none while the webhook is away, or nothing has been refused since the last.
    due: Option<Instant>,
}

impl Nudges {
    /// A pod of this owner was refused.
    pub(super) fn refused(&mut self, owner: Owner, now: Instant) {
        let refused = self.refused.entry(owner).or_insert(Refused { last: now, nudges: 0, due: None });
        refused.last = now;
        if self.is_well && refused.due.is_none() {
            refused.due = Some(now + pause(refused.nudges));
        }
    }

    /// The webhook can be reached, or not. When it can be reached again, everybody who was refused is nudged: also who
    /// was nudged before, for controllers do not write an event of every refusal.
    pub(super) fn webhook_is(&mut self, well: bool, now: Instant) {
        if well == self.is_well {
            return;
        }
        self.is_well = well;
        self.refused.retain(|_, refused| now < refused.last + MEMORY);
        for refused in self.refused.values_mut() {
            refused.nudges = 0;
            refused.due = well.then_some(now + SETTLING);
        }
    }

    /// When somebody is to be nudged next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.refused.values().filter_map(|refused| refused.due).min()
    }

    /// Who is to be nudged now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Owner> {
        self.refused.retain(|_, refused| refused.due.is_some() || now < refused.last + MEMORY);
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

/// The pause before the next nudge of an owner who had this many already.
fn pause(nudges: u32) -> Duration {
    2_u32.checked_pow(nudges).map_or(LONGEST_PAUSE, |factor| (SETTLING * factor).min(LONGEST_PAUSE))
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
        let (mut nudges, now) = (Nudges::default(), Instant::now());
        nudges.refused(owner("a"), now);
        assert_eq!(nudges.next_due(), None);
        nudges.webhook_is(true, now);
        nudges.webhook_is(false, now);
        assert_eq!(nudges.next_due(), None);
        assert!(nudges.take_due(now + MEMORY / 2).is_empty());
    }

    #[test]
    fn everybody_who_was_refused_is_nudged_once_when_it_is_back() {
        let (mut nudges, now) = (Nudges::default(), Instant::now());
        for name in ["a", "b", "a"] {
            nudges.refused(owner(name), now);
        }
        let back = now + Duration::from_mins(3);
        nudges.webhook_is(true, back);
        assert_eq!(nudges.next_due(), Some(back + SETTLING));
        assert!(nudges.take_due(back).is_empty(), "not before it is known everywhere");
        assert_eq!(names(nudges.take_due(back + SETTLING)), ["a", "b"]);
        assert_eq!(nudges.next_due(), None);
        // One of several endpoints more is no recovery.
        nudges.webhook_is(true, back + SETTLING);
        assert_eq!(nudges.next_due(), None);
    }

    #[test]
    fn the_next_time_it_is_back_everybody_is_nudged_again() {
        let (mut nudges, now) = (Nudges::default(), Instant::now());
        nudges.refused(owner("a"), now);
        for minutes in [1, 2] {
            let back = now + Duration::from_mins(minutes);
            nudges.webhook_is(true, back);
            assert_eq!(names(nudges.take_due(back + SETTLING)), ["a"]);
            nudges.webhook_is(false, back + SETTLING);
        }
    }

    #[test]
    fn what_was_refused_long_ago_is_forgotten() {
        let (mut nudges, now) = (Nudges::default(), Instant::now());
        nudges.refused(owner("a"), now);
        nudges.webhook_is(true, now + MEMORY);
        assert_eq!(nudges.next_due(), None);
    }

    #[test]
    fn who_goes_on_being_refused_is_nudged_ever_more_seldom() {
        let (mut nudges, mut now) = (Nudges::default(), Instant::now());
        nudges.webhook_is(true, now);
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
