//! Reconciles one object: looks at its stack, takes the next step, and writes what happened into the object.

use std::{sync::Arc, time::Duration};

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
    ledger::Ledger,
    listing::Seen,
    long_templates::templates_in,
    memory::Memories,
    outputs,
    policies::{self, DeletionPolicy},
    reasons, references,
    settings::OperatorSettings,
    step::{Adoption, Observed, Step},
};
use crate::{
    apis::{
        aws_operator::{AwsObject, Kind},
        bindery::stack_record::{StackAccount, StackRecordKind, StackRecordSpec},
    },
    cloud::aws::{buckets::Bucket, stacks::Stack},
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
/// The greatest age of the list for a stack under way whose events are pushed.
const WITHOUT_EVENT: Duration = Duration::from_mins(1);
/// How often a settled object is compared with its stack, which somebody may have deleted.
pub(super) const RESYNC: Duration = Duration::from_mins(10);
/// How soon an object is reconciled again after another client has changed it.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);
/// How soon an object is reconciled again whose Namespace the watch has not shown yet.
const UNKNOWN_NAMESPACE: Duration = Duration::from_millis(500);

/// What all kinds share.
pub(super) struct Operator {
    pub(super) client: Client,
    /// The name of the cluster, the first part of the names of all stacks.
    pub(super) cluster: String,
    pub(super) accounts: Accounts,
    pub(super) namespaces: Store<NamespaceMeta>,
    pub(super) ledger: Ledger,
    /// The namespace of templates for all namespaces.
    pub(super) default_namespace: Option<String>,
    pub(super) deletion_policy: DeletionPolicy,
    pub(super) may_create_principals: bool,
    /// How often stacks are checked for drift.
    pub(super) drift_interval: Option<Duration>,
    /// The bucket for templates that are too long for a request.
    pub(super) bucket: Option<Bucket>,
    /// How often stacks under way are listed.
    pub(super) poll: Duration,
    pub(super) recorder: Recorder,
    pub(super) retries: Retries,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memories: Memories,
}

/// One object, and what is known of its surroundings.
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    pub(super) object: &'a AwsObject,
    pub(super) account: &'a ListedAccount,
    /// What becomes of the stack when the object is deleted.
    pub(super) policy: DeletionPolicy,
    pub(super) stack: Option<Arc<Stack>>,
    /// The topic for the events of the stack.
    pub(super) topic: Option<Arc<str>>,
    pub(super) desired: Option<Desired>,
}

