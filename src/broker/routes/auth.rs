//! Authentication: HTTP basic (RFC 7617) and bearer (RFC 6750). Several logins are valid at once, and files are read
//! again when they change, so that credentials can be rotated without a restart.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::config::{ConfigError, Login, PasswordSource};

/// The interval of checking the files.
const CHECK_EVERY: Duration = Duration::from_secs(10);

type Fingerprint = [u8; 32];

/// The current logins. Only digests are kept, so that comparisons do not reveal lengths.
pub(crate) struct Logins {
    configured: Vec<Login>,
    known: ArcSwap<HashSet<Fingerprint>>,
}

impl Logins {
    /// Reads the passwords and tokens.
    ///
    /// # Errors
    /// When one cannot be read, or is empty; the error names its field and file.
    pub(crate) async fn read(logins: &[Login]) -> Result<Self, ConfigError> {
        let known = fingerprints(logins).await?;
        Ok(Self { configured: logins.to_vec(), known: ArcSwap::from_pointee(known) })
    }

    /// Reads the files again; returns whether the logins changed. After an error the previous logins stay valid.
    ///
    /// # Errors
    /// As for [`Logins::read`].
    pub(crate) async fn reload(&self) -> Result<bool, ConfigError> {
        let known = fingerprints(&self.configured).await?;
        let changed = **self.known.load() != known;
        if changed {
            self.known.store(Arc::new(known));
        }
        Ok(changed)
    }

    /// Reloads the files periodically until `stop`.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        if !self.configured.iter().any(|login| matches!(login.source(), PasswordSource::File(_))) {
            return;
        }
        let mut former_trouble = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            let trouble = match self.reload().await {
                Ok(changed) => {
                    if changed {
                        info!("who may call was read anew");
                    }
                    String::new()
                }
                Err(error) => error.to_string(),
            };
            // Log a persistent error once.
            if trouble != former_trouble && !trouble.is_empty() {
                warn!(error = %trouble, "who may call cannot be read; those of before may still call");
            }
            former_trouble = trouble;
        }
    }

    /// Whether a request has valid credentials.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(given) = given(headers) else { return false };
        // Compare all logins, so that the time does not depend on which one matches.
        let known = self.known.load();
        known.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&given)).into()
    }

    /// The `WWW-Authenticate` challenges for an unauthenticated request.
    pub(super) fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        let basic = self.configured.iter().any(|login| matches!(login, Login::Basic { .. }));
        let bearer = self.configured.iter().any(|login| matches!(login, Login::Bearer { .. }));
        let basic = basic.then_some(HeaderValue::from_static("Basic realm=\"bindery\""));
        let bearer = bearer.then_some(HeaderValue::from_static("Bearer realm=\"bindery\""));
        basic.into_iter().chain(bearer)
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

async fn fingerprints(logins: &[Login]) -> Result<HashSet<Fingerprint>, ConfigError> {
    let mut known = HashSet::new();
    for login in logins {
        let secret = login.source().read().await?;
        let secret = secret.expose_secret();
        match login {
            Login::Basic { username, .. } => {
                if username.is_empty() || secret.is_empty() {
                    let problem = format!("is empty for the user {username:?}; set both");
                    return Err(ConfigError::invalid(named(login, "user or passwordFile"), problem));
                }
                known.insert(fingerprint("basic", format!("{username}:{secret}").as_bytes()));
            }
            Login::Bearer { .. } => {
                let tokens = tokens(secret)
                    .map_err(|problem| ConfigError::invalid(named(login, "tokenFile"), problem))?;
                known.extend(tokens.iter().map(|token| fingerprint("bearer", token.as_bytes())));
            }
        }
    }
    Ok(known)
}

/// The field, with the file if there is one.
fn named(login: &Login, field: &str) -> String {
    match login.source() {
        PasswordSource::File(path) => format!("auth: {field} {}", path.display()),
        PasswordSource::Given(_) => format!("auth: {field}"),
    }
}

