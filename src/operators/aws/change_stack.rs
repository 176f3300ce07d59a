//! The calls that change a stack.

use kube::{ResourceExt, runtime::controller::Action};
use serde_json::json;

use super::{
    desired::Desired,
    error::OperatorError,
    long_templates::{self, Longest},
    policies, reasons,
    reconcile::{Operator, Subject},
    step::Step,
};
use crate::{cloud::aws::stacks::StackRequest, k8s::events::Event};

/// How soon a change is looked at.
pub(super) const SOON: std::time::Duration = std::time::Duration::from_secs(1);

impl Operator {
    pub(super) async fn change_stack(
        &self,
        step: Step,
        subject: &Subject<'_>,
    ) -> Result<Action, OperatorError> {
        let account = &subject.account.account;
        let name = subject.stack.as_ref().map_or("", |stack| &stack.name);
        let failed = subject.stack.as_ref().filter(|it| it.status.has_failed());
        let is_first_deletion =
            step == Step::Delete && failed.is_none_or(|it| !it.status.is_failed_deletion());
        if let Some(left) = self.memories.pause_left(subject.object).filter(|_| !is_first_deletion) {
            self.report(subject, None).await?;
            return Ok(Action::requeue(left));
        }
        if let Some(failed) = failed {
            self.pause(subject.object);
            // The failure of an update is told before the next attempt, whose state replaces it.
            let is_told = subject.object.status.resource_status == failed.status.as_str();
            if step == Step::Update && !is_told {
                self.report(subject, None).await?;
                return Ok(Action::requeue(SOON));
            }
        }
        match (step, &subject.desired) {
            (Step::Create, Some(desired)) => {
                let token = desired.token("create", &subject.object.rollback_count().to_string());
                let url = self.template_url(desired).await?;
                account.create_stack(&self.request(subject, desired, &token, url.as_deref())).await?;
                self.memories.stack_changed(subject.object);
                self.report_word(subject, "CREATE_IN_PROGRESS", "").await?;
                return Ok(Action::requeue(SOON));
            }
            (Step::Import, Some(desired)) => return Box::pin(self.import(subject, desired)).await,
            (Step::Update, Some(desired)) => return Box::pin(self.update(subject, desired)).await,
            (Step::DeleteFailedCreation, _) => {
                self.count_rollback(subject).await?;
                account.delete_stack(name, None).await?;
            }
            (Step::ContinueRollback, _) => {
                self.report(subject, None).await?;
                account.continue_update_rollback(name, None).await?;
            }
            _ => {
                self.report(subject, None).await?;
                account.delete_stack(name, None).await?;
            }
        }
        self.memories.stack_changed(subject.object);
        Ok(Action::requeue(SOON))
    }

    /// Updates a stack. An update that would replace a resource that holds data needs the annotation.
    async fn update(&self, subject: &Subject<'_>, desired: &Desired) -> Result<Action, OperatorError> {
        let account = &subject.account.account;
        // The state of a failed update is written, so the next attempt has another version and another token.
        let token = desired.token("update", &subject.object.resource_version().unwrap_or_default());
        let url = self.template_url(desired).await?;
        let request = self.request(subject, desired, &token, url.as_deref());
        let must_ask =
            subject.kind.holds_data() && !policies::allows_replacement(subject.object.annotations());
        if !must_ask {
            if !account.update_stack(&request).await? {
                return self.settle(subject).await;
            }
        } else if let Some(planned) = account.plan_update(&request).await? {
            if !planned.replacements.is_empty() {
                account.drop_change_set(&desired.name, &planned).await?;
                let replaced: Vec<_> = planned.replacements.iter().map(ToString::to_string).collect();
                let told = format!(
                    "the change {}, and what it holds is lost; undo the change, or annotate the object with \
                     bindery.dev/allow-replacement: \"true\"",
                    replaced.join(", ")
                );
                self.event(subject, &Event::warning("Update", reasons::REPLACEMENT_REFUSED, told.clone()))
                    .await;
                self.report(subject, Some(told)).await?;
                return Ok(Action::requeue(super::reconcile::RESYNC));
            }
            account.execute_change_set(&desired.name, &planned).await?;
        } else {
            return self.settle(subject).await;
        }
        self.memories.stack_changed(subject.object);
        // Each attempt has its own state, so that a failure with the same reason is told again.
        self.report_word(subject, "UPDATE_IN_PROGRESS", "").await?;
        Ok(Action::requeue(SOON))
    }

    /// The longest template of the installation.
    pub(super) fn longest_template(&self) -> Longest {
        if self.bucket.is_some() { Longest::InBucket } else { Longest::InRequest }
    }

    /// Puts a template that is too long for a request into the bucket. Returns its URL.
    async fn template_url(&self, desired: &Desired) -> Result<Option<String>, OperatorError> {
        let template = &desired.template;
        let Some(bucket) = self.bucket.as_ref().filter(|_| long_templates::is_long(template)) else {
            return Ok(None);
        };
        let (account, key) = (self.accounts.own(), long_templates::key(template));
        account.put_file(bucket, &key, template).await?;
        Ok(Some(account.file_url(bucket, &key).await?))
    }

    /// Counts the failed creation in the spec before the stack is deleted, so that the attempts end after a crash, too.
    async fn count_rollback(&self, subject: &Subject<'_>) -> Result<(), OperatorError> {
        let reason = self.reason_of_failure(subject).await?;
        let mut object = subject.object.clone();
        let count = object.rollback_count() + 1;
        object.spec.insert("rollbackCount".to_owned(), json!(count));
        let status = subject.stack.as_ref().map_or("ROLLBACK_COMPLETE", |stack| stack.status.as_str());
        let told = format!("{reason}; the stack is deleted and created anew (attempt {count})");
        self.write_status(subject, object, status, Some(told)).await.map(drop)
    }

    pub(super) fn request<'a>(
        &self,
        subject: &'a Subject<'_>,
        desired: &'a Desired,
        token: &'a str,
        template_url: Option<&'a str>,
    ) -> StackRequest<'a> {
        StackRequest {
            template_url,
            name: &desired.name,
            template: &desired.template,
            parameters: &desired.parameters,
            tags: &desired.tags,
            role_arn: None,
            token,
            may_create_principals: self.may_create_principals,
            notified: subject.notified(),
        }
    }
}
