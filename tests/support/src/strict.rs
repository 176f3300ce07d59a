//! Answers of a broker, examined as strictly as by the strictest platforms: only fields that the request's version knows, no
//! `null`, every field of its type, and no misplaced field. Every suite with a broker has its answers examined.

use axum::http::HeaderMap;
use serde_json::{Map, Value};

/// What the broker answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `null` when there is none.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn must(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Must be 422 with this code.
    #[track_caller]
    pub fn must_be(self, code: &str) {
        assert_eq!((self.status, self.body["error"].as_str()), (422, Some(code)), "{}", self.body);
    }

    /// Must be refused with this status, and a text that holds this.
    #[track_caller]
    pub fn must_say(self, status: u16, text: &str) {
        let body = self.must(status);
        assert!(body["description"].as_str().unwrap().contains(text), "{text} is not in {body}");
    }

    /// The operation of an answer that must be 202.
    #[track_caller]
    pub fn operation(self) -> String {
        self.must(202)["operation"].as_str().expect("an operation").to_owned()
    }

    /// Must have nothing wrong as an answer to this request.
    #[track_caller]
    pub fn must_be_strict(&self, method: &str, path: &str, version: Option<&str>) {
        let deviations = examine(method, path, version, self);
        assert!(deviations.is_empty(), "{method} {path} in {version:?}: {deviations:#?}\n{self:#?}");
    }
}

/// What a field must hold.
#[derive(Clone, Copy)]
enum Kind {
    /// A text that is not empty.
    Text,
    /// One that may be.
    AnyText,
    Flag,
    Number,
    /// An object that is the service's own matter, or the user's.
    Free,
    Texts,
    Objects(Fields),
    Object(Fields),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// `yyyy-mm-ddThh:mm:ss.sZ`.
    Time,
    /// Texts by texts.
    Pairs,
    /// One CamelCase word.
    Word,
}

/// Name, kind, the minor version that brought it, and whether it must be there.
type Fields = &'static [(&'static str, Kind, u16, bool)];

use Kind::{AnyText, Flag, Free, Number, Object, Objects, OneOf, Pairs, Text, Texts, Time, Word};

const REQUIRED: bool = true;
const OPTIONAL: bool = false;

const CATALOG: Fields = &[("services", Objects(SERVICE), 0, REQUIRED)];
const SERVICE: Fields = &[
    ("name", Text, 0, REQUIRED),
    ("id", Text, 0, REQUIRED),
    ("description", Text, 0, REQUIRED),
    ("tags", Texts, 0, OPTIONAL),
    ("requires", Texts, 0, OPTIONAL),
    ("bindable", Flag, 0, REQUIRED),
    ("instances_retrievable", Flag, 14, OPTIONAL),
    ("bindings_retrievable", Flag, 14, OPTIONAL),
    ("allow_context_updates", Flag, 15, OPTIONAL),
    ("metadata", Free, 0, OPTIONAL),
    ("dashboard_client", Free, 0, OPTIONAL),
    ("plan_updateable", Flag, 0, OPTIONAL),
    ("plans", Objects(PLAN), 0, REQUIRED),
];
const PLAN: Fields = &[
    ("id", Text, 0, REQUIRED),
    ("name", Text, 0, REQUIRED),
    ("description", Text, 0, REQUIRED),
    ("metadata", Free, 0, OPTIONAL),
    ("free", Flag, 0, OPTIONAL),
    ("bindable", Flag, 0, OPTIONAL),
    ("binding_rotatable", Flag, 17, OPTIONAL),
    ("plan_updateable", Flag, 15, OPTIONAL),
    ("schemas", Object(SCHEMAS), 13, OPTIONAL),
    ("maximum_polling_duration", Number, 15, OPTIONAL),
    ("maintenance_info", Object(MAINTENANCE_INFO), 15, OPTIONAL),
];
const SCHEMAS: Fields = &[
    ("service_instance", Object(INSTANCE_SCHEMAS), 13, OPTIONAL),
    ("service_binding", Object(BINDING_SCHEMAS), 13, OPTIONAL),
];
const INSTANCE_SCHEMAS: Fields =
    &[("create", Object(PARAMETERS), 13, OPTIONAL), ("update", Object(PARAMETERS), 13, OPTIONAL)];
