//! Reconciles one object: looks at its stack, takes the next step, and writes what happened into the object.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::PostParams,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    accounts::{Accounts, ListedAccount},
    desired::{self, Desired},
    error::OperatorError,
    outputs,
    policies::{self, DeletionPolicy},
    reasons, references,
    settings::OperatorSettings,
    step::{Observed, Step},
};
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    cloud::aws::stacks::Stack,
    contract::aws_operator::FINALIZER,
    k8s::{
        backoff::Retries,
        events::{Event, Recorder},
        namespaces::NamespaceMeta,
    },
    telemetry::Metrics,
};

/// How old the list may be for an object whose stack is not under way.
const LISTING_AGE: Duration = Duration::from_mins(1);
/// How often a settled object is compared with its stack, which somebody may have deleted.
pub(super) const RESYNC: Duration = Duration::from_mins(10);
/// How soon an object is reconciled again after another client has changed it.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// What all kinds share.
pub(super) struct Operator {
    pub(super) client: Client,
    /// The name of the cluster, the first part of the names of all stacks.
    pub(super) cluster: String,
    pub(super) accounts: Accounts,
    pub(super) namespaces: Store<NamespaceMeta>,
    /// The namespace of templates for all namespaces.
    pub(super) default_namespace: Option<String>,
    pub(super) deletion_policy: DeletionPolicy,
    pub(super) may_create_principals: bool,
    /// How often stacks under way are listed.
    pub(super) poll: Duration,
    pub(super) recorder: Recorder,
    pub(super) retries: Retries,
    pub(super) metrics: Arc<Metrics>,
    /// When bindery last changed an object's stack, by uid: an older list of stacks does not show the change.
    changed: Mutex<HashMap<String, Instant>>,
    /// When a failed stack may be tried again, by the object's uid.
    pauses: Mutex<HashMap<String, Instant>>,
}

/// One object, and what is known of its surroundings.
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    pub(super) object: &'a AwsObject,
    pub(super) account: &'a ListedAccount,
    pub(super) stack: Option<Arc<Stack>>,
    pub(super) desired: Option<Desired>,
}

