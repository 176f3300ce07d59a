//! The JSON Schemas of a plan's parameters (spec.md, "Schemas Object"): compiled when the configuration is read and
//! applied to each request. Only draft-04 is accepted: it is the one draft that every platform must support, and Cloud
//! Foundry rejects a whole catalog for a schema of another draft. Pure: nothing is fetched from the network or from
//! files. Messages about a violation name the place and the rule and never repeat a text from the request, which may
//! be a secret.

mod draft04;

use std::fmt;

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

use crate::osb::{Object, Plan};

/// spec.md: schemas "MUST NOT be larger than 64kB".
const LARGEST: usize = 64 * 1024;

/// The maximum number of violations in a message: a user fixes a few mistakes at a time.
const VIOLATIONS_LISTED: usize = 5;

/// The length at which names that users chose, and rules, are cut.
const LONGEST_TEXT: usize = 200;

/// The maximum size of a pattern's automaton, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// The `$schema` of every published schema.
pub(crate) const DIALECT: &str = "http://json-schema.org/draft-04/schema#";

/// The schemas for the parameters of a plan's instances and bindings. Without a schema, any parameters are valid.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    create: Option<Validator>,
    update: Option<Validator>,
    bind: Option<Validator>,
}

/// Why a schema is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {problem}")]
pub struct SchemaError {
    /// The schema's path in the plan.
    pub path: String,
    /// The problem and the remedy.
    pub problem: String,
}

/// The violations of a schema: the place and the rule of each, for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Violations(Vec<String>);

impl Schemas {
    /// Compiles the schemas of a plan.
    ///
    /// # Errors
    /// When the Schemas Object has an unspecified member, or a schema is not a JSON Schema, is too large, or refers to
    /// another document.
    pub fn of(plan: &Plan) -> Result<Self, SchemaError> {
        plan.schemas.as_ref().map_or_else(|| Ok(Self::default()), Self::parse)
    }

    /// Compiles a Schemas Object.
    ///
    /// # Errors
    /// As [`Schemas::of`].
    pub fn parse(schemas: &Value) -> Result<Self, SchemaError> {
        let [instance, binding] = members(schemas, "schemas", ["service_instance", "service_binding"])?;
        let [create, update] = match instance {
            Some(instance) => members(instance, "schemas.service_instance", ["create", "update"])?,
            None => [None, None],
        };
        let [bind] = match binding {
            Some(binding) => members(binding, "schemas.service_binding", ["create"])?,
            None => [None],
        };
        Ok(Self {
            create: action(create, "schemas.service_instance.create")?,
            update: action(update, "schemas.service_instance.update")?,
            bind: action(bind, "schemas.service_binding.create")?,
        })
    }

    /// Checks the parameters of a new instance.
    ///
    /// # Errors
    /// When they violate the plan's schema.
    pub fn check_create(&self, parameters: &Object) -> Result<(), Violations> {
        check(self.create.as_ref(), parameters)
    }

    /// Checks the parameters of an update.
    ///
    /// # Errors
    /// When they violate the plan's schema.
    pub fn check_update(&self, parameters: &Object) -> Result<(), Violations> {
        check(self.update.as_ref(), parameters)
    }

    /// Checks the parameters of a new binding.
    ///
    /// # Errors
    /// When they violate the plan's schema.
    pub fn check_bind(&self, parameters: &Object) -> Result<(), Violations> {
        check(self.bind.as_ref(), parameters)
    }
}

/// The members of an object that may have only these members.
fn members<'a, const N: usize>(
    value: &'a Value,
    path: &str,
    names: [&str; N],
) -> Result<[Option<&'a Value>; N], SchemaError> {
    let expected = || format!("expected an object with {}", names.map(|name| format!("`{name}`")).join(", "));
    let Value::Object(object) = value else {
        return Err(SchemaError { path: path.to_owned(), problem: format!("is no object; {}", expected()) });
    };
    if let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) {
        let problem = format!("has no meaning; {}", expected());
        return Err(SchemaError { path: format!("{path}.{}", clipped(unknown)), problem });
    }
    Ok(names.map(|name| object.get(name)))
}

fn action(value: Option<&Value>, path: &str) -> Result<Option<Validator>, SchemaError> {
    let Some(value) = value else { return Ok(None) };
    let [parameters] = members(value, path, ["parameters"])?;
    parameters.map(|schema| compile(schema, &format!("{path}.parameters"))).transpose()
}

