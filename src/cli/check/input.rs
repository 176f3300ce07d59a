//! The manifests that `bindery check` judges.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    object::Object,
    report::{Judged, Report},
};
use crate::{
    cli::{
        given_namespaces::{GivenNamespaces, texts},
        manifest::{File, documents},
    },
    injection::{InjectSettings, workload::workloads},
    policy::{Author, Change, Namespace, Policies, Subject, Verdict},
};

/// All objects of the given files.
#[derive(Default)]
pub(super) struct Input {
    pub(super) objects: Vec<Object>,
    /// All documents that cannot be read, so that the user can correct all of them at once.
    pub(super) errors: Vec<String>,
}

impl Input {
    pub(super) fn read(&mut self, file: &File) {
        for document in documents(&file.text) {
            match document.parse() {
                Ok(Value::Null) => {}
                Ok(value) => self.objects.extend(Object::all_in(&file.name, document.line, value)),
                Err(error) => self.errors.push(format!("{}:{}: {error:#}", file.name, document.line)),
            }
        }
    }

    /// The Namespaces among the objects.
    fn namespaces(&self) -> BTreeMap<&str, Namespace> {
        let of = |object: &'_ Object| {
            let (labels, annotations) = (texts(&object.value, "labels"), texts(&object.value, "annotations"));
            Namespace::new(object.name(), labels, annotations)
        };
        let namespaces = self.objects.iter().filter(|object| object.is("Namespace"));
        namespaces.map(|object| (object.name(), of(object))).collect()
    }
}

/// Judges an object that is not a pod, as if a user without an administrator's rights created it. Only Secrets and what
/// violates a rule count as judged.
fn judge_other(
    object: &Object,
    policies: &Policies,
    known: &BTreeMap<&str, Namespace>,
    otherwise: &str,
    now: Timestamp,
    report: &mut Report,
) {
    let name = match object.text("/metadata/namespace") {
        _ if object.is("Namespace") => object.name(),
        "" => otherwise,
        name => name,
    };
    let unknown = Namespace::new(name, BTreeMap::new(), BTreeMap::new());
    let namespace = known.get(name).unwrap_or(&unknown);
    let is_outside = object.kind() == "ExternalResource";
    let change = Change {
        namespace: (!is_outside).then_some(namespace),
        before: None,
        after: Some(&object.value),
        author: Author::default(),
    };
    let mut judged = Judged::of(object, name);
    if object.is("Secret") {
        judged.verdicts = policies.judge_secret(&object.value, namespace, now);
    }
    judged.verdicts.extend(policies.judge_change(&change, now));
    if object.is("Secret") || !judged.verdicts.is_empty() {
        report.add(judged);
    }
}

/// Notes for which bindings it is not known whether the pod's service account may bind them.
fn unknown_access(judged: &Judged, policies: &Policies, subject: &Subject<'_>, report: &mut Report) {
    let bindings = policies.unknown_access(subject);
    if !bindings.is_empty() {
        report.notes.push(format!(
            "{}:{}: {}: whether its service account may bind {} is unknown; add the manifests of the roles and role bindings",
            judged.file,
            judged.line,
            judged.described(),
            bindings.join(", ")
        ));
    }
}

/// Judges all objects of the input.
pub(super) fn judge(
    input: &Input,
    policies: &Policies,
    given: &GivenNamespaces,
    otherwise: &str,
    settings: &InjectSettings,
    now: Timestamp,
    report: &mut Report,
) -> anyhow::Result<()> {
    let known = input.namespaces();
    let mut unknown = BTreeMap::new();
    for object in &input.objects {
        let workloads = workloads(&object.value);
        if workloads.is_empty() {
            judge_other(object, policies, &known, otherwise, now, report);
            continue;
        }
        let at = || format!("{}: {} {}", object.place(), object.kind(), object.name());
        let name =
            Some(object.text("/metadata/namespace")).filter(|name| !name.is_empty()).unwrap_or(otherwise);
        let namespace = known.get(name).unwrap_or_else(|| {
            unknown.entry(name).or_insert_with(|| Namespace::new(name, BTreeMap::new(), BTreeMap::new()))
        });
        for workload in workloads {
            let injection = given.inject(&workload, settings).with_context(at)?;
            let mut template = workload.template.clone();
            injection.apply(&mut template).with_context(at)?;
            let subject =
                Subject { name: workload.name, namespace, template: &template, only_ephemeral: false };
            let mut judged = Judged::of(object, name);
            judged.verdicts = policies.judge(&subject, now);
            unknown_access(&judged, policies, &subject, report);
            if !workload.template_path.is_empty() {
                for Verdict { finding, .. } in &mut judged.verdicts {
                    finding.place = format!("{}.{}", workload.template_path, finding.place);
                }
            }
            report.add(judged);
        }
    }
    report.notes.extend(policies.with_conditions().map(|policy| {
        format!(
            "CredentialPolicy {policy}: only the API server evaluates the rule conditions; it was not checked"
        )
    }));
    if policies.ask_for_labels() {
        report.notes.extend(unknown.keys().map(|name| {
            format!(
                "the labels of Namespace {name} are unknown, and a policy asks for them; add its manifest"
            )
        }));
    }
    report.notes.extend(policies.stray_exceptions().map(|exception| {
        let name = exception.metadata.name.as_deref().unwrap_or_default();
        format!("CredentialPolicyException {name}: no CredentialPolicy {} is given", exception.spec.policy)
    }));
    Ok(())
}
