use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{contract::branch, namespace_bindings::rule::tests::rule};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

/// A namespace that was created at this minute.
fn namespace(name: &str, minute: i64, labels: &Value) -> Arc<NamespaceMeta> {
    let metadata = json!({"name": name, "creationTimestamp": at(minute), "labels": labels});
    Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap())
}

fn team(name: &str, minute: i64, team: &str) -> Arc<NamespaceMeta> {
    namespace(name, minute, &json!({"team": team}))
}

fn existing(entries: &[(&str, &str)]) -> Existing {
    let instance = |namespace: &str, rule: &str| {
        serde_json::from_value(
            json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
            "metadata": {"name": rule, "namespace": namespace}, "spec": {}}),
        )
        .unwrap()
    };
    let entry = |&(namespace, rule): &(&str, &str)| {
        ((namespace.to_owned(), rule.to_owned()), vec![Arc::new(instance(namespace, rule))])
    };
    entries.iter().map(entry).collect()
}

fn rename(existing: &mut Existing, name: &str) {
    for instance in existing.values_mut().flatten() {
        Arc::make_mut(instance).metadata.name = Some(name.to_owned());
    }
}

fn planned(rules: &[Rule], namespaces: &[Arc<NamespaceMeta>], existing: &Existing, before: &Plan) -> Plan {
    planned_at(1000, rules, namespaces, existing, before, &[])
}

/// The plan at a minute, with refusals of these namespaces since these minutes.
fn planned_at(
    minute: i64,
    rules: &[Rule],
    namespaces: &[Arc<NamespaceMeta>],
    existing: &Existing,
    before: &Plan,
    refused: &[(&str, i64)],
) -> Plan {
    let rules: Vec<_> = rules.iter().cloned().map(Arc::new).collect();
    let refusals =
        refused.iter().map(|(name, minute)| (((*name).to_owned(), "r".to_owned()), at(*minute))).collect();
    plan(&Inputs {
        rules: &rules,
        namespaces,
        existing,
        before,
        refusals: &refusals,
        own: "bindery",
        now: at(minute),
    })
}

fn first_plan(rules: &[Rule], namespaces: &[Arc<NamespaceMeta>], existing: &Existing) -> Plan {
    planned(rules, namespaces, existing, &Plan::default())
}

fn verdict(plan: &Plan, namespace: &str, rule: &str) -> Verdict {
    let assignment = plan.namespaces[namespace].iter().find(|assignment| assignment.rule.name() == rule);
    assignment.unwrap().verdict.clone()
}

/// The namespaces with a granted service, in order.
fn granted(plan: &Plan) -> Vec<&str> {
    let is_granted = |assignment: &Assignment| matches!(assignment.verdict, Verdict::Granted { .. });
    let mut names: Vec<_> = plan
        .namespaces
        .iter()
        .filter(|(_, assignments)| assignments.iter().any(is_granted))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn selected_namespaces_are_granted_and_terminating_ones_ignored() {
    let mut going = namespace("feature-b", 1, &json!({}));
    Arc::make_mut(&mut going).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(2)));
    let namespaces = [namespace("feature-a", 1, &json!({})), going, namespace("other", 1, &json!({}))];
    let plan = first_plan(&[rule("r", &json!({}))], &namespaces, &existing(&[]));
    assert_eq!(plan.namespaces.keys().collect::<Vec<_>>(), ["feature-a"]);
    assert_eq!(verdict(&plan, "feature-a", "r"), Verdict::Granted { stage: None });
}

#[test]
fn the_namespace_of_bindery_is_never_selected() {
    let rules = [rule("r", &json!({"namePattern": "*"}))];
    let namespaces = [namespace("bindery", 1, &json!({})), namespace("bindery-demo", 1, &json!({}))];
    assert_eq!(granted(&first_plan(&rules, &namespaces, &existing(&[]))), ["bindery-demo"]);
    let before = existing(&[("bindery", "r")]);
    assert_eq!(granted(&first_plan(&rules, &namespaces, &before)), ["bindery", "bindery-demo"], "data stays");
}

