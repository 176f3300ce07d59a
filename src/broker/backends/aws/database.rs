//! Databases of Amazon RDS and Aurora: the stack makes the server, and the SQL backends make one database on it, and a
//! user for each binding. The broker logs in as the master user, whose password AWS keeps in Secrets Manager and
//! rotates, so it is read for each call and nobody else gets it.

use std::sync::Arc;

use serde_json::json;

use super::{Services, naming};
use crate::{
    broker::backends::{
        BindingSpec, Bound, Confirmed, InstanceSpec, Progress, Provider, ServiceError,
        access::Access,
        sql::hosted::{self, HostedEngine, HostedServer},
    },
    cloud::aws::stacks::Stack,
    osb::Object,
};

/// The outputs of a stack with a database.
const ENDPOINT: &str = "EndpointAddress";
const READ_ENDPOINT: &str = "ReadEndpointAddress";
const PORT: &str = "Port";
const SECRET: &str = "MasterSecretArn";
const ENGINE: &str = "DatabaseEngine";

impl Services {
    /// The database server of a stack; nothing, if the stack has none.
    async fn server(
        &self,
        instance: &InstanceSpec,
        stack: &Stack,
    ) -> Result<Option<Arc<dyn Provider>>, ServiceError> {
        let output = |name: &str| stack.outputs.get(name).filter(|value| !value.is_empty());
        let (Some(host), Some(secret), Some(engine)) = (output(ENDPOINT), output(SECRET), output(ENGINE))
        else {
            return Ok(None);
        };
        let port = output(PORT).and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| {
            ServiceError::new(&self.name, format!("stack {} has no port; look at its outputs", stack.name))
        })?;
        let ca_file = self.settings.rds_ca_file.clone().ok_or_else(|| {
            let problem = "the CA of Amazon RDS is not configured, so that the database cannot be verified";
            ServiceError::new(&self.name, problem)
                .detailed(format!("{problem}; set rdsCaFile of the backend"))
        })?;
        let login = self.account.master_login(secret).await.map_err(|error| self.failed(&error))?;
        let server = HostedServer {
            name: format!("{} {}", self.name, stack.name),
            host: host.clone(),
            port,
            user: login.username,
            password: login.password,
            ca_file,
        };
        let engine = if engine == "MySQL" { HostedEngine::MySql } else { HostedEngine::PostgreSql };
        Ok(Some(hosted::provider(engine, server, &instance.plan_id, &self.installation)))
    }

    /// Makes the instance's database on the server of the stack, if it has one.
    pub(super) async fn provision_database(
        &self,
        instance: &InstanceSpec,
        stack: &Stack,
    ) -> Result<Progress<()>, ServiceError> {
        match self.server(instance, stack).await? {
            Some(server) => server.provision(&of_sql(instance)).await,
            None => Ok(Progress::Done(())),
        }
    }

    pub(super) async fn bind_database(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        access: Access,
        stack: &Stack,
    ) -> Result<Progress<Bound>, ServiceError> {
        let Some(server) = self.server(on, stack).await? else {
            let problem = format!("stack {} has no database; provision the instance again", stack.name);
            return Err(ServiceError::new(&self.name, problem));
        };
        match server.bind(&of_sql(on), &login_of(binding, access)).await? {
            Progress::Pending(pending) => Ok(Progress::Pending(pending)),
            Progress::Done(bound) => {
                let mut keys = bound.credentials.expose().clone();
                add_old_names(&mut keys);
                if let Some(host) = stack.outputs.get(READ_ENDPOINT) {
                    keys.insert("READ_ENDPOINT_ADDRESS".to_owned(), host.as_str().into());
                }
                Ok(Progress::Done(Bound { credentials: keys.into(), ..bound }))
            }
        }
    }

    /// Removes the binding's user. A database that is gone, or is being deleted, has taken its users along.
    pub(super) async fn unbind_database(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
    ) -> Result<Progress<()>, ServiceError> {
        let Some(stack) = self.stack_of(on).await?.filter(|stack| !stack.status.is_deleting()) else {
            return Ok(Progress::Done(()));
        };
        match self.server(on, &stack).await? {
            Some(server) => server.unbind(&of_sql(on), &login_of(binding, Access::Read)).await,
            None => Ok(Progress::Done(())),
        }
    }

    pub(super) async fn confirm_login(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        stack: &Stack,
    ) -> Result<Confirmed, ServiceError> {
        match self.server(on, stack).await? {
            Some(server) => server.confirm(&of_sql(on), Some(&login_of(binding, Access::Read))).await,
            None => Ok(Confirmed::Differs(format!("stack {} has no database", naming::stack(&on.id)))),
        }
    }
}

/// The instance as the SQL backends see it: the parameters are those of the stack.
fn of_sql(instance: &InstanceSpec) -> InstanceSpec {
    InstanceSpec { parameters: Object::new(), ..instance.clone() }
}

fn login_of(binding: &BindingSpec, access: Access) -> BindingSpec {
    let access = match access {
        Access::Read => "readonly",
        Access::ReadWrite => "readwrite",
        Access::Owner => "owner",
    };
    let parameters = Object::from_iter([("access".to_owned(), json!(access))]);
    BindingSpec { parameters, ..binding.clone() }
}

/// The keys of the AWS Service Broker. Its master user is the binding's own user here.
fn add_old_names(keys: &mut Object) {
    let names = [
        ("ENDPOINT_ADDRESS", "host"),
        ("PORT", "port"),
        ("DB_NAME", "database"),
        ("MASTER_USERNAME", "username"),
        ("MASTER_PASSWORD", "password"),
    ];
    for (old, new) in names {
        if let Some(value) = keys.get(new).cloned() {
            keys.insert(old.to_owned(), value);
        }
    }
}