/// Parses one token per line.
fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    for (line, token) in text.lines().map(str::trim).enumerate().filter(|(_, token)| !token.is_empty()) {
        // The characters of RFC 6750 ("b64token"), which are all that the header can carry.
        if !token.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/=".contains(c)) {
            return Err(format!(
                "has in line {} a character that no token can have; use letters, digits and -._~+/=",
                line + 1
            ));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err("is empty; write one token to a line (`openssl rand -hex 24`)".to_owned());
    }
    Ok(tokens)
}

/// The credentials of a request. Rejects several `Authorization` headers, because a proxy may have read another one.
fn given(headers: &HeaderMap) -> Option<Fingerprint> {
    let mut headers = headers.get_all(AUTHORIZATION).iter();
    let (header, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        Some(fingerprint("basic", &BASE64_STANDARD.decode(credentials).ok()?))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(fingerprint("bearer", credentials.as_bytes()))
    } else {
        None
    }
}

/// Distinguishes a token from a password with the same text.
fn fingerprint(scheme: &str, credentials: &[u8]) -> Fingerprint {
    Sha256::new().chain_update(scheme).chain_update([0]).chain_update(credentials).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn user(username: &str, password: &str) -> Login {
        Login::Basic { username: username.to_owned(), password: PasswordSource::Given(password.into()) }
    }

    fn bearer(tokens: &str) -> Login {
        Login::Bearer { tokens: PasswordSource::Given(tokens.into()) }
    }

    fn headers(header: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())])
    }

    fn basic(pair: &str) -> HeaderMap {
        headers(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
    }

    async fn all() -> Logins {
        let logins =
            [user("user", "pass"), user("user", "new"), user("other", "p:w"), bearer("t0ken\n\n  0ther=\n")];
        Logins::read(&logins).await.unwrap()
    }

    async fn refused(login: Login) -> String {
        Logins::read(&[login]).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn any_of_the_logins_is_admitted() {
        let logins = all().await;
        for pair in ["user:pass", "user:new", "other:p:w"] {
            assert!(logins.admit(&basic(pair)), "{pair}");
            assert!(logins.admit(&headers(&format!("basic {}", BASE64_STANDARD.encode(pair)))), "{pair}");
        }
        for token in ["t0ken", "0ther="] {
            assert!(logins.admit(&headers(&format!("Bearer {token}"))), "{token}");
            assert!(logins.admit(&headers(&format!("bearer  {token}"))), "{token}");
        }
    }

    #[tokio::test]
    async fn nobody_else_is() {
        let logins = all().await;
        for pair in ["user:", "user:other", "user:pass ", ":pass", "", "user:p:w", "user:pas", "USER:pass"] {
            assert!(!logins.admit(&basic(pair)), "{pair}");
        }
        for header in [
            "Bearer dXNlcjpwYXNz",
            "Bearer user:pass",
            "Bearer",
            "Bearer ",
            "Bearer t0ke",
            "Bearer t0ken 0ther=",
            "Basic",
            "Basic !",
            "dXNlcjpwYXNz",
            "t0ken",
            "Basic t0ken",
            "Digest t0ken",
        ] {
            assert!(!logins.admit(&headers(header)), "{header}");
        }
        assert!(!logins.admit(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn two_logins_in_one_request_are_none() {
        let mut headers = basic("user:pass");
        headers.append(AUTHORIZATION, "Bearer t0ken".parse().unwrap());
        assert!(!all().await.admit(&headers));
    }

    #[tokio::test]
    async fn the_challenge_names_what_is_configured() {
        let of = async |logins: &[Login]| {
            Logins::read(logins)
                .await
                .unwrap()
                .challenges()
                .map(|challenge| challenge.to_str().unwrap().split(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&[user("u", "p")]).await, ["Basic"]);
        assert_eq!(of(&[bearer("t"), bearer("u")]).await, ["Bearer"]);
        assert_eq!(of(&[bearer("t"), user("u", "p")]).await, ["Basic", "Bearer"]);
    }

    #[tokio::test]
    async fn what_is_empty_or_cannot_be_read_is_named() {
        let message = refused(user("user", "")).await;
        assert!(message.contains("auth") && message.contains("\"user\""), "{message}");
        let message = refused(bearer("\n  \n")).await;
        assert!(message.contains("tokenFile is empty") && message.contains("openssl"), "{message}");
        let message = refused(bearer("good\ns3cret token")).await;
        assert!(message.contains("line 2") && !message.contains("s3cret"), "{message}");
        let message = refused(Login::Bearer { tokens: PasswordSource::File("/nowhere/tokens".into()) }).await;
        assert!(message.contains("/nowhere/tokens"), "{message}");
    }

    #[tokio::test]
    async fn debug_shows_nothing() {
        let logins = all().await;
        let shown = format!("{logins:?} {:?}", logins.configured);
        for secret in ["pass\"", "new", "p:w", "t0ken"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }

    fn in_files(folder: &Path) -> [Login; 2] {
        std::fs::write(folder.join("password"), "old\n").unwrap();
        std::fs::write(folder.join("tokens"), "old\n").unwrap();
        let file = |name| PasswordSource::File(folder.join(name));
        [
            Login::Basic { username: "u".to_owned(), password: file("password") },
            Login::Bearer { tokens: file("tokens") },
        ]
    }

    #[tokio::test]
    async fn a_changed_file_applies_after_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Logins::read(&in_files(folder.path())).await.unwrap();
        assert!(!logins.reload().await.unwrap());
        std::fs::write(folder.path().join("tokens"), "old\nnew\n").unwrap();
        assert!(logins.reload().await.unwrap());
        assert!(logins.admit(&headers("Bearer old")) && logins.admit(&headers("Bearer new")));
        std::fs::write(folder.path().join("tokens"), "new\n").unwrap();
        std::fs::write(folder.path().join("password"), "new\n").unwrap();
        assert!(logins.reload().await.unwrap());
        assert!(!logins.admit(&headers("Bearer old")) && !logins.admit(&basic("u:old")));
        assert!(logins.admit(&headers("Bearer new")) && logins.admit(&basic("u:new")));
    }

    #[tokio::test]
    async fn after_an_error_the_former_logins_stay_valid() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Logins::read(&in_files(folder.path())).await.unwrap();
        std::fs::write(folder.path().join("password"), "new").unwrap();
        for trouble in ["", "\n\n", "no token"] {
            std::fs::write(folder.path().join("tokens"), trouble).unwrap();
            assert!(logins.reload().await.is_err(), "{trouble:?}");
        }
        std::fs::remove_file(folder.path().join("tokens")).unwrap();
        assert!(logins.reload().await.is_err());
        assert!(logins.admit(&headers("Bearer old")) && logins.admit(&basic("u:old")));
        assert!(!logins.admit(&basic("u:new")), "half of a change");
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_until_the_stop() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Arc::new(Logins::read(&in_files(folder.path())).await.unwrap());
        let stop = CancellationToken::new();
        let (watched, stopped) = (logins.clone(), stop.clone());
        let watching = tokio::spawn(async move { watched.watch(stopped).await });
        std::fs::remove_file(folder.path().join("tokens")).unwrap();
        tokio::time::sleep(CHECK_EVERY * 2).await;
        assert!(logins.admit(&headers("Bearer old")), "those of before");
        std::fs::write(folder.path().join("tokens"), "new").unwrap();
        let changed = async {
            while !logins.admit(&headers("Bearer new")) {
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        tokio::time::timeout(CHECK_EVERY * 10, changed).await.unwrap();
        stop.cancel();
        watching.await.unwrap();
    }
}
