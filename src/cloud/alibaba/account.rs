//! An account in one region: its settings, its credentials and its rate limit. Opening an account does no IO.

use std::{num::NonZeroU32, sync::Arc};

use tokio::sync::{Mutex, OnceCell};

use super::{
    AlibabaError, AssumedRole, Call, Credentials, Endpoints, Environment, ErrorKind, http::Http, key::Cached,
};
use crate::cloud::rate::TokenBucket;

/// RDS throttles a user at a few hundred calls per minute.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// The settings of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// The region; absent: that of the machine, by the metadata service.
    pub region: Option<String>,
    /// Addresses instead of Alibaba Cloud's own.
    pub endpoints: Endpoints,
    /// The caller's credentials.
    pub credentials: Credentials,
    /// The environment, for the chain of credentials.
    pub environment: Environment,
    /// The role to assume for every call, such as one of another account.
    pub role: Option<AssumedRole>,
    /// The limit of calls per second; absent: five.
    pub requests_per_second: Option<NonZeroU32>,
}

/// An account in one region. Clones share credentials, connections and the rate limit.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) settings: Arc<AccountSettings>,
    pub(super) http: Arc<Http>,
    pub(super) cached: Arc<Mutex<Option<Cached>>>,
    pub(super) rate: Arc<TokenBucket>,
    region: Arc<OnceCell<String>>,
}

impl Account {
    /// An account. No IO.
    #[must_use]
    pub fn new(settings: AccountSettings) -> Self {
        let rate = TokenBucket::new(settings.requests_per_second.unwrap_or(REQUESTS_PER_SECOND));
        Self {
            settings: Arc::new(settings),
            http: Arc::default(),
            cached: Arc::default(),
            rate: Arc::new(rate),
            region: Arc::default(),
        }
    }

    /// The region of the account.
    ///
    /// # Errors
    /// When no region is configured and the machine is none of Alibaba Cloud.
    pub async fn region(&self) -> Result<String, AlibabaError> {
        if let Some(region) = &self.settings.region {
            return Ok(region.clone());
        }
        let region = self.region.get_or_try_init(|| async {
            self.machine("region-id").await?.ok_or_else(|| {
                let call = Call::read("ecs:Metadata", "region-id");
                AlibabaError::new(call, ErrorKind::Invalid, "the machine has no region; set `region`")
            })
        });
        region.await.cloned()
    }
}
