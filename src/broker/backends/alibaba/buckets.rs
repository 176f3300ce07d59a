//! Instances that are buckets. The name of a bucket says whose it is, from its first moment.

use super::{Services, bucket_parameters::WantedBucket, is_retained, naming, soon};
use crate::{
    broker::{
        backends::{BindingSpec, Confirmed, InstanceSpec, Progress, ServiceError, cloud_error::foreign},
        config::Kinds,
    },
    cloud::alibaba::{AlibabaError, ErrorKind, buckets::BucketInfo, objects::Content},
};

const NOT_EMPTY: &str = "BucketNotEmpty";

impl Services {
    /// Brings the bucket into the wanted state.
    pub(super) async fn provision_bucket(
        &self,
        instance: &InstanceSpec,
        wanted: WantedBucket,
    ) -> Result<Progress<()>, ServiceError> {
        let failed = |error| self.failed(&error);
        let name = self.instance_name(&instance.id);
        let acl = wanted.acl.as_str();
        match self.own_bucket(&name).await? {
            None => {
                let class = wanted.storage_class.as_str();
                self.account
                    .create_bucket(&name, acl, class)
                    .await
                    .map_err(|error| self.taken(&name, &error))?;
            }
            Some(found) => {
                self.refuse_retained(&name).await?;
                if found.acl != acl {
                    self.account.set_bucket_acl(&name, acl).await.map_err(failed)?;
                }
            }
        }
        self.account.tag_bucket(&name, &self.tags(instance)).await.map_err(failed)?;
        Ok(Progress::Done(()))
    }

    /// The bucket of this name, if the account has it. OSS denies what it says about the buckets of others.
    async fn own_bucket(&self, name: &str) -> Result<Option<BucketInfo>, ServiceError> {
        let failed = |error| self.failed(&error);
        match self.account.bucket(name).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                let is_own = self.account.buckets(name).await.map_err(failed)?.iter().any(|own| own == name);
                if is_own { Err(self.failed(&error)) } else { Ok(None) }
            }
            outcome => outcome.map_err(failed),
        }
    }

    /// Names of buckets are unique in all of OSS.
    fn taken(&self, name: &str, error: &AlibabaError) -> ServiceError {
        match error.kind() {
            ErrorKind::Exists => foreign(&self.name, &format!("bucket {name}")),
            _ => self.failed(error),
        }
    }

    /// A bucket that was kept belongs to the user who keeps it.
    async fn refuse_retained(&self, name: &str) -> Result<(), ServiceError> {
        if self.is_retained_bucket(name).await? {
            return Err(foreign(&self.name, &format!("bucket {name}")));
        }
        Ok(())
    }

    pub(super) async fn is_retained_bucket(&self, name: &str) -> Result<bool, ServiceError> {
        let tags = self.account.bucket_tags(name).await.map_err(|error| self.failed(&error))?;
        Ok(tags.contains_key(naming::RETAINED_TAG))
    }

    pub(super) async fn deprovision_bucket(
        &self,
        instance: &InstanceSpec,
    ) -> Result<Progress<()>, ServiceError> {
        let failed = |error| self.failed(&error);
        let name = self.instance_name(&instance.id);
        self.remove_principals(&naming::bindings_of(&name)).await?;
        if self.own_bucket(&name).await?.is_none() || self.is_retained_bucket(&name).await? {
            return Ok(Progress::Done(()));
        }
        if is_retained(instance) {
            let mut tags = self.settings.tags.clone();
            tags.insert(naming::RETAINED_TAG.to_owned(), name.clone());
            self.account.tag_bucket(&name, &tags).await.map_err(failed)?;
            return Ok(Progress::Done(()));
        }
        let is_emptied = self.plans.get(&instance.plan_id).is_some_and(|plan| plan.release.empty_buckets);
        self.remove_bucket(&name, is_emptied).await
    }

    /// Deletes a bucket. One that is not empty is emptied page by page, or refused with the count.
    pub(super) async fn remove_bucket(
        &self,
        name: &str,
        is_emptied: bool,
    ) -> Result<Progress<()>, ServiceError> {
        let failed = |error| self.failed(&error);
        match self.account.delete_bucket(name).await {
            Ok(()) => return Ok(Progress::Done(())),
            Err(error) if error.code() == NOT_EMPTY => {}
            Err(error) => return self.waiting(&error),
        }
        let content = self.account.content(name).await.map_err(failed)?;
        if content.is_empty() {
            // Somebody has emptied the bucket meanwhile.
            return Ok(soon("Alibaba Cloud deletes the bucket"));
        }
        if !is_emptied {
            let problem =
                format!("the bucket holds {}; remove them, and delete the instance again", count(&content));
            return Err(
                ServiceError::new(&self.name, problem).detailed(format!("bucket {name} is not empty"))
            );
        }
        self.account.delete_content(name, &content).await.map_err(failed)?;
        if content.is_truncated {
            return Ok(soon("the bucket is being emptied"));
        }
        match self.account.delete_bucket(name).await {
            Ok(()) => Ok(Progress::Done(())),
            Err(error) if error.code() == NOT_EMPTY => Ok(soon("the bucket is being emptied")),
            Err(error) => self.waiting(&error),
        }
    }

    pub(super) async fn confirm_bucket(
        &self,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, ServiceError> {
        let failed = |error| self.failed(&error);
        let Some(binding) = binding else {
            let found = self.account.bucket(&self.instance_name(&on.id)).await.map_err(failed)?;
            return Ok(if found.is_some() {
                Confirmed::There
            } else {
                let problem = "the bucket is missing; delete the instance and provision it again";
                Confirmed::Differs(problem.to_owned())
            });
        };
        let name = self.binding_name(&on.id, &binding.id);
        let is_there = self.account.has_user(&name).await.map_err(failed)?
            || self.account.has_role(&name).await.map_err(failed)?;
        Ok(if is_there {
            Confirmed::There
        } else {
            let problem = format!("the user or role {name} is missing; delete the binding and bind again");
            Confirmed::Differs(problem)
        })
    }
}

/// What a bucket holds, for people.
fn count(content: &Content) -> String {
    let at_least = if content.is_truncated { "at least " } else { "" };
    let counted = |number: usize, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        many_of => Some(format!("{many_of} {many}")),
    };
    let parts = [
        counted(content.objects.len(), "object", "objects"),
        counted(content.uploads.len(), "unfinished upload", "unfinished uploads"),
    ];
    format!("{at_least}{}", parts.into_iter().flatten().collect::<Vec<_>>().join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_counted() {
        let uploads = vec![("k".to_owned(), "u".to_owned())];
        let content = Content { objects: vec!["a".to_owned(), "b".to_owned()], uploads, is_truncated: false };
        assert_eq!(count(&content), "2 objects and 1 unfinished upload");
        assert_eq!(
            count(&Content { is_truncated: true, uploads: Vec::new(), ..content }),
            "at least 2 objects"
        );
    }
}
