//! Why a pod cannot be injected: the field, the problem and the remedy.

use thiserror::Error;

use super::{names::LONGEST_NAME, source::Source};
use crate::contract::pod;

/// How many characters of a user's text an error quotes.
const SHOWN: usize = 100;

/// How many names an error lists.
const LISTED: usize = 20;

/// The maximum number of entries in an annotation. The API server would refuse a pod with more anyway, so the webhook
/// spends no time on it.
pub(super) const MOST_ENTRIES: usize = 500;

/// A field that prevents the injection of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}{}: {problem}", of_namespace(.namespace.as_deref()))]
pub struct InjectError {
    field: String,
    /// The Namespace from which the pod has the annotation; `None` if it is the pod's own.
    namespace: Option<String>,
    problem: Problem,
}

impl InjectError {
    pub(super) fn new(field: impl Into<String>, problem: Problem) -> Self {
        Self { field: field.into(), namespace: None, problem }
    }

    /// The error for a pod that exceeds the limit of values.
    pub(crate) fn too_many_values() -> Self {
        Self::new("spec", Problem::TooManyValues)
    }

    pub(super) fn annotation(name: &str, problem: Problem) -> Self {
        Self::new(annotation_field(name), problem)
    }

    /// Whether the error concerns this annotation.
    pub(super) fn is_of_annotation(&self, name: &str) -> bool {
        self.field == annotation_field(name)
    }

    /// Attributes the error to an annotation of the Namespace.
    pub(super) fn of_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Prefixes the field with the `path` of the pod template in its object.
    #[must_use]
    pub fn within(mut self, path: &str) -> Self {
        if !path.is_empty() && self.namespace.is_none() {
            self.field = format!("{path}.{}", self.field);
        }
        self
    }

    /// The field, such as `metadata.annotations[bindery.dev/bind]`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The problem with the field.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// A Secret and a ConfigMap of the same name whose files a container would have in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameFolder {
    /// The object that is named first.
    pub one: String,
    /// The other object.
    pub other: String,
    /// The container.
    pub container: String,
    /// The folder.
    pub folder: String,
}

