//! `bindery aws-operator`: the AWS Service Operator's API, as a deployment of its own.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    apis::aws_operator::Kind,
    cloud::aws::{Account, AccountSettings, AssumedRole},
    k8s::{self, leader::Election},
    operators::aws::{self, AccountList, DeletionPolicy, OperatorSettings, StackEvents},
    server,
    telemetry::{
        Metrics,
        ops::{self, Readiness},
    },
};

/// Serve the AWS Service Operator's API: objects of service-operator.aws become stacks of CloudFormation. Credentials come
/// from the SDK's chain: the environment, a web identity (IRSA), EKS Pod Identity, or the instance.
#[derive(Debug, clap::Args)]
pub(super) struct AwsOperatorArgs {
    /// The name of the cluster: the first part of the names of all stacks, and the mark of the stacks that are bindery's.
    #[arg(long, env = "BINDERY_CLUSTER_NAME", value_name = "NAME")]
    cluster_name: String,
    /// The region. Default: that of the SDK's chain.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    /// The number of the account. bindery does not start with credentials of another account.
    #[arg(long, env = "BINDERY_ACCOUNT_ID", value_name = "NUMBER")]
    account_id: Option<String>,
    /// The kinds to serve, such as dynamodb,sqsqueue. Default: all.
    #[arg(long, env = "BINDERY_RESOURCES", value_delimiter = ',', value_parser = kind, value_name = "KINDS")]
    resources: Vec<Kind>,
    /// The only namespace whose objects are served. Default: all namespaces.
    #[arg(long, env = "BINDERY_K8S_NAMESPACE", value_name = "NAMESPACE")]
    k8s_namespace: Option<String>,
    /// The namespace whose CloudFormationTemplates the objects of all namespaces may name.
    #[arg(long, env = "BINDERY_DEFAULT_NAMESPACE", value_name = "NAMESPACE")]
    default_namespace: Option<String>,
    #[command(flatten)]
    accounts: OtherAccounts,
    /// What becomes of the stacks of deleted objects, unless services.k8s.aws/deletion-policy of the object or of its
    /// Namespace says otherwise.
    #[arg(long, env = "BINDERY_DELETION_POLICY", value_enum, default_value_t)]
    deletion_policy: DeletionPolicy,
    /// Let templates of users create users, roles and policies of IAM.
    #[arg(long, env = "BINDERY_ALLOW_IAM")]
    allow_iam: bool,
    /// A bucket for templates of users that are longer than 51,200 bytes, which CloudFormation takes from a bucket only.
    #[arg(long, env = "BINDERY_BUCKET", value_name = "BUCKET")]
    bucket: Option<String>,
    /// Check all stacks for drift this often, and show it in the status. Default: never.
    #[arg(long, env = "BINDERY_DRIFT_INTERVAL", value_parser = drift_interval, value_name = "DURATION")]
    drift_interval: Option<Duration>,
    /// How often stacks that CloudFormation works on are listed.
    #[arg(long, env = "BINDERY_POLL_INTERVAL", value_parser = interval, default_value = "5s", value_name = "DURATION")]
    poll_interval: Duration,
    /// How the operator hears of what CloudFormation does: `push` makes a topic and a queue in each account, so that only
    /// stacks with an event are listed.
    #[arg(long, env = "BINDERY_EVENTS", value_enum, default_value_t)]
    events: StackEvents,
    /// How many calls of AWS's API are made per second and account.
    #[arg(long, env = "BINDERY_API_CALLS_PER_SECOND", default_value = "5", value_name = "NUMBER")]
    api_calls_per_second: NonZeroU32,
    /// The name of the Lease that the active replica holds.
    #[arg(long, env = "BINDERY_LEASE", default_value = "aws-service-operator", value_name = "NAME")]
    lease: String,
    /// The operator's own namespace, which has the Lease.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "aws-service-operator")]
    namespace: String,
    /// The name of this replica in the Lease.
    #[arg(long, env = "HOSTNAME", default_value = "aws-service-operator")]
    identity: String,
    /// The address of /healthz, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "BINDERY_LISTEN_OPS", default_value = "0.0.0.0:9090", value_name = "ADDRESS")]
    listen_ops: SocketAddr,
}

/// The accounts beside the operator's own.
#[derive(Debug, clap::Args)]
pub(super) struct OtherAccounts {
    /// An account that a Namespace may ask for with services.k8s.aws/owner-account-id, and the role to assume for it:
    /// `NUMBER=ROLE_ARN` or `NUMBER=ROLE_ARN,EXTERNAL_ID`. May be repeated.
    #[arg(long = "account", value_parser = other_account, value_name = "ACCOUNT")]
    pub(super) accounts: Vec<(String, AssumedRole)>,
    /// A team whose role a Namespace may ask for with services.k8s.aws/team-id: `NAME=ROLE_ARN` or
    /// `NAME=ROLE_ARN,EXTERNAL_ID`. May be repeated.
    #[arg(long = "team", value_parser = team, value_name = "TEAM")]
    pub(super) teams: Vec<(String, AssumedRole)>,
}

fn kind(text: &str) -> Result<Kind, String> {
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.singular()).collect();
    Kind::parse(text).ok_or_else(|| format!("there is no such kind; take {}", names.join(", ")))
}

fn interval(text: &str) -> Result<Duration, String> {
    super::duration_of_at_least(text, Duration::from_millis(100))
        .ok_or_else(|| "write a duration of at least 100ms, such as 5s".to_owned())
}

