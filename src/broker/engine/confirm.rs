//! Compares a record with the backend before a repeated request is answered from the record. Reads do not compare.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    super::backends::{BindingSpec, Confirmed, InstanceSpec},
    Refusal, Shared,
};
use crate::broker::config::BackendName;

/// A backend that does not answer within this time counts as unreachable. The time includes the wait for the rate limit.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

impl Shared {
    /// # Errors
    /// When the backend differs from the record. If the backend is unreachable, the record counts, because an error
    /// would make platforms delete what exists.
    pub(super) async fn confirm(
        &self,
        server: &BackendName,
        on: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<(), Refusal> {
        let provider = self.provider(server)?;
        let confirmed = async {
            let _permit = self.permit_outside_operations(server).await;
            provider.confirm(on, binding).await
        };
        match timeout(ANSWERS_WITHIN, confirmed).await {
            Ok(Ok(Confirmed::There)) => return Ok(()),
            Ok(Ok(Confirmed::Differs(problem))) => {
                tracing::warn!(%server, instance = %on.id, "the records and the backend differ: {problem}");
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
