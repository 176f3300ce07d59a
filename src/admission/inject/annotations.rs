//! What a pod asks for: its five annotations, read into types. Whether the pod can have it is for `pod` to say.

use serde_json::{Map, Value};

use super::{
    error::{InjectError, Problem, shown},
    names::{LONGEST_NAME, is_object_name, is_secret_key, is_variable_name},
};
use crate::contract::{env_secret_name, pod};

/// The prefix by which `bindery.dev/bind` names a plain Secret.
const PLAIN_SECRET: &str = "secret/";

/// What the annotations of a pod ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask<'a> {
    /// In the order of the annotation: the first wins over later ones. At least one.
    pub(super) bound: Vec<Bound<'a>>,
    /// Whether all variables of each binding are wanted.
    pub(super) env: bool,
    /// Whether the files of each binding are wanted.
    pub(super) files: bool,
    /// The variables that are named one by one; wanted whatever [`Ask::env`] says.
    pub(super) variables: Vec<Variable<'a>>,
    /// The only containers to bind, if any are named.
    pub(super) containers: Option<Vec<&'a str>>,
    /// The folder of all bindings, without the slash at its end; empty for the root folder.
    pub(super) mount_root: &'a str,
}

/// Something to bind: a ServiceBinding, or a plain Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound<'a> {
    /// The name of the Secret, and of the binding if it is one.
    pub(super) secret: &'a str,
    is_binding: bool,
}

impl Bound<'_> {
    /// The Secret of its variables; bindings alone have one.
    pub(super) fn env_secret(&self) -> Option<String> {
        self.is_binding.then(|| env_secret_name(self.secret))
    }
}

/// A variable out of one key of a Secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) secret: &'a str,
    pub(super) key: &'a str,
}

impl<'a> Ask<'a> {
    /// Reads the annotations; `None` when the pod asks for nothing, or opts out by an empty `bindery.dev/bind`.
    pub(super) fn read(annotations: &'a Map<String, Value>) -> Result<Option<Self>, InjectError> {
        let Some(bind) = text(annotations, pod::BIND)?.filter(|bind| !bind.is_empty()) else {
            return Ok(None);
        };
        let bound = within(pod::BIND, read_bound(bind))?;
        let (env, files) = match text(annotations, pod::AS)? {
            Some(delivery) => within(pod::AS, read_delivery(delivery))?,
            None => (true, true),
        };
        let variables = match text(annotations, pod::ENV)? {
            Some(variables) => within(pod::ENV, read_variables(variables, &bound))?,
            None => Vec::new(),
        };
        let containers = match text(annotations, pod::CONTAINERS)? {
            Some(containers) => Some(within(pod::CONTAINERS, list(containers))?),
            None => None,
        };
        let mount_root = match text(annotations, pod::MOUNT_ROOT)? {
            Some(root) => within(pod::MOUNT_ROOT, read_mount_root(root))?,
            None => pod::DEFAULT_MOUNT_ROOT,
        };
        let ask = Self { bound, env, files, variables, containers, mount_root };
        within(pod::AS, ask.refuse_secrets_that_give_nothing())?;
        Ok(Some(ask))
    }

    fn refuse_secrets_that_give_nothing(&self) -> Result<(), Problem> {
        let gives_nothing = |bound: &&Bound<'_>| {
            !self.files
                && !bound.is_binding
                && !self.variables.iter().any(|variable| variable.secret == bound.secret)
        };
        match self.bound.iter().find(gives_nothing) {
            Some(bound) => Err(Problem::NothingOfSecret(bound.secret.to_owned())),
            None => Ok(()),
        }
    }
}

/// The trimmed value of an annotation. Kubernetes reads `null` as an empty string.
fn text<'a>(annotations: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, InjectError> {
    match annotations.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some("")),
        Some(Value::String(value)) => Ok(Some(value.trim())),
        Some(_) => Err(InjectError::annotation(name, Problem::Shape("a string; put the value in quotes"))),
    }
}

fn within<T>(annotation: &str, result: Result<T, Problem>) -> Result<T, InjectError> {
    result.map_err(|problem| InjectError::annotation(annotation, problem))
}

