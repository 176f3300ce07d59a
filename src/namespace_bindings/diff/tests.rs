use serde_json::{Value, json};

use super::*;
use crate::{contract::pod, namespace_bindings::rule::tests::rule};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

/// The test's namespace, `feature-x`.
struct Place {
    namespace: ObjectMeta,
    assignments: Vec<Assignment>,
    instances: Vec<Arc<ServiceInstance>>,
    bindings: Vec<Arc<ServiceBinding>>,
    unread: HashSet<String>,
}

impl Place {
    fn new(rules: &[(Rule, Verdict)]) -> Self {
        let assignment = |(rule, verdict): &(Rule, Verdict)| Assignment {
            rule: Arc::new(rule.clone()),
            verdict: verdict.clone(),
        };
        Self {
            namespace: serde_json::from_value(
                json!({"name": "feature-x", "uid": "u", "labels": {"team": "blue"}}),
            )
            .unwrap(),
            assignments: rules.iter().map(assignment).collect(),
            instances: Vec::new(),
            bindings: Vec::new(),
            unread: HashSet::new(),
        }
    }

    fn granted(spec: &Value) -> Self {
        Self::new(&[(rule("db", spec), Verdict::Granted { stage: None })])
    }

    /// Applies the steps as the API server would.
    fn carry_out(&mut self, diff: Diff) {
        for step in diff.steps {
            match step.change {
                Change::CreateInstance(instance) => self.instances.push(Arc::from(instance)),
                Change::CreateBinding(binding) => self.bindings.push(Arc::from(binding)),
                Change::AnnotateInstance { annotation, value, .. } => {
                    for instance in &mut self.instances {
                        let annotations = Arc::make_mut(instance).annotations_mut();
                        annotations.remove(annotation);
                        annotations.extend(value.clone().map(|value| (annotation.to_owned(), value)));
                    }
                }
                Change::SetBindingEnv { env, .. } => {
                    for binding in &mut self.bindings {
                        let annotations = Arc::make_mut(binding).annotations_mut();
                        annotations.remove(binding::ENV);
                        annotations.extend(env.clone().map(|env| (binding::ENV.to_owned(), env)));
                    }
                }
                Change::Delete { instance, binding, .. } => {
                    self.instances.retain(|own| instance.as_ref() != Some(own));
                    self.bindings.retain(|own| binding.as_ref() != Some(own));
                }
            }
        }
    }

    fn diff(&self, now: i64) -> Diff {
        diff(&Observed {
            namespace: &self.namespace,
            assignments: &self.assignments,
            instances: &self.instances,
            bindings: &self.bindings,
            grace: &|_| Some(Duration::from_mins(30)),
            unread: &self.unread,
            now: at(now),
        })
    }

    /// Applies steps until there are none, and returns the events.
    fn settle(&mut self, now: i64) -> Vec<String> {
        let mut reasons = Vec::new();
        for _ in 0..5 {
            let diff = self.diff(now);
            if diff.steps.is_empty() {
                return reasons;
            }
            reasons.extend(diff.steps.iter().filter_map(|step| match &step.change {
                Change::AnnotateInstance { event, .. } => {
                    event.as_ref().map(|event| event.reason.to_string())
                }
                Change::Delete { event, .. } => Some(event.reason.to_string()),
                _ => None,
            }));
            self.carry_out(diff);
        }
        panic!("never settles: {:?}", self.diff(now));
    }

    fn problem(&self) -> Option<&'static str> {
        self.diff(0).findings["db"].problem.as_ref().map(|problem| problem.reason)
    }
}

#[test]
fn a_namespace_gets_an_instance_and_a_binding_of_its_own() {
    let mut place = Place::granted(&json!({"parameters": {"owner": "{{ labels.team }}"}, "env": "DB=uri"}));
    assert_eq!(place.settle(0), [""; 0]);
    let (instance, binding) = (&place.instances[0], &place.bindings[0]);
    assert_eq!((instance.name_any(), instance.namespace()), ("db".to_owned(), Some("feature-x".to_owned())));
    assert_eq!(json!(instance.spec.parameters), json!({"owner": "blue"}));
    assert_eq!(binding.spec.instance_ref.name, "db");
    assert_eq!(binding.annotations()[binding::ENV], "DB=uri");
    for (labels, annotations) in
        [(instance.labels(), instance.annotations()), (binding.labels(), binding.annotations())]
    {
        assert_eq!(labels[branch::NAMESPACE_BINDING], "db");
        assert_eq!(annotations[branch::NAMESPACE_BINDING_UID], "uid-db");
    }
    assert_eq!(instance.metadata.owner_references, None, "deleting a NamespaceBinding deletes no data");
}