#[test]
fn the_older_of_two_rules_with_one_name_wins() {
    let rules = [
        rule("one", &json!({"bindingName": "db"})),
        rule("two", &json!({"bindingName": "db"})),
        rule("queue", &json!({})),
    ];
    let plan = first_plan(&rules, &[namespace("feature-a", 1, &json!({}))], &existing(&[]));
    assert_eq!(verdict(&plan, "feature-a", "one"), Verdict::Granted { stage: None });
    assert_eq!(verdict(&plan, "feature-a", "two"), Verdict::NameClash { with: "one".to_owned() });
    assert_eq!(verdict(&plan, "feature-a", "queue"), Verdict::Granted { stage: None });

    let mut given = existing(&[("feature-a", "two")]);
    rename(&mut given, "db");
    let plan = first_plan(&rules, &[namespace("feature-a", 1, &json!({}))], &given);
    assert_eq!(verdict(&plan, "feature-a", "two"), Verdict::Granted { stage: None }, "it has given already");
    assert_eq!(verdict(&plan, "feature-a", "one"), Verdict::NameClash { with: "two".to_owned() });
}

#[test]
fn the_oldest_come_first_and_existing_services_are_kept() {
    let rules = [rule("r", &json!({"limits": {"total": 2}}))];
    let namespaces: Vec<_> = ["c", "b", "a"]
        .iter()
        .zip(1..)
        .map(|(n, at)| namespace(&format!("feature-{n}"), at, &json!({})))
        .collect();
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    assert_eq!(granted(&plan), ["feature-b", "feature-c"]);
    assert_eq!(verdict(&plan, "feature-a", "r"), Verdict::OverTotal { limit: 2 });
    let plan = first_plan(&rules, &namespaces, &existing(&[("feature-a", "r")]));
    assert_eq!(granted(&plan), ["feature-a", "feature-c"]);
}

#[test]
fn an_instance_that_is_being_deleted_still_counts() {
    let rules = [rule("r", &json!({"limits": {"total": 1}}))];
    let namespaces = [namespace("feature-a", 1, &json!({}))];
    let plan = first_plan(&rules, &namespaces, &existing(&[("gone", "r"), ("feature-a", "another")]));
    assert_eq!(granted(&plan), [""; 0]);
}

#[test]
fn an_instance_that_is_being_deleted_counts_for_its_team() {
    let rules = [rule("r", &json!({"limits": {"perLabel": {"label": "team", "count": 1}}}))];
    let mut going = team("feature-a", 1, "blue");
    Arc::make_mut(&mut going).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(2)));
    let namespaces = [going, team("feature-b", 2, "blue"), team("feature-c", 3, "red")];
    let plan = first_plan(&rules, &namespaces, &existing(&[("feature-a", "r"), ("vanished", "r")]));
    assert_eq!(granted(&plan), ["feature-c"]);
}

/// The NamespaceBinding was recreated with another `bindingName`, and its former instance still exists.
#[test]
fn two_instances_of_one_namespace_are_two() {
    let rules =
        [rule("r", &json!({"bindingName": "new", "ttl": {"after": "1000m"}, "limits": {"total": 2}}))];
    let mut given = existing(&[("feature-a", "r")]);
    let mut current = given.values().next().unwrap()[0].as_ref().clone();
    current.metadata.name = Some("new".to_owned());
    current.annotations_mut().insert(branch::EXPIRES_AT.to_owned(), at(1002).to_string());
    let namespaces = [namespace("feature-a", 1, &json!({})), namespace("feature-b", 100, &json!({}))];
    let key = ("feature-a".to_owned(), "r".to_owned());
    for position in [0, 1] {
        let mut given = given.clone();
        given.get_mut(&key).unwrap().insert(position, Arc::new(current.clone()));
        let plan = first_plan(&rules, &namespaces, &given);
        let stage = Some(Stage::Expiring { at: at(1002) });
        assert_eq!(verdict(&plan, "feature-a", "r"), Verdict::Granted { stage });
        assert_eq!(granted(&plan), ["feature-a"], "two of two are there");
    }
    given.clear();
    assert_eq!(granted(&first_plan(&rules, &namespaces, &given)), ["feature-a", "feature-b"]);
}

#[test]
fn a_namespace_that_can_never_be_served_takes_no_slot() {
    let rules = [rule("r", &json!({"limits": {"total": 1}, "parameters": {"owner": "{{ labels.team }}"}}))];
    let namespaces = [namespace("feature-a", 1, &json!({})), team("feature-b", 2, "blue")];
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    assert_eq!(granted(&plan), ["feature-b"]);
    assert!(matches!(verdict(&plan, "feature-a", "r"), Verdict::InvalidTemplate { .. }));
    let plan = first_plan(&rules, &namespaces, &existing(&[("feature-a", "r")]));
    assert_eq!(granted(&plan), ["feature-a"], "who has it keeps it");
}

