//! TLS of database servers: a server gets a certificate of Alibaba Cloud's CA before it is used, and a new one with the
//! next update once the present one ends. Bindings have the CA, and tell clients to verify the server.

use std::path::Path;

use super::{Services, catalog::ServerDefinition, pending, servers::Change};
use crate::{
    broker::backends::{Progress, ServiceError, outcome::MISCONFIGURED},
    cloud::alibaba::{db_instances::DbInstance, db_tls::DbTls},
};

impl Services {
    /// The file with the CA of the plan's servers, if connections to them are encrypted.
    fn ca_file(&self, definition: &ServerDefinition) -> Option<&Path> {
        self.settings.rds_ca_file.as_deref().filter(|_| definition.tls)
    }

    /// Gives a server a certificate if the plan wants one, and waits for the server.
    pub(super) async fn certify(
        &self,
        server: &DbInstance,
        definition: &ServerDefinition,
    ) -> Result<Progress<()>, ServiceError> {
        if self.ca_file(definition).is_none() {
            return Ok(Progress::Done(()));
        }
        let Some((host, _)) = &server.address else {
            return Ok(pending("the database server has no address yet"));
        };
        match self.account.db_instance_tls(&server.id).await {
            Ok(DbTls::On) => {
                self.forget_change(&server.id, |change| *change == Change::Certificate);
                return Ok(Progress::Done(()));
            }
            Ok(DbTls::Off | DbTls::Ending) => {}
            Err(error) => return self.waiting(&error),
        }
        // A second request would restart the server again.
        if !self.has_asked_for(&server.id, &Change::Certificate) {
            if let Err(error) = self.account.certify_db_instance(&server.id, host).await {
                return self.waiting(&error);
            }
            self.note_change(&server.id, Change::Certificate);
        }
        Ok(pending("Alibaba Cloud makes a certificate for the database server"))
    }

    /// The CA (PEM) for bindings, if connections to the server are encrypted. A server that was made before TLS was
    /// configured gets its certificate with its next update.
    pub(super) async fn ca_of(
        &self,
        server: &DbInstance,
        definition: &ServerDefinition,
    ) -> Result<Option<String>, ServiceError> {
        let Some(file) = self.ca_file(definition) else { return Ok(None) };
        let tls = self.account.db_instance_tls(&server.id).await.map_err(|error| self.failed(&error))?;
        if tls == DbTls::Off {
            return Ok(None);
        }
        let ca = tokio::fs::read_to_string(file).await.map_err(|error| {
            let problem = format!("rdsCaFile {} cannot be read: {error}; name a PEM file", file.display());
            ServiceError::new(&self.name, MISCONFIGURED).detailed(problem)
        })?;
        Ok(Some(ca))
    }
}
