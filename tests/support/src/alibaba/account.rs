//! The account of Alibaba Cloud: who calls, whether the policies allow it, and which service answers. Order of the checks:
//! signature, then rights, then parameters, as the gateway has them in front of the services.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Settings,
    call::{Call, Product},
    identities::{Caller, Identities},
    metadata::Metadata,
    oss::Oss,
    policy::{Access, Context},
    ram, rds,
    rds::Rds,
    refusal::{Refusal, refuse},
    server::Answer,
    signature::{Authorization, Signed, sha256},
    sts,
};

/// The id of the only account.
pub const ACCOUNT: &str = "1234567890123456";
/// The region of the only endpoint.
pub const REGION: &str = "cn-hangzhou";
/// A request is accepted this long before and after its date (both signatures: 15 minutes).
const SKEW_SECONDS: i64 = 15 * 60;

/// Everything that exists.
pub(super) struct Account {
    pub(super) settings: Settings,
    pub(super) identities: Identities,
    pub(super) rds: Rds,
    pub(super) oss: Oss,
    pub(super) metadata: Metadata,
    nonces: BTreeSet<String>,
}

impl Account {
    pub(super) fn new(rds: Rds) -> Self {
        Self {
            settings: Settings::default(),
            identities: Identities::default(),
            rds,
            oss: Oss::default(),
            metadata: Metadata::default(),
            nonces: BTreeSet::new(),
        }
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: &Call) -> Result<Answer, Refusal> {
        match call.product {
            Product::Metadata => self.metadata.answer(call, &mut self.identities),
            Product::Oss => {
                let caller = self.oss_caller(call)?;
                self.oss.answer(call, caller.as_ref(), &self.settings)
            }
            // Anonymous: the token proves who calls (STS, AssumeRoleWithOIDC).
            Product::Sts if call.action == "AssumeRoleWithOIDC" => {
                sts::assume_role_with_oidc(&mut self.identities, &call.parameters).map(Answer::Json)
            }
            Product::Sts => {
                let caller = self.caller(call)?;
                sts::answer(&mut self.identities, &caller, call).map(Answer::Json)
            }
            Product::Ram => {
                let caller = self.caller(call)?;
                ram::answer(&mut self.identities, &self.settings, &caller, call).map(Answer::Json)
            }
            Product::Rds => {
                let caller = self.caller(call)?;
                rds::answer(&mut self.rds, &self.settings, &caller, call).map(Answer::Json)
            }
            Product::Unknown => refuse(404, "InvalidVersion", "Specified parameter Version is not valid."),
        }
    }

    /// The caller of RDS, RAM and STS, by signature V3. The codes are those of the gateway (common error codes, doc-detail
    /// 26313, 42775).
    fn caller(&mut self, call: &Call) -> Result<Caller, Refusal> {
        let incomplete = |what: &str| Refusal::new(400, "IncompleteSignature", what);
        let header = call.header("authorization").ok_or_else(|| incomplete("Authorization is missing."))?;
        let authorization = Authorization::read(header, "ACS3-HMAC-SHA256", "SignedHeaders")
            .ok_or_else(|| incomplete("Authorization cannot be read."))?;
        // All common headers that are sent must be signed.
        let must_be_signed =
            |name: &&String| name.starts_with("x-acs-") || matches!(name.as_str(), "host" | "content-type");
        for name in call.headers.keys().filter(must_be_signed) {
            if !authorization.headers.contains(name) {
                return Err(incomplete(&format!("{name} is not signed.")));
            }
        }
        for name in ["host", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"] {
            if call.header(name).is_none() {
                return Err(incomplete(&format!("{name} is missing.")));
            }
        }
        if !authorization.headers.is_sorted() {
            return Err(incomplete("SignedHeaders are not sorted."));
        }
        check_date(call.header("x-acs-date").unwrap_or_default())?;
        let nonce = call.header("x-acs-signature-nonce").unwrap_or_default();
        if !self.nonces.insert(nonce.to_owned()) {
            return refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already.");
        }
        let content_hash = call.header("x-acs-content-sha256").unwrap_or_default();
        let (caller, secret) =
            self.identities.identify(&authorization.credential, call.header("x-acs-security-token"))?;
        let signature = signed(call, &call.path).acs3(&secret, &authorization.headers, content_hash);
        if signature != authorization.signature || content_hash != sha256(&call.body) {
            return refuse(
                400,
                "SignatureDoesNotMatch",
                "Specified signature does not match our calculation.",
            );
        }
        Ok(caller)
    }

