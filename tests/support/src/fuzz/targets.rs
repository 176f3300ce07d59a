//! The fuzz targets: what each does with an input, and the required result. An input is the body of one request, or a
//! whole request; the other requests are those of a platform. Everything is deleted afterwards, so that inputs are
//! independent.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Request, Uri, header::AUTHORIZATION},
};
use serde_json::{Value, json};

use super::trial::{Answer, LOGIN, Trial, on_trial};

const INSTANCE: &str = "/v2/service_instances/i";
const BINDING: &str = "/v2/service_instances/i/service_bindings/b";
const PREDECESSOR: &str = "/v2/service_instances/i/service_bindings/old";
/// The query of platforms that do not poll, and of those that do.
const PATIENCE: [&str; 2] = ["", "?accepts_incomplete=true"];

/// The input is the body of a request for an instance.
pub fn provision(body: &[u8]) {
    on_trial(async |trial| {
        for patience in PATIENCE {
            let path = format!("{INSTANCE}{patience}");
            let made = trial.ask("PUT", &path, body).await;
            if made.is_success() {
                assert_eq!(made.status, if trial.settles(&made, INSTANCE).await { 202 } else { 201 });
                assert_eq!(trial.ask("GET", INSTANCE, b"").await.status, 200);
                let again = trial.ask("PUT", &path, body).await;
                assert_eq!(again.status, 200, "the same again: {again:?}");
            } else {
                assert_eq!(trial.ask("GET", INSTANCE, b"").await.status, 404, "after {made:?}");
            }
            trial.remove_instance().await;
        }
    });
}

/// The input is the body of an update of an instance.
pub fn update(body: &[u8]) {
    on_trial(async |trial| {
        for patience in PATIENCE {
            trial.make_instance("p", &json!({"size": 1, "fixed": 1})).await;
            let before = trial.ask("GET", INSTANCE, b"").await;
            let path = format!("{INSTANCE}{patience}");
            let changed = trial.ask("PATCH", &path, body).await;
            if changed.is_success() {
                assert_eq!(changed.status, if trial.settles(&changed, INSTANCE).await { 202 } else { 200 });
                let again = trial.ask("PATCH", &path, body).await;
                assert_eq!(again.status, 200, "the same again: {again:?}");
            } else {
                let after = trial.ask("GET", INSTANCE, b"").await;
                assert_eq!(after, before, "a refused update changes nothing: {changed:?}");
            }
            trial.remove_instance().await;
        }
    });
}

/// The input is the body of a request for a binding, also one that replaces another binding.
pub fn bind(body: &[u8]) {
    on_trial(async |trial| {
        for (plan, patience) in [("p", PATIENCE[0]), ("lasting", PATIENCE[1]), ("shaped", PATIENCE[1])] {
            trial.make_instance(plan, &json!({})).await;
            let owner = json!({"service_id": "s", "plan_id": plan}).to_string();
            let old =
                trial.ask("PUT", &format!("{PREDECESSOR}?accepts_incomplete=true"), owner.as_bytes()).await;
            trial.settles(&old, PREDECESSOR).await;
            let path = format!("{BINDING}{patience}");
            let made = trial.ask("PUT", &path, body).await;
            let found = if made.is_success() {
                let is_polled = trial.settles(&made, BINDING).await;
                assert_eq!(made.status, if is_polled { 202 } else { 201 });
                let again = trial.ask("PUT", &path, body).await;
                assert_eq!(again.status, 200, "the same again: {again:?}");
                let found = trial.ask("GET", BINDING, b"").await;
                assert_eq!(found.body["credentials"], again.body["credentials"]);
                assert!(is_polled || made.body == again.body, "{made:?} is not {again:?}");
                assert_eq!(trial.fake.world().logins.len(), 2);
                200
            } else {
                assert_eq!(trial.fake.world().logins.len(), 1, "after {made:?}");
                404
            };
            assert_eq!(trial.ask("GET", BINDING, b"").await.status, found);
            trial.remove(BINDING, plan).await;
            assert_eq!(trial.ask("GET", BINDING, b"").await.status, 404);
            assert_eq!(trial.ask("GET", PREDECESSOR, b"").await.status, 200);
            trial.remove_instance().await;
        }
    });
}