/// The problem with a field, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The field violates the Kubernetes schema; the API server would refuse it, too.
    #[error("must be {0}")]
    Shape(&'static str),
    /// A required value is empty.
    #[error("is empty; fill it in or leave it out")]
    Empty,
    /// A list has an empty entry, such as `a,,b`.
    #[error("`{0}` has an empty entry; remove the stray comma or fill in the name")]
    EmptyEntry(String),
    /// A list has more entries than bindery reads.
    #[error("has more than {MOST_ENTRIES} entries; leave some out")]
    TooManyEntries,
    /// The pod would get more entries than it can hold, and than the webhook should spend time on.
    #[error(
        "asks for more than a pod can hold: its containers, their lists and what is bound to them are too many; bind less, \
         or name the containers that need it in {containers}",
        containers = pod::CONTAINERS
    )]
    TooMuch,
    /// The pod has more values than the webhook decodes.
    #[error(
        "the pod has too many values to be bound; leave some out, such as single variables that a ConfigMap in envFrom could \
         hold"
    )]
    TooManyValues,
    /// An entry occurs twice.
    #[error("`{0}` is named twice; remove one of them")]
    Twice(String),
    /// Not a valid name of a ServiceBinding.
    #[error(
        "`{0}` is not the name of a binding (lower-case letters, digits, `-` and `.`, at most {longest}, first and last \
         a letter or digit); write the names of ServiceBindings in the pod's namespace, separated by commas, or \
         secret/NAME for a Secret, configmap/NAME for a ConfigMap",
        longest = LONGEST_NAME - "-env".len()
    )]
    BindingName(String),
    /// Not a valid name of a Secret or a ConfigMap.
    #[error(
        "`{written}` does not name a {kind} (lower-case letters, digits, `-` and `.`, at most {LONGEST_NAME}, first and last a \
         letter or digit); write {prefix}NAME with the name of a {kind} in the pod's namespace",
        kind = .origin.holder().name(), prefix = .origin.prefix()
    )]
    ObjectName {
        /// The entry in the annotation.
        written: String,
        /// The source that its prefix stands for.
        origin: Source,
    },
    /// An unknown way of delivery.
    #[error("`{0}` is unknown; write `env`, `files` or `env,files`")]
    Delivery(String),
    /// A plain Secret or a ConfigMap of which no container would get anything.
    #[error(
        "`env` alone gives the pod nothing of `{written}`, because no variables are known for a {}; add `files`, or name the \
         variables in {env}: NAME={written}/KEY",
        if *.origin == Source::ConfigMap { "ConfigMap" } else { "plain Secret" },
        env = pod::ENV
    )]
    NothingOf {
        /// The entry in the annotation.
        written: String,
        /// The source that its prefix stands for.
        origin: Source,
    },
    /// A Secret and a ConfigMap of the same name whose files a container would have in one folder.
    #[error(
        "`{one}` and `{other}` would give container {container} their files in one folder, {folder}; rename one of them, bind them \
         to different containers with {own}CONTAINER, or take variables only with {delivery}: env",
        one = .0.one, other = .0.other, container = .0.container, folder = .0.folder,
        own = pod::BIND_CONTAINER, delivery = pod::AS
    )]
    SameFolder(Box<SameFolder>),
    /// Not a valid definition of a variable.
    #[error("`{0}` is not of the form NAME=BINDING/KEY; write for example DB_HOST=mydb01-binding/host")]
    VariableForm(String),
    /// A star on one side only.
    #[error("`{0}` is not of the form PREFIX*=BINDING/*; write for example DB_*=mydb01-binding/*")]
    AllKeysForm(String),
    /// Not a valid definition of a file.
    #[error(
        "`{0}` is not of the form PATH=BINDING/KEY or PATH=BINDING/KEY:MODE; write for example \
         client.key=mydb01-binding/tls.key:0400"
    )]
    FileForm(String),
    /// Not a valid path for a file of a binding.
    #[error(
        "`{0}` is not the path of a file; write one that is relative to the binding's folder, without `..`, `.`, `//`, \
         `:`, `\\` and control characters, such as client.key"
    )]
    FilePath(String),
    /// A file is also used as a folder.
    #[error("`{inner}` lies in `{outer}`, which is a file; rename one of them")]
    FileAsFolder {
        /// The file inside.
        inner: String,
        /// The file that would have to be a folder.
        outer: String,
    },
    /// Not a valid file mode.
    #[error("`{0}` is not a mode; write an octal number of at most 0777, such as 0400")]
    Mode(String),
    /// Not a valid name of a variable.
    #[error("`{0}` is not a variable's name; use letters, digits and `_`, and no digit first")]
    VariableName(String),
    /// Not a valid key.
    #[error(
        "`{0}` is not a key of a Secret or a ConfigMap; use at most {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
    )]
    SecretKey(String),
    /// A variable or a file refers to an object that is not bound.
    #[error("`{name}` refers to `{source_name}`, which is not bound; add it to {bind}", bind = pod::BIND)]
    NotBound {
        /// The variable's name, or the file's path.
        name: String,
        /// The object to which it refers.
        source_name: String,
    },
    /// A Secret and a ConfigMap of the same name are bound, and the entry could mean either.
    #[error("`{0}` is a Secret and a ConfigMap here; write secret/{0} or configmap/{0}")]
    Ambiguous(String),
    /// An object is optional but not bound.
    #[error(
        "`{0}` is not bound, so it cannot be optional; write names that {bind} has, separated by commas, or true for all",
        bind = pod::BIND
    )]
    NotOptional(String),
    /// The pod has no container of this name.
    #[error("the pod has no container `{name}`; {}its containers are: {present}", did_you_mean(.nearest.as_deref()))]
    NoContainer {
        /// The name in the annotation.
        name: String,
        /// An existing container with a similar name.
        nearest: Option<String>,
        /// The existing names.
        present: String,
    },
    /// Not a valid mount path.
    #[error(
        "`{0}` is not a folder to mount at; write an absolute path without `..`, `.`, `//`, `:` and control characters, \
         such as {root}",
        root = pod::DEFAULT_MOUNT_ROOT
    )]
    MountRoot(String),
    /// Not a valid mount path on Windows.
    #[error(
        "`{0}` is not a folder to mount at on Windows; write an absolute path such as C:\\secrets, without `..`, `.`, \
         empty names, names that end in `.` or a space, and any of < > : \" | ? *"
    )]
    WindowsMountRoot(String),
    /// A Windows path in a pod for Linux.
    #[error(
        "`{0}` is a folder of Windows, but the pod does not say that it is for Windows; set its spec.os.name to windows, \
         or write a folder such as {root}",
        root = pod::DEFAULT_MOUNT_ROOT
    )]
    WindowsFolder(String),
    /// Another volume has the name that bindery uses for this object.
    #[error("is not the {0}, for which bindery uses this volume name; rename your volume")]
    VolumeTaken(String),
    /// A volume that bindery would mount contains other files than it should.
    #[error(
        "gives other files of the {0} than {files} asks for; remove the volume and its mounts, and bindery adds \
         them anew",
        files = pod::FILES
    )]
    OtherFiles(String),
}

