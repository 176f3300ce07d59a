//! The definitions that a backend offers: those that bindery comes with, and the templates of administrators in a folder
//! or a bucket.
//! A template that cannot be used is left out, and costs no other one.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    built_in::built_in,
    definition::{Definition, DefinitionError},
    legacy,
};
use crate::cloud::aws::{Account, AwsError, buckets::Bucket, long_form};

/// CloudFormation takes no longer template in a request.
const LONGEST: usize = 51_200;
/// No larger file is read.
const LARGEST_FILE: u64 = 1 << 20;
const EXTENSIONS: [&str; 4] = ["yaml", "yml", "json", "template"];

/// Where the templates of administrators are, as written in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TemplateFields {
    directory: Option<PathBuf>,
    bucket: Option<String>,
    #[serde(default)]
    prefix: String,
    region: Option<String>,
}

/// Where the templates of administrators are.
#[derive(Clone, Debug, Default)]
pub(super) enum TemplateSource {
    /// There are none.
    #[default]
    None,
    /// In a folder, such as a mounted ConfigMap. Its own folders are not read.
    Directory(PathBuf),
    /// In a bucket of S3.
    Bucket(Bucket),
}

impl TryFrom<TemplateFields> for TemplateSource {
    type Error = &'static str;

    fn try_from(fields: TemplateFields) -> Result<Self, Self::Error> {
        let TemplateFields { directory, bucket, prefix, region } = fields;
        match (directory, bucket) {
            (Some(directory), None) if prefix.is_empty() && region.is_none() => {
                Ok(Self::Directory(directory))
            }
            (Some(_), None) => Err("has `prefix` or `region`, which belong to `bucket`; remove them"),
            (None, Some(name)) => Ok(Self::Bucket(Bucket { name, prefix, region })),
            _ => Err("names no place; set one of `directory` and `bucket`"),
        }
    }
}

/// The definitions of a backend.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    all: Vec<Arc<Definition>>,
    /// What is left out: the file and the reason.
    pub(super) rejected: Vec<(String, String)>,
}

impl Definitions {
    /// The definitions that bindery comes with.
    pub(super) fn built_in() -> Self {
        Self { all: built_in().to_vec(), rejected: Vec::new() }
    }

    /// Adds the templates in a folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn add_directory(&mut self, directory: &Path) -> Result<(), std::io::Error> {
        for file in files(directory)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let added = read(&file).and_then(|text| self.add(&text, None));
            self.record(name, added);
        }
        Ok(())
    }

    /// Adds the templates in a bucket.
    ///
    /// # Errors
    /// When the bucket or one of its files cannot be read.
    pub(super) async fn add_bucket(&mut self, account: &Account, bucket: &Bucket) -> Result<(), AwsError> {
        for file in account.files(bucket).await? {
            if !is_template(Path::new(&file.key)) {
                continue;
            }
            let added = match check_size(file.size) {
                Err(problem) => Err(problem),
                Ok(()) => {
                    let text = account.file(bucket, &file.key).await?;
                    self.add(&text, Some(account.file_url(bucket, &file.key).await?))
                }
            };
            self.record(file.key, added);
        }
        Ok(())
    }

    fn record(&mut self, file: String, added: Result<(), String>) {
        if let Err(problem) = added {
            tracing::error!(template = file, problem, "a template is left out");
            self.rejected.push((file, problem));
        }
    }

    /// Adds a template in bindery's form or in that of the AWS Service Broker. A long one must be as it is at its URL.
    fn add(&mut self, text: &str, url: Option<String>) -> Result<(), String> {
        let mut definition = definition(text)?;
        let length = definition.text.len();
        if length > LONGEST {
            definition.url = url.filter(|_| definition.text == text);
            if definition.url.is_none() {
                return Err(format!(
                    "it has {length} bytes, and CloudFormation takes {LONGEST} in a request; make it shorter, or have one \
                     in bindery's own form in a bucket"
                ));
            }
        }
        let taken = definition.service.names.keys().find(|name| self.named(name).is_some());
        if let Some(name) = taken {
            return Err(format!("there is a template of the name {name:?} already; give it another"));
        }
        self.all.push(Arc::new(definition));
        Ok(())
    }

    /// The definition of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Definition>> {
        self.all.iter().find(|definition| definition.service.names.contains_key(name))
    }

    /// All names, in alphabetical order.
    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.all.iter().flat_map(|definition| definition.service.names.keys());
        names.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The files of templates, in alphabetical order. Hidden ones are the ConfigMap's own.