const BINDING_SCHEMAS: Fields = &[("create", Object(PARAMETERS), 13, OPTIONAL)];
const PARAMETERS: Fields = &[("parameters", Free, 13, OPTIONAL)];
const MAINTENANCE_INFO: Fields = &[("version", Text, 15, REQUIRED), ("description", Text, 15, OPTIONAL)];
const METADATA: Fields = &[("labels", Pairs, 16, OPTIONAL), ("attributes", Pairs, 17, OPTIONAL)];

const PROVISIONED: Fields =
    &[("dashboard_url", Text, 0, OPTIONAL), ("metadata", Object(METADATA), 16, OPTIONAL)];
const ACCEPTED: Fields = &[
    ("dashboard_url", Text, 0, OPTIONAL),
    ("operation", Text, 0, OPTIONAL),
    ("metadata", Object(METADATA), 16, OPTIONAL),
];
const FETCHED_INSTANCE: Fields = &[
    ("service_id", Text, 0, OPTIONAL),
    ("plan_id", Text, 0, OPTIONAL),
    ("dashboard_url", Text, 0, OPTIONAL),
    ("parameters", Free, 0, OPTIONAL),
    ("maintenance_info", Object(MAINTENANCE_INFO), 15, OPTIONAL),
    ("metadata", Object(METADATA), 17, OPTIONAL),
];
const OPERATION: Fields = &[("operation", Text, 0, OPTIONAL)];
const NOTHING: Fields = &[];
const INSTANCE_OPERATION: Fields = &[
    ("state", OneOf(&["in progress", "succeeded", "failed"]), 0, REQUIRED),
    ("description", AnyText, 0, OPTIONAL),
    ("instance_usable", Flag, 16, OPTIONAL),
    ("update_repeatable", Flag, 16, OPTIONAL),
];
const BINDING_OPERATION: Fields = &[
    ("state", OneOf(&["in progress", "succeeded", "failed"]), 0, REQUIRED),
    ("description", AnyText, 0, OPTIONAL),
];
const BOUND: Fields = &[
    ("metadata", Object(BINDING_METADATA), 16, OPTIONAL),
    ("credentials", Free, 0, OPTIONAL),
    ("syslog_drain_url", Text, 0, OPTIONAL),
    ("route_service_url", Text, 0, OPTIONAL),
    ("volume_mounts", Objects(VOLUME_MOUNT), 0, OPTIONAL),
    ("endpoints", Objects(ENDPOINT), 15, OPTIONAL),
];
const FETCHED_BINDING: Fields = &[
    ("metadata", Object(BINDING_METADATA), 16, OPTIONAL),
    ("credentials", Free, 0, OPTIONAL),
    ("syslog_drain_url", Text, 0, OPTIONAL),
    ("route_service_url", Text, 0, OPTIONAL),
    ("volume_mounts", Objects(VOLUME_MOUNT), 0, OPTIONAL),
    ("endpoints", Objects(ENDPOINT), 15, OPTIONAL),
    ("parameters", Free, 0, OPTIONAL),
];
const BINDING_METADATA: Fields = &[("expires_at", Time, 16, OPTIONAL), ("renew_before", Time, 17, OPTIONAL)];
const ENDPOINT: Fields = &[
    ("host", Text, 15, REQUIRED),
    ("ports", Texts, 15, REQUIRED),
    ("protocol", OneOf(&["tcp", "udp", "all"]), 15, OPTIONAL),
];
const VOLUME_MOUNT: Fields = &[
    ("driver", Text, 0, REQUIRED),
    ("container_dir", Text, 0, REQUIRED),
    ("mode", OneOf(&["r", "rw"]), 0, REQUIRED),
    ("device_type", OneOf(&["shared"]), 0, REQUIRED),
    ("device", Object(DEVICE), 0, REQUIRED),
];
const DEVICE: Fields = &[("volume_id", Text, 0, REQUIRED), ("mount_config", Free, 0, OPTIONAL)];
const ERROR: Fields = &[("error", Word, 0, OPTIONAL), ("description", Text, 0, OPTIONAL)];
const DELETE_ERROR: Fields = &[
    ("error", Word, 0, OPTIONAL),
    ("description", Text, 0, OPTIONAL),
    ("instance_usable", Flag, 16, OPTIONAL),
];
const UPDATE_ERROR: Fields = &[
    ("error", Word, 0, OPTIONAL),
    ("description", Text, 0, OPTIONAL),
    ("instance_usable", Flag, 16, OPTIONAL),
    ("update_repeatable", Flag, 16, OPTIONAL),
];

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Catalog,
    Provision,
    FetchInstance,
    Update,
    Deprovision,
    InstanceOperation,
    Bind,
    FetchBinding,
    Unbind,
    BindingOperation,
    Unknown,
}

