//! Imports a resource that exists into a new stack. The stack has no marks yet, because an import takes no tags: the object
//! then adopts it like any other stack of its name, and the update that follows brings the marks and the outputs.

use kube::{ResourceExt, runtime::controller::Action};
use tokio::time::Instant;

use super::{
    adoption::{self, Resource},
    change_stack::SOON,
    desired::Desired,
    error::OperatorError,
    memory::FailedImport,
    policies::BadAnnotation,
    reasons,
    reconcile::{Operator, RESYNC, Subject},
    step::{Adoption, Importable},
};
use crate::{
    apis::aws_operator::{AwsObject, Kind},
    cloud::aws::stacks::{Stack, StackRequest},
    contract::aws_operator::ADOPTABLE,
};

impl Operator {
    pub(super) async fn import(
        &self,
        subject: &Subject<'_>,
        desired: &Desired,
    ) -> Result<Action, OperatorError> {
        let object = subject.object;
        let Some(resource) = adoption::resource(subject.kind, object)? else {
            return Ok(Action::requeue(SOON));
        };
        let namespace = self.namespace(object);
        if !resource.is_allowed(namespace.as_ref().map(|namespace| namespace.annotations())) {
            let told = format!(
                "the Namespace does not list {name} as a resource that its objects may adopt; ask the administrator to annotate \
                 the Namespace with {ADOPTABLE}: {name}",
                name = resource.name()
            );
            self.report_word(subject, reasons::ADOPTION_NOT_ALLOWED, &told).await?;
            // Nothing tells the object of a change of its Namespace.
            return Ok(Action::requeue(self.poll * 6));
        }
        let account = &subject.account.account;
        let template = resource.template(&desired.template)?;
        let token = desired.token("import", resource.name());
        let request = StackRequest { template: &template, ..self.request(subject, desired, &token, None) };
        let import = resource.import(&desired.template)?;
        match account.plan_import(&request, &import).await? {
            Ok(change_set) => {
                account.execute_change_set(&desired.name, &change_set).await?;
                self.memories.stack_changed(object);
                self.report_word(subject, "IMPORT_IN_PROGRESS", "").await?;
                Ok(Action::requeue(SOON))
            }
            Err(reason) => self.end_import(subject, &resource, &desired.name, &reason).await,
        }
    }

    /// The resource does not exist, or belongs to another stack.
    async fn end_import(
        &self,
        subject: &Subject<'_>,
        resource: &Resource,
        stack: &str,
        reason: &str,
    ) -> Result<Action, OperatorError> {
        let (account, object) = (&subject.account.account, subject.object);
        // Only a stack without resources is removed.
        if account.stack(stack).await?.is_some_and(|stack| stack.status.is_in_review()) {
            account.delete_stack(stack, None).await?;
            self.memories.stack_changed(object);
        }
        let is_taken = reason.contains("already exists in stack");
        let remedy = if is_taken { "; remove it from that stack first, and retain it" } else { "" };
        let failed = FailedImport {
            identifier: resource.identifier().to_owned(),
            is_taken,
            told: format!("{} cannot be adopted: {reason}{remedy}", resource.name()),
            at: Instant::now(),
        };
        self.memories.remember_failed_import(object, failed);
        Ok(Action::requeue(SOON))
    }

    /// What the annotations say about adoption. A deletion does not wait until wrong ones are corrected.
    pub(super) fn read_adoption(
        &self,
        kind: Kind,
        object: &AwsObject,
        stack: Option<&Stack>,
        is_deleting: bool,
    ) -> Result<(Adoption, Importable), OperatorError> {
        let adoption = self.adoption(kind, object, stack);
        match adoption.and_then(|adoption| Ok((adoption, self.importable(kind, object)?))) {
            Err(_) if is_deleting => Ok((Adoption::Never, Importable::No)),
            read => read,
        }
    }

    /// Whether the object names a resource that its new stack could take over. An import that failed is not tried again at once.
    fn importable(&self, kind: Kind, object: &AwsObject) -> Result<Importable, BadAnnotation> {
        let Some(resource) = adoption::resource(kind, object)? else { return Ok(Importable::No) };
        Ok(match self.memories.failed_import(object, resource.identifier(), RESYNC) {
            None => Importable::Yes,
            Some(failed) if failed.is_taken => Importable::Taken,
            Some(_) => Importable::No,
        })
    }

    pub(super) async fn tell_nothing_to_adopt(&self, subject: &Subject<'_>) -> Result<(), OperatorError> {
        let object = subject.object;
        let resource = adoption::resource(subject.kind, object)?;
        let failed = resource.and_then(|it| self.memories.failed_import(object, it.identifier(), RESYNC));
        let told = failed.map_or_else(
            || {
                "there is no stack to adopt; create it, name a resource in services.k8s.aws/adoption-fields, or use \
                 services.k8s.aws/adoption-policy: adopt-or-create"
                    .to_owned()
            },
            |failed| failed.told,
        );
        self.report_word(subject, reasons::NOTHING_TO_ADOPT, &told).await
    }
}