impl Operator {
    pub(super) fn new(
        client: Client,
        settings: OperatorSettings,
        namespaces: Store<NamespaceMeta>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), namespaces.clone()),
            client,
            cluster: settings.cluster,
            accounts: Accounts::new(settings.account, settings.accounts),
            namespaces,
            default_namespace: settings.default_namespace,
            deletion_policy: settings.deletion_policy,
            may_create_principals: settings.may_create_principals,
            poll: settings.poll,
            retries: Retries::default(),
            metrics,
            changed: Mutex::default(),
            pauses: Mutex::default(),
        }
    }

    /// Reconciles an object. Errors are written into the object and retried with backoff.
    pub(super) async fn reconcile(&self, kind: Kind, object: &AwsObject) -> Action {
        let began = std::time::Instant::now();
        let uid = object.uid().unwrap_or_default();
        let outcome = self.take_step(kind, object).await;
        self.metrics.reconciled(kind.facts().name, began.elapsed(), outcome.is_err());
        match outcome {
            Ok(action) => action,
            Err(error) if error.is_conflict() => Action::requeue(AFTER_CONFLICT),
            Err(error) => {
                debug!(kind = kind.facts().name, name = object.name_any(), %error, "not settled; retrying");
                self.report_failure(kind, object, &error).await;
                Action::requeue(self.retries.next(&uid, None))
            }
        }
    }

    async fn take_step(&self, kind: Kind, object: &AwsObject) -> Result<Action, OperatorError> {
        let is_deleting = object.metadata.deletion_timestamp.is_some();
        let has_finalizer = object.finalizers().iter().any(|name| name == FINALIZER);
        if is_deleting && !has_finalizer {
            self.forget(object);
            return Ok(Action::await_change());
        }
        let namespace = self.namespace(object);
        if !is_deleting && namespace.as_ref().is_some_and(|it| it.metadata.deletion_timestamp.is_some()) {
            return Ok(Action::await_change());
        }
        let annotations = object.annotations();
        let of_namespace = namespace.as_ref().map(|namespace| namespace.annotations());
        let retains =
            policies::deletion(annotations, of_namespace, self.deletion_policy)? == DeletionPolicy::Retain;
        let account = self.accounts.of(namespace.as_deref())?;
        let name = desired::name(&self.cluster, kind, object);
        let stack = account.listing.stack(&name, self.listing_from(object)).await?;
        let desired = if is_deleting { None } else { Some(self.desired(kind, object).await?) };
        let observed = Observed {
            is_deleting,
            has_finalizer,
            retains,
            stack: stack.as_deref(),
            is_ours: stack.as_deref().is_some_and(|stack| desired::is_of(stack, &self.cluster, object)),
            adoption: policies::adoption(annotations)?,
            rollbacks: object.rollback_count(),
            differs: stack
                .as_deref()
                .zip(desired.as_ref())
                .is_some_and(|(stack, desired)| desired.differs(stack)),
        };
        let step = observed.next();
        self.act(step, Subject { kind, object, account, stack, desired }).await
    }

    async fn desired(&self, kind: Kind, object: &AwsObject) -> Result<Desired, OperatorError> {
        let replaced = references::resolve(&self.client, kind, object).await?;
        let template =
            references::user_template(&self.client, self.default_namespace.as_deref(), object).await?;
        Ok(Desired::new(&self.cluster, kind, object, &replaced, template)?)
    }

    async fn act(&self, step: Step, subject: Subject<'_>) -> Result<Action, OperatorError> {
        let object = subject.object;
        match step {
            Step::Forget => Ok(Action::await_change()),
            Step::AddFinalizer => self.add_finalizer(&subject).await,
            Step::RemoveFinalizer => self.remove_finalizer(&subject).await,
            Step::Wait => {
                self.report(&subject, None).await?;
                Ok(Action::requeue(self.poll))
            }
            Step::Settled => self.settle(&subject).await,
            Step::GiveUp => {
                let reason = self.reason_of_failure(&subject).await?;
                let told = format!(
                    "{reason}; bindery has tried {} times and stops. Correct the cause, then set \
                                    spec.rollbackCount to 0",
                    object.rollback_count()
                );
                self.report(&subject, Some(told)).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::NameTaken => {
                let told = "a stack of this name exists and does not carry the marks of this object; bindery leaves it alone. \
                            Remove it, or annotate the object with services.k8s.aws/adoption-policy: adopt";
                self.report_word(&subject, reasons::STACK_NAME_TAKEN, told).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::NothingToAdopt => {
                let told = "there is no stack to adopt; create it, or use services.k8s.aws/adoption-policy: adopt-or-create";
                self.report_word(&subject, reasons::NOTHING_TO_ADOPT, told).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::Create
            | Step::Update
            | Step::Delete
            | Step::DeleteFailedCreation
            | Step::ContinueRollback => self.change_stack(step, &subject).await,
        }
    }

    async fn add_finalizer(&self, subject: &Subject<'_>) -> Result<Action, OperatorError> {
        let mut object = subject.object.clone();
        object.finalizers_mut().push(FINALIZER.to_owned());
        object.output = outputs::empty(subject.kind);
        object.additional_resources = Some(object.additional_resources.unwrap_or_default());
        self.replace(subject.kind, &object).await?;
        Ok(Action::await_change())
    }

    async fn remove_finalizer(&self, subject: &Subject<'_>) -> Result<Action, OperatorError> {
        if let Some(stack) = &subject.stack {
            let note = format!("the stack {} stays", stack.name);
            self.event(subject, &Event::normal("Delete", reasons::RETAINED, note)).await;
        }
        let mut object = subject.object.clone();
        object.finalizers_mut().retain(|name| name != FINALIZER);
        self.replace(subject.kind, &object).await?;
        self.forget(&object);
        Ok(Action::await_change())
    }

    /// Writes the outputs of a stack that is as wanted.
    async fn settle(&self, subject: &Subject<'_>) -> Result<Action, OperatorError> {
        let Some(stack) = &subject.stack else { return Ok(Action::requeue(self.poll)) };
        let mut object = subject.object.clone();
        object.output = outputs::of_stack(subject.kind, &stack.outputs);
        let region = subject.account.account.region().await?;
        // The outputs become visible together with the ConfigMap that repeats them.
        let written = outputs::write(&self.client, subject.kind, &object, &region).await?;
        object.additional_resources = Some(written);
        let failed_update =
            stack.status.is_rolled_back_update().then(|| "the last update was rolled back".to_owned());
        self.write_status(subject, object, stack.status.as_str(), failed_update).await?;
        if !stack.status.is_rolled_back_update() {
            self.end_retries(subject.object);
        }
        Ok(Action::requeue(RESYNC))
    }

    pub(super) async fn replace(&self, kind: Kind, object: &AwsObject) -> Result<(), OperatorError> {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<AwsObject> = Api::namespaced_with(self.client.clone(), &namespace, &kind);
        // The version of the object makes the write fail if somebody else has changed it.
        api.replace(&object.name_any(), &PostParams::default(), object).await?;
        Ok(())
    }

    fn namespace(&self, object: &AwsObject) -> Option<Arc<NamespaceMeta>> {
        self.namespaces.get(&ObjectRef::new(&object.namespace().unwrap_or_default()))
    }

    pub(super) async fn event(&self, subject: &Subject<'_>, event: &Event) {
        self.recorder.record(&subject.object.object_ref(&subject.kind), event).await;
    }

    /// The earliest time of a list of stacks that shows this object's.
    fn listing_from(&self, object: &AwsObject) -> Instant {
        let is_under_way = object.status.resource_status.ends_with("_IN_PROGRESS");
        let age = if is_under_way { self.poll } else { LISTING_AGE };
        let now = Instant::now();
        let oldest = now.checked_sub(age).unwrap_or(now);
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(&object.uid().unwrap_or_default()).map_or(oldest, |changed| oldest.max(*changed))
    }

    pub(super) fn has_changed_stack(&self, object: &AwsObject) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert(object.uid().unwrap_or_default(), Instant::now());
    }

    fn forget(&self, object: &AwsObject) {
        self.end_retries(object);
        let uid = object.uid().unwrap_or_default();
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    fn end_retries(&self, object: &AwsObject) {
        let uid = object.uid().unwrap_or_default();
        self.retries.forget(&uid);
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    /// Begins the pause after an attempt to repair a failed stack. Each pause is longer than the last one.
    pub(super) fn pause(&self, object: &AwsObject) {
        let uid = object.uid().unwrap_or_default();
        let until = Instant::now() + self.retries.next(&uid, None);
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, until);
    }

    /// How long the pause lasts.
    pub(super) fn pause_left(&self, object: &AwsObject) -> Option<Duration> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let until = pauses.get(&object.uid().unwrap_or_default())?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    async fn report_failure(&self, kind: Kind, object: &AwsObject, error: &OperatorError) {
        let mut failed = object.clone();
        if object.status.stack_id.is_empty() {
            error.word().clone_into(&mut failed.status.resource_status);
        }
        failed.status.resource_status_reason = error.to_string();
        if failed.status == object.status {
            return;
        }
        let event = Event::warning("Reconcile", error.word(), error.to_string());
        self.recorder.record(&object.object_ref(&kind), &event).await;
        if let Err(error) = self.replace(kind, &failed).await {
            warn!(kind = kind.facts().name, name = object.name_any(), %error, "the status cannot be written");
        }
    }
}