impl Problem {
    /// The kind of problem as a label for metrics, from a fixed set of words, without any text from the user.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Shape(_) => "shape",
            Self::Empty | Self::EmptyEntry(_) => "empty",
            Self::Twice(_) => "twice",
            Self::BindingName(_) | Self::ObjectName { .. } => "name",
            Self::Delivery(_) | Self::NothingOf { .. } => "delivery",
            Self::VariableForm(_) | Self::AllKeysForm(_) | Self::VariableName(_) => "variable",
            Self::FileForm(_) | Self::FilePath(_) | Self::FileAsFolder { .. } | Self::Mode(_) => "file",
            Self::SecretKey(_) => "key",
            Self::NotBound { .. } | Self::Ambiguous(_) | Self::NotOptional(_) => "not-bound",
            Self::NoContainer { .. } => "no-container",
            Self::MountRoot(_) | Self::WindowsMountRoot(_) | Self::WindowsFolder(_) => "mount-root",
            Self::SameFolder { .. } | Self::VolumeTaken(_) | Self::OtherFiles(_) => "volume",
            Self::TooManyEntries | Self::TooMuch | Self::TooManyValues => "size",
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default()
}

fn of_namespace(namespace: Option<&str>) -> String {
    namespace.map(|name| format!(" of Namespace {name}")).unwrap_or_default()
}

fn annotation_field(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

/// A user's text as an error quotes it: on one line, and shortened.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A list of names, shortened for an error.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| shown(name)).collect();
    let more =
        if names.len() > LISTED { format!(", and {} more", names.len() - LISTED) } else { String::new() };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut() {
        assert_eq!(listed(&["a\n", "b"]), "a\\n, b");
        let many = listed(&["x"; 30]);
        assert!(many.starts_with("x, x") && many.ends_with(", x, and 10 more"), "{many}");
    }

    #[test]
    fn long_text_with_control_characters_stays_one_short_line() {
        let text = shown(&"a\n".repeat(200));
        assert!(!text.contains('\n') && text.ends_with('…') && text.chars().count() <= 2 * SHOWN, "{text}");
    }

    #[test]
    fn an_error_of_a_template_names_the_whole_path() {
        let error = InjectError::annotation(pod::AS, Problem::Delivery("volume".to_owned()));
        assert_eq!(
            error.within("spec.template").to_string(),
            "spec.template.metadata.annotations[bindery.dev/as]: `volume` is unknown; write `env`, `files` or `env,files`"
        );
    }
}
