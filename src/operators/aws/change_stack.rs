//! The calls that change a stack.

use kube::{ResourceExt, runtime::controller::Action};
use serde_json::json;

use super::{
    desired::Desired,
    error::OperatorError,
    policies, reasons,
    reconcile::{Operator, Subject},
    step::Step,
};
use crate::{cloud::aws::stacks::StackRequest, k8s::events::Event};

/// How soon a change is looked at.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);

impl Operator {
    pub(super) async fn change_stack(
        &self,
        step: Step,
        subject: &Subject<'_>,
    ) -> Result<Action, OperatorError> {
        let account = &subject.account.account;
        let name = subject.stack.as_ref().map_or("", |stack| &stack.name);
        let failed =
            subject.stack.as_ref().filter(|it| it.status.is_stuck() || it.status.is_rolled_back_update());
        let is_first_deletion =
            step == Step::Delete && failed.is_none_or(|it| !it.status.is_failed_deletion());
        if let Some(left) = self.pause_left(subject.object).filter(|_| !is_first_deletion) {
            self.report(subject, None).await?;
            return Ok(Action::requeue(left));
        }
        if failed.is_some() {
            self.pause(subject.object);
        }
        match (step, &subject.desired) {
            (Step::Create, Some(desired)) => {
                let token = desired.token("create", &subject.object.rollback_count().to_string());
                account.create_stack(&self.request(desired, &token)).await?;
                self.has_changed_stack(subject.object);
                self.report_word(subject, "CREATE_IN_PROGRESS", "").await?;
                return Ok(Action::requeue(SOON));
            }
            (Step::Update, Some(desired)) => return self.update(subject, desired).await,
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
        self.has_changed_stack(subject.object);
        Ok(Action::requeue(SOON))
    }

    /// Updates a stack. An update that would replace a resource that holds data needs the annotation.
    async fn update(&self, subject: &Subject<'_>, desired: &Desired) -> Result<Action, OperatorError> {
        let account = &subject.account.account;
        // The state of a failed update is written, so the next attempt has another version and another token.
        let token = desired.token("update", &subject.object.resource_version().unwrap_or_default());
        let request = self.request(desired, &token);
        let must_ask =
            subject.kind.holds_data() && !policies::allows_replacement(subject.object.annotations());
        if !must_ask {
            account.update_stack(&request).await?;
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
        }
        self.has_changed_stack(subject.object);
        Ok(Action::requeue(SOON))
    }

    /// Counts the failed creation in the spec before the stack is deleted, so that the attempts end after a crash, too.
    async fn count_rollback(&self, subject: &Subject<'_>) -> Result<(), OperatorError> {
        let reason = self.reason_of_failure(subject).await?;
        let mut object = subject.object.clone();
        let count = object.rollback_count() + 1;
        object.spec.insert("rollbackCount".to_owned(), json!(count));
        let status = subject.stack.as_ref().map_or("ROLLBACK_COMPLETE", |stack| stack.status.as_str());
        let told = format!("{reason}; the stack is deleted and created anew (attempt {count})");
        self.write_status(subject, object, status, Some(told)).await
    }

    fn request<'a>(&self, desired: &'a Desired, token: &'a str) -> StackRequest<'a> {
        StackRequest {
            template_url: None,
            name: &desired.name,
            template: &desired.template,
            parameters: &desired.parameters,
            tags: &desired.tags,
            role_arn: None,
            token,
            may_create_principals: self.may_create_principals,
        }
    }
}
