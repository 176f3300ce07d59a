//! Why a pod cannot be injected: the field, what is wrong with it, and what to do.

use thiserror::Error;

use super::{names::LONGEST_NAME, source::Source};
use crate::contract::pod;

/// How much of a user's text an error repeats.
const SHOWN: usize = 100;

/// How many names an error lists.
const LISTED: usize = 20;

/// The most entries that an annotation may have. The webhook spends no time on more: the API server would refuse such a pod
/// afterwards.
pub(super) const MOST_ENTRIES: usize = 500;

/// A field of the pod that keeps it from being injected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}{}: {problem}", of_namespace(.namespace.as_deref()))]
pub struct InjectError {
    field: String,
    /// The Namespace that has the annotation, if the pod does not.
    namespace: Option<String>,
    problem: Problem,
}

impl InjectError {
    pub(super) fn new(field: impl Into<String>, problem: Problem) -> Self {
        Self { field: field.into(), namespace: None, problem }
    }

    /// A pod that is not read for its size.
    pub(crate) fn too_many_values() -> Self {
        Self::new("spec", Problem::TooManyValues)
    }

    /// The problem with an annotation.
    pub(super) fn annotation(name: &str, problem: Problem) -> Self {
        Self::new(annotation_field(name), problem)
    }

    /// Whether this annotation is what is wrong.
    pub(super) fn is_of_annotation(&self, name: &str) -> bool {
        self.field == annotation_field(name)
    }

    /// The same error of an annotation that the pod has from its Namespace.
    pub(super) fn of_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// The same error of a pod template that stands at `path` in its object.
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

    /// What is wrong with the field.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// A Secret and a ConfigMap of one name whose files a container would have in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameFolder {
    /// The one that is named first.
    pub one: String,
    /// The other one.
    pub other: String,
    /// The container.
    pub container: String,
    /// The folder.
    pub folder: String,
}

