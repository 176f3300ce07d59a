//! Reads tables and snippets from pages.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the repository.
pub(crate) fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all pages.
pub(crate) fn all() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries
        .map(|name| name.into_string().unwrap())
        .filter(|name| Path::new(name).extension() == Some("md".as_ref()));
    let mut names: Vec<_> = names.map(|name| format!("docs/{name}")).collect();
    names.extend(["README.md", "certs/README.md"].map(ToOwned::to_owned));
    names.sort();
    names
}

/// The first cells of the rows of each table whose header starts with this word, optionally below a heading.
pub(crate) fn first_cells(page: &str, heading: Option<&str>, head: &str) -> Vec<String> {
    let text = read(page);
    let section = match heading {
        None => text.as_str(),
        Some(heading) => {
            let (_, section) =
                text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{page}: {heading}"));
            section.split("\n## ").next().unwrap()
        }
    };
    let mut cells = Vec::new();
    let mut is_inside = false;
    for line in section.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            is_inside &= line.starts_with("|---");
            continue;
        };
        let first = row.split(" |").next().unwrap();
        if first == head {
            is_inside = true;
        } else if is_inside {
            cells.push(first.to_owned());
        }
    }
    assert!(!cells.is_empty(), "{page} has no table that begins with {head:?}");
    cells
}

/// The words in backticks in a cell.
pub(crate) fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// A block of code.
pub(crate) struct Snippet {
    pub(crate) page: String,
    pub(crate) line: usize,
    pub(crate) code: String,
}

/// All blocks of YAML.
pub(crate) fn yaml() -> Vec<Snippet> {
    let mut snippets = Vec::new();
    for page in all() {
        let text = read(&page);
        let mut open: Option<(usize, String)> = None;
        let mut is_other = false;
        for (index, line) in text.lines().enumerate() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (Some((number, code)), Some(_)) => {
                    snippets.push(Snippet { page: page.clone(), line: *number, code: std::mem::take(code) });
                    open = None;
                }
                (Some((_, code)), None) => {
                    code.push_str(line);
                    code.push('\n');
                }
                (None, Some("yaml" | "yml")) if !is_other => open = Some((index + 1, String::new())),
                (None, Some(_)) => is_other = !is_other,
                (None, None) => {}
            }
        }
    }
    assert!(snippets.len() > 20, "{}", snippets.len());
    snippets
}
