//! Servers of Amazon RDS, Aurora and Amazon MQ: the stack makes the server, and bindings are users on it. The broker logs
//! in as the master user, whose password is in Secrets Manager alone, so it is read for each call and nobody else gets it.

use std::sync::Arc;

use url::Url;

use super::{Services, naming};
use crate::{
    broker::backends::{
        BindingSpec, Bound, Confirmed, InstanceSpec, Progress, ServiceError,
        access::Access,
        hosted::HostedServer,
        rabbitmq::{Address, Users},
        sql::hosted::{Engine, HostedDatabases, Login},
    },
    cloud::aws::{secrets::MasterLogin, stacks::Stack},
    osb::Object,
};

/// The outputs of a stack with a server.
const SECRET: &str = "MasterSecretArn";
/// Stacks of databases say the kind of server as `DatabaseEngine`.
const KIND: [&str; 2] = ["ServerKind", "DatabaseEngine"];
/// Those of a database.
const ENDPOINT: &str = "EndpointAddress";
const READ_ENDPOINT: &str = "ReadEndpointAddress";
const PORT: &str = "Port";
/// Those of a message broker.
const AMQP: &str = "AmqpEndpoint";
const MANAGEMENT: &str = "ManagementUrl";

impl Services {
    /// The server of a stack; nothing, if the stack has none.
    async fn server(
        &self,
        instance: &InstanceSpec,
        stack: &Stack,
    ) -> Result<Option<Arc<dyn HostedServer>>, ServiceError> {
        let kind = KIND.iter().find_map(|name| output(stack, name));
        let (Some(kind), Some(secret)) = (kind, output(stack, SECRET)) else { return Ok(None) };
        let master = self.account.master_login(secret).await.map_err(|error| self.failed(&error))?;
        Ok(Some(match kind {
            "RabbitMQ" => Arc::new(self.message_broker(stack, master)?),
            "MySQL" => Arc::new(self.database(Engine::MySql, instance, stack, master)?),
            _ => Arc::new(self.database(Engine::PostgreSql, instance, stack, master)?),
        }))
    }

    fn database(
        &self,
        engine: Engine,
        instance: &InstanceSpec,
        stack: &Stack,
        master: MasterLogin,
    ) -> Result<HostedDatabases, ServiceError> {
        let port = output(stack, PORT).and_then(|port| port.parse().ok());
        let (Some(host), Some(port)) = (output(stack, ENDPOINT), port) else {
            return Err(self.no_address(stack));
        };
        let ca_file = self.settings.rds_ca_file.clone().ok_or_else(|| {
            let problem = "the CA of Amazon RDS is not configured, so that the database cannot be verified";
            ServiceError::new(&self.name, problem)
                .detailed(format!("{problem}; set rdsCaFile of the backend"))
        })?;
        let login = Login {
            name: format!("{} {}", self.name, stack.name),
            host: host.to_owned(),
            port,
            user: master.username,
            password: master.password,
            ca_file,
        };
        Ok(HostedDatabases::new(engine, login, &instance.plan_id, &self.installation))
    }

    fn message_broker(&self, stack: &Stack, master: MasterLogin) -> Result<Users, ServiceError> {
        let url = |name: &str| output(stack, name).and_then(|url| Url::parse(url).ok());
        let (Some(amqp), Some(management)) = (url(AMQP), url(MANAGEMENT)) else {
            return Err(self.no_address(stack));
        };
        let address = Address { amqp, management, ca_file: self.settings.mq_ca_file.clone() };
        let name = format!("{} {}", self.name, stack.name);
        Users::new(name, address, master.username, master.password, &self.installation)
    }

    fn no_address(&self, stack: &Stack) -> ServiceError {
        ServiceError::new(&self.name, format!("stack {} has no address; look at its outputs", stack.name))
    }

    /// Prepares the server of the stack for users, if the stack has one.
    pub(super) async fn provision_server(
        &self,
        instance: &InstanceSpec,
        stack: &Stack,
    ) -> Result<Progress<()>, ServiceError> {
        match self.server(instance, stack).await? {
            Some(server) => server.provision(instance).await,
            None => Ok(Progress::Done(())),
        }
    }

    pub(super) async fn bind_on_server(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        access: Access,
        stack: &Stack,
    ) -> Result<Progress<Bound>, ServiceError> {
        let Some(server) = self.server(on, stack).await? else {
            let problem = format!("stack {} has no server; provision the instance again", stack.name);
            return Err(ServiceError::new(&self.name, problem));
        };
        match server.bind(on, binding, access).await? {
            Progress::Pending(pending) => Ok(Progress::Pending(pending)),
            Progress::Done(bound) => {
                let mut keys = bound.credentials.expose().clone();
                add_old_names(&mut keys, stack);
                Ok(Progress::Done(Bound { credentials: keys.into(), ..bound }))
            }
        }
    }

    /// Removes the binding's user. A server that is gone, or is being deleted, has taken its users along.
    pub(super) async fn unbind_on_server(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
    ) -> Result<Progress<()>, ServiceError> {
        let Some(stack) = self.stack_of(on).await?.filter(|stack| !stack.status.is_deleting()) else {
            return Ok(Progress::Done(()));
        };
        match self.server(on, &stack).await? {
            Some(server) => server.unbind(on, binding).await,
            None => Ok(Progress::Done(())),
        }
    }

    pub(super) async fn confirm_on_server(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        stack: &Stack,
    ) -> Result<Confirmed, ServiceError> {
        match self.server(on, stack).await? {
            Some(server) => server.confirm(on, binding).await,
            None => Ok(Confirmed::Differs(format!("stack {} has no server", naming::stack(&on.id)))),
        }
    }
}

fn output<'s>(stack: &'s Stack, name: &str) -> Option<&'s str> {
    stack.outputs.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The keys of the AWS Service Broker. Its master user is the binding's own user here.
fn add_old_names(keys: &mut Object, stack: &Stack) {
    let of_databases = [
        ("ENDPOINT_ADDRESS", "host"),
        ("PORT", "port"),
        ("DB_NAME", "database"),
        ("MASTER_USERNAME", "username"),
        ("MASTER_PASSWORD", "password"),
    ];
    let names: &[_] = if output(stack, AMQP).is_some() { &[] } else { &of_databases };
    for (old, new) in names {
        if let Some(value) = keys.get(*new).cloned() {
            keys.insert((*old).to_owned(), value);
        }
    }
    for (old, name) in [("READ_ENDPOINT_ADDRESS", READ_ENDPOINT), ("AMQP_ENDPOINTS", AMQP)] {
        if let Some(value) = output(stack, name) {
            keys.insert(old.to_owned(), value.into());
        }
    }
}