/// Otherwise everything would be decided again without a pause.
#[test]
fn a_namespace_without_instance_is_checked_only_at_the_end_of_the_ttl() {
    let rules = [rule("r", &json!({"ttl": {"after": "1010m"}, "limits": {"total": 1}}))];
    let plan = first_plan(&rules, &[namespace("feature-a", 1, &json!({}))], &existing(&[("gone", "r")]));
    assert_eq!(plan.next, Some(at(1011)));
}

/// The instance is not in the cache yet, and an older namespace appears.
#[test]
fn a_granted_slot_is_not_given_to_another_namespace() {
    let rules = [rule("r", &json!({"limits": {"total": 1}}))];
    let young = namespace("feature-b", 2, &json!({}));
    let before = first_plan(&rules, std::slice::from_ref(&young), &existing(&[]));
    let plan = planned(&rules, &[namespace("feature-a", 1, &json!({})), young], &existing(&[]), &before);
    assert_eq!(granted(&plan), ["feature-b"]);
}

#[test]
fn a_refused_namespace_does_not_delay_others() {
    let rules = [rule("r", &json!({"limits": {"total": 1, "perLabel": {"label": "team", "count": 1}}}))];
    let old = team("feature-a", 1, "blue");
    let before = first_plan(&rules, std::slice::from_ref(&old), &existing(&[]));
    let refused = [("feature-a", 999)];
    let tried = |namespaces: &[Arc<NamespaceMeta>], existing: &Existing, before: &Plan| {
        planned_at(1000, &rules, namespaces, existing, before, &refused)
    };
    let plan = tried(std::slice::from_ref(&old), &existing(&[]), &before);
    assert_eq!(granted(&plan), ["feature-a"], "it is tried again while nobody else wants the room");
    for team_of_other in ["blue", "red"] {
        let both = [old.clone(), team("feature-b", 2, team_of_other)];
        let plan = tried(&both, &existing(&[]), &before);
        assert_eq!(granted(&plan), ["feature-b"]);
        assert_eq!(
            granted(&tried(&both, &existing(&[]), &plan)),
            ["feature-b"],
            "its instance is on its way"
        );
        assert_eq!(granted(&tried(&both, &existing(&[("feature-b", "r")]), &plan)), ["feature-b"]);
        assert_eq!(
            granted(&tried(&both, &existing(&[("feature-a", "r")]), &before)),
            ["feature-a"],
            "it has it"
        );
    }
}

#[test]
fn a_refusal_is_forgotten_with_its_cause() {
    let rules = [rule("r", &json!({}))];
    let namespaces = [namespace("feature-a", 1, &json!({}))];
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    let of = |namespace: &str, rule: &str| (namespace.to_owned(), rule.to_owned());
    assert!(plan.still_refused(&of("feature-a", "r"), &existing(&[])));
    assert!(!plan.still_refused(&of("feature-a", "r"), &existing(&[("feature-a", "r")])), "it could be made");
    assert!(!plan.still_refused(&of("feature-a", "other"), &existing(&[])));
    assert!(!plan.still_refused(&of("feature-b", "r"), &existing(&[])));
}

#[test]
fn refused_namespaces_take_turns() {
    let rules = [rule("r", &json!({"limits": {"total": 1}}))];
    let namespaces = [namespace("feature-a", 1, &json!({})), namespace("feature-b", 2, &json!({}))];
    let turn = |minute, before: &Plan, refused: &[(&str, i64)]| {
        planned_at(minute, &rules, &namespaces, &existing(&[]), before, refused)
    };
    let first = turn(1000, &Plan::default(), &[]);
    assert_eq!(granted(&first), ["feature-a"]);
    let second = turn(1000, &first, &[("feature-a", 1000)]);
    assert_eq!(granted(&second), ["feature-b"]);
    let refused = [("feature-a", 1000), ("feature-b", 1001)];
    let second = turn(1001, &second, &refused);
    assert_eq!(granted(&second), ["feature-b"], "or they would change places without a pause");
    assert_eq!(second.next, Some(at(1005)), "then it is the other's turn, whatever happens");
    let third = turn(1006, &second, &refused);
    assert_eq!(granted(&third), ["feature-a"]);
    assert_eq!(granted(&turn(1006, &third, &[("feature-a", 1006), ("feature-b", 1001)])), ["feature-a"]);
}

