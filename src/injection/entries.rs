//! Parses the entries of annotations. Entries of `bindery.dev/bind` name the objects to which a pod is bound; entries
//! of `bindery.dev/env` and `bindery.dev/files` map single keys, in the form `NAME=BINDING/KEY`. A star on both sides
//! stands for every key.

use std::fmt;

use super::{
    error::{MOST_ENTRIES, Problem, shown},
    names::{LONGEST_NAME, is_file_path, is_object_name, is_secret_key, is_variable_name},
    source::{Object, Source},
};
use crate::contract::env_secret_name;

/// Stands for every key of a binding, and for the key's name in the variable's.
const EVERY: char = '*';

/// The highest file mode that Kubernetes accepts.
const HIGHEST_MODE: u32 = 0o777;

/// An object to which a pod is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The source of the binding.
    pub source: Source,
    /// The name of the ServiceBinding, the Secret or the ConfigMap.
    pub name: &'a str,
}

impl<'a> Bound<'a> {
    /// Parses an entry of `bindery.dev/bind`.
    pub(super) fn read(entry: &'a str) -> Result<Self, Problem> {
        let (source, name) = Source::split(entry);
        // The name of the Secret with the variables must not be too long either.
        let has_room = source != Source::ServiceBinding || env_secret_name(name).len() <= LONGEST_NAME;
        if is_object_name(name) && has_room {
            return Ok(Self { source, name });
        }
        Err(match source {
            Source::ServiceBinding => Problem::BindingName(shown(entry)),
            Source::Secret | Source::ConfigMap => {
                Problem::ObjectName { written: shown(entry), origin: source }
            }
        })
    }

    /// Finds the member of `bound` to which an annotation refers. A name without a prefix means the ServiceBinding of
    /// that name or, without one, the Secret or ConfigMap.
    pub(super) fn find(written: &str, bound: &[Self]) -> Result<Self, NotFound> {
        let (source, name) = Source::split(written);
        let mut found = bound.iter().filter(|bound| bound.name == name);
        if let Some(exact) = found.clone().find(|bound| bound.source == source) {
            return Ok(*exact);
        }
        match (source, found.next()) {
            (Source::ServiceBinding, Some(one)) if found.all(|other| other.source == one.source) => Ok(*one),
            (Source::ServiceBinding, Some(_)) => Err(NotFound::Ambiguous),
            _ => Err(NotFound::NotBound),
        }
    }

    /// The object that holds the keys.
    #[must_use]
    pub const fn object(&self) -> Object<'a> {
        Object { kind: self.source.holder(), name: self.name }
    }

    /// The Secret with the variables; only ServiceBindings have one.
    pub(super) fn env_secret(&self) -> Option<String> {
        (self.source == Source::ServiceBinding).then(|| env_secret_name(self.name))
    }
}

/// The form in annotations.
impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.source.prefix(), self.name)
    }
}

/// Why a name in an annotation does not refer to exactly one bound object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No object of that name is bound.
    NotBound,
    /// A Secret and a ConfigMap of that name are bound.
    Ambiguous,
}

/// A variable with the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// The variable's name.
    pub name: &'a str,
    /// The object that has the key.
    pub object: Object<'a>,
    /// The key.
    pub key: &'a str,
}

/// All keys of an object, as variables with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllKeys<'a> {
    /// The prefix, which may be empty.
    pub prefix: &'a str,
    /// The object that has the keys.
    pub object: Object<'a>,
}

/// A file with the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// The path relative to the folder of the object.
    pub path: &'a str,
    /// The object that has the key.
    pub object: Object<'a>,
    /// The key.
    pub key: &'a str,
    /// The file's permissions; `None` for Kubernetes' default.
    pub mode: Option<u32>,
}

