//! Reading which files of `src` import which, and what they take from other crates. Tests do not count; a name that a
//! module passes on (`pub use`) counts for the file that defines it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The path of a module below the crate, such as `["broker", "engine"]`.
pub(crate) type Module = Vec<String>;

/// What one file imports.
#[derive(Default)]
struct Source {
    /// Local names, and the full paths that they stand for.
    names: BTreeMap<String, Vec<String>>,
    /// Modules of which everything is imported.
    globs: Vec<Vec<String>>,
    /// Paths that the code uses, in full; those of other crates begin with the crate's name.
    uses: BTreeSet<Vec<String>>,
}

/// The files of a crate by their modules.
pub(crate) struct Imports {
    sources: BTreeMap<Module, Source>,
}

impl Imports {
    /// Of the crate whose files are below this folder.
    pub(crate) fn below(folder: &Path) -> Self {
        let mut texts = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    texts.insert(
                        module_of(path.strip_prefix(folder).unwrap()),
                        fs::read_to_string(path).unwrap(),
                    );
                }
            }
        }
        Self::of(texts)
    }

    /// Of these modules.
    pub(crate) fn of(texts: BTreeMap<Module, String>) -> Self {
        let mut tests = BTreeSet::from([vec!["main".to_owned()]]);
        let mut codes = BTreeMap::new();
        for (module, text) in texts {
            let (code, of_tests) = without_tests(&without_comments_and_literals(&text));
            tests.extend(of_tests.into_iter().map(|name| join(&module, &[name])));
            codes.insert(module, code);
        }
        codes.retain(|module, _| !(1..=module.len()).any(|end| tests.contains(&module[..end])));
        let modules: BTreeSet<Module> = codes.keys().cloned().collect();
        let sources = codes
            .iter()
            .map(|(module, code)| (module.clone(), Source::read(module, code, &modules)))
            .collect();
        Self { sources }
    }

    /// Each file, and the other files that it imports from.
    pub(crate) fn files(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let imported = |(module, source): (_, &Source)| {
            let globs = source.globs.iter();
            let mut of: BTreeSet<Module> =
                source.uses.iter().chain(globs).filter_map(|path| self.defines(path, 0)).collect();
            of.remove(module);
            (module, of)
        };
        self.sources.iter().map(imported).collect()
    }

    /// The paths of other crates that each file uses.
    pub(crate) fn of_other_crates<'a>(&'a self) -> impl Iterator<Item = (&'a Module, &'a Vec<String>)> {
        let others = |(module, source): (_, &'a Source)| {
            let all = source.uses.iter().chain(&source.globs);
            all.filter(|path| path[0] != "crate").map(move |path| (module, path))
        };
        self.sources.iter().flat_map(others)
    }

    /// The file that defines what a path names; none for the crate's root and for other crates.
    fn defines(&self, path: &[String], depth: usize) -> Option<Module> {
        let path = path.strip_prefix(&["crate".to_owned()])?;
        let end = (1..=path.len()).rev().find(|&end| self.sources.contains_key(&path[..end]))?;
        let module = &path[..end];
        if let Some(name) = path.get(end)
            && depth < 10
            && let Some(full) = self.sources[module].names.get(name)
            && full[0] == "crate"
        {
            return self.defines(&join(full, &path[end + 1..]), depth + 1);
        }
        Some(module.to_vec())
    }
}

impl Source {
    fn read(module: &[String], code: &str, modules: &BTreeSet<Module>) -> Self {
        let mut source = Self::default();
        let (statements, rest) = use_statements(code);
        for statement in statements {
            let mut leaves = Vec::new();
            expand(&statement.tree, &[], &mut leaves);
            for (path, name) in leaves {
                let path = full(module, path, modules);
                // What is only passed on is nothing that the file itself needs.
                let needs = !statement.is_pub || name.as_ref().is_some_and(|name| is_word_in(name, &rest));
                // A module by itself is imported once something in it is used.
                let names_module = path[0] == "crate" && modules.contains(&path[1..]);
                match name {
                    None if needs => source.globs.push(path),
                    None => {}
                    Some(name) => {
                        if needs && !names_module {
                            source.uses.insert(path.clone());
                        }
                        source.names.insert(name, path);
                    }
                }
            }
        }
        for path in paths(&rest) {
            let path = match source.names.get(&path[0]) {
                Some(full) => join(full, &path[1..]),
                None => full(module, path, modules),
            };
            source.uses.insert(path);
        }
        source
    }
}