impl Verb {
    fn of(method: &str, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method, parts.as_slice()) {
            ("GET", ["v2", "catalog"]) => Self::Catalog,
            ("PUT", ["v2", "service_instances", _]) => Self::Provision,
            ("GET", ["v2", "service_instances", _]) => Self::FetchInstance,
            ("PATCH", ["v2", "service_instances", _]) => Self::Update,
            ("DELETE", ["v2", "service_instances", _]) => Self::Deprovision,
            ("GET", ["v2", "service_instances", _, "last_operation"]) => Self::InstanceOperation,
            ("PUT", ["v2", "service_instances", _, "service_bindings", _]) => Self::Bind,
            ("GET", ["v2", "service_instances", _, "service_bindings", _]) => Self::FetchBinding,
            ("DELETE", ["v2", "service_instances", _, "service_bindings", _]) => Self::Unbind,
            ("GET", ["v2", "service_instances", _, "service_bindings", _, "last_operation"]) => {
                Self::BindingOperation
            }
            _ => Self::Unknown,
        }
    }

    /// What an answer with this status may hold; none where the specification has no such answer.
    fn fields(self, status: u16) -> Option<Fields> {
        Some(match (self, status) {
            (Self::Catalog, 200) => CATALOG,
            (Self::Provision, 200 | 201) | (Self::Update, 200) => PROVISIONED,
            (Self::Provision | Self::Update, 202) => ACCEPTED,
            (Self::FetchInstance, 200) => FETCHED_INSTANCE,
            (Self::Deprovision | Self::Unbind, 200) => NOTHING,
            (Self::Deprovision | Self::Unbind | Self::Bind, 202) => OPERATION,
            (Self::InstanceOperation, 200) => INSTANCE_OPERATION,
            (Self::BindingOperation, 200) => BINDING_OPERATION,
            (Self::Bind, 200 | 201) => BOUND,
            (Self::FetchBinding, 200) => FETCHED_BINDING,
            (_, status) if self.may_fail_with(status) => self.error(),
            _ => return None,
        })
    }

    fn may_fail_with(self, status: u16) -> bool {
        let is_change =
            matches!(self, Self::Provision | Self::Update | Self::Deprovision | Self::Bind | Self::Unbind);
        match status {
            400 | 401 | 404 | 405 | 412 | 413 | 500 => true,
            409 => matches!(self, Self::Provision | Self::Bind),
            410 => matches!(
                self,
                Self::Deprovision | Self::Unbind | Self::InstanceOperation | Self::BindingOperation
            ),
            422 => is_change || self == Self::FetchInstance,
            _ => false,
        }
    }

    fn error(self) -> Fields {
        match self {
            Self::Update => UPDATE_ERROR,
            Self::Deprovision => DELETE_ERROR,
            _ => ERROR,
        }
    }
}