fn compile(schema: &Value, path: &str) -> Result<Validator, SchemaError> {
    let wrong = |problem: String| SchemaError { path: path.to_owned(), problem };
    let Value::Object(members) = schema else {
        return Err(wrong("is no object; expected a JSON Schema".to_owned()));
    };
    let size = schema.to_string().len();
    if size > LARGEST {
        return Err(wrong(format!("has {size} bytes; the specification allows {LARGEST}")));
    }
    let remedy =
        format!("write `$schema: {DIALECT}`, and the schema in draft-04, which platforms must understand");
    match members.get("$schema").and_then(Value::as_str) {
        None => return Err(wrong(format!("has no $schema; {remedy}"))),
        Some(DIALECT) => {}
        Some(dialect) => return Err(wrong(format!("has the $schema {:?}; {remedy}", clipped(dialect)))),
    }
    if members.get("type").and_then(Value::as_str) != Some("object") {
        let problem =
            "does not say that parameters are an object, which Cloud Foundry demands; write `type: object`";
        return Err(wrong(problem.to_owned()));
    }
    draft04::check(schema).map_err(wrong)?;
    jsonschema::options()
        .with_draft(Draft::Draft4)
        .offline()
        .should_validate_formats(true)
        // Matches every pattern in linear time: no look-around, no back references.
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE))
        .build(schema)
        .map_err(|error| {
            wrong(if let ValidationErrorKind::Referencing(error) = error.kind() {
                format!("has a reference that cannot be followed ({error}); refer to this schema only")
            } else {
                format!("is no JSON Schema of draft-04: {}", schema_error(&error))
            })
        })
}

/// The message for an invalid schema, with the remedy if a later draft would allow it.
fn schema_error(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let message = format!("at {place:?}: {}", clipped(&error.to_string()));
    let keyword = place.rsplit('/').next().unwrap_or_default();
    if matches!(keyword, "exclusiveMinimum" | "exclusiveMaximum") {
        let limit = if keyword.ends_with("Minimum") { "minimum" } else { "maximum" };
        return format!("{message}; write the number as `{limit}`, and `{keyword}: true` beside it");
    }
    match error.instance().as_ref() {
        Value::Bool(true) => format!("{message}; a schema that allows everything is {{}}"),
        Value::Bool(false) => format!("{message}; a schema that allows nothing is {{not: {{}}}}"),
        _ => message,
    }
}

fn check(validator: Option<&Validator>, parameters: &Object) -> Result<(), Violations> {
    let Some(validator) = validator else { return Ok(()) };
    let parameters = Value::Object(parameters.clone());
    let violations: Vec<_> =
        validator.iter_errors(&parameters).take(VIOLATIONS_LISTED).map(violation).collect();
    if violations.is_empty() { Ok(()) } else { Err(Violations(violations)) }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map asks for")]
fn violation(error: ValidationError<'_>) -> String {
    format!("parameters{}: {}", clipped(error.instance_path().as_str()), rule(&error))
}

/// A description of the violated rule. The crate's own messages quote the request.
fn rule(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    let given = Given(error.instance());
    match error.kind() {
        Kind::Type { kind } => format!("{given} is not of type {}", types(kind)),
        Kind::Required { property } => format!("{} is required", clipped(&property.to_string())),
        Kind::AdditionalProperties { unexpected } => {
            let names: Vec<_> = unexpected.iter().map(|name| format!("{name:?}")).collect();
            format!("{} is not allowed here", clipped(&names.join(", ")))
        }
        Kind::AdditionalItems { limit } => format!("has more than {limit} items"),
        Kind::Maximum { limit } => format!("{given} is greater than the maximum of {limit}"),
        Kind::Minimum { limit } => format!("{given} is less than the minimum of {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("{given} is not less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("{given} is not greater than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("{given} is not a multiple of {multiple_of}"),
        Kind::MaxLength { limit } => format!("is longer than {limit} characters"),
        Kind::MinLength { limit } => format!("is shorter than {limit} characters"),
        Kind::MaxItems { limit } => format!("has more than {limit} items"),
        Kind::MinItems { limit } => format!("has fewer than {limit} items"),
        Kind::MaxProperties { limit } => format!("has more than {limit} members"),
        Kind::MinProperties { limit } => format!("has fewer than {limit} members"),
        Kind::UniqueItems => "has the same item twice".to_owned(),
        Kind::Enum { options } => format!("{given} is not one of {}", clipped(&options.to_string())),
        Kind::Format { format } => format!("is not of the format {:?}", clipped(format)),
        Kind::Pattern { pattern } => format!("does not match the pattern {:?}", clipped(pattern)),
        // A violation of `additionalProperties: false` is reported at the object, without the member's name.
        Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
            "has a member, and none is allowed here".to_owned()
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "matches none of the allowed forms".to_owned(),
        Kind::OneOfMultipleValid { .. } => "matches several forms and may match only one".to_owned(),
        Kind::Not { .. } => "has a form that is not allowed".to_owned(),
        kind => format!("breaks the rule {:?}", clipped(kind.keyword())),
    }
}

/// A value of the request as messages may show it: texts and containers are only named, because they may be secret.
struct Given<'a>(&'a Value);

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(_) => f.write_str("the text"),
            Value::Array(_) => f.write_str("the list"),
            Value::Object(_) => f.write_str("the object"),
            value => value.fmt(f),
        }
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => {
            kinds.into_iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