#[test]
fn a_waiting_namespace_gets_nothing_and_an_event_says_why() {
    let over = Verdict::OverLabel { label: "team".to_owned(), value: "blue".to_owned(), limit: 2 };
    for (verdict, reason, word) in [
        (Verdict::OverTotal { limit: 3 }, "LimitReached", "limits.total of the NamespaceBinding db is 3"),
        (over, "LimitReached", "is 2 for team=blue"),
        (Verdict::NameClash { with: "old".to_owned() }, "NameClash", "another bindingName"),
    ] {
        let place = Place::new(&[(rule("db", &json!({})), verdict)]);
        let diff = place.diff(0);
        assert!(diff.steps.is_empty(), "{diff:?}");
        let problem = diff.findings["db"].problem.clone().unwrap();
        assert_eq!(problem.reason, reason);
        assert!(problem.message.contains(word), "{}", problem.message);
    }
}

#[test]
fn a_template_that_cannot_be_rendered_changes_nothing() {
    let mut place = Place::granted(&json!({"parameters": {"owner": "{{ labels.owner }}"}}));
    assert_eq!(place.problem(), Some("InvalidTemplate"));
    assert!(place.diff(0).steps.is_empty());
    place.namespace.labels.as_mut().unwrap().insert("owner".to_owned(), "me".to_owned());
    place.settle(0);
    place.namespace.labels.as_mut().unwrap().remove("owner");
    assert!(place.diff(0).steps.is_empty(), "it keeps what it has");
}

#[test]
fn a_changed_spec_keeps_the_instance_and_renames_the_variables() {
    let mut place = Place::granted(&json!({"env": "A=uri"}));
    place.settle(0);
    let other = rule("db", &json!({"env": "B=uri", "clusterServicePlanExternalName": "large"}));
    place.assignments = vec![Assignment { rule: Arc::new(other), verdict: Verdict::Granted { stage: None } }];
    assert!(place.diff(0).findings["db"].is_outdated);
    place.settle(0);
    assert_eq!(place.instances[0].spec.cluster_service_plan_external_name, None);
    assert_eq!(place.bindings[0].annotations()[binding::ENV], "B=uri");
}

#[test]
fn a_deleted_instance_is_replaced() {
    let mut place = Place::granted(&json!({}));
    place.settle(0);
    Arc::make_mut(&mut place.instances[0]).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(place.settle(0), ["Removed"]);
    assert!(place.bindings.is_empty(), "it goes before the instance");
    place.instances.clear();
    place.settle(0);
    assert_eq!((place.instances.len(), place.bindings.len()), (1, 1));
}

#[test]
fn a_namespace_that_is_not_selected_any_more_loses_its_service_after_the_grace_period() {
    let mut place = Place::granted(&json!({}));
    place.settle(0);
    let assignments = std::mem::take(&mut place.assignments);
    assert_eq!(place.settle(0), ["Leaving"]);
    assert_eq!(place.diff(29).requeue_at, Some(at(30)));
    assert!(place.diff(29).steps.is_empty());

    place.assignments = assignments;
    assert_eq!(place.settle(29), [""; 0], "the label is back");
    assert!(!place.instances[0].annotations().contains_key(branch::LEAVES_AT));

    place.assignments.clear();
    assert_eq!(place.settle(29), ["Leaving"]);
    assert_eq!(place.settle(59), ["Left"]);
    assert!(place.instances.is_empty() && place.bindings.is_empty());
}

#[test]
fn the_end_is_announced_cancelled_and_comes() {
    let mut place = Place::granted(&json!({}));
    place.settle(0);
    place.assignments[0].verdict = Verdict::Granted { stage: Some(Stage::Expiring { at: at(60) }) };
    assert_eq!(place.settle(50), ["Expiring"]);
    assert_eq!(place.instances[0].annotations()[branch::EXPIRES_AT], at(60).to_string());
    let living = Stage::Living { until: at(500), announced_at: at(490) };
    place.assignments[0].verdict = Verdict::Granted { stage: Some(living) };
    assert_eq!(place.settle(55), ["Extended"]);
    place.assignments[0].verdict = Verdict::Expired { since: at(500) };
    assert_eq!(place.settle(500), ["Expired"]);
    assert!(place.instances.is_empty() && place.bindings.is_empty());
}