    /// The caller of OSS, by signature V4; nobody for a request without a signature. The codes are those of OSS (185228,
    /// "403 errors").
    fn oss_caller(&mut self, call: &Call) -> Result<Option<Caller>, Refusal> {
        let Some(header) = call.header("authorization") else { return Ok(None) };
        let invalid = |what: &str| Refusal::new(400, "InvalidArgument", what);
        let authorization = Authorization::read(header, "OSS4-HMAC-SHA256", "AdditionalHeaders")
            .ok_or_else(|| invalid("Authorization cannot be read."))?;
        let date = call.header("x-oss-date").ok_or_else(|| invalid("x-oss-date is missing."))?;
        if call.header("x-oss-content-sha256") != Some("UNSIGNED-PAYLOAD") {
            return Err(invalid("x-oss-content-sha256 must be UNSIGNED-PAYLOAD."));
        }
        let day = date.split('T').next().unwrap_or_default();
        let scope = format!("/{day}/{REGION}/oss/aliyun_v4_request");
        let Some(id) = authorization.credential.strip_suffix(&scope) else {
            return Err(invalid(&format!("The scope of the credential must be {scope}.")));
        };
        let is_near = compact_date(date).is_some_and(is_near);
        if !is_near {
            let message = "The difference between the request time and the current time is too large.";
            return refuse(403, "RequestTimeTooSkewed", message);
        }
        let (caller, secret) = self.identities.identify(id, call.header("x-oss-security-token")).map_err(
            |Refusal { code, message, .. }| {
                let code = if code.starts_with("InvalidAccessKeyId") { "InvalidAccessKeyId" } else { &code };
                Refusal::new(403, code, message)
            },
        )?;
        // The path of a bucket is signed with a slash behind it (SDK, signer v4).
        let path = match call.object() {
            ("", _) => "/".to_owned(),
            (bucket, key) => format!("/{bucket}/{key}"),
        };
        let signature = signed(call, &path).oss4(&secret, REGION, date, &authorization.headers);
        if signature != authorization.signature {
            let message = "The request signature we calculated does not match the signature you provided.";
            return refuse(403, "SignatureDoesNotMatch", message);
        }
        Ok(Some(caller))
    }
}

fn signed<'a>(call: &'a Call, path: &'a str) -> Signed<'a> {
    Signed { method: &call.method, path, query: &call.query, headers: &call.headers }
}

fn check_date(date: &str) -> Result<(), Refusal> {
    let Ok(date) = date.parse::<Timestamp>() else {
        return refuse(400, "InvalidTimeStamp.Format", "x-acs-date must be like 2006-01-02T15:04:05Z.");
    };
    if is_near(date) {
        return Ok(());
    }
    refuse(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
}

/// `20060102T150405Z`
fn compact_date(date: &str) -> Option<Timestamp> {
    let digits =
        |from: usize, to: usize| date.get(from..to).filter(|it| it.bytes().all(|it| it.is_ascii_digit()));
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

fn is_near(date: Timestamp) -> bool {
    (Timestamp::now().as_second() - date.as_second()).abs() <= SKEW_SECONDS
}

impl Caller {
    /// Refuses what the caller's policies do not allow, with the code of the service.
    pub(super) fn check(
        &self,
        product: Product,
        action: &str,
        resources: &[String],
        context: Context,
    ) -> Result<(), Refusal> {
        let prefix = product.prefix();
        let mut context = context;
        // The stand-in is reached over HTTP.
        context.insert("acs:SecureTransport".to_owned(), "false".to_owned());
        let access = Access { action: format!("{prefix}:{action}"), resources: resources.to_vec(), context };
        if self.is_allowed(&access) {
            return Ok(());
        }
        let code = match product {
            Product::Rds => "Forbidden.RAM",
            Product::Oss => "AccessDenied",
            _ => "NoPermission",
        };
        let message = format!("{} may not {prefix}:{action} on {}.", self.arn, resources.join(", "));
        refuse(403, code, message)
    }
}
