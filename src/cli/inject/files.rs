//! The files that `-f` stands for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// What manifests are called; the same as for `kubectl`.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The file itself, or all manifests in a folder and its folders, in the order of their names.
pub(super) fn in_order(given: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !given.is_dir() {
        return Ok(vec![given.to_owned()]);
    }
    let mut found = Vec::new();
    collect(given, &mut found)?;
    let folder = given.display();
    ensure!(!found.is_empty(), "{folder} holds no manifests; their names end in .yaml, .yml or .json");
    Ok(found)
}

/// Links to folders are not followed, so that no file is read twice and none for ever.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let context = || format!("cannot read {}", folder.display());
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // Hidden ones hold what belongs to tools, such as the workflows in `.github`.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            collect(&path, found)?;
        } else if is_manifest(&path) && !path.is_dir() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}