/// Parses `NAME=BINDING/KEY` and `PREFIX*=BINDING/*`.
pub(super) fn read_variables<'a>(
    value: &'a str,
    bound: &[Bound<'a>],
) -> Result<(Vec<Variable<'a>>, Vec<AllKeys<'a>>), Problem> {
    let (mut variables, mut all_keys) = (Vec::<Variable<'a>>::new(), Vec::new());
    for entry in entries(value)? {
        let has_star = entry.split('=').next().is_some_and(|name| name.trim_end().ends_with(EVERY));
        let form = if has_star { Problem::AllKeysForm } else { Problem::VariableForm };
        let Reference { name, source, key } = Reference::read(entry).ok_or_else(|| form(shown(entry)))?;
        match (name.strip_suffix(EVERY), key == "*") {
            (Some(prefix), true) => {
                if !prefix.is_empty() && !is_variable_name(prefix) {
                    return Err(Problem::VariableName(shown(prefix)));
                }
                let wanted = AllKeys { prefix, object: object_of(name, source, bound)? };
                if all_keys.contains(&wanted) {
                    return Err(Problem::Twice(shown(entry)));
                }
                all_keys.push(wanted);
            }
            (None, false) => {
                if !is_variable_name(name) {
                    return Err(Problem::VariableName(shown(name)));
                }
                check_key(key)?;
                let object = object_of(name, source, bound)?;
                if variables.iter().any(|other| other.name == name) {
                    return Err(Problem::Twice(shown(name)));
                }
                variables.push(Variable { name, object, key });
            }
            _ => return Err(Problem::AllKeysForm(shown(entry))),
        }
    }
    Ok((variables, all_keys))
}

/// Parses `PATH=BINDING/KEY` and `PATH=BINDING/KEY:MODE`.
pub(super) fn read_files<'a>(value: &'a str, bound: &[Bound<'a>]) -> Result<Vec<File<'a>>, Problem> {
    let mut files: Vec<File<'a>> = Vec::new();
    for entry in entries(value)? {
        let form = || Problem::FileForm(shown(entry));
        let Reference { name: path, source, key } = Reference::read(entry).ok_or_else(form)?;
        if !is_file_path(path) {
            return Err(Problem::FilePath(shown(path)));
        }
        let (key, mode) = match key.split_once(':') {
            Some((key, mode)) => (key.trim_end(), Some(read_mode(mode.trim_start())?)),
            None => (key, None),
        };
        check_key(key)?;
        let file = File { path, object: object_of(path, source, bound)?, key, mode };
        for other in files.iter().filter(|other| other.object == file.object) {
            other.refuse_beside(&file)?;
        }
        files.push(file);
    }
    // An annotation without an entry could mean no file or all files, so it is an error.
    if files.is_empty() { Err(Problem::Empty) } else { Ok(files) }
}

impl File<'_> {
    /// Refuses two files of which one would be a folder of the other.
    fn refuse_beside(&self, other: &Self) -> Result<(), Problem> {
        let is_in =
            |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let (inner, outer) = match (self.path, other.path) {
            (one, two) if one == two => return Err(Problem::Twice(shown(one))),
            (one, two) if is_in(one, two) => (one, two),
            (one, two) if is_in(two, one) => (two, one),
            _ => return Ok(()),
        };
        Err(Problem::FileAsFolder { inner: shown(inner), outer: shown(outer) })
    }
}

/// An entry, split into its parts.
struct Reference<'a> {
    name: &'a str,
    source: &'a str,
    key: &'a str,
}

impl<'a> Reference<'a> {
    fn read(entry: &'a str) -> Option<Self> {
        let (name, reference) = entry.split_once('=')?;
        // No key contains a slash, but `secret/NAME` and `configmap/NAME` do.
        let (source, key) = reference.rsplit_once('/')?;
        Some(Self { name: name.trim_end(), source: source.trim_start(), key: key.trim() })
    }
}

/// The entries between commas and line breaks. A comma at the end of a line creates an empty entry, which is skipped.
fn entries(value: &str) -> Result<Vec<&str>, Problem> {
    let entries = value.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    let entries: Vec<&str> = entries.take(MOST_ENTRIES + 1).collect();
    if entries.len() > MOST_ENTRIES { Err(Problem::TooManyEntries) } else { Ok(entries) }
}

