//! Instances: each is a stack. Every call looks at the stack's state, starts what is missing, and says how far
//! CloudFormation is; the engine calls again.

use std::{collections::BTreeMap, time::Duration};

use super::{Services, error, naming, overrides::Place};
use crate::{
    broker::backends::{InstanceSpec, Pending, Progress, ServiceError, Unacceptable, cloud_error::foreign},
    cloud::aws::{
        ErrorKind,
        stack_events::Failure,
        stacks::{Notified, Stack, StackRequest},
    },
};

/// How long CloudFormation is left to itself before it is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

impl Services {
    /// The stack of an instance, which must be this installation's.
    pub(super) async fn stack_of(&self, instance: &InstanceSpec) -> Result<Option<Stack>, ServiceError> {
        let name = naming::stack(&instance.id);
        let stack = self.account.stack(&name).await.map_err(|error| self.failed(&error))?;
        match stack {
            Some(stack) if !self.is_ours(&stack) => Err(foreign(&self.name, &format!("stack {name}"))),
            stack => Ok(stack),
        }
    }

    pub(super) fn is_ours(&self, stack: &Stack) -> bool {
        let mark = naming::tag_value(&self.installation);
        stack.tags.get(naming::INSTALLATION_TAG) == Some(&mark)
    }

    pub(super) async fn provision_once(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let Some(stack) = self.stack_of(instance).await? else {
            return self.create(instance).await;
        };
        let status = &stack.status;
        if status.is_usable() {
            return self.provision_server(instance, &stack).await;
        }
        if status.is_in_progress() {
            return Ok(self.progress(&stack).await);
        }
        // The failed stack is removed, so that the next attempt begins with nothing.
        let failed = error::of_stack(&self.name, "the creation", &stack, self.failure(&stack).await.as_ref());
        self.delete(&stack).await?;
        Err(failed)
    }

