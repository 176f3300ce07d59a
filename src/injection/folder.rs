//! Mount paths on Linux and Windows, and whether two paths are the same folder.

use serde_json::Value;

use super::{
    error::{Problem, shown},
    fields::text,
};
use crate::contract::pod;

/// The operating system of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux, the default.
    Linux,
    /// Windows.
    Windows,
}

impl System {
    /// The operating system in `spec.os`, or else in the node selector
    /// (<https://kubernetes.io/docs/concepts/windows/user-guide/#ensuring-os-specific-workloads-land-on-the-appropriate-container-host>).
    #[must_use]
    pub fn of(pod: &Value) -> Self {
        let named = text(pod, &["spec", "os", "name"])
            .or_else(|| text(pod, &["spec", "nodeSelector", "kubernetes.io/os"]));
        if named == Some("windows") { Self::Windows } else { Self::Linux }
    }
}

/// The folder that contains the folders of all bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountRoot<'a> {
    /// The path without a trailing separator; empty for the root folder.
    folder: &'a str,
    /// The separator of folders. Windows pods may use either one.
    separator: char,
    system: System,
}

impl<'a> MountRoot<'a> {
    /// `/var/secrets`, which the Windows kubelet puts on drive C.
    #[must_use]
    pub fn default_on(system: System) -> Self {
        Self { folder: pod::DEFAULT_MOUNT_ROOT, separator: '/', system }
    }

    /// Parses a path.
    ///
    /// # Errors
    /// When nothing can be mounted there.
    pub fn read(value: &'a str, system: System) -> Result<Self, Problem> {
        match (after_drive(value), system) {
            (Some(_), System::Linux) => Err(Problem::WindowsFolder(shown(value))),
            (Some(folders), System::Windows) => Self::on_drive(value, folders),
            (None, _) => Self::below_root(value, system),
        }
    }

    fn below_root(value: &'a str, system: System) -> Result<Self, Problem> {
        let folder = value.strip_suffix('/').unwrap_or(value);
        let is_path = value == "/"
            || folder.strip_prefix('/').is_some_and(|folders| !folders.split('/').any(is_not_a_folder));
        let is_possible = match system {
            System::Linux => !folder.contains(|c: char| c == ':' || c.is_control()),
            System::Windows => !folder.split('/').any(is_impossible_on_windows),
        };
        match system {
            _ if is_path && is_possible => Ok(Self { folder, separator: '/', system }),
            System::Linux => Err(Problem::MountRoot(shown(value))),
            System::Windows => Err(Problem::WindowsMountRoot(shown(value))),
        }
    }

    /// `folders` is the part after the drive and its separator.
    fn on_drive(value: &'a str, folders: &str) -> Result<Self, Problem> {
        let separators = ['\\', '/'];
        let bare = folders.strip_suffix(separators).unwrap_or(folders);
        let is_invalid = |folder: &str| is_not_a_folder(folder) || is_impossible_on_windows(folder);
        if !folders.is_empty() && bare.split(separators).any(is_invalid) {
            return Err(Problem::WindowsMountRoot(shown(value)));
        }
        let folder = value.strip_suffix(separators).unwrap_or(value);
        let separator = if value[2..].starts_with('/') { '/' } else { '\\' };
        Ok(Self { folder, separator, system: System::Windows })
    }

    /// The folder of a binding, a Secret or a ConfigMap of this name.
    pub(super) fn folder_of(&self, name: &str) -> String {
        format!("{}{}{name}", self.folder, self.separator)
    }

    /// Whether `path` lies below `above`. A path is not below itself.
    pub(super) fn is_below(&self, path: &str, above: &str) -> bool {
        let is_below = |path: &str, above: &str| {
            let deeper = folders(path).count().saturating_sub(folders(above).count());
            deeper > 0 && folders(path).skip(deeper).eq(folders(above))
        };
        match self.system {
            System::Linux => is_below(path, above),
            System::Windows => is_below(&on_windows(path), &on_windows(above)),
        }
    }

    /// Whether two paths are the same folder. The kubelet treats relative paths as starting at the root. Windows
    /// ignores case, accepts either separator, and uses drive C by default.
    pub(super) fn is_same(&self, path: &str, other: &str) -> bool {
        match self.system {
            System::Linux => folders(path).eq(folders(other)),
            System::Windows => folders(&on_windows(path)).eq(folders(&on_windows(other))),
        }
    }
}

impl Default for MountRoot<'_> {
    fn default() -> Self {
        Self::default_on(System::Linux)
    }
}