/// The input is a whole HTTP/1 request. It is sent unchanged, and with the right password.
pub fn request(text: &[u8]) {
    let Some(with_any) = read(text) else { return };
    let Some(mut with_right) = read(text) else { return };
    with_right.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(LOGIN));
    // The scheme may have another spelling, and padding may be missing.
    let right = LOGIN.trim_start_matches("Basic ").trim_end_matches('=').as_bytes();
    let given = with_any.headers().get_all(AUTHORIZATION);
    let has_right = given.iter().any(|given| given.as_bytes().windows(right.len()).any(|part| part == right));
    on_trial(async |trial| {
        trial.make_instance("p", &json!({})).await;
        trial.ask("PUT", BINDING, br#"{"service_id": "s", "plan_id": "p"}"#).await;
        let answer = trial.send(with_any, text).await;
        assert!(has_right || answer.status == 401, "{answer:?} without the right password");
        let answer = trial.send(with_right, text).await;
        assert_ne!(answer.status, 401, "{answer:?} with the right password");
        // The request may have created other instances; these end with the broker.
        trial.settled(INSTANCE).await;
        trial.settled(BINDING).await;
        trial.clear().await;
    });
}

/// Parses a request: a line with method and path, headers, an empty line, the body.
fn read(text: &[u8]) -> Option<Request<Body>> {
    let mut rest = text;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    };
    let (method, path) = parted(line(), b' ')?;
    let mut request = Request::builder().method(method).uri(Uri::try_from(path).ok()?);
    loop {
        let header = line();
        if header.is_empty() {
            return request.body(Body::from(rest.to_owned())).ok();
        }
        let (name, value) = parted(header, b':')?;
        let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        request = request.header(HeaderName::from_bytes(name).ok()?, value);
    }
}

fn parted(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == at)?;
    Some((&text[..at], &text[at + 1..]))
}

impl Trial {
    async fn make_instance(&self, plan: &str, parameters: &Value) {
        let body = json!({"service_id": "s", "plan_id": plan, "organization_guid": "o", "space_guid": "n",
            "parameters": parameters});
        let path = format!("{INSTANCE}?accepts_incomplete=true");
        let made = self.ask("PUT", &path, body.to_string().as_bytes()).await;
        self.settles(&made, INSTANCE).await;
        assert!(made.is_success(), "{made:?}");
    }

    /// Waits for the running operation, which must succeed. Returns whether there was one.
    async fn settles(&self, answer: &Answer, path: &str) -> bool {
        let goes_on = answer.status == 202;
        if goes_on {
            let operation = answer.body.get("operation").and_then(Value::as_str);
            assert!(operation.is_some_and(|operation| operation.len() <= 10_000), "{answer:?}");
            assert_eq!(self.settled(path).await, Some(json!("succeeded")));
        }
        goes_on
    }

    /// Deletes like a platform that does not know what exists.
    async fn remove(&self, path: &str, plan: &str) {
        let path_and_owner = format!("{path}?service_id=s&plan_id={plan}&accepts_incomplete=true");
        let removed = self.ask("DELETE", &path_and_owner, b"").await;
        assert!([200, 202, 410].contains(&removed.status), "{removed:?}");
        if removed.status == 202 {
            self.settled(path).await;
        }
        let again = self.ask("DELETE", &path_and_owner, b"").await;
        assert_eq!(again.status, 410, "{again:?}");
    }

    /// Deletes the instance, and checks that nothing is left.
    async fn remove_instance(&self) {
        self.clear().await;
        assert!(self.fake.world().is_empty(), "something is left");
    }

    /// Deletes the instance and its bindings, whatever its plan.
    async fn clear(&self) {
        let found = self.ask("GET", INSTANCE, b"").await;
        let plan = found.body.get("plan_id").and_then(Value::as_str).unwrap_or("p");
        self.remove(BINDING, plan).await;
        self.remove(PREDECESSOR, plan).await;
        self.remove(INSTANCE, plan).await;
    }
}
