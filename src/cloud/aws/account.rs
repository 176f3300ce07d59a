//! An account in one region: its settings, and the clients that they make. Opening an account does no IO; the clients
//! are made at the first call.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig};
use aws_sdk_sts::config::{Credentials as SdkCredentials, Region, SharedCredentialsProvider};
use secrecy::ExposeSecret;

use super::{AssumedRole, AwsError, Call, Credentials, ErrorKind, sdk};
use crate::cloud::{
    credentials::{StaticKey, UnreadableFile},
    rate::TokenBucket,
};

const CONNECT: Duration = Duration::from_secs(3);
/// The timeout of one request.
const REQUEST: Duration = Duration::from_secs(20);
/// CloudFormation throttles an account at a few calls per second.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// The settings of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// The region; absent: the region of the SDK's chain.
    pub region: Option<String>,
    /// An endpoint instead of AWS's own, for tests.
    pub endpoint: Option<String>,
    /// The caller's credentials.
    pub credentials: Credentials,
    /// The role to assume for every call, such as one of another account.
    pub role: Option<AssumedRole>,
    /// The limit of calls per second; absent: five.
    pub requests_per_second: Option<NonZeroU32>,
}

/// An account in one region. Clones share clients, credentials and the rate limit.
#[derive(Clone, Debug)]
pub struct Account {
    settings: Arc<AccountSettings>,
    clients: Arc<Mutex<Option<Arc<Clients>>>>,
    pub(super) rate: Arc<TokenBucket>,
}

/// The clients of an account.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) cloudformation: aws_sdk_cloudformation::Client,
    pub(super) iam: aws_sdk_iam::Client,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) region: String,
    config: SdkConfig,
}

impl Account {
    /// An account. No IO.
    #[must_use]
    pub fn new(settings: AccountSettings) -> Self {
        let rate = TokenBucket::new(settings.requests_per_second.unwrap_or(REQUESTS_PER_SECOND));
        Self { settings: Arc::new(settings), clients: Arc::default(), rate: Arc::new(rate) }
    }

    /// The region of the account.
    ///
    /// # Errors
    /// When no region is configured.
    pub async fn region(&self) -> Result<String, AwsError> {
        Ok(self.clients().await?.region.clone())
    }

    /// The number of the account that the credentials belong to.
    ///
    /// # Errors
    /// When STS does not answer or refuses.
    pub async fn number(&self) -> Result<String, AwsError> {
        let clients = self.clients().await?;
        let call = Call::read("sts:GetCallerIdentity", "*");
        let identity = self.call(call, || clients.sts.get_caller_identity().send()).await?;
        identity.account.ok_or_else(|| AwsError::incomplete(call, "Account"))
    }

    /// The address of a service in the account's region.
    ///
    /// # Errors
    /// When no region is configured.
    pub async fn address_of(&self, service: &str) -> Result<String, AwsError> {
        Ok(self.endpoint(service, &self.region().await?))
    }

    /// The address of a service in the region.
    pub(super) fn endpoint(&self, service: &str, region: &str) -> String {
        // The SDK reads an endpoint from AWS_ENDPOINT_URL, too.
        let of_sdk = || self.opened()?.config.endpoint_url().map(ToOwned::to_owned);
        self.settings.endpoint.clone().or_else(of_sdk).unwrap_or_else(|| sdk::address(service, region))
    }

    /// The credentials of all calls.
    pub(super) async fn credentials_provider(&self) -> Result<SharedCredentialsProvider, AwsError> {
        self.clients().await?.config.credentials_provider().ok_or_else(|| {
            let problem = "no AWS credentials are configured; set them, or a source of the SDK's chain";
            AwsError::before_call("the account", ErrorKind::Credentials, problem)
        })
    }

    pub(super) async fn clients(&self) -> Result<Arc<Clients>, AwsError> {
        if let Some(clients) = self.opened() {
            return Ok(clients);
        }
        let clients = Arc::new(Clients::new(self.load().await?)?);
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = Some(clients.clone());
        Ok(clients)
    }

    fn opened(&self) -> Option<Arc<Clients>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the next call read the credentials anew.
    pub(super) fn forget_clients(&self) {
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn load(&self) -> Result<SdkConfig, AwsError> {
        let AccountSettings { region, endpoint, credentials, role, .. } = &*self.settings;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(REQUEST).build();
        let mut loader = sdk::default_chain().timeout_config(timeouts).retry_config(RetryConfig::disabled());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(StaticKey { id, secret }) = credentials.static_key().await? {
            let key = SdkCredentials::new(id, secret.expose_secret(), None, None, "bindery");
            loader = loader.credentials_provider(key);
        }
        let config = loader.load().await;
        let Some(AssumedRole { arn, external_id }) = role else { return Ok(config) };
        let mut assumed = AssumeRoleProvider::builder(arn).session_name("bindery").configure(&config);
        if let Some(id) = external_id {
            assumed = assumed.external_id(id);
        }
        let provider = SharedCredentialsProvider::new(assumed.build().await);
        Ok(config.into_builder().credentials_provider(provider).build())
    }
}

impl From<UnreadableFile> for AwsError {
    fn from(error: UnreadableFile) -> Self {
        Self::before_call(&error.file.display().to_string(), ErrorKind::Credentials, error.to_string())
    }
}

impl Clients {
    fn new(config: SdkConfig) -> Result<Self, AwsError> {
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            let problem = "no AWS region is configured; set `region` of the account, or AWS_REGION";
            AwsError::before_call("the account", ErrorKind::Invalid, problem)
        })?;
        Ok(Self {
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            region,
            config,
        })
    }

    /// A client of STS that calls with other credentials.
    pub(super) fn sts_with(&self, credentials: SdkCredentials) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::config::Builder::from(&self.config).credentials_provider(credentials);
        aws_sdk_sts::Client::from_conf(config.build())
    }
}