/// The part after `C:\` or `C:/`.
fn after_drive(path: &str) -> Option<&str> {
    let (drive, folders) = path.split_once(':')?;
    let is_drive = matches!(drive.as_bytes(), [letter] if letter.is_ascii_alphabetic());
    is_drive.then_some(folders)?.strip_prefix(['\\', '/'])
}

/// Whether a part of a path names no folder of its own.
fn is_not_a_folder(name: &str) -> bool {
    matches!(name, "" | "." | "..")
}

/// Whether Windows does not allow this file name
/// (<https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file#naming-conventions>).
fn is_impossible_on_windows(name: &str) -> bool {
    name.ends_with(['.', ' ']) || name.contains(|c: char| r#"<>:"|?*\"#.contains(c) || c.is_control())
}

/// The folders of a path, the innermost first, because most paths differ there.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit('/').filter(is_named)
}

fn is_named(folder: &&str) -> bool {
    !matches!(*folder, "" | ".")
}

/// The path of a Windows pod in the notation of Linux.
fn on_windows(path: &str) -> String {
    let path = path.replace('\\', "/").to_lowercase();
    path.strip_prefix("c:").unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn folder(value: &str, system: System) -> Result<String, Problem> {
        MountRoot::read(value, system).map(|root| root.folder_of("b"))
    }

    #[rstest]
    #[case("/", "/b")]
    #[case("/a", "/a/b")]
    #[case("/a/", "/a/b")]
    #[case("/a b/..c/d", "/a b/..c/d/b")]
    fn a_mount_root_loses_only_its_last_slash(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(folder(value, System::Linux).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case("/", "/b")]
    #[case("/var/secrets", "/var/secrets/b")]
    #[case(r"C:\", r"C:\b")]
    #[case(r"C:\secrets", r"C:\secrets\b")]
    #[case(r"d:\my secrets\", r"d:\my secrets\b")]
    #[case("C:/secrets/x/", "C:/secrets/x/b")]
    fn a_pod_for_windows_may_name_a_drive(#[case] value: &str, #[case] expected: &str) {
        assert_eq!(folder(value, System::Windows).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case("C:")]
    #[case("C:secrets")]
    #[case("CD:\\secrets")]
    #[case(r"C:\\secrets")]
    #[case(r"C:\secrets\\")]
    #[case(r"C:\a\..\b")]
    #[case(r"C:\a.\b")]
    #[case(r"C:\a\b ")]
    #[case(r"C:\a?")]
    #[case(r"C:\a:b")]
    #[case("C:\\a\u{7}")]
    #[case(r"\secrets")]
    #[case(r"/var\secrets")]
    #[case("/var/a|b")]
    #[case("secrets")]
    #[case("")]
    fn what_windows_cannot_have_is_refused(#[case] value: &str) {
        assert_eq!(folder(value, System::Windows), Err(Problem::WindowsMountRoot(shown(value))));
    }

    #[test]
    fn a_drive_is_refused_in_a_pod_for_linux() {
        assert_eq!(
            folder(r"C:\secrets", System::Linux),
            Err(Problem::WindowsFolder(r"C:\\secrets".to_owned()))
        );
    }

    #[test]
    fn a_pod_is_for_the_system_that_it_names() {
        for (spec, system) in [
            (json!({}), System::Linux),
            (json!({"os": {"name": "windows"}}), System::Windows),
            (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), System::Windows),
            (
                json!({"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "windows"}}),
                System::Linux,
            ),
            (json!({"os": "windows", "nodeSelector": ["windows"]}), System::Linux),
        ] {
            assert_eq!(System::of(&json!({"spec": spec})), system, "{spec}");
        }
    }

    #[test]
    fn on_windows_one_folder_has_many_names() {
        let windows = MountRoot::default_on(System::Windows);
        for other in ["/var/secrets/b/", r"C:\var\secrets\b", r"c:\VAR\Secrets/B", r"\var\secrets\b"] {
            assert!(windows.is_same("/var/secrets/b", other), "{other}");
        }
        assert!(!windows.is_same("/var/secrets/b", r"D:\var\secrets\b"));
    }

    /// The API server considers these two paths different, but the kubelet mounts one over the other.
    #[test]
    fn on_linux_too_one_folder_has_several_names() {
        let linux = MountRoot::default_on(System::Linux);
        for other in ["/var/secrets/b/", "//var/secrets//b", "/var/./secrets/b/.", "var/secrets/b"] {
            assert!(linux.is_same("/var/secrets/b", other), "{other}");
        }
        for other in ["/var/secrets/B", "/var/secrets", "/secrets/b", "/var/secrets/b/c", "/"] {
            assert!(!linux.is_same("/var/secrets/b", other), "{other}");
        }
    }
}
