//! Documents of IAM policies (pure): statements, the trust policy of a role, checks of ARNs, and the sizes that AWS
//! allows.

use serde_json::{Value, json};

use super::sessions::Caller;

/// A use of a policy, which limits its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// All inline policies of a user together.
    User,
    /// All inline policies of a role together.
    Role,
    /// The policy of a session.
    Session,
}

impl Use {
    /// The longest document, in characters that are not white space (IAM and STS quotas).
    #[must_use]
    pub fn longest(self) -> usize {
        match self {
            Self::User | Self::Session => 2048,
            Self::Role => 10_240,
        }
    }
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The actions, such as `sqs:SendMessage`.
    pub actions: Vec<String>,
    /// The ARNs of the resources.
    pub resources: Vec<String>,
    /// The region in which everything is allowed, instead of resources: for actions that have none.
    pub region: Option<String>,
}

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A resource is not an ARN, or stands for more than one account's resource.
    #[error("{0:?} is no ARN of a resource; a policy names the ARN of what it is for")]
    NotAnArn(String),
    /// A statement allows nothing or on nothing.
    #[error("a statement of the policy has no actions or no resources")]
    Empty,
    /// AWS does not take a document of this size.
    #[error("the policy has {found} characters, and AWS takes {longest}; allow less, or split the plan")]
    TooLong {
        /// The size of the document.
        found: usize,
        /// The largest size.
        longest: usize,
    },
}

/// The document that allows these statements.
///
/// # Errors
/// When a resource is no ARN, or the document is too long for its use.
pub fn document(statements: &[Statement], usage: Use) -> Result<String, PolicyError> {
    let mut allowed = Vec::new();
    for Statement { actions, resources, region } in statements {
        if actions.is_empty() || resources.is_empty() && region.is_none() {
            return Err(PolicyError::Empty);
        }
        resources.iter().try_for_each(|arn| check_arn(arn))?;
        allowed.push(match region {
            None => json!({"Effect": "Allow", "Action": actions, "Resource": resources}),
            Some(region) => json!({"Effect": "Allow", "Action": actions, "Resource": "*",
                "Condition": {"StringEquals": {"aws:RequestedRegion": region}}}),
        });
    }
    let text = json!({"Version": "2012-10-17", "Statement": allowed}).to_string();
    match text.chars().filter(|letter| !letter.is_whitespace()).count() {
        found if found > usage.longest() => Err(PolicyError::TooLong { found, longest: usage.longest() }),
        _ => Ok(text),
    }
}

/// Checks that a text is an ARN with a partition, a service and a resource that is more than a wildcard.
///
/// # Errors
/// When it is not.
pub fn check_arn(arn: &str) -> Result<(), PolicyError> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let is_arn = match parts[..] {
        ["arn", partition, service, region, account, resource] => {
            let of_place =
                |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
            let is_named = |text: &str| !text.is_empty() && of_place(text);
            is_named(partition)
                && is_named(service)
                && of_place(region)
                && of_place(account)
                && resource.contains(|letter: char| letter.is_ascii_alphanumeric())
                && !resource.starts_with('*')
                && !resource.contains(char::is_whitespace)
        }
        _ => false,
    };
    if is_arn { Ok(()) } else { Err(PolicyError::NotAnArn(arn.to_owned())) }
}

/// The trust policy of a role that only `caller` may assume, and only with this external id.
#[must_use]
pub fn trust(caller: &Caller, external_id: &str) -> String {
    let partition = caller.arn.split(':').nth(1).unwrap_or("aws");
    let account = &caller.account;
    // The account as principal leaves the decision to the condition: a principal that is named directly would be
    // replaced by an id when it is recreated.
    let principals: Vec<Value> = match caller.arn.split_once(":assumed-role/") {
        Some((_, session)) => {
            let role = session.split('/').next().unwrap_or_default();
            // The ARN of a session lacks the role's path.
            let arn = |path: &str| format!("arn:{partition}:iam::{account}:role/{path}{role}").into();
            vec![arn(""), arn("*/")]
        }
        None => vec![caller.arn.clone().into()],
    };
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
        "Condition": {
            "StringEquals": {"sts:ExternalId": external_id},
            "ArnLike": {"aws:PrincipalArn": principals},
        },
    }]})
    .to_string()
}

/// The trust policy of a role that only one service account of a cluster may assume, by a token of the cluster's OIDC
/// provider (IRSA).
#[must_use]
pub fn trust_token(provider_arn: &str, namespace: &str, service_account: &str) -> String {
    let issuer = provider_arn.split_once(":oidc-provider/").map_or(provider_arn, |(_, issuer)| issuer);
    let subject = format!("system:serviceaccount:{namespace}:{service_account}");
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": provider_arn},
        "Condition": {"StringEquals": {
            format!("{issuer}:aud"): "sts.amazonaws.com",
            format!("{issuer}:sub"): subject,
        }},
    }]})
    .to_string()
}