/// What is wrong with a field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Kubernetes defines the field otherwise; the API server would refuse it, too.
    #[error("must be {0}")]
    Shape(&'static str),
    /// Nothing where something has to be.
    #[error("is empty; fill it in or leave it out")]
    Empty,
    /// A list such as `a,,b`.
    #[error("`{0}` has an empty entry; remove the stray comma or fill in the name")]
    EmptyEntry(String),
    /// More than bindery looks at.
    #[error("has more than {MOST_ENTRIES} entries; leave some out")]
    TooManyEntries,
    /// More than a pod can hold, and than the webhook should spend its time on.
    #[error(
        "asks for more than a pod can hold: its containers, their lists and what is bound to them are too many; bind less, \
         or name the containers that need it in {containers}",
        containers = pod::CONTAINERS
    )]
    TooMuch,
    /// More than the webhook reads.
    #[error(
        "the pod has too many values to be bound; leave some out, such as single variables that a ConfigMap in envFrom could \
         hold"
    )]
    TooManyValues,
    /// The same entry again.
    #[error("`{0}` is named twice; remove one of them")]
    Twice(String),
    /// Not what a ServiceBinding can be called.
    #[error(
        "`{0}` is not the name of a binding (lower-case letters, digits, `-` and `.`, at most {longest}, first and last \
         a letter or digit); write the names of ServiceBindings in the pod's namespace, separated by commas, or \
         secret/NAME for a Secret, configmap/NAME for a ConfigMap",
        longest = LONGEST_NAME - "-env".len()
    )]
    BindingName(String),
    /// Not what a Secret or a ConfigMap can be called.
    #[error(
        "`{written}` does not name a {kind} (lower-case letters, digits, `-` and `.`, at most {LONGEST_NAME}, first and last a \
         letter or digit); write {prefix}NAME with the name of a {kind} in the pod's namespace",
        kind = .origin.holder().name(), prefix = .origin.prefix()
    )]
    ObjectName {
        /// What the annotation has.
        written: String,
        /// What its prefix stands for.
        origin: Source,
    },
    /// A way of delivery that does not exist.
    #[error("`{0}` is unknown; write `env`, `files` or `env,files`")]
    Delivery(String),
    /// A plain Secret or a ConfigMap that would give the pod nothing.
    #[error(
        "`env` alone gives the pod nothing of `{written}`, because no variables are known for a {}; add `files`, or name the \
         variables in {env}: NAME={written}/KEY",
        if *.origin == Source::ConfigMap { "ConfigMap" } else { "plain Secret" },
        env = pod::ENV
    )]
    NothingOf {
        /// What the annotation has.
        written: String,
        /// What its prefix stands for.
        origin: Source,
    },
    /// A Secret and a ConfigMap of one name whose files a container would have in one folder.
    #[error(
        "`{one}` and `{other}` would give container {container} their files in one folder, {folder}; rename one of them, bind them \
         to different containers with {own}CONTAINER, or take variables only with {delivery}: env",
        one = .0.one, other = .0.other, container = .0.container, folder = .0.folder,
        own = pod::BIND_CONTAINER, delivery = pod::AS
    )]
    SameFolder(Box<SameFolder>),
    /// Not a variable's definition.
    #[error("`{0}` is not of the form NAME=BINDING/KEY; write for example DB_HOST=mydb01-binding/host")]
    VariableForm(String),
    /// A star that stands on one side only.
    #[error("`{0}` is not of the form PREFIX*=BINDING/*; write for example DB_*=mydb01-binding/*")]
    AllKeysForm(String),
    /// Not a file's definition.
    #[error(
        "`{0}` is not of the form PATH=BINDING/KEY or PATH=BINDING/KEY:MODE; write for example \
         client.key=mydb01-binding/tls.key:0400"
    )]
    FileForm(String),
    /// Not where a file of a binding can lie.
    #[error(
        "`{0}` is not the path of a file; write one that is relative to the binding's folder, without `..`, `.`, `//`, \
         `:`, `\\` and control characters, such as client.key"
    )]
    FilePath(String),
    /// A file cannot be a folder as well.
    #[error("`{inner}` lies in `{outer}`, which is a file; rename one of them")]
    FileAsFolder {
        /// The file in it.
        inner: String,
        /// The file that would be a folder.
        outer: String,
    },
    /// Not the mode of a file.
    #[error("`{0}` is not a mode; write an octal number of at most 0777, such as 0400")]
    Mode(String),
    /// Not what a variable can be called.
    #[error("`{0}` is not a variable's name; use letters, digits and `_`, and no digit first")]
    VariableName(String),
    /// Not what a key can be called.
    #[error(
        "`{0}` is not a key of a Secret or a ConfigMap; use at most {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
    )]
    SecretKey(String),
    /// A variable or a file out of something that is not bound.
    #[error("`{name}` refers to `{source_name}`, which is not bound; add it to {bind}", bind = pod::BIND)]
    NotBound {
        /// The variable's name, or the file's path.
        name: String,
        /// What it refers to.
        source_name: String,
    },
    /// A name that a Secret and a ConfigMap have, both of which are bound.
    #[error("`{0}` is a Secret and a ConfigMap here; write secret/{0} or configmap/{0}")]
    Ambiguous(String),
    /// Optional is something that is not bound.
    #[error(
        "`{0}` is not bound, so it cannot be optional; write names that {bind} has, separated by commas, or true for all",
        bind = pod::BIND
    )]
    NotOptional(String),
    /// A container that the pod does not have.
    #[error("the pod has no container `{name}`; {}its containers are: {present}", did_you_mean(.nearest.as_deref()))]
    NoContainer {
        /// The name that was asked for.
        name: String,
        /// The name that was meant, most likely.
        nearest: Option<String>,
        /// The names there are.
        present: String,
    },
    /// Not a folder to mount at.
    #[error(
        "`{0}` is not a folder to mount at; write an absolute path without `..`, `.`, `//`, `:` and control characters, \
         such as {root}",
        root = pod::DEFAULT_MOUNT_ROOT
    )]
    MountRoot(String),
    /// Not a folder to mount at on Windows.
    #[error(
        "`{0}` is not a folder to mount at on Windows; write an absolute path such as C:\\secrets, without `..`, `.`, \
         empty names, names that end in `.` or a space, and any of < > : \" | ? *"
    )]
    WindowsMountRoot(String),
    /// A folder of Windows in a pod for Linux.
    #[error(
        "`{0}` is a folder of Windows, but the pod does not say that it is for Windows; set its spec.os.name to windows, \
         or write a folder such as {root}",
        root = pod::DEFAULT_MOUNT_ROOT
    )]
    WindowsFolder(String),
    /// Another volume has the name that bindery gives to the binding's.
    #[error("is not the {0}, for which bindery uses this volume name; rename your volume")]
    VolumeTaken(String),
    /// A volume that bindery would mount gives other files than it should.
    #[error(
        "gives other files of the {0} than {files} asks for; remove the volume and its mounts, and bindery adds \
         them anew",
        files = pod::FILES
    )]
    OtherFiles(String),
}

impl Problem {
    /// Which kind of problem it is, for metrics: one of a few words, and nothing that a user wrote.
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

/// A user's text as an error repeats it: on one line, and shortened.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Names as an error lists them.
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
