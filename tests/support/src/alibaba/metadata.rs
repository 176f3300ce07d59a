//! The metadata service of an ECS instance, in its hardened mode alone (ECS user guide, "Access instance metadata"; "Attach
//! an instance RAM role"): a token by PUT, then the credentials of the instance's role.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::{
    account::REGION,
    call::Call,
    identities::{Credentials, Identities},
    random,
    refusal::{Refusal, refuse},
    server::Answer,
};

const TOKEN: &str = "x-aliyun-ecs-metadata-token";
const TTL: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const ROLES: &str = "meta-data/ram/security-credentials/";

#[derive(Default)]
pub(super) struct Metadata {
    /// The role of the instance, and how long its sessions last in seconds.
    pub(super) role: Option<(String, i64)>,
    tokens: BTreeMap<String, Timestamp>,
}

impl Metadata {
    pub(super) fn answer(&mut self, call: &Call, identities: &mut Identities) -> Result<Answer, Refusal> {
        let text = |text: &str| Ok(Answer::Plain(200, text.as_bytes().to_vec()));
        if call.action == "api/token" {
            return self.token(call);
        }
        let now = Timestamp::now();
        let expires = call.header(TOKEN).and_then(|token| self.tokens.get(token));
        if expires.is_none_or(|expires| *expires <= now) {
            return refuse(403, "Forbidden", "The token is missing or expired.");
        }
        if call.action == "meta-data/region-id" {
            return text(REGION);
        }
        let (Some((role, seconds)), Some(named)) = (&self.role, call.action.strip_prefix(ROLES)) else {
            return refuse(404, "NotFound", "404 Not Found");
        };
        if named.is_empty() {
            return text(role);
        }
        if named != role {
            return refuse(404, "NotFound", "404 Not Found");
        }
        let Credentials { id, secret, token, expires } =
            identities.start_session(role, "ecs", None, *seconds);
        Ok(Answer::Json(
            json!({"Code": "Success", "AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token,
            "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}),
        ))
    }

    fn token(&mut self, call: &Call) -> Result<Answer, Refusal> {
        let seconds = call.header(TTL).and_then(|seconds| seconds.parse::<i64>().ok());
        let Some(seconds) = seconds.filter(|it| (1..=21_600).contains(it) && call.method == "PUT") else {
            return refuse(400, "BadRequest", "A token needs PUT and its time to live, 1 to 21600 seconds.");
        };
        let token = random("ABCDEFabcdef0123456789", 56);
        let expires = Timestamp::from_second(Timestamp::now().as_second() + seconds).expect("a near time");
        self.tokens.insert(token.clone(), expires);
        Ok(Answer::Plain(200, token.into_bytes()))
    }
}