#[test]
fn the_default_includes_awaited_bindings_and_those_not_lost_yet() {
    let spec = json!({"defaultForPods": true});
    let mut place = Place::new(&[
        (rule("db", &spec), Verdict::Granted { stage: None }),
        (rule("queue", &spec), Verdict::OverTotal { limit: 1 }),
        (rule("plain", &json!({})), Verdict::Granted { stage: None }),
        (rule("other", &spec), Verdict::NameClash { with: "db".to_owned() }),
    ]);
    place.settle(0);
    let stamp = place.diff(0).metadata_patch.unwrap();
    assert_eq!(stamp["annotations"][pod::BIND], "db,queue");
    let mut metadata = json!(place.namespace);
    json_patch::merge(&mut metadata, &stamp);
    place.namespace = serde_json::from_value(metadata).unwrap();
    assert_eq!(place.diff(0).metadata_patch, None);

    place.assignments.remove(0);
    assert_eq!(
        place.diff(0).metadata_patch.unwrap()["annotations"][pod::BIND],
        "queue,db",
        "db is still there"
    );
    place.instances.clear();
    assert_eq!(place.diff(0).metadata_patch.unwrap()["annotations"][pod::BIND], "queue");
}

/// Grace period and ttl of existing services are independent of other errors.
#[test]
fn an_instance_whose_template_fails_stays_and_ends_as_before() {
    let mut place = Place::granted(&json!({"parameters": {"owner": "{{ labels.team }}"}}));
    place.settle(0);
    let assignments = std::mem::take(&mut place.assignments);
    assert_eq!(place.settle(0), ["Leaving"]);
    place.assignments = assignments;
    place.namespace.labels.as_mut().unwrap().remove("team");
    place.settle(10);
    assert!(!place.instances[0].annotations().contains_key(branch::LEAVES_AT), "it is selected again");
    assert_eq!(place.problem(), Some("InvalidTemplate"));
    place.assignments[0].verdict = Verdict::Granted { stage: Some(Stage::Expiring { at: at(60) }) };
    assert_eq!(place.settle(50), ["Expiring"]);
}

#[test]
fn a_pending_deletion_follows_the_present_grace_period() {
    let mut place = Place::granted(&json!({}));
    place.settle(0);
    place.assignments.clear();
    let annotations = Arc::make_mut(&mut place.instances[0]).annotations_mut();
    annotations.insert(branch::LEAVES_AT.to_owned(), at(9_999).to_string());
    assert_eq!(place.settle(0), ["Leaving"], "users must not extend the time by writing the annotation");
    assert_eq!(place.instances[0].annotations()[branch::LEAVES_AT], at(30).to_string());
}

#[test]
fn a_pending_deletion_can_be_postponed_and_is_announced_again_afterwards() {
    let mut place = Place::granted(&json!({}));
    place.settle(0);
    place.assignments.clear();
    assert_eq!(place.settle(0), ["Leaving"]);
    let extend = |place: &mut Place, until: i64| {
        place.namespace.annotations =
            Some(BTreeMap::from([(branch::EXTENDED_UNTIL.to_owned(), at(until).to_string())]));
    };
    extend(&mut place, 20);
    assert_eq!(place.settle(10), [""; 0], "it stays as long anyway");
    extend(&mut place, 500);
    assert_eq!(place.settle(29), ["Leaving"]);
    assert_eq!(place.diff(31).requeue_at, Some(at(500)));
    assert_eq!(place.settle(499), [""; 0]);
    let mut taken_back = Place { namespace: place.namespace.clone(), ..Place::new(&[]) };
    taken_back.instances.clone_from(&place.instances);
    taken_back.namespace.annotations = None;
    assert_eq!(taken_back.settle(100), ["Leaving"]);
    assert_eq!(taken_back.diff(100).requeue_at, Some(at(130)));
    assert_eq!(place.settle(500), ["Left"]);
    assert!(place.instances.is_empty() && place.bindings.is_empty());
}

#[test]
fn the_default_keeps_bindings_of_invalid_namespacebindings() {
    let mut place = Place::granted(&json!({"defaultForPods": true}));
    let mut metadata = json!(place.namespace);
    json_patch::merge(&mut metadata, &place.diff(0).metadata_patch.unwrap());
    place.namespace = serde_json::from_value(metadata).unwrap();
    place.assignments.clear();
    place.unread = HashSet::from(["db".to_owned()]);
    assert_eq!(place.diff(0).metadata_patch, None);
    place.unread.clear();
    assert!(place.diff(0).metadata_patch.is_some(), "it is gone");
}
