//! Finds and reads the files that `-f` names.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// The file name that means standard input.
const STDIN: &str = "-";

/// The extensions of manifests, as for `kubectl`.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file and its text.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads these files, and all manifests below these folders.
pub(crate) fn read_files(given: &[PathBuf], stdin: &mut impl Read) -> anyhow::Result<Vec<File>> {
    let stdins = given.iter().filter(|file| *file == Path::new(STDIN)).count();
    ensure!(
        stdins <= 1,
        "-f - is given {stdins} times; give it once, because standard input can be read only once"
    );
    let mut files = Vec::new();
    for given in given {
        for path in in_order(given)? {
            let name = path.display().to_string();
            let text = read(&path, stdin).with_context(|| format!("cannot read {name}"))?;
            files.push(File { name, text });
        }
    }
    Ok(files)
}

fn read(path: &Path, stdin: &mut impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new(STDIN) {
        stdin.read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(path)?;
    }
    String::from_utf8(bytes).context("the file is not UTF-8; convert it")
}

/// The file itself, or all manifests below a folder, in the order of their names.
fn in_order(given: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !given.is_dir() {
        return Ok(vec![given.to_owned()]);
    }
    let mut found = Vec::new();
    collect(given, &mut found)?;
    let folder = given.display();
    ensure!(
        !found.is_empty(),
        "{folder} holds no manifests; name a folder with files that end in .yaml, .yml or \
        .json"
    );
    Ok(found)
}

/// Does not follow links to folders, so no file is read twice and no loop can occur.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let context = || format!("cannot read {}", folder.display());
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // Hidden folders belong to tools, such as the workflows in `.github`.
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