/// A `use` statement.
struct Statement {
    tree: String,
    is_pub: bool,
}

fn join(one: &[String], other: &[String]) -> Vec<String> {
    [one, other].concat()
}

/// `a/b.rs` and `a/b/mod.rs` are both `a::b`.
fn module_of(file: &Path) -> Module {
    let without = file.with_extension("");
    let mut parts: PathBuf = without;
    if parts.ends_with("mod") || parts.ends_with("lib") {
        parts.pop();
    }
    parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
}

/// A path as seen from the crate's root.
fn full(module: &[String], path: Vec<String>, modules: &BTreeSet<Module>) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = &path[..];
    match path[0].as_str() {
        "crate" => return path,
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        first if modules.contains(&join(module, &[first.to_owned()])) => {}
        _ => return path,
    }
    [vec!["crate".to_owned()], base, rest.to_vec()].concat()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_word_in(word: &str, code: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name))
}

/// All `use` statements, and the code without them.
fn use_statements(code: &str) -> (Vec<Statement>, String) {
    let (mut statements, mut rest, mut end) = (Vec::new(), String::new(), 0);
    // `impl Trait + use<'_>` has no space behind it.
    for (from, keyword) in code.match_indices("use ") {
        let before = &code[end.min(from)..from];
        if from < end || before.ends_with(is_name) {
            continue;
        }
        let Some(length) = code[from..].find(';') else { continue };
        let visibility = before.rsplit([';', '{', '}', ']']).next().unwrap_or_default();
        let tree = code[from + keyword.len()..from + length].to_owned();
        statements.push(Statement { tree, is_pub: is_word_in("pub", visibility) });
        rest.push_str(before);
        end = from + length;
    }
    rest.push_str(&code[end..]);
    (statements, rest)
}

/// The paths of a tree, with the local name of each; none for `*`.
fn expand(tree: &str, prefix: &[String], leaves: &mut Vec<(Vec<String>, Option<String>)>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let head =
            tree[..open].split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        let prefix: Vec<String> = prefix.iter().cloned().chain(head).collect();
        let inner = &tree[open + 1..tree.rfind('}').unwrap()];
        let (mut depth, mut begin) = (0, 0);
        for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[begin..at].trim().is_empty() {
                        expand(&inner[begin..at], &prefix, leaves);
                    }
                    begin = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let parts = path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
    let mut path: Vec<String> = prefix.iter().cloned().chain(parts).collect();
    let last = path.last().unwrap().clone();
    match last.as_str() {
        "*" => {
            path.pop();
            leaves.push((path, None));
        }
        "self" if path.len() > 1 => {
            path.pop();
            let name = alias.unwrap_or(path.last().unwrap()).to_owned();
            leaves.push((path, Some(name)));
        }
        _ => leaves.push((path, Some(alias.unwrap_or(&last).to_owned()))),
    }
}

/// The paths of two parts and more in code without `use` statements.
fn paths(code: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let words = code.split(|character| !is_name(character) && character != ':');
    for word in words {
        let path: Vec<String> =
            word.split("::").filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
        let is_path =
            path.len() > 1 && !word.starts_with("::") && path.iter().all(|part| !part.contains(':'));
        if is_path {
            found.insert(path);
        }
    }
    found
}

/// The code without items for tests, and the modules among these that have a file.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let end = end_of_item(item);
        let head = item[..end].trim();
        if head.ends_with(';')
            && let Some((_, name)) = head.trim_end_matches(';').rsplit_once("mod ")
        {
            modules.push(name.trim().to_owned());
        }
        rest = &item[end..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Behind the `;` or the closing brace of the item that the code begins with.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0;
    for (at, character) in code.char_indices() {
        match character {
            '{' | '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The code with comments gone and literals of text empty.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(end) = end_of_raw_text(&code, rest) {
            code.push_str("\"\"");
            end
        } else if first == '"' {
            code.push_str("\"\"");
            end_of_text(rest, '"')
        } else if first == '\'' && is_character(rest) {
            end_of_text(rest, '\'')
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[end..];
    }
    code
}

/// `r"…"` and `r#"…"#`.
fn end_of_raw_text(before: &str, rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    if before.ends_with(|character| is_name(character) && character != 'b')
        || !hashes[count..].starts_with('"')
    {
        return None;
    }
    let close = format!("\"{}", "#".repeat(count));
    let from = count + 2;
    Some(rest[from..].find(&close).map_or(rest.len(), |at| from + at + close.len()))
}

fn end_of_text(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A literal of a character, and no lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}
