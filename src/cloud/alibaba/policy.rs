//! Documents of RAM policies (pure).

use serde_json::{Value, json};

use super::sessions::Caller;

/// What is allowed on which resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The actions, such as `oss:GetObject`.
    pub actions: &'a [&'a str],
    /// The resources, such as `acs:oss:*:*:bucket/*`.
    pub resources: Vec<String>,
}

/// The policy that allows these statements.
#[must_use]
pub fn document(statements: &[Statement<'_>]) -> String {
    let statement =
        |of: &Statement<'_>| json!({"Effect": "Allow", "Action": of.actions, "Resource": of.resources});
    let statements: Vec<Value> = statements.iter().map(statement).collect();
    json!({"Version": "1", "Statement": statements}).to_string()
}

/// The trust policy of a role that only `caller` may assume.
#[must_use]
pub fn trust(caller: &Caller) -> String {
    // A session cannot be a principal: the role that it is of is one.
    let principal = match caller.arn.split_once(":assumed-role/") {
        Some((before, session)) => {
            let role = session.split('/').next().unwrap_or_default();
            format!("{before}:role/{role}")
        }
        None => caller.arn.clone(),
    };
    json!({"Version": "1", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"RAM": [principal]},
    }]})
    .to_string()
}

/// The trust policy of a role that only the tokens of this subject may assume (RRSA): `provider` is the ARN of the OIDC provider.
#[must_use]
pub fn trust_token(provider: &str, issuer: &str, subject: &str) -> String {
    json!({"Version": "1", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Federated": [provider]},
        "Condition": {"StringEquals": {
            "oidc:aud": ["sts.aliyuncs.com"],
            "oidc:iss": [issuer],
            "oidc:sub": [subject],
        }},
    }]})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(arn: &str) -> Value {
        let caller = Caller { arn: arn.to_owned(), account: "1".to_owned() };
        let trust: Value = serde_json::from_str(&trust(&caller)).unwrap();
        trust["Statement"][0]["Principal"]["RAM"].clone()
    }

    #[test]
    fn only_the_caller_may_assume_a_role() {
        assert_eq!(trusted("acs:ram::1:user/broker"), json!(["acs:ram::1:user/broker"]));
        assert_eq!(trusted("acs:ram::1:assumed-role/broker/bindery"), json!(["acs:ram::1:role/broker"]));
    }

    #[test]
    fn a_document_allows_actions_on_resources() {
        let statement =
            Statement { actions: &["oss:GetObject"], resources: vec!["acs:oss:*:*:b/*".to_owned()] };
        let document: Value = serde_json::from_str(&document(&[statement])).unwrap();
        assert_eq!(document["Version"], "1");
        assert_eq!(document["Statement"][0]["Resource"], json!(["acs:oss:*:*:b/*"]));
    }
}