fn check_key(key: &str) -> Result<(), Problem> {
    if is_secret_key(key) { Ok(()) } else { Err(Problem::SecretKey(shown(key))) }
}

/// The object to which an entry refers, which must be bound.
fn object_of<'a>(name: &str, source: &str, bound: &[Bound<'a>]) -> Result<Object<'a>, Problem> {
    match Bound::find(source, bound) {
        Ok(bound) => Ok(bound.object()),
        Err(NotFound::Ambiguous) => Err(Problem::Ambiguous(shown(source))),
        Err(NotFound::NotBound) => Err(Problem::NotBound { name: shown(name), source_name: shown(source) }),
    }
}

fn read_mode(text: &str) -> Result<u32, Problem> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = if is_octal { u32::from_str_radix(text, 8).ok() } else { None };
    mode.filter(|mode| *mode <= HIGHEST_MODE).ok_or_else(|| Problem::Mode(shown(text)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BOUND: [Bound<'_>; 4] = [
        Bound { source: Source::ServiceBinding, name: "b" },
        Bound { source: Source::Secret, name: "s" },
        Bound { source: Source::ConfigMap, name: "c" },
        Bound { source: Source::ConfigMap, name: "s" },
    ];

    #[test]
    fn a_star_on_both_sides_stands_for_every_key() {
        let value = "DB_* = b/*, *=c/*\nDB_*=secret/s/*,HOST=b/host,DB_*=configmap/s/*,C_* = configmap/c/*";
        let (variables, all_keys) = read_variables(value, &BOUND).unwrap();
        assert_eq!(variables, [Variable { name: "HOST", object: BOUND[0].object(), key: "host" }]);
        let all_keys: Vec<_> = all_keys.iter().map(|all| (all.prefix, all.object.to_string())).collect();
        let all_keys: Vec<_> = all_keys.iter().map(|(prefix, name)| (*prefix, name.as_str())).collect();
        assert_eq!(
            all_keys,
            [("DB_", "b"), ("", "configmap/c"), ("DB_", "s"), ("DB_", "configmap/s"), ("C_", "configmap/c")]
        );
    }

    #[test]
    fn files_have_a_path_and_perhaps_a_mode() {
        let value = "tls.key=b/key:0400,\ncerts/ca.crt = secret/s/ca.crt\na=b/key : 640,c=b/key:0,..a/..b=configmap/s/x:777";
        let files = read_files(value, &BOUND);
        assert_eq!(files, Err(Problem::FilePath("..a/..b".to_owned())));
        let files = read_files(&value.replace("..a", "a.."), &BOUND).map(|files| {
            files
                .iter()
                .map(|file| format!("{} {} {} {:?}", file.path, file.object, file.key, file.mode))
                .collect()
        });
        let expected = [
            "tls.key b key Some(256)",
            "certs/ca.crt s ca.crt None",
            "a b key Some(416)",
            "c b key Some(0)",
            "a../..b configmap/s x Some(511)",
        ];
        assert_eq!(files, Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_same_path_in_two_folders_is_no_clash() {
        assert_eq!(read_files("a=b/x,a=secret/s/x,a=configmap/s/x,ab=b/x", &BOUND).unwrap().len(), 4);
    }

    #[rstest]
    #[case("", Problem::Empty)]
    #[case(" ,\n", Problem::Empty)]
    #[case("tls.key", Problem::FileForm("tls.key".to_owned()))]
    #[case("b/tls.key", Problem::FileForm("b/tls.key".to_owned()))]
    #[case("k=key", Problem::FileForm("k=key".to_owned()))]
    #[case("/k=b/key", Problem::FilePath("/k".to_owned()))]
    #[case("=b/key", Problem::FilePath(String::new()))]
    #[case("k=b/", Problem::SecretKey(String::new()))]
    #[case("k=b/*", Problem::SecretKey("*".to_owned()))]
    #[case("k=b/key:", Problem::Mode(String::new()))]
    #[case("k=b/key:0800", Problem::Mode("0800".to_owned()))]
    #[case("k=b/key:+400", Problem::Mode("+400".to_owned()))]
    #[case("k=b/key:1777", Problem::Mode("1777".to_owned()))]
    #[case("k=b/key:77777777777777", Problem::Mode("77777777777777".to_owned()))]
    #[case("k=b/key:u+r", Problem::Mode("u+r".to_owned()))]
    #[case("k=d/key", Problem::NotBound { name: "k".to_owned(), source_name: "d".to_owned() })]
    #[case("k=configmap/b/key", Problem::NotBound { name: "k".to_owned(), source_name: "configmap/b".to_owned() })]
    #[case("k=s/key", Problem::Ambiguous("s".to_owned()))]
    #[case("k=secret/b/key", Problem::NotBound { name: "k".to_owned(), source_name: "secret/b".to_owned() })]
    #[case("k=b/x,k=b/y", Problem::Twice("k".to_owned()))]
    #[case("k/a=b/x,k=b/y", Problem::FileAsFolder { inner: "k/a".to_owned(), outer: "k".to_owned() })]
    #[case("k=b/x,k/a/b=b/y", Problem::FileAsFolder { inner: "k/a/b".to_owned(), outer: "k".to_owned() })]
    fn files_that_cannot_be_are_refused(#[case] value: &str, #[case] expected: Problem) {
        assert_eq!(read_files(value, &BOUND), Err(expected));
    }

    #[rstest]
    #[case("DB_*=b", Problem::AllKeysForm("DB_*=b".to_owned()))]
    #[case("DB_*", Problem::AllKeysForm("DB_*".to_owned()))]
    #[case("DB_*=b/host", Problem::AllKeysForm("DB_*=b/host".to_owned()))]
    #[case("DB=b/*", Problem::AllKeysForm("DB=b/*".to_owned()))]
    #[case("DB-*=b/*", Problem::VariableName("DB-".to_owned()))]
    #[case("D*B*=b/*", Problem::VariableName("D*B".to_owned()))]
    #[case("DB_*=d/*", Problem::NotBound { name: "DB_*".to_owned(), source_name: "d".to_owned() })]
    #[case("DB_*=s/*", Problem::Ambiguous("s".to_owned()))]
    #[case("DB_*=b/*,DB_*=b/*", Problem::Twice("DB_*=b/*".to_owned()))]
    fn stars_that_say_nothing_are_refused(#[case] value: &str, #[case] expected: Problem) {
        assert_eq!(read_variables(value, &BOUND), Err(expected));
    }

    fn all(entries: &[&'static str]) -> Vec<Bound<'static>> {
        entries.iter().map(|entry| Bound::read(entry).unwrap()).collect()
    }

    #[test]
    fn a_name_without_a_prefix_means_the_binding_first() {
        let found = |written: &str, bound: &[Bound<'_>]| Bound::find(written, bound).map(|it| it.to_string());
        let bound = all(&["db", "secret/smtp", "configmap/db", "configmap/app"]);
        assert_eq!(found("db", &bound).as_deref(), Ok("db"));
        assert_eq!(found("configmap/db", &bound).as_deref(), Ok("configmap/db"));
        assert_eq!(found("secret/db", &bound), Err(NotFound::NotBound));
        assert_eq!(found("smtp", &bound).as_deref(), Ok("secret/smtp"));
        assert_eq!(found("app", &bound).as_deref(), Ok("configmap/app"));
        assert_eq!(found("x", &bound), Err(NotFound::NotBound));
        let both = all(&["secret/app", "configmap/app"]);
        assert_eq!(found("app", &both), Err(NotFound::Ambiguous));
        assert_eq!(found("secret/app", &both).as_deref(), Ok("secret/app"));
    }
}