fn drift_interval(text: &str) -> Result<Duration, String> {
    super::duration_of_at_least(text, Duration::from_mins(1))
        .ok_or_else(|| "write a duration of at least 1m, such as 6h".to_owned())
}

fn other_account(text: &str) -> Result<(String, AssumedRole), String> {
    let is_number = |number: &str| number.len() == 12 && number.bytes().all(|digit| digit.is_ascii_digit());
    named_role(text).filter(|(number, _)| is_number(number)).ok_or_else(|| {
        "write NUMBER=ROLE_ARN, such as 111122223333=arn:aws:iam::111122223333:role/operator".to_owned()
    })
}

fn team(text: &str) -> Result<(String, AssumedRole), String> {
    named_role(text).filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        "write NAME=ROLE_ARN, such as payments=arn:aws:iam::111122223333:role/payments".to_owned()
    })
}

fn named_role(text: &str) -> Option<(String, AssumedRole)> {
    let (name, role) = text.split_once('=')?;
    let (arn, external_id) = role.split_once(',').map_or((role, None), |(arn, id)| (arn, Some(id)));
    let role = AssumedRole { arn: arn.to_owned(), external_id: external_id.map(ToOwned::to_owned) };
    arn.starts_with("arn:").then(|| (name.to_owned(), role))
}

/// Runs the operator until `stop` is cancelled or a part fails.
///
/// # Errors
/// When the credentials belong to another account, or a part ends with an error.
pub(super) async fn run(args: AwsOperatorArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let client = k8s::client().await?;
    info!(version = env!("CARGO_PKG_VERSION"), cluster = args.cluster_name, "the AWS operator starts");
    let account = Account::new(args.account());
    if let Some(wanted) = &args.account_id {
        check_account(&account, wanted).await?;
    }
    let (metrics, readiness) = (Arc::new(Metrics::new()), Readiness::default());
    let mut tasks = JoinSet::new();
    let router = ops::router(readiness, metrics.clone());
    let (address, ops_stop) = (args.listen_ops, stop.clone());
    tasks.spawn(async move {
        let served = server::serve_ops(address, router, ops_stop).await;
        served.with_context(|| format!("cannot serve health on {address}"))
    });
    tasks.spawn(lead(args, client, account, metrics, stop.clone()));
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        stop.cancel();
        outcome = outcome.and(ended.context("a part of the operator panicked").flatten());
    }
    outcome
}

async fn check_account(account: &Account, wanted: &str) -> anyhow::Result<()> {
    let found = account.number().await.context("cannot ask AWS for the account of the credentials")?;
    if found != wanted {
        bail!(
            "--account-id is {wanted}, but the credentials belong to the account {found}; correct one of them"
        );
    }
    Ok(())
}

async fn lead(
    args: AwsOperatorArgs,
    client: Client,
    account: Account,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let election = Election::new(client.clone(), &args.namespace, &args.lease, &args.identity);
    let work = |term: CancellationToken| {
        let settings = args.settings(account.clone());
        let (client, metrics) = (client.clone(), metrics.clone());
        async move { aws::run(client, settings, metrics, term).await.map_err(anyhow::Error::from) }
    };
    Box::pin(election.run(stop, work)).await.map_err(|error| error.context("the AWS operator stopped"))
}

impl AwsOperatorArgs {
    fn account(&self) -> AccountSettings {
        AccountSettings {
            region: self.region.clone(),
            requests_per_second: Some(self.api_calls_per_second),
            ..AccountSettings::default()
        }
    }

    fn settings(&self, account: Account) -> OperatorSettings {
        OperatorSettings {
            cluster: self.cluster_name.clone(),
            accounts: AccountList::new(
                account,
                &self.account(),
                &self.accounts.accounts,
                &self.accounts.teams,
            ),
            kinds: if self.resources.is_empty() { Kind::ALL.to_vec() } else { self.resources.clone() },
            namespace: self.k8s_namespace.clone().filter(|name| !name.is_empty()),
            default_namespace: self.default_namespace.clone().filter(|name| !name.is_empty()),
            deletion_policy: self.deletion_policy,
            may_create_principals: self.allow_iam,
            bucket: self.bucket.clone().filter(|name| !name.is_empty()),
            drift_interval: self.drift_interval,
            poll: self.poll_interval,
            events: self.events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_needs_a_number_and_a_role() {
        let (number, role) =
            other_account("111122223333=arn:aws:iam::111122223333:role/o,contract-7").unwrap();
        assert_eq!(number, "111122223333");
        assert_eq!(role.external_id.as_deref(), Some("contract-7"));
        for wrong in ["111122223333", "1=arn:aws:iam::1:role/o", "111122223333=o"] {
            assert!(other_account(wrong).unwrap_err().contains("NUMBER=ROLE_ARN"), "{wrong}");
        }
    }

    #[test]
    fn a_team_needs_a_name_and_a_role() {
        let (name, role) = team("payments=arn:aws:iam::111122223333:role/payments").unwrap();
        assert_eq!((name.as_str(), role.external_id), ("payments", None));
        for wrong in ["payments", "=arn:aws:iam::1:role/o", "payments=o"] {
            assert!(team(wrong).unwrap_err().contains("NAME=ROLE_ARN"), "{wrong}");
        }
    }

    #[test]
    fn kinds_go_by_the_names_of_the_original() {
        assert_eq!(kind("dynamodb"), Ok(Kind::DynamoDb));
        assert!(kind("tables").unwrap_err().contains("sqsqueue"));
    }
}
