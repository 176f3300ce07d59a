//! Whether what is recorded is so on the backend. It is asked when a request is repeated and would be answered from the
//! records alone, not when a platform reads.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    super::backends::{BindingSpec, Confirmed, InstanceSpec},
    Refusal, Shared,
};
use crate::broker::config::BackendName;

/// A backend that has not answered by then is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

impl Shared {
    /// # Errors
    /// When the backend has something else than the records say. A backend that is away says nothing of the kind: then the
    /// records count, for an error would make platforms delete what only cannot be reached.
    pub(super) async fn confirm(
        &self,
        server: &BackendName,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<(), Refusal> {
        let provider = self.provider(server)?;
        match timeout(ANSWERS_WITHIN, provider.confirm(on, binding)).await {
            Ok(Ok(Confirmed::There)) => return Ok(()),
            Ok(Ok(Confirmed::Differs(problem))) => {
                tracing::warn!(%server, instance = %on.id, "the records and the server differ: {problem}");
                return Err(Refusal::NotReady(problem));
            }
            Ok(Err(error)) => {
                tracing::warn!(%server, instance = %on.id, "answered from the records, which cannot be confirmed: {error}");
            }
            Err(_) => {
                tracing::warn!(%server, instance = %on.id, "answered from the records, which are not confirmed in time");
            }
        }
        Ok(())
    }
}
