//! Which way imports go: down the folders of `src` in one order, into the pure folders without what does IO, and never in a
//! circle. ARCHITECTURE.md shows the same order to readers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    sync::LazyLock,
};

use crate::{
    imports::{Imports, Module},
    pages,
};

/// The folders and files of `src`, from the top to the bottom: each imports only what stands after it.
const ORDER: [&str; 20] = [
    "cli",
    "namespace_bindings",
    "catalog",
    "rotation",
    "workloads",
    "enforcement",
    "operators",
    "pods",
    "admission",
    "bindings",
    "install",
    "policy",
    "injection",
    "apis",
    "server",
    "k8s",
    "broker",
    "cloud",
    "osb",
    // `contract` and `telemetry` are for all.
    "contract",
];
const BOTTOM: &str = "telemetry";

/// What must not meet, also where the order would let it: they speak to each other over the Open Service Broker API.
const APART: [(&str, &[&str]); 3] = [
    (
        "broker",
        &["k8s", "catalog", "admission", "apis", "injection", "pods", "namespace_bindings", "install"],
    ),
    ("catalog", &["broker"]),
    ("cloud", &["broker"]),
];

/// Folders that do no IO and know no async runtime. They import each other and nothing else of bindery.
const PURE: &[&str] = &["apis", "osb", "injection", "policy", "contract"];
/// The crates that pure folders use; of `kube` only what describes kinds.
const PURE_CRATES: [&str; 15] = [
    "base64",
    "glob",
    "jiff",
    "json_patch",
    "k8s_openapi",
    "md5",
    "regex",
    "schemars",
    "semver",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
    "url",
];
const PURE_KUBE: [&str; 6] =
    ["CustomResource", "CustomResourceExt", "KubeSchema", "Resource", "ResourceExt", "core"];
/// What does IO or waits in the standard library.
const IMPURE_STD: [&str; 7] = ["env", "fs", "io", "net", "os", "process", "thread"];

fn imports() -> &'static Imports {
    static IMPORTS: LazyLock<Imports> =
        LazyLock::new(|| Imports::below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    &IMPORTS
}

#[test]
fn folders_import_what_stands_below_them() {
    let mut wrong = String::new();
    for (from, to) in against_the_order(imports()) {
        writeln!(wrong, "{} imports {}", from.join("/"), to.join("/")).unwrap();
    }
    assert_eq!(wrong, "");
}

#[test]
fn pure_folders_do_no_io() {
    let wrong: Vec<_> = impure(imports(), &dependencies());
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(circles(imports()), Vec::<Vec<String>>::new());
}

#[test]
fn each_folder_has_its_place() {
    let folders: BTreeSet<String> =
        imports().files().into_keys().filter_map(|file| file.first().cloned()).collect();
    let without_place: Vec<_> = folders.iter().filter(|folder| place(folder).is_none()).collect();
    assert_eq!(without_place, Vec::<&String>::new());
}

/// The tree of ARCHITECTURE.md: a folder of `src` at the beginning of each line that is not indented.
#[test]
fn the_architecture_shows_the_folders_in_this_order() {
    let page = pages::read("ARCHITECTURE.md");
    let tree = page.split("\n```\n").nth(1).unwrap();
    let lines = tree.lines().filter(|line| !line.starts_with(' '));
    let shown: Vec<&str> = lines.map(|line| line.split_whitespace().next().unwrap()).collect();
    let exist: BTreeSet<String> =
        imports().files().into_keys().filter_map(|file| file.first().cloned()).collect();
    let order: Vec<&str> =
        ORDER.into_iter().chain([BOTTOM]).filter(|folder| exist.contains(*folder)).collect();
    assert_eq!(shown, order);
}

/// The imports between folders that the order or [`APART`] forbids.
fn against_the_order(imports: &Imports) -> Vec<(Module, Module)> {
    let all =
        imports.files().into_iter().flat_map(|(from, to)| to.into_iter().map(move |to| (from.clone(), to)));
    let between = all.filter(|(from, to)| !from.is_empty() && from[0] != to[0]);
    let is_wrong = |(from, to): &(Module, Module)| {
        let apart = APART.iter().any(|(one, others)| from[0] == *one && others.contains(&to[0].as_str()));
        apart || place(&to[0]) < place(&from[0])
    };
    between.filter(is_wrong).collect()
}

fn place(folder: &str) -> Option<usize> {
    if folder == BOTTOM { Some(ORDER.len()) } else { ORDER.iter().position(|of_order| *of_order == folder) }
}

/// What pure folders use and should not.
fn impure(imports: &Imports, dependencies: &BTreeSet<String>) -> Vec<String> {
    let is_pure = |module: &Module| module.first().is_some_and(|folder| PURE.contains(&folder.as_str()));
    let files = imports.files();
    let of_bindery = files.iter().filter(|(file, _)| is_pure(file)).flat_map(|(file, to)| {
        to.iter()
            .filter(|to| !is_pure(to))
            .map(move |to| format!("{} imports {}", file.join("/"), to.join("/")))
    });
    let does_io = |path: &[String]| {
        let (krate, rest) = (path[0].as_str(), path.get(1).map(String::as_str).unwrap_or_default());
        match krate {
            "std" => IMPURE_STD.contains(&rest),
            "kube" => !PURE_KUBE.contains(&rest),
            _ => dependencies.contains(krate) && !PURE_CRATES.contains(&krate),
        }
    };
    let of_others = imports.of_other_crates().filter(|(file, path)| is_pure(file) && does_io(path));
    of_bindery
        .chain(of_others.map(|(file, path)| format!("{} uses {}", file.join("/"), path.join("::"))))
        .collect()
}