impl Operator {
    pub(super) fn new(
        client: Client,
        settings: OperatorSettings,
        namespaces: Store<NamespaceMeta>,
        ledger: Ledger,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), namespaces.clone()),
            client,
            cluster: settings.cluster,
            accounts: Accounts::new(settings.accounts, settings.poll),
            namespaces,
            ledger,
            default_namespace: settings.default_namespace,
            deletion_policy: settings.deletion_policy,
            may_create_principals: settings.may_create_principals,
            drift_interval: settings.drift_interval,
            bucket: settings.bucket.map(templates_in),
            poll: settings.poll,
            retries: Retries::default(),
            metrics,
            memories: Memories::default(),
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
        // Its annotations decide about the account, so a Namespace that the watch has not shown yet is awaited.
        if !is_deleting && namespace.is_none() {
            return Ok(Action::requeue(UNKNOWN_NAMESPACE));
        }
        let annotations = object.annotations();
        let of_namespace = namespace.as_ref().map(|namespace| namespace.annotations());
        let policy = policies::deletion(annotations, of_namespace, self.deletion_policy)?;
        // A stack stays in its account, whatever the Namespace asks for now.
        let account = match self.ledger.of(&object.uid().unwrap_or_default()) {
            Some(record) => self.accounts.named(&record.spec.broker.name)?,
            None => match self.accounts.of(namespace.as_deref()) {
                // No account was ever asked for a stack.
                Err(_) if is_deleting && object.status.stack_id.is_empty() => {
                    return self.let_go(kind, object).await;
                }
                found => found?,
            },
        };
        let name = desired::name(&self.cluster, kind, object);
        let stack = match account.listing.stack(&name, self.listing_from(object)).await? {
            Seen::Stack(stack) => stack,
            Seen::Later(wait) => return Ok(Action::requeue(wait)),
        };
        let topic = account.channel.topic();
        self.memories.remember_stack(object, &name, account.channel.tells_of(stack.as_deref()));
        let (adoption, importable) = self.read_adoption(kind, object, stack.as_deref(), is_deleting)?;
        let desired = if is_deleting { None } else { Some(self.desired(kind, object).await?) };
        let observed = Observed {
            is_deleting,
            has_finalizer,
            retains: policy == DeletionPolicy::Retain,
            stack: stack.as_deref(),
            is_ours: stack.as_deref().is_some_and(|stack| desired::is_of(stack, &self.cluster, object)),
            adoption,
            importable,
            rollbacks: object.rollback_count(),
            differs: stack
                .as_deref()
                .zip(desired.as_ref())
                .is_some_and(|(stack, desired)| desired.differs(stack)),
        };
        let step = observed.next();
        Box::pin(self.act(step, Subject { kind, object, account, policy, stack, topic, desired })).await
    }

    /// Whether the stack may become the object's.
    pub(super) fn adoption(
        &self,
        kind: Kind,
        object: &AwsObject,
        stack: Option<&Stack>,
    ) -> Result<Adoption, OperatorError> {
        let adoption = policies::adoption(object.annotations())?;
        let is_of_another =
            stack.is_some_and(|stack| !desired::may_adopt(stack, &self.cluster, kind, object));
        Ok(if is_of_another { Adoption::Never } else { adoption })
    }

    /// Records the stack of an object before AWS is asked for it.
    async fn record(&self, subject: &Subject<'_>) -> Result<(), OperatorError> {
        let Subject { kind, object, account, .. } = subject;
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let url = account.account.address_of("cloudformation").await?;
        let spec = StackRecordSpec {
            broker: StackAccount { name: account.name.clone(), url },
            kind: StackRecordKind::Stack,
            namespace_uid: self.namespace(object).and_then(|namespace| namespace.metadata.uid.clone()),
            namespace,
            name,
            uid: object.uid().unwrap_or_default(),
            stack: desired::name(&self.cluster, *kind, object),
            object_kind: kind.facts().name.to_owned(),
            plan: String::new(),
        };
        Ok(self.ledger.record(spec, subject.policy).await?)
    }

    async fn desired(&self, kind: Kind, object: &AwsObject) -> Result<Desired, OperatorError> {
        let replaced = references::resolve(&self.client, kind, object).await?;
        let template = references::user_template(
            &self.client,
            self.default_namespace.as_deref(),
            self.longest_template(),
            object,
        )
        .await?;
        Ok(Desired::new(&self.cluster, kind, object, &replaced, template)?)
    }

    async fn act(&self, step: Step, subject: Subject<'_>) -> Result<Action, OperatorError> {
        let object = subject.object;
        if step.keeps_stack() {
            self.record(&subject).await?;
        }
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
                self.give_up(&subject).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::NameTaken => {
                let told = if policies::adoption(object.annotations())? == Adoption::Never {
                    "a stack of this name exists and does not carry the marks of this object; bindery leaves it alone. \
                     Remove it, or annotate the object with services.k8s.aws/adoption-policy: adopt"
                } else {
                    "the stack of this name was made for another object or by another installation, or is in a state that \
                     cannot be updated; bindery leaves it alone"
                };
                self.report_word(&subject, reasons::STACK_NAME_TAKEN, told).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::NothingToAdopt => {
                self.tell_nothing_to_adopt(&subject).await?;
                Ok(Action::requeue(RESYNC))
            }
            Step::Create
            | Step::Import
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
        let (name, uid) = (desired::name(&self.cluster, subject.kind, subject.object), subject.object.uid());
        self.ledger.remove_of(&subject.account.name, &name, &uid.unwrap_or_default()).await?;
        self.let_go(subject.kind, subject.object).await
    }

    async fn let_go(&self, kind: Kind, object: &AwsObject) -> Result<Action, OperatorError> {
        let mut released = object.clone();
        released.finalizers_mut().retain(|name| name != FINALIZER);
        self.replace(kind, &released).await?;
        self.forget(object);
        Ok(Action::await_change())
    }

    /// Writes the outputs of a stack that is as wanted.
    pub(super) async fn settle(&self, subject: &Subject<'_>) -> Result<Action, OperatorError> {
        let Some(stack) = &subject.stack else { return Ok(Action::requeue(self.poll)) };
        let mut object = subject.object.clone();
        object.output = outputs::of_stack(subject.kind, &stack.outputs);
        let region = subject.account.account.region().await?;
        // The outputs become visible together with the ConfigMap that repeats them.
        let written = outputs::write(&self.client, subject.kind, &object, &region).await?;
        object.additional_resources = Some(written);
        let failed_update = self.news(subject).await?;
        let written = self.write_status(subject, object, stack.status.as_str(), failed_update).await?;
        if !stack.status.is_rolled_back_update() {
            self.end_retries(subject.object);
        }
        let next = self.check_drift(subject, written).await?;
        Ok(Action::requeue(next.map_or(RESYNC, |next| next.min(RESYNC))))
    }

    /// Writes an object, and returns what was stored.
    pub(super) async fn replace(&self, kind: Kind, object: &AwsObject) -> Result<AwsObject, OperatorError> {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<AwsObject> = Api::namespaced_with(self.client.clone(), &namespace, &kind);
        // The version of the object makes the write fail if somebody else has changed it.
        Ok(api.replace(&object.name_any(), &PostParams::default(), object).await?)
    }

    pub(super) fn namespace(&self, object: &AwsObject) -> Option<Arc<NamespaceMeta>> {
        self.namespaces.get(&ObjectRef::new(&object.namespace().unwrap_or_default()))
    }

    pub(super) async fn event(&self, subject: &Subject<'_>, event: &Event) {
        self.recorder.record(&subject.object.object_ref(&subject.kind), event).await;
    }

    /// The earliest time of a list of stacks that shows this object's.
    fn listing_from(&self, object: &AwsObject) -> Instant {
        let is_under_way = object.status.resource_status.ends_with("_IN_PROGRESS");
        let age = match (is_under_way, self.memories.is_pushed(object)) {
            (false, _) => LISTING_AGE,
            (true, false) => self.poll,
            (true, true) => self.poll.max(WITHOUT_EVENT),
        };
        let now = Instant::now();
        let oldest = now.checked_sub(age).unwrap_or(now);
        self.memories.changed(object).map_or(oldest, |changed| oldest.max(changed))
    }

    fn forget(&self, object: &AwsObject) {
        self.end_retries(object);
        self.memories.forget(object);
    }

    fn end_retries(&self, object: &AwsObject) {
        self.retries.forget(&object.uid().unwrap_or_default());
        self.memories.end_pause(object);
    }

    /// Begins the pause after an attempt to repair a failed stack. Each pause is longer than the last one.
    pub(super) fn pause(&self, object: &AwsObject) {
        self.memories.pause(object, self.retries.next(&object.uid().unwrap_or_default(), None));
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
