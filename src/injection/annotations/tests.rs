//! The rules for annotations, one test each.

use rstest::rstest;

use super::*;
use crate::injection::{
    request::EnvFrom,
    source::{Object, ObjectKind, Source},
};

fn read(annotations: &[(&str, &str)]) -> Result<Option<Vec<String>>, String> {
    let annotations = map(annotations);
    match Request::parse(&annotations, System::Linux) {
        Ok(ask) => Ok(ask.map(|ask| ask.bound.iter().map(|bound| bound.name.to_owned()).collect())),
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
    assert_eq!(Request::parse(&null, System::Linux), Ok(None));
}

#[test]
fn one_binding_gets_the_defaults() {
    let annotations = map(&[(pod::BIND, "mydb01-binding")]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    let binding = Bound { source: Source::ServiceBinding, name: "mydb01-binding" };
    assert_eq!(ask, Request::new(vec![binding]));
    assert_eq!(
        ask,
        Request {
            bound: vec![binding],
            own: vec![],
            env: true,
            files: true,
            variables: vec![],
            all_keys: vec![],
            selected: vec![],
            containers: None,
            mount_root: MountRoot::default_on(System::Linux),
            optional: Optional::Only(vec![]),
        }
    );
    assert_eq!(ask.bound[0].env_secret().as_deref(), Some("mydb01-binding-env"));
}

#[test]
fn everything_can_be_said_with_spaces_and_new_lines_around_it() {
    let annotations = map(&[
        (pod::BIND, " b , secret/s,secret, configmap/c,configmap\n"),
        (pod::AS, "files , env"),
        (pod::ENV, "A=b/k,\nB = secret/s/tls.key\n\nC=s/k,D=secret/k,E=configmap/k,F=configmap/c/k,G=c/k\n"),
        (pod::CONTAINERS, "app, migrate"),
        (pod::MOUNT_ROOT, "/etc/creds/"),
    ]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    assert_eq!(
        ask.bound.iter().map(Bound::env_secret).collect::<Vec<_>>(),
        ["b-env", "", "secret-env", "", "configmap-env"]
            .map(|name| (!name.is_empty()).then(|| name.to_owned()))
    );
    let variables: Vec<String> =
        ask.variables.iter().map(|v| format!("{} {} {}", v.name, v.object.described(), v.key)).collect();
    assert_eq!(
        variables,
        [
            "A Secret `b` k",
            "B Secret `s` tls.key",
            "C Secret `s` k",
            "D Secret `secret` k",
            "E Secret `configmap` k",
            "F ConfigMap `c` k",
            "G ConfigMap `c` k",
        ]
    );
    assert_eq!(ask.containers, Some(vec!["app", "migrate"]));
    assert_eq!((ask.env, ask.files), (true, true));
    assert_eq!(ask.mount_root.folder_of("b"), "/etc/creds/b");
}

#[rstest]
#[case("env", true, false)]
#[case("files", false, true)]
#[case("env,files", true, true)]
fn as_selects_the_ways_of_delivery(#[case] value: &str, #[case] env: bool, #[case] files: bool) {
    let annotations = map(&[(pod::BIND, "b"), (pod::AS, value)]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    assert_eq!((ask.env, ask.files), (env, files));
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
#[case(pod::BIND, "configmap/", "`configmap/` does not name a ConfigMap (lower-case letters")]
#[case(pod::BIND, "configmap/A", "`configmap/A` does not name a ConfigMap")]
#[case(pod::BIND, "configmap/a,configmap/a", "`configmap/a` is named twice")]
#[case(pod::ENV, "A=configmap/b/host", "`A` refers to `configmap/b`, which is not bound")]
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
#[case(pod::MOUNT_ROOT, "C:\\secrets", "`C:\\\\secrets` is a folder of Windows, but the pod does not say")]
#[case(pod::ENV, "DB_*=b", "`DB_*=b` is not of the form PREFIX*=BINDING/*; write for example DB_*=mydb01")]
#[case(pod::FILES, "", "is empty; fill it in")]
#[case(
    pod::FILES,
    "tls.key",
    "`tls.key` is not of the form PATH=BINDING/KEY or PATH=BINDING/KEY:MODE; write"
)]
#[case(pod::FILES, "../k=b/k", "`../k` is not the path of a file; write one that is relative")]
#[case(pod::FILES, "k=b/k:u+r", "`u+r` is not a mode; write an octal number of at most 0777")]
#[case(pod::FILES, "k=c/k", "`k` refers to `c`, which is not bound; add it to bindery.dev/bind")]
#[case(pod::FILES, "k=b/x,k/a=b/y", "`k/a` lies in `k`, which is a file; rename one of them")]
#[case("bindery.dev/bind.app", "a,,b", "`a,,b` has an empty entry; remove")]
#[case("bindery.dev/bind.app", "secret/b", "`b` is named twice; remove")]
fn a_malformed_value_is_refused_with_its_field_the_token_and_a_remedy(
    #[case] annotation: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let mut annotations = map(&[(pod::BIND, "b")]);
    annotations.insert(annotation.to_owned(), Value::from(value));
    let error = Request::parse(&annotations, System::Linux).unwrap_err().to_string();
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
fn a_container_has_its_own_bindings_first_and_then_those_of_all() {
    let annotations = map(&[
        (pod::BIND, "a,b,secret/c"),
        ("bindery.dev/bind.app", "x, b"),
        ("bindery.dev/bind.empty", " "),
    ]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    let bound = |container, is_chosen| {
        ask.bound_to(container, is_chosen).iter().map(|bound| bound.name).collect::<Vec<_>>()
    };
    assert_eq!(bound("app", true), ["x", "b", "a", "c"]);
    assert_eq!(bound("app", false), ["x", "b"]);
    assert_eq!(bound("empty", true), ["a", "b", "c"]);
    assert_eq!(bound("empty", false), [""; 0]);
    assert_eq!(ask.mounted().iter().map(|object| object.name).collect::<Vec<_>>(), ["a", "b", "c", "x"]);
}

#[test]
fn bindings_of_one_container_need_none_of_all() {
    let own = ("bindery.dev/bind.app", "x");
    assert_eq!(read(&[own]), Ok(Some(vec![])));
    assert_eq!(read(&[own, (pod::BIND, "")]), Ok(Some(vec![])));
    assert_eq!(read(&[own, (pod::ENV, "A=x/k")]), Ok(Some(vec![])));
    assert_eq!(read(&[("bindery.dev/bind.app", ""), (pod::AS, "rubbish")]), Ok(None));
}

#[test]
fn what_is_named_wins_over_what_a_binding_gives_by_itself() {
    let annotations =
        map(&[(pod::BIND, "a,b,secret/s,configmap/c"), (pod::ENV, "P_*=b/*,*=s/*,Q_*=a/*,R_*=c/*")]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    let env_from = |bound: &[Bound<'_>]| -> Vec<_> {
        ask.env_from(bound).into_iter().map(|entry| format!("{}{}", entry.prefix, entry.object())).collect()
    };
    assert_eq!(env_from(&ask.bound), ["b-env", "a-env", "R_configmap/c", "Q_a", "s", "P_b"]);
    assert_eq!(env_from(&ask.bound[..1]), ["a-env", "Q_a"]);
}

#[test]
fn a_secret_that_is_named_in_two_ways_is_taken_once() {
    let annotations = map(&[(pod::BIND, "a,secret/a-env"), (pod::ENV, "*=a-env/*")]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    assert_eq!(
        ask.env_from(&ask.bound),
        [EnvFrom { prefix: "", kind: ObjectKind::Secret, name: "a-env".to_owned(), optional: false }]
    );
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
    assert!(read(&[env[0], env[1], (pod::ENV, "S_*=secret/s/*")]).is_ok());
    assert!(read(&[env[0], env[1], (pod::FILES, "k=s/k")]).is_ok());
    assert!(read(&[env[0], (pod::AS, "env,files")]).is_ok());
}

#[test]
fn a_config_map_as_env_needs_variables_of_its_own() {
    let env = [(pod::BIND, "configmap/c,secret/c"), (pod::AS, "env")];
    let named = (pod::ENV, "A=secret/c/k");
    assert_eq!(
        read(&[env[0], env[1], named]).unwrap_err(),
        "metadata.annotations[bindery.dev/as]: `env` alone gives the pod nothing of `configmap/c`, because no variables \
         are known for a ConfigMap; add `files`, or name the variables in bindery.dev/env: NAME=configmap/c/KEY"
    );
    assert!(read(&[env[0], env[1], (pod::ENV, "A=secret/c/k,B=configmap/c/k")]).is_ok());
    assert!(read(&[env[0], env[1], named, (pod::FILES, "k=configmap/c/k")]).is_ok());
    let error = read(&[env[0], (pod::ENV, "A=c/k")]).unwrap_err();
    assert!(
        error.ends_with("`c` is a Secret and a ConfigMap here; write secret/c or configmap/c"),
        "{error}"
    );
    let error = read(&[env[0], (pod::OPTIONAL, "c")]).unwrap_err();
    assert!(
        error.ends_with("`c` is a Secret and a ConfigMap here; write secret/c or configmap/c"),
        "{error}"
    );
}

#[test]
fn only_the_object_that_is_named_is_optional() {
    let annotations = map(&[(pod::BIND, "b,secret/c,configmap/c"), (pod::OPTIONAL, "configmap/c")]);
    let ask = Request::parse(&annotations, System::Linux).unwrap().unwrap();
    let of = |kind, name| ask.is_optional(Object { kind, name });
    assert!(of(ObjectKind::ConfigMap, "c") && !of(ObjectKind::Secret, "c") && !of(ObjectKind::Secret, "b"));
}

#[test]
fn a_value_that_is_not_a_string_is_refused() {
    let annotations = Map::from_iter([(pod::BIND.to_owned(), Value::from(5))]);
    assert_eq!(
        Request::parse(&annotations, System::Linux).unwrap_err().to_string(),
        "metadata.annotations[bindery.dev/bind]: must be a string; put the value in quotes"
    );
}