/// The crates that bindery depends on, as code names them.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")));
    names.map(|name| if name == "md_5" { "md5".to_owned() } else { name }).collect()
}

/// The circles among files. A module and the files below it are one subject: what they import of each other is no circle.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let files = imports.files();
    let apart = |one: &Module, other: &Module| !one.starts_with(other) && !other.starts_with(one);
    let edges: BTreeMap<&Module, Vec<&Module>> =
        files.iter().map(|(file, to)| (*file, to.iter().filter(|to| apart(file, to)).collect())).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        edges.keys().map(|&file| (file, all_reached(file, &edges))).collect();
    let mut circles = BTreeSet::new();
    for (file, from_here) in &reached {
        if from_here.contains(file) {
            let circle = from_here.iter().filter(|other| reached[*other].contains(file));
            circles.insert(circle.map(|file| file.join("/")).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn all_reached<'a>(from: &'a Module, edges: &BTreeMap<&'a Module, Vec<&'a Module>>) -> BTreeSet<&'a Module> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        for &to in edges.get(file).into_iter().flatten() {
            if reached.insert(to) {
                next.push(to);
            }
        }
    }
    reached
}

/// A crate of these files.
fn sample(files: &[(&str, &str)]) -> Imports {
    let module = |path: &str| path.split('/').map(ToOwned::to_owned).collect();
    Imports::of(files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect())
}

#[test]
fn an_import_that_goes_up_is_seen() {
    for text in [
        "use crate::catalog::ledger::Ledger;",
        "use crate::{catalog::{self, ledger::{Ledger as L}}, osb::Object};",
        "fn f() { crate::catalog::ledger::open() }",
        "use crate::catalog; fn f() { catalog::ledger::open() }",
        "use super::super::catalog::ledger::*;",
        "use crate::catalog::Ledger;",
    ] {
        let samples = [
            ("catalog", "mod ledger; pub use self::ledger::Ledger;"),
            ("catalog/ledger", "pub struct Ledger;"),
            ("osb", ""),
            ("broker/store", text),
        ];
        let wrong = against_the_order(&sample(&samples));
        let names: Vec<_> = wrong.iter().map(|(from, to)| (from.join("/"), to.join("/"))).collect();
        assert_eq!(names, [("broker/store".to_owned(), "catalog/ledger".to_owned())], "{text}");
    }
}

#[test]
fn parts_that_must_not_meet_are_seen() {
    let wrong = sample(&[("catalog", "use crate::broker::Broker;"), ("broker", "pub struct Broker;")]);
    assert_eq!(against_the_order(&wrong).len(), 1);
    let right = sample(&[("cli", "use crate::broker::Broker;"), ("broker", "pub struct Broker;")]);
    assert_eq!(against_the_order(&right).len(), 0);
}

#[test]
fn tests_comments_and_literals_import_nothing() {
    let text = r##"
        //! Not `use crate::cli::run`.
        /* use crate::cli; */
        const TEXT: &str = "use crate::cli::run;"; const RAW: &str = r#"" crate::cli::run"#; const MARK: char = '"';
        #[cfg(test)]
        mod contract_tests;
        #[cfg(test)]
        mod tests { use crate::cli::run; fn f<'a>(a: &'a str) { crate::cli::run(); } }
    "##;
    let samples = [("osb", text), ("osb/contract_tests", "use crate::cli::run;"), ("cli", "pub fn run() {}")];
    assert_eq!(against_the_order(&sample(&samples)), []);
}

#[test]
fn io_in_a_pure_folder_is_seen() {
    let dependencies = dependencies();
    for text in [
        "use std::{fmt, fs::File};",
        "async fn f() { tokio::time::sleep(D).await }",
        "use kube::{Api, ResourceExt};",
        "use reqwest::Client;",
        "use crate::telemetry::Metrics;",
        "fn f() { std::net::TcpListener::bind(A) }",
    ] {
        let wrong = sample(&[("injection/pod", text), ("telemetry", "pub struct Metrics;")]);
        assert_eq!(impure(&wrong, &dependencies).len(), 1, "{text}");
    }
    let right = "use std::fmt; use serde_json::Value; use crate::contract::pod; use kube::ResourceExt;";
    let right = sample(&[("injection/pod", right), ("contract", "pub mod pod {}")]);
    assert_eq!(impure(&right, &dependencies), Vec::<String>::new());
}

#[test]
fn a_circle_is_seen() {
    let circle = sample(&[
        ("k8s/client", "use super::{error::Error}; use super::HERE;"),
        ("k8s/error", "fn f() { super::watch::watch() }"),
        ("k8s/watch", "use crate::k8s::client::Client;"),
        ("k8s/list", "use super::client::Client;"),
        ("k8s", "mod client; use self::client::Client; pub const HERE: u8 = 1;"),
    ]);
    assert_eq!(circles(&circle), [["k8s/client", "k8s/error", "k8s/watch"]]);
}