/// What is wrong with an answer.
fn examine(method: &str, path: &str, version: Option<&str>, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let verb = Verb::of(method, path);
    if verb == Verb::Catalog && answer.status == 304 {
        return wrong;
    }
    let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
    if content_type != Some("application/json") {
        wrong.push(format!("Content-Type is {content_type:?}"));
    }
    // A request without a version gets only what every version knows.
    let minor = version.and_then(|version| version.split_once('.')?.1.parse().ok()).unwrap_or(0);
    match verb.fields(answer.status) {
        Some(fields) => object("the body", &answer.body, fields, minor, &mut wrong),
        None => wrong.push(format!("status {} is none of this route's", answer.status)),
    }
    operation(answer, &mut wrong);
    lifetime(&answer.body["metadata"], &mut wrong);
    if answer.headers.contains_key("retry-after") && (minor < 15 || answer.body["state"] != "in progress") {
        wrong.push("Retry-After without need".to_owned());
    }
    wrong
}

/// At most 10,000 characters; flags with a failure only.
fn operation(answer: &Answer, wrong: &mut Vec<String>) {
    let length = answer.body["operation"].as_str().map_or(0, |text| text.chars().count());
    if length > 10_000 {
        wrong.push(format!("operation has {length} characters"));
    }
    let is_polled = answer.body.get("state").is_some_and(|state| state != "failed");
    for flag in ["instance_usable", "update_repeatable"] {
        if is_polled && answer.body.get(flag).is_some() {
            wrong.push(format!("{flag} without a failure"));
        }
    }
}

fn lifetime(metadata: &Value, wrong: &mut Vec<String>) {
    // The pattern sorts like the times.
    if let (Some(end), Some(renewal)) = (metadata["expires_at"].as_str(), metadata["renew_before"].as_str())
        && renewal > end
    {
        wrong.push(format!("renew_before {renewal} is after expires_at {end}"));
    }
}

fn object(at: &str, value: &Value, fields: Fields, minor: u16, wrong: &mut Vec<String>) {
    let Value::Object(members) = value else { return wrong.push(format!("{at} is no object")) };
    for (name, value) in members {
        match fields.iter().find(|(field, ..)| field == name) {
            None => wrong.push(format!("{at} has no field {name}")),
            Some((_, _, since, _)) if *since > minor => {
                wrong.push(format!("{at}.{name} came with 2.{since} only"));
            }
            Some((_, kind, ..)) => holds(&format!("{at}.{name}"), value, *kind, minor, wrong),
        }
    }
    for (name, _, since, required) in fields {
        if *required && *since <= minor && !members.contains_key(*name) {
            wrong.push(format!("{at}.{name} is missing"));
        }
    }
}

fn holds(at: &str, value: &Value, kind: Kind, minor: u16, wrong: &mut Vec<String>) {
    let is_right = match kind {
        Text => value.as_str().is_some_and(|text| !text.is_empty()),
        AnyText => value.is_string(),
        Flag => value.is_boolean(),
        Number => value.is_u64(),
        Free => value.is_object(),
        Texts => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        Pairs => value.as_object().is_some_and(are_pairs),
        OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        Time => value.as_str().is_some_and(is_time),
        Word => value.as_str().is_some_and(is_word),
        Object(fields) => return object(at, value, fields, minor, wrong),
        Objects(fields) => match value.as_array() {
            Some(all) => {
                let all = all.iter().enumerate();
                return all
                    .for_each(|(index, one)| object(&format!("{at}[{index}]"), one, fields, minor, wrong));
            }
            None => false,
        },
    };
    if !is_right {
        wrong.push(format!("{at} cannot be {value}"));
    }
}

fn are_pairs(pairs: &Map<String, Value>) -> bool {
    pairs.values().all(Value::is_string)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dZ";
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| if p == 'd' { c.is_ascii_digit() } else { c == p })
}

#[cfg(test)]
mod tests;