#[test]
fn teams_get_fair_shares_of_the_total() {
    let rules = [rule("r", &json!({"limits": {"total": 4, "perLabel": {"label": "team", "count": 3}}}))];
    let many = (0..10).map(|n| team(&format!("feature-blue-{n}"), n, "blue"));
    let few = (0..2).map(|n| team(&format!("feature-red-{n}"), 100 + n, "red"));
    let namespaces: Vec<_> = many.chain(few).collect();
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    assert_eq!(granted(&plan), ["feature-blue-0", "feature-blue-1", "feature-red-0", "feature-red-1"]);
}

#[test]
fn a_team_at_its_limit_learns_the_reason_while_others_are_granted() {
    let rules = [rule("r", &json!({"limits": {"perLabel": {"label": "team", "count": 1}}}))];
    let namespaces = [
        team("feature-a", 1, "blue"),
        team("feature-b", 2, "blue"),
        team("feature-c", 3, "red"),
        namespace("feature-d", 4, &json!({})),
    ];
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    assert_eq!(granted(&plan), ["feature-a", "feature-c", "feature-d"]);
    let over = Verdict::OverLabel { label: "team".to_owned(), value: "blue".to_owned(), limit: 1 };
    assert_eq!(verdict(&plan, "feature-b", "r"), over);
}

#[test]
fn a_namespace_past_its_ttl_takes_no_slot() {
    let rules = [rule("r", &json!({"ttl": {"after": "900m"}, "limits": {"total": 1}}))];
    let mut extended = namespace("feature-c", 3, &json!({}));
    Arc::make_mut(&mut extended)
        .annotations_mut()
        .insert(branch::EXTENDED_UNTIL.to_owned(), at(2000).to_string());
    let namespaces = [namespace("feature-a", 1, &json!({})), extended];
    let plan = first_plan(&rules, &namespaces, &existing(&[]));
    assert_eq!(verdict(&plan, "feature-a", "r"), Verdict::Expired { since: at(901) });
    assert_eq!(granted(&plan), ["feature-c"]);
    assert_eq!(plan.next, Some(at(1940)), "when the end is announced");
}

proptest! {
    /// For all inputs: grants never exceed a limit, no namespace loses its service, and no slot stays free while a
    /// namespace that may have it waits.
    #[test]
    fn limits_hold_and_free_slots_are_used(
        total in 1..6i32, per in 1..4i32,
        places in prop::collection::vec((0..3u8, 0..50i64, any::<bool>()), 0..20),
    ) {
        let rules = [rule("r", &json!({"limits": {"total": total, "perLabel": {"label": "team", "count": per}}}))];
        let named = |index: usize| format!("feature-{index}");
        let namespaces: Vec<_> = places.iter().enumerate()
            .map(|(index, (label, minute, _))| team(&named(index), *minute, &label.to_string())).collect();
        let has: Vec<String> = places.iter().enumerate().filter(|(_, place)| place.2).map(|(index, _)| named(index)).collect();
        let before: Vec<_> = has.iter().map(|name| (name.as_str(), "r")).collect();
        let plan = first_plan(&rules, &namespaces, &existing(&before));
        let granted: Vec<String> = granted(&plan).into_iter().map(ToOwned::to_owned).collect();
        for name in &has {
            prop_assert!(granted.contains(name));
        }
        let count = |label: u8, names: &[String]| {
            i32::try_from(places.iter().enumerate().filter(|(index, place)| place.0 == label && names.contains(&named(*index))).count()).unwrap()
        };
        let all = |names: &[String]| i32::try_from(names.len()).unwrap();
        prop_assert!(all(&granted) <= total.max(all(&has)));
        for label in 0..3 {
            prop_assert!(count(label, &granted) <= per.max(count(label, &has)));
            let waits = places.iter().enumerate().any(|(index, place)| place.0 == label && !granted.contains(&named(index)));
            prop_assert!(!waits || all(&granted) >= total || count(label, &granted) >= per);
        }
    }
}

#[test]
fn an_expired_assignment_is_kept_only_while_its_instance_exists() {
    let ttl = json!({"ttl": {"after": "1h", "since": "LastPod"}});
    let expired = Verdict::Expired { since: at(1) };
    let assignments = [Assignment { rule: Arc::new(rule("r", &ttl)), verdict: expired.clone() }];
    assert_eq!(keep_active(&assignments, |_| false)[0].verdict, expired);
    assert_eq!(keep_active(&assignments, |_| true)[0].verdict, Verdict::Granted { stage: None });
}
