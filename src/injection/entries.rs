//! The entries of `bindery.dev/env` and `bindery.dev/files`: what a pod wants of single keys. All have the form
//! `NAME=BINDING/KEY`, so there is one to learn; a star on both sides stands for every key.

use super::{
    annotations::{Bound, PLAIN_SECRET},
    error::{MOST_ENTRIES, Problem, shown},
    names::{is_file_path, is_secret_key, is_variable_name},
};

/// Stands for every key of a binding, and for its name in the variable's.
const EVERY: char = '*';

/// The highest mode of a file that Kubernetes takes.
const HIGHEST_MODE: u32 = 0o777;

/// A variable out of one key of a Secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) secret: &'a str,
    pub(super) key: &'a str,
}

/// All keys of a Secret, as variables with a prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AllKeys<'a> {
    /// May be empty.
    pub(super) prefix: &'a str,
    pub(super) secret: &'a str,
}

/// A file out of one key of a Secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File<'a> {
    /// Relative to the folder of the Secret.
    pub(super) path: &'a str,
    pub(super) secret: &'a str,
    pub(super) key: &'a str,
    pub(super) mode: Option<u32>,
}

/// Reads `NAME=BINDING/KEY` and `PREFIX*=BINDING/*`.
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
                let wanted = AllKeys { prefix, secret: secret_of(name, source, bound)? };
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
                let secret = secret_of(name, source, bound)?;
                if variables.iter().any(|other| other.name == name) {
                    return Err(Problem::Twice(shown(name)));
                }
                variables.push(Variable { name, secret, key });
            }
            _ => return Err(Problem::AllKeysForm(shown(entry))),
        }
    }
    Ok((variables, all_keys))
}

/// Reads `PATH=BINDING/KEY` and `PATH=BINDING/KEY:MODE`.
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
        let file = File { path, secret: secret_of(path, source, bound)?, key, mode };
        for other in files.iter().filter(|other| other.secret == file.secret) {
            other.refuse_beside(&file)?;
        }
        files.push(file);
    }
    // An annotation without an entry would mount nothing, or everything: better to ask.
    if files.is_empty() { Err(Problem::Empty) } else { Ok(files) }
}

impl File<'_> {
    /// The kubelet could not write both.
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

/// An entry, taken apart.
struct Reference<'a> {
    name: &'a str,
    source: &'a str,
    key: &'a str,
}

impl<'a> Reference<'a> {
    fn read(entry: &'a str) -> Option<Self> {
        let (name, reference) = entry.split_once('=')?;
        // No key contains a slash, but `secret/NAME` does.
        let (source, key) = reference.rsplit_once('/')?;
        Some(Self { name: name.trim_end(), source: source.trim_start(), key: key.trim() })
    }
}

/// The entries between commas and new lines. They may be empty, because both separators in a row are natural to write.
fn entries(value: &str) -> Result<Vec<&str>, Problem> {
    let entries = value.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    let entries: Vec<&str> = entries.take(MOST_ENTRIES + 1).collect();
    if entries.len() > MOST_ENTRIES { Err(Problem::TooManyEntries) } else { Ok(entries) }
}

fn check_key(key: &str) -> Result<(), Problem> {
    if is_secret_key(key) { Ok(()) } else { Err(Problem::SecretKey(shown(key))) }
}

/// The Secret that an entry means, which must be bound.
fn secret_of<'a>(name: &str, source: &'a str, bound: &[Bound<'a>]) -> Result<&'a str, Problem> {
    let found = match source.strip_prefix(PLAIN_SECRET) {
        Some(secret) => bound.iter().find(|bound| bound.secret == secret && !bound.is_binding),
        None => bound.iter().find(|bound| bound.secret == source),
    };
    match found {
        Some(bound) => Ok(bound.secret),
        None => Err(Problem::NotBound { name: shown(name), source_name: shown(source) }),
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

    const BOUND: [Bound<'_>; 2] =
        [Bound { secret: "b", is_binding: true }, Bound { secret: "s", is_binding: false }];

    #[test]
    fn a_star_on_both_sides_stands_for_every_key() {
        let value = "DB_* = b/*, *=s/*\nDB_*=secret/s/*,HOST=b/host";
        let (variables, all_keys) = read_variables(value, &BOUND).unwrap();
        assert_eq!(variables, [Variable { name: "HOST", secret: "b", key: "host" }]);
        let all_keys: Vec<_> = all_keys.iter().map(|all| (all.prefix, all.secret)).collect();
        assert_eq!(all_keys, [("DB_", "b"), ("", "s"), ("DB_", "s")]);
    }

    #[test]
    fn files_have_a_path_and_perhaps_a_mode() {
        let value =
            "tls.key=b/key:0400,\ncerts/ca.crt = secret/s/ca.crt\na=b/key : 640,c=b/key:0,..a/..b=s/x:777";
        let files = read_files(value, &[BOUND[0], BOUND[1]]);
        assert_eq!(files, Err(Problem::FilePath("..a/..b".to_owned())));
        let files = read_files(&value.replace("..a", "a.."), &BOUND).map(|files| {
            files
                .iter()
                .map(|file| format!("{} {} {} {:?}", file.path, file.secret, file.key, file.mode))
                .collect()
        });
        let expected = [
            "tls.key b key Some(256)",
            "certs/ca.crt s ca.crt None",
            "a b key Some(416)",
            "c b key Some(0)",
            "a../..b s x Some(511)",
        ];
        assert_eq!(files, Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_same_path_in_two_folders_is_no_clash() {
        assert_eq!(read_files("a=b/x,a=s/x,ab=b/x", &BOUND).unwrap().len(), 3);
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
    #[case("k=c/key", Problem::NotBound { name: "k".to_owned(), source_name: "c".to_owned() })]
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
    #[case("DB_*=c/*", Problem::NotBound { name: "DB_*".to_owned(), source_name: "c".to_owned() })]
    #[case("DB_*=b/*,DB_*=b/*", Problem::Twice("DB_*=b/*".to_owned()))]
    fn stars_that_say_nothing_are_refused(#[case] value: &str, #[case] expected: Problem) {
        assert_eq!(read_variables(value, &BOUND), Err(expected));
    }
}
