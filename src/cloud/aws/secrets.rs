//! Secrets of Secrets Manager: the login of a server's master user. That of a database is rotated by Amazon RDS.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{Account, AwsError, Call, signed::JsonRequest};

/// The login of a master user. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct MasterLogin {
    /// The user.
    pub username: String,
    /// The password until the next rotation.
    pub password: SecretString,
}

/// What is in the secret, whether Amazon RDS or CloudFormation wrote it.
#[derive(Deserialize)]
struct Content {
    username: String,
    password: String,
}

impl Account {
    /// The login in the secret of a master user.
    ///
    /// # Errors
    /// When Secrets Manager does not answer or refuses, or the secret has another content.
    pub async fn master_login(&self, secret_arn: &str) -> Result<MasterLogin, AwsError> {
        let call = Call::read("secretsmanager:GetSecretValue", secret_arn);
        let request = JsonRequest {
            service: "secretsmanager",
            method: "POST",
            path: "/",
            target: Some("secretsmanager.GetSecretValue"),
            body: Some(&json!({"SecretId": secret_arn})),
        };
        let mut answer = self.json(call, &request).await?;
        let text = answer["SecretString"].take();
        // The error of the parser could show the content.
        let content: Option<Content> = text.as_str().and_then(|text| serde_json::from_str(text).ok());
        let Content { username, password } =
            content.ok_or_else(|| AwsError::incomplete(call, "username and password"))?;
        Ok(MasterLogin { username, password: password.into() })
    }
}