    async fn create(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let desired = self.desired(instance)?;
        let token = desired.token("create");
        let request = desired.request(&token, self.settings.deploy_role.as_deref());
        match self.account.create_stack(&request).await {
            Ok(()) => Ok(pending("CloudFormation creates the stack".to_owned())),
            // An earlier call has created the stack meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::Exists | ErrorKind::Conflict) => {
                Ok(pending("CloudFormation creates the stack".to_owned()))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(super) async fn update_once(&self, to: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        let name = naming::stack(&to.id);
        let Some(stack) = self.stack_of(to).await? else {
            let problem = format!("stack {name} is missing; delete the instance and provision it again");
            return Err(ServiceError::new(&self.name, problem));
        };
        let status = &stack.status;
        if status.is_in_progress() {
            return Ok(self.progress(&stack).await);
        }
        let has_begun = self.updates().contains(&name);
        if !status.is_usable() {
            let failed =
                error::of_stack(&self.name, "the change", &stack, self.failure(&stack).await.as_ref());
            self.updates().remove(&name);
            let role = self.settings.deploy_role.as_deref();
            self.account.continue_update_rollback(&name, role).await.map_err(|error| self.failed(&error))?;
            return Err(failed);
        }
        let mut desired = self.desired(to)?;
        self.plan(to)?.keep(&stack.parameters, &mut desired.parameters);
        if stack.parameters == desired.parameters {
            self.updates().remove(&name);
            return Ok(Progress::Done(()));
        }
        if has_begun && status.is_rolled_back_update() {
            self.updates().remove(&name);
            let failure = self.failure(&stack).await;
            return Err(error::of_stack(&self.name, "the change", &stack, failure.as_ref()));
        }
        self.change(&name, &desired).await
    }

    async fn change(&self, name: &str, desired: &Desired<'_>) -> Result<Progress<()>, ServiceError> {
        let token = desired.token("update");
        let request = desired.request(&token, self.settings.deploy_role.as_deref());
        let has_begun = self.account.update_stack(&request).await.map_err(|error| self.failed(&error))?;
        if !has_begun {
            return Ok(Progress::Done(()));
        }
        self.updates().insert(name.to_owned());
        Ok(pending("CloudFormation changes the stack".to_owned()))
    }

    pub(super) async fn deprovision_once(
        &self,
        instance: &InstanceSpec,
    ) -> Result<Progress<()>, ServiceError> {
        let stack = self.stack_of(instance).await?;
        self.remove_principals(&naming::instance_path(&self.installation, &instance.id)).await?;
        let Some(stack) = stack else {
            self.deletions().remove(&naming::stack(&instance.id));
            return Ok(Progress::Done(()));
        };
        self.remove_stack(&stack).await
    }

    /// Starts to delete a stack, or says how far the deletion is.
    pub(super) async fn remove_stack(&self, stack: &Stack) -> Result<Progress<()>, ServiceError> {
        let status = &stack.status;
        if status.is_deleting() || status.is_in_progress() && !status.is_creating() {
            return Ok(self.progress(stack).await);
        }
        if status.is_failed_deletion() && self.deletions().remove(&stack.name) {
            let failure = self.failure(stack).await;
            return Err(error::of_stack(&self.name, "the deletion", stack, failure.as_ref()));
        }
        self.delete(stack).await?;
        self.deletions().insert(stack.name.clone());
        Ok(pending("CloudFormation deletes the stack".to_owned()))
    }

    async fn delete(&self, stack: &Stack) -> Result<(), ServiceError> {
        let role = self.settings.deploy_role.as_deref();
        self.account.delete_stack(&stack.name, role).await.map_err(|error| self.failed(&error))
    }

    /// The first failure of the stack's last operation. Without it, an error has no reason but is still an error.
    async fn failure(&self, stack: &Stack) -> Option<Failure> {
        match self.account.stack_history(&stack.id).await {
            Ok(history) => history.first_failure,
            Err(error) => {
                tracing::warn!(stack = stack.id, %error, "cannot read why a stack failed");
                None
            }
        }
    }

    /// How far CloudFormation is, from the stack's events.
    async fn progress<T>(&self, stack: &Stack) -> Progress<T> {
        let status = &stack.status;
        let description = match self.account.stack_history(&stack.id).await {
            Ok(history) => {
                let working: Vec<_> = history.in_progress.iter().map(String::as_str).collect();
                let mut text = format!("{status}: {} resources done", history.done.len());
                if !working.is_empty() {
                    text = format!("{text}, at {}", working.join(", "));
                }
                match history.first_failure {
                    Some(failure) => format!("{text}, because {} failed", failure.resource),
                    None => text,
                }
            }
            Err(_) => status.to_string(),
        };
        pending(description)
    }

    fn desired(&self, instance: &InstanceSpec) -> Result<Desired<'_>, ServiceError> {
        let plan = self.plan(instance)?;
        let (place, given) = (Place::of(instance), &instance.parameters);
        let refused = |error: Unacceptable| ServiceError::new(&self.name, error);
        let parameters = plan.stack_parameters(&place, given).map_err(refused)?;
        let mut tags = plan.tags(&place, given).map_err(refused)?;
        tags.extend(self.settings.tags.clone());
        tags.extend(naming::instance_tags(&self.installation, instance));
        let (name, definition) = (naming::stack(&instance.id), &*plan.service.definition);
        let (template, template_url) = (definition.text.as_str(), definition.url.as_deref());
        Ok(Desired { name, template, template_url, parameters, tags })
    }
}

/// The desired state of a stack.
struct Desired<'a> {
    name: String,
    template: &'a str,
    template_url: Option<&'a str>,
    parameters: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl Desired<'_> {
    fn token(&self, verb: &str) -> String {
        naming::token(verb, self.template, &self.parameters)
    }

    fn request<'a>(&'a self, token: &'a str, role_arn: Option<&'a str>) -> StackRequest<'a> {
        let Self { name, template, template_url, parameters, tags } = self;
        let may_create_principals = false;
        let template_url = *template_url;
        StackRequest {
            name,
            template,
            template_url,
            parameters,
            tags,
            role_arn,
            token,
            may_create_principals,
            notified: Notified::AsBefore,
        }
    }
}

fn pending<T>(description: String) -> Progress<T> {
    Progress::Pending(Pending { description, again_after: AGAIN_AFTER })
}