/// The trust policy of a role that only pods with one service account of a cluster may assume, by EKS Pod Identity.
#[must_use]
pub fn trust_pods(cluster: &str, namespace: &str, service_account: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Condition": {"StringEquals": {
            "aws:RequestTag/eks-cluster-name": cluster,
            "aws:RequestTag/kubernetes-namespace": namespace,
            "aws:RequestTag/kubernetes-service-account": service_account,
        }},
    }]})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(resource: &str) -> Statement {
        let (actions, resources) = (vec!["sqs:SendMessage".to_owned()], vec![resource.to_owned()]);
        Statement { actions, resources, region: None }
    }

    #[test]
    fn a_document_allows_actions_on_one_resource() {
        let text = document(&[statement("arn:aws:sqs:eu-west-1:123456789012:q")], Use::Session).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["Statement"][0]["Resource"], json!(["arn:aws:sqs:eu-west-1:123456789012:q"]));
    }

    #[rstest::rstest]
    #[case("*")]
    #[case("")]
    #[case("arn:aws:sqs:eu-west-1:1")]
    #[case("arn:aws:sqs:eu-west-1:1:*")]
    #[case("arn:aws:s3:::*")]
    #[case("arn:aws:*:::a")]
    #[case("arn:*:sqs:::a")]
    #[case("arn:aws:sqs:*:1:q")]
    #[case("arn:aws:sqs:::a b")]
    #[case("https://sqs/queue")]
    fn what_is_no_arn_of_one_resource_is_refused(#[case] arn: &str) {
        assert_eq!(document(&[statement(arn)], Use::User), Err(PolicyError::NotAnArn(arn.to_owned())));
    }

    #[rstest::rstest]
    #[case("arn:aws:s3:::bucket/*")]
    #[case("arn:aws-cn:dynamodb:cn-north-1:123456789012:table/t/index/*")]
    fn parts_of_a_resource_may_be_wildcards(#[case] arn: &str) {
        assert_eq!(check_arn(arn), Ok(()));
    }

    #[test]
    fn a_document_that_aws_would_refuse_for_its_size_is_refused() {
        let many: Vec<_> =
            (0..40).map(|n| statement(&format!("arn:aws:sqs:eu-west-1:123456789012:q{n}"))).collect();
        let Err(PolicyError::TooLong { found, longest: 2048 }) = document(&many, Use::User) else { panic!() };
        assert!(found > 2048);
        assert!(document(&many, Use::Role).is_ok());
    }

    #[test]
    fn a_statement_that_allows_nothing_is_refused() {
        let empty = Statement { actions: Vec::new(), ..statement("arn:aws:sqs:r:1:q") };
        assert_eq!(document(&[empty], Use::User), Err(PolicyError::Empty));
        let nowhere = Statement { resources: Vec::new(), ..statement("") };
        assert_eq!(document(&[nowhere], Use::User), Err(PolicyError::Empty));
    }

    #[test]
    fn an_action_without_a_resource_is_allowed_in_one_region() {
        let translate =
            Statement { resources: Vec::new(), region: Some("eu-west-1".to_owned()), ..statement("") };
        let text = document(&[translate], Use::User).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let condition = &document["Statement"][0]["Condition"];
        assert_eq!(condition, &json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}));
    }

    #[test]
    fn only_one_service_account_may_assume_a_role() {
        let provider = "arn:aws:iam::1:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/A1";
        let trust: Value = serde_json::from_str(&trust_token(provider, "shop", "web")).unwrap();
        let condition = &trust["Statement"][0]["Condition"]["StringEquals"];
        assert_eq!(condition["oidc.eks.eu-west-1.amazonaws.com/id/A1:sub"], "system:serviceaccount:shop:web");
        assert_eq!(condition["oidc.eks.eu-west-1.amazonaws.com/id/A1:aud"], "sts.amazonaws.com");
        let trust: Value = serde_json::from_str(&trust_pods("prod", "shop", "web")).unwrap();
        let condition = &trust["Statement"][0]["Condition"]["StringEquals"];
        assert_eq!(condition["aws:RequestTag/kubernetes-service-account"], "web");
    }

    #[test]
    fn only_the_caller_may_assume_a_role() {
        let role =
            Caller { arn: "arn:aws:sts::1:assumed-role/broker/i-1".to_owned(), account: "1".to_owned() };
        let trust_of =
            |caller| serde_json::from_str::<Value>(&trust(caller, "id")).unwrap()["Statement"][0].clone();
        let of_role = trust_of(&role);
        assert_eq!(
            of_role["Condition"]["ArnLike"]["aws:PrincipalArn"],
            json!(["arn:aws:iam::1:role/broker", "arn:aws:iam::1:role/*/broker"])
        );
        assert_eq!(of_role["Condition"]["StringEquals"]["sts:ExternalId"], "id");
        let user = Caller { arn: "arn:aws:iam::1:user/x/broker".to_owned(), account: "1".to_owned() };
        let of_user = trust_of(&user);
        assert_eq!(
            of_user["Condition"]["ArnLike"]["aws:PrincipalArn"],
            json!(["arn:aws:iam::1:user/x/broker"])
        );
    }
}
