//! STS 2015-04-01 (API reference: AssumeRole, AssumeRoleWithOIDC, GetCallerIdentity; error codes: doc-detail 42775).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    account::ACCOUNT,
    call::{Call, Parameters, Product},
    identities::{Caller, Credentials, Identities, Kind, Provider},
    policy::{self, Context},
    refusal::{Refusal, refuse},
};

type Result<T> = std::result::Result<T, Refusal>;

/// The length of a session's policy at most.
const LARGEST_POLICY: usize = 2048;

/// Answers a signed action of STS.
pub(super) fn answer(identities: &mut Identities, caller: &Caller, call: &Call) -> Result<Value> {
    match call.action.as_str() {
        "AssumeRole" => assume_role(identities, caller, &call.parameters),
        // Every caller may ask who it is.
        "GetCallerIdentity" => {
            let kind = match &caller.kind {
                Kind::Root => "Account",
                Kind::User(_) => "RAMUser",
                Kind::Role(_) => "AssumedRoleUser",
            };
            Ok(json!({"AccountId": ACCOUNT, "Arn": caller.arn, "IdentityType": kind}))
        }
        action => {
            refuse(404, "InvalidAction.NotFound", format!("The stand-in does not know {action} of STS."))
        }
    }
}

fn assume_role(identities: &mut Identities, caller: &Caller, p: &Parameters) -> Result<Value> {
    let arn = p.required("RoleArn")?.to_owned();
    let session = Requested::read(p)?;
    let no_permission = |message: String| refuse(403, "NoPermission", message);
    if caller.kind == Kind::Root {
        return no_permission("Roles may not be assumed by the account itself.".to_owned());
    }
    caller.check(Product::Sts, "AssumeRole", std::slice::from_ref(&arn), Context::new())?;
    let name = role_name(identities, &arn)?;
    let role = identities.role(&name)?;
    let principals = [caller.arn.clone(), format!("acs:ram::{ACCOUNT}:root")];
    if !policy::trusts(&role.trust, "RAM", &principals, &Context::new()) {
        return no_permission(format!("The role {name} does not trust {}.", caller.arn));
    }
    session.start(identities, &name)
}

/// What a call says about the session.
struct Requested {
    name: String,
    seconds: u32,
    policy: Option<Value>,
}

impl Requested {
    fn read(p: &Parameters) -> Result<Self> {
        let name = p.required("RoleSessionName")?.to_owned();
        let is_allowed = |it: char| it.is_ascii_alphanumeric() || ".@-_".contains(it);
        if !(2..=64).contains(&name.len()) || !name.chars().all(is_allowed) {
            return refuse(400, "InvalidParameter.RoleSessionName", "RoleSessionName is not valid.");
        }
        let policy = match p.get("Policy") {
            None => None,
            Some(text) if text.len() > LARGEST_POLICY => {
                return refuse(400, "InvalidParameter.PolicySize", "The policy is too long.");
            }
            Some(text) => Some(
                policy::parse(text)
                    .map_err(|mistake| Refusal::new(400, "InvalidParameter.PolicyGrammar", mistake))?,
            ),
        };
        Ok(Self { name, seconds: p.number("DurationSeconds")?.unwrap_or(3600), policy })
    }

