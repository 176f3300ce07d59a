//! Users of a RabbitMQ server that a cloud has made, such as one of Amazon MQ. A binding is a user with rights on the
//! virtual host `/`, since the server is the instance's own. Users carry the installation's mark as a tag; `management` calls the
//! HTTP API.

mod credentials;
mod error;
mod management;

use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use url::Url;

use self::{
    credentials::credentials,
    error::RabbitMqError,
    management::{Management, NewUser, Permissions},
};
use super::{
    BindingSpec, Bound, Confirmed, InstanceSpec, Progress, ServiceError, access::Access,
    hosted::HostedServer, password,
};
use crate::{
    cloud::digest,
    osb::{BindingId, Endpoint, InstanceId},
};

/// The only virtual host that bindings have rights on.
const VIRTUAL_HOST: &str = "/";
const PREFIX: &str = "bindery-";

/// Where a server is.
pub(super) struct Address {
    /// Where applications connect: `amqps://HOST:PORT`.
    pub(super) amqp: Url,
    /// The URL of the management plugin.
    pub(super) management: Url,
    /// The CA of the server's certificates, PEM; without one, the certificate must be of a CA of the system.
    pub(super) ca_file: Option<PathBuf>,
}

/// The users of one installation on one server.
pub(super) struct Users {
    /// What the log calls the server.
    name: String,
    amqp: Url,
    management: Management,
    /// The tag of the installation's users.
    mark: String,
}

impl Users {
    /// The users of an installation. Opens no connection.
    ///
    /// # Errors
    /// When the CA cannot be read.
    pub(super) fn new(
        name: String,
        address: Address,
        user: String,
        password: SecretString,
        installation: &str,
    ) -> Result<Self, ServiceError> {
        let Address { amqp, management, ca_file } = address;
        let management = Management::new(management, user, password, ca_file.as_deref());
        let management = management.map_err(|error| error.for_users(&name))?;
        Ok(Self { name, amqp, management, mark: mark(installation) })
    }

    /// Whether there is a user of this name, which must carry the installation's mark.
    async fn exists(&self, user: &str) -> Result<bool, RabbitMqError> {
        match self.management.user(user).await? {
            None => Ok(false),
            Some(found) if found.tags.contains(&self.mark) => Ok(true),
            Some(_) => Err(RabbitMqError::Foreign { user: user.to_owned() }),
        }
    }

    async fn bind_once(&self, user: &str, access: Access) -> Result<SecretString, RabbitMqError> {
        // A user of an earlier attempt, whose password nobody knows, gets this one.
        self.exists(user).await?;
        let password = password::generate();
        self.management.put_user(user, &NewUser::new(&password, &self.mark)).await?;
        self.management.permit(user, VIRTUAL_HOST, &Permissions::of(access)).await?;
        Ok(password)
    }

    async fn unbind_once(&self, user: &str) -> Result<(), RabbitMqError> {
        // The server closes the connections of a deleted user.
        if self.exists(user).await? { self.management.delete_user(user).await } else { Ok(()) }
    }

    async fn confirm_once(&self, user: &str) -> Result<Confirmed, RabbitMqError> {
        let is_there = self.management.user(user).await?.is_some_and(|found| found.tags.contains(&self.mark))
            && self.management.has_permissions(user, VIRTUAL_HOST).await?;
        Ok(if is_there {
            Confirmed::There
        } else {
            Confirmed::Differs(format!(
                "user {user} is missing on the message broker, or is not of this installation; delete the binding and \
                 bind again"
            ))
        })
    }
}

#[async_trait]
impl HostedServer for Users {
    /// Logs in, so that an instance is ready only if its bindings can be made.
    async fn provision(&self, _instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.management.log_in().await.map_err(|error| error.for_users(&self.name))?;
        Ok(Progress::Done(()))
    }

    async fn bind(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        access: Access,
    ) -> Result<Progress<Bound>, ServiceError> {
        let user = user(&on.id, &binding.id);
        let password = self.bind_once(&user, access).await.map_err(|error| error.for_users(&self.name))?;
        let credentials = credentials(&self.amqp, VIRTUAL_HOST, &user, &password, self.management.ca());
        let host = self.amqp.host_str().unwrap_or_default().to_owned();
        let ports = self.amqp.port().iter().map(ToString::to_string).collect();
        let endpoints = vec![Endpoint { host, ports, protocol: Some("tcp".to_owned()) }];
        Ok(Progress::Done(Bound { credentials, endpoints, ..Bound::default() }))
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        let user = user(&on.id, &binding.id);
        self.unbind_once(&user).await.map_err(|error| error.for_users(&self.name))?;
        Ok(Progress::Done(()))
    }

    async fn confirm(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Confirmed, ServiceError> {
        let user = user(&on.id, &binding.id);
        self.confirm_once(&user).await.map_err(|error| error.for_users(&self.name))
    }
}

/// The user of a binding. Ids may be long, and have characters that names of users do not.
fn user(instance: &InstanceId, binding: &BindingId) -> String {
    format!("{PREFIX}{}", digest(&[instance.as_str(), binding.as_str()], 32))
}

/// The tag of an installation's users. It gives no right: RabbitMQ knows only its own tags.
fn mark(installation: &str) -> String {
    format!("{PREFIX}{}", hex::encode(&Sha256::digest(installation.as_bytes())[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_marks_are_of_their_ids_alone() {
        let name = user(&"i".into(), &"b".into());
        assert_eq!(name, user(&"i".into(), &"b".into()));
        assert!(name.starts_with(PREFIX) && name.len() > 24, "{name}");
        // Not the same ids with the border elsewhere.
        assert_ne!(user(&"i1".into(), &"b".into()), user(&"i".into(), &"1b".into()));
        assert_ne!(mark("a"), mark("b"));
        // The first eight bytes of SHA-256("a"), FIPS 180-4.
        assert_eq!(mark("a"), "bindery-ca978112ca1bbdca");
    }
}