fn files(directory: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && is_template(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_template(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

fn check_size(bytes: u64) -> Result<(), String> {
    if bytes > LARGEST_FILE { Err(format!("it has {bytes} bytes; no template is so long")) } else { Ok(()) }
}

fn read(file: &Path) -> Result<String, String> {
    let metadata = fs::metadata(file).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    check_size(metadata.len())?;
    fs::read_to_string(file).map_err(|error| error.to_string())
}

fn definition(text: &str) -> Result<Definition, String> {
    let told = |error: DefinitionError| error.to_string();
    let template = long_form::parse(text).map_err(|error| error.to_string())?;
    let is_legacy = template.get("Metadata").is_some_and(|all| all.get(legacy::METADATA).is_some());
    if !template.is_object() || template.get("Resources").and_then(Value::as_object).is_none() {
        return Err("it has no `Resources`, as every template has".to_owned());
    }
    if is_legacy { legacy::definition(template).map_err(told) } else { Definition::parse(text).map_err(told) }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const SQS: &str = include_str!("templates/sqs.yaml");

    fn own(name: &str) -> String {
        SQS.replace("dh-sqs: {Keys: AsOutputs}", &format!("{name}: {{Keys: AsOutputs}}"))
            .replace("      sqs: {Keys", "      more-of-it: {Keys")
    }

    #[test]
    fn templates_that_cannot_be_used_cost_only_themselves() {
        let folder = TempDir::new().unwrap();
        let (good, again, deep) = (own("team"), own("team-2"), "[".repeat(100_000));
        let long = format!("{}# {}\n", own("long"), "x".repeat(LONGEST));
        let files: [(&str, &[u8]); 10] = [
            ("good.yaml", good.as_bytes()),
            ("again.yaml", again.as_bytes()),
            ("broken.yaml", b"Resources: ["),
            ("bytes.json", b"\xff\xfe"),
            ("empty.yml", b""),
            ("deep.yaml", deep.as_bytes()),
            ("bomb.yaml", b"a: &a [1, 2]\nResources: {x: *a, y: *a}"),
            ("taken.yaml", SQS.as_bytes()),
            ("long.template", long.as_bytes()),
            ("notes.txt", b"no template"),
        ];
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        fs::create_dir(folder.path().join("folder.yaml")).unwrap();
        fs::create_dir(folder.path().join("..data")).unwrap();
        let mut definitions = Definitions::built_in();
        definitions.add_directory(folder.path()).unwrap();
        assert!(
            definitions.named("team").is_none() && definitions.named("team-2").is_some(),
            "names are unique"
        );
        assert!(definitions.named("dh-sqs").is_some() && definitions.named("s3").is_some());
        let rejected: Vec<_> = definitions.rejected.iter().map(|(file, _)| file.as_str()).collect();
        let expected = [
            "bomb.yaml",
            "broken.yaml",
            "bytes.json",
            "deep.yaml",
            "empty.yml",
            "folder.yaml",
            "good.yaml",
            "long.template",
            "taken.yaml",
        ];
        assert_eq!(rejected, expected, "{:?}", definitions.rejected);
        let reason =
            |file: &str| definitions.rejected.iter().find(|(name, _)| name == file).unwrap().1.clone();
        assert!(reason("long.template").contains("make it shorter"), "{}", reason("long.template"));
        assert!(reason("good.yaml").contains("\"more-of-it\" already"), "{}", reason("good.yaml"));
    }

    #[test]
    fn a_long_template_needs_an_address_where_it_is_as_it_is() {
        let long = format!("{}# {}\n", own("long"), "x".repeat(LONGEST));
        let mut definitions = Definitions::built_in();
        assert!(definitions.add(&long, None).is_err());
        let url = || Some("https://s3/b/k".to_owned());
        definitions.add(&long, url()).unwrap();
        assert_eq!(definitions.named("long").unwrap().url, url());
        definitions.add(&own("short").replace("more-of-it", "more"), url()).unwrap();
        assert_eq!(definitions.named("short").unwrap().url, None);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        assert!(Definitions::built_in().add_directory(Path::new("/nonexistent/templates")).is_err());
    }
}