/// The entries of a comma-separated list, each there once.
fn list(value: &str) -> Result<Vec<&str>, Problem> {
    if value.is_empty() {
        return Err(Problem::Empty);
    }
    let mut entries = Vec::new();
    for entry in value.split(',').map(str::trim) {
        if entry.is_empty() {
            return Err(Problem::EmptyEntry(shown(value)));
        }
        if entries.contains(&entry) {
            return Err(Problem::Twice(shown(entry)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_bound(value: &str) -> Result<Vec<Bound<'_>>, Problem> {
    let mut all: Vec<Bound<'_>> = Vec::new();
    for entry in list(value)? {
        let bound = match entry.strip_prefix(PLAIN_SECRET) {
            Some(secret) if is_object_name(secret) => Bound { secret, is_binding: false },
            Some(_) => return Err(Problem::SecretName(shown(entry))),
            None if is_object_name(entry) && env_secret_name(entry).len() <= LONGEST_NAME => {
                Bound { secret: entry, is_binding: true }
            }
            None => return Err(Problem::BindingName(shown(entry))),
        };
        // A binding and the Secret of its name would be the same volume at the same path.
        if all.iter().any(|other| other.secret == bound.secret) {
            return Err(Problem::Twice(shown(bound.secret)));
        }
        all.push(bound);
    }
    Ok(all)
}

fn read_delivery(value: &str) -> Result<(bool, bool), Problem> {
    let (mut env, mut files) = (false, false);
    for way in list(value)? {
        match way {
            "env" => env = true,
            "files" => files = true,
            _ => return Err(Problem::Delivery(shown(way))),
        }
    }
    Ok((env, files))
}

/// Reads `NAME=BINDING/KEY`, separated by commas or new lines. Entries may be empty, because both separators in a row
/// are natural to write.
fn read_variables<'a>(value: &'a str, bound: &[Bound<'_>]) -> Result<Vec<Variable<'a>>, Problem> {
    let mut variables: Vec<Variable<'a>> = Vec::new();
    for entry in value.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
        let variable = read_variable(entry, bound)?;
        if variables.iter().any(|other| other.name == variable.name) {
            return Err(Problem::Twice(shown(variable.name)));
        }
        variables.push(variable);
    }
    Ok(variables)
}

fn read_variable<'a>(entry: &'a str, bound: &[Bound<'_>]) -> Result<Variable<'a>, Problem> {
    let form = || Problem::VariableForm(shown(entry));
    let (name, reference) = entry.split_once('=').ok_or_else(form)?;
    // No key contains a slash, but `secret/NAME` does.
    let (source, key) = reference.rsplit_once('/').ok_or_else(form)?;
    let (name, source, key) = (name.trim_end(), source.trim_start(), key.trim());
    if !is_variable_name(name) {
        return Err(Problem::VariableName(shown(name)));
    }
    if !is_secret_key(key) {
        return Err(Problem::SecretKey(shown(key)));
    }
    let secret = match source.strip_prefix(PLAIN_SECRET) {
        Some(secret) => {
            bound.iter().any(|bound| bound.secret == secret && !bound.is_binding).then_some(secret)
        }
        None => bound.iter().any(|bound| bound.secret == source).then_some(source),
    };
    match secret {
        Some(secret) => Ok(Variable { name, secret, key }),
        None => Err(Problem::NotBound { variable: name.to_owned(), source_name: shown(source) }),
    }
}

fn read_mount_root(value: &str) -> Result<&str, Problem> {
    if value == "/" {
        return Ok("");
    }
    let root = value.strip_suffix('/').unwrap_or(value);
    let is_odd = |folder: &str| matches!(folder, "" | "." | "..");
    let is_path = root.strip_prefix('/').is_some_and(|folders| !folders.split('/').any(is_odd));
    if is_path && !root.contains(|c: char| c == ':' || c.is_control()) {
        Ok(root)
    } else {
        Err(Problem::MountRoot(shown(value)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(annotations: &[(&str, &str)]) -> Result<Option<Vec<String>>, String> {
        let annotations = map(annotations);
        match Ask::read(&annotations) {
            Ok(ask) => Ok(ask.map(|ask| ask.bound.iter().map(|bound| bound.secret.to_owned()).collect())),
            Err(error) => Err(error.to_string()),
        }
    }

    fn map(annotations: &[(&str, &str)]) -> Map<String, Value> {
        annotations.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
    }

    #[test]
    fn a_pod_without_the_annotation_or_with_an_empty_one_asks_for_nothing() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(pod::AS, "rubbish")]), Ok(None));
        assert_eq!(read(&[(pod::BIND, " \n"), (pod::AS, "rubbish")]), Ok(None));
        let null = Map::from_iter([(pod::BIND.to_owned(), Value::Null)]);
        assert_eq!(Ask::read(&null), Ok(None));
    }

    #[test]
    fn one_binding_gets_the_defaults() {
        let annotations = map(&[(pod::BIND, "mydb01-binding")]);
        let ask = Ask::read(&annotations).unwrap().unwrap();
        assert_eq!(
            ask,
            Ask {
                bound: vec![Bound { secret: "mydb01-binding", is_binding: true }],
                env: true,
                files: true,
                variables: vec![],
                containers: None,
                mount_root: "/var/secrets",
            }
        );
        assert_eq!(ask.bound[0].env_secret().as_deref(), Some("mydb01-binding-env"));
    }

    #[test]
    fn everything_can_be_said_with_spaces_and_new_lines_around_it() {
        let annotations = map(&[
            (pod::BIND, " b , secret/s,secret\n"),
            (pod::AS, "files , env"),
            (pod::ENV, "A=b/k,\nB = secret/s/tls.key\n\nC=s/k,D=secret/k\n"),
            (pod::CONTAINERS, "app, migrate"),
            (pod::MOUNT_ROOT, "/etc/creds/"),
        ]);
        let ask = Ask::read(&annotations).unwrap().unwrap();
        assert_eq!(
            ask.bound.iter().map(Bound::env_secret).collect::<Vec<_>>(),
            [Some("b-env".to_owned()), None, Some("secret-env".to_owned())]
        );
        let variables: Vec<_> = ask.variables.iter().map(|v| (v.name, v.secret, v.key)).collect();
        assert_eq!(
            variables,
            [("A", "b", "k"), ("B", "s", "tls.key"), ("C", "s", "k"), ("D", "secret", "k")]
        );
        assert_eq!(ask.containers, Some(vec!["app", "migrate"]));
        assert_eq!((ask.env, ask.files, ask.mount_root), (true, true, "/etc/creds"));
    }

    #[rstest]
    #[case("env", true, false)]
    #[case("files", false, true)]
    #[case("env,files", true, true)]
    fn as_selects_the_ways_of_delivery(#[case] value: &str, #[case] env: bool, #[case] files: bool) {
        let annotations = map(&[(pod::BIND, "b"), (pod::AS, value)]);
        let ask = Ask::read(&annotations).unwrap().unwrap();
        assert_eq!((ask.env, ask.files), (env, files));
    }

    #[rstest]
    #[case("/", "")]
    #[case("/a", "/a")]
    #[case("/a/", "/a")]
    #[case("/a b/..c/d", "/a b/..c/d")]
    fn a_mount_root_loses_only_its_last_slash(#[case] value: &str, #[case] root: &str) {
        assert_eq!(read_mount_root(value), Ok(root));
    }

    #[rstest]
    #[case(pod::BIND, "a,,b", "`a,,b` has an empty entry; remove the stray comma")]
    #[case(pod::BIND, "a,", "`a,` has an empty entry")]
    #[case(pod::BIND, "a,b, a", "`a` is named twice; remove one of them")]
    #[case(pod::BIND, "a,secret/a", "`a` is named twice")]
    #[case(pod::BIND, "My_DB", "`My_DB` is not the name of a binding (lower-case letters")]
    #[case(pod::BIND, "other/db", "`other/db` is not the name of a binding")]
    #[case(pod::BIND, "secret/", "`secret/` does not name a Secret")]
    #[case(pod::BIND, "secret/../x", "`secret/../x` does not name a Secret")]
    #[case(pod::AS, "", "is empty; fill it in or leave it out")]
    #[case(pod::AS, "env,volume", "`volume` is unknown; write `env`, `files` or `env,files`")]
    #[case(pod::AS, "env,env", "`env` is named twice")]
    #[case(pod::ENV, "DB_HOST", "`DB_HOST` is not of the form NAME=BINDING/KEY")]
    #[case(pod::ENV, "DB_HOST=host", "`DB_HOST=host` is not of the form NAME=BINDING/KEY")]
    #[case(pod::ENV, "DB-HOST=b/host", "`DB-HOST` is not a variable's name; use letters")]
    #[case(pod::ENV, "=b/host", "`` is not a variable's name")]
    #[case(pod::ENV, "A=b/..", "`..` is not a key of a Secret")]
    #[case(pod::ENV, "A=b/", "`` is not a key of a Secret")]
    #[case(pod::ENV, "A=b/x,A=b/x", "`A` is named twice")]
    #[case(pod::ENV, "A=other/host", "`A` refers to `other`, which is not bound; add it to bindery.dev/bind")]
    #[case(pod::ENV, "A=secret/b/host", "`A` refers to `secret/b`, which is not bound")]
    #[case(pod::CONTAINERS, "", "is empty; fill it in")]
    #[case(pod::CONTAINERS, "app,app", "`app` is named twice")]
    #[case(pod::MOUNT_ROOT, "", "`` is not a folder to mount at; write an absolute path")]
    #[case(pod::MOUNT_ROOT, "var/secrets", "`var/secrets` is not a folder")]
    #[case(pod::MOUNT_ROOT, "/var/../etc", "`/var/../etc` is not a folder")]
    #[case(pod::MOUNT_ROOT, "/var//x", "`/var//x` is not a folder")]
    #[case(pod::MOUNT_ROOT, "//", "`//` is not a folder")]
    #[case(pod::MOUNT_ROOT, "/a:b", "`/a:b` is not a folder")]
    #[case(pod::MOUNT_ROOT, "/a\0b", "`/a\\0b` is not a folder")]
    #[case(pod::MOUNT_ROOT, "C:\\secrets", "`C:\\\\secrets` is not a folder")]
    fn a_malformed_value_is_refused_with_its_field_the_token_and_a_remedy(
        #[case] annotation: &str,
        #[case] value: &str,
        #[case] expected: &str,
    ) {
        let mut annotations = map(&[(pod::BIND, "b")]);
        annotations.insert(annotation.to_owned(), Value::from(value));
        let error = Ask::read(&annotations).unwrap_err().to_string();
        let expected = format!("metadata.annotations[{annotation}]: {expected}");
        assert!(error.starts_with(&expected), "{error}\ninstead of\n{expected}");
        assert!(error.contains(';'), "no remedy in: {error}");
    }

    #[test]
    fn the_name_of_the_env_secret_must_fit_too() {
        let (fits, too_long) = ("b".repeat(249), "b".repeat(250));
        assert_eq!(read(&[(pod::BIND, &fits)]), Ok(Some(vec![fits.clone()])));
        let error = read(&[(pod::BIND, &too_long)]).unwrap_err();
        assert!(error.contains("at most 249"), "{error}");
        let secret = format!("secret/{}", "s".repeat(253));
        assert!(read(&[(pod::BIND, &secret)]).is_ok());
    }

    #[test]
    fn a_plain_secret_as_env_needs_variables_of_its_own() {
        let env = [(pod::BIND, "secret/s,b"), (pod::AS, "env")];
        assert_eq!(
            read(&env).unwrap_err(),
            "metadata.annotations[bindery.dev/as]: `env` alone gives the pod nothing of `secret/s`, because no variables \
             are known for a plain Secret; add `files`, or name the variables in bindery.dev/env: NAME=secret/s/KEY"
        );
        assert!(read(&[env[0], env[1], (pod::ENV, "A=b/k")]).is_err());
        assert!(read(&[env[0], env[1], (pod::ENV, "A=secret/s/k")]).is_ok());
        assert!(read(&[env[0], (pod::AS, "env,files")]).is_ok());
    }

    #[test]
    fn a_value_that_is_not_a_string_is_refused() {
        let annotations = Map::from_iter([(pod::BIND.to_owned(), Value::from(5))]);
        assert_eq!(
            Ask::read(&annotations).unwrap_err().to_string(),
            "metadata.annotations[bindery.dev/bind]: must be a string; put the value in quotes"
        );
    }
}