    fn start(self, identities: &mut Identities, role: &str) -> Result<Value> {
        let longest = identities.role(role)?.longest_session;
        if !(900..=longest).contains(&self.seconds) {
            let message = format!("DurationSeconds must be between 900 and {longest}.");
            return refuse(400, "InvalidParameter.DurationSeconds", message);
        }
        let name = self.name.clone();
        let made = identities.start_session(role, &self.name, self.policy, self.seconds.into());
        let Credentials { id, secret, token, expires } = made;
        // Whole seconds, as the documentation shows them.
        let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let arn = format!("acs:ram::{ACCOUNT}:role/{role}/{name}");
        Ok(json!({
            "Credentials": {"AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token, "Expiration": expires},
            "AssumedRoleUser": {"Arn": arn, "AssumedRoleId": format!("3{ACCOUNT}:{name}")},
        }))
    }
}

/// The role of an ARN of this account. ARNs have the names of roles in lower case (GetRole).
fn role_name(identities: &Identities, arn: &str) -> Result<String> {
    let named = arn.strip_prefix(&format!("acs:ram::{ACCOUNT}:role/"));
    let found = identities.roles.keys().find(|role| named.is_some_and(|it| it.eq_ignore_ascii_case(role)));
    match found {
        Some(name) => Ok(name.clone()),
        None => refuse(404, "EntityNotExist.Role", format!("The role {arn} does not exist.")),
    }
}

/// Exchanges a token of an OIDC provider, such as that of a ServiceAccount (ACK: RRSA), for a session.
pub(super) fn assume_role_with_oidc(identities: &mut Identities, p: &Parameters) -> Result<Value> {
    let arn = p.required("RoleArn")?.to_owned();
    let provider_arn = p.required("OIDCProviderArn")?;
    let token = p.required("OIDCToken")?;
    if !(4..=20_000).contains(&token.len()) {
        return refuse(400, "InvalidParameter.OIDCToken", "OIDCToken is not valid.");
    }
    let session = Requested::read(p)?;
    let prefix = format!("acs:ram::{ACCOUNT}:oidc-provider/");
    let provider = provider_arn.strip_prefix(&prefix).and_then(|name| identities.providers.get(name));
    let Some(provider) = provider else {
        let message = format!("The provider {provider_arn} does not exist.");
        return refuse(404, "EntityNotExist.OIDCProvider", message);
    };
    let claims = provider.claims(token)?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let context: Context =
        ["iss", "aud", "sub"].map(|claim| (format!("oidc:{claim}"), text(claim))).into_iter().collect();
    let name = role_name(identities, &arn)?;
    let trust = identities.role(&name)?.trust.clone();
    if !policy::trusts(&trust, "Federated", &[provider_arn.to_owned()], &context) {
        let message = "This operation is forbidden by permission system.";
        return refuse(403, "AuthenticationFail.NoPermission", message);
    }
    let mut answer = session.start(identities, &name)?;
    answer["OIDCTokenInfo"] =
        json!({"Issuer": text("iss"), "Subject": text("sub"), "ClientIds": text("aud")});
    Ok(answer)
}

impl Provider {
    /// A token for a subject, signed by the provider.
    pub(super) fn token(&self, subject: &str, audience: &str, seconds: i64) -> String {
        let expires = Timestamp::now().as_second() + seconds;
        let claims = json!({"iss": self.issuer, "aud": audience, "sub": subject, "exp": expires});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed));
        format!("{signed}.{signature}")
    }

    fn mac(&self, text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("any length of key");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// The claims of a token of this provider.
    fn claims(&self, token: &str) -> Result<Value> {
        let fail = |what: &str, message: &str| {
            refuse(400, &format!("AuthenticationFail.{what}"), message.to_owned())
        };
        let parts = token.rsplit_once('.');
        let parts = parts.and_then(|(signed, mac)| Some((signed, URL_SAFE_NO_PAD.decode(mac).ok()?)));
        let Some((signed, _)) = parts.filter(|(signed, mac)| *mac == self.mac(signed)) else {
            return fail("OIDCToken.Invalid", "The signature of the token is not valid.");
        };
        let claims = signed.split_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims: Value =
            claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
        if claims["exp"].as_i64().unwrap_or_default() <= Timestamp::now().as_second() {
            return fail("OIDCToken.Expired", "The token is expired.");
        }
        if claims["iss"] != self.issuer {
            return fail("IssuerNotMatch", "The issuer of the token is not that of the provider.");
        }
        if claims["aud"] != self.audience {
            return fail("AudienceNotMatch", "The audience of the token is not that of the provider.");
        }
        Ok(claims)
    }
}
