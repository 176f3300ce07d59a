//! Parses `docs/clients.md`: its tables, the code below its headings, and the lines to which the tables refer.

use std::{env, fs, path::PathBuf, sync::LazyLock};

use serde_json::Value;

static TEXT: LazyLock<String> = LazyLock::new(|| fs::read_to_string(path()).unwrap());

/// The start of the generated table.
const BEGIN: &str = "<!-- truth table -->\n";
const END: &str = "<!-- end of truth table -->";

/// The additions in a table cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Added {
    /// The ServiceBinding's annotation `bindery.dev/env`.
    pub(crate) annotation: Option<String>,
    /// The container's own variables.
    pub(crate) env: Vec<(String, String)>,
    /// A command that the container runs before its program.
    pub(crate) before: Option<String>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md")
}

/// The code below a heading of the third level.
pub(crate) fn code(heading: &str) -> String {
    blocks(heading).into_iter().map(|(_, code)| code).collect()
}

/// The code blocks below a heading, with their languages.
fn blocks(heading: &str) -> Vec<(&'static str, &'static str)> {
    let from = format!("\n### {heading}\n");
    let (_, section) =
        TEXT.split_once(&from).unwrap_or_else(|| panic!("the page has no heading {heading:?}"));
    let end = section.match_indices("\n#").map(|(at, _)| at).find(|at| !in_code(section, *at));
    let mut rest = &section[..end.unwrap_or(section.len())];
    let mut blocks = Vec::new();
    while let Some((_, after)) = rest.split_once("\n```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (code, after) = after.split_once("\n```").unwrap();
        blocks.push((language, code));
        rest = after;
    }
    blocks
}

fn in_code(section: &str, at: usize) -> bool {
    section[..at].matches("\n```").count() % 2 == 1
}

/// The rows of the table below a heading: the name in the first column, and the other columns.
pub(crate) fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = TEXT.split_once(&format!("\n### {heading}\n")).unwrap();
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    rows.skip(2).map(cells).collect()
}

/// Parses a cell's additions: `nothing`, or links to lines.
pub(crate) fn added(cell: &str) -> Added {
    let mut all = Added::default();
    if cell == "nothing" {
        return all;
    }
    for link in cell.split(", ") {
        let (name, anchor) =
            link.strip_prefix('[').and_then(|link| link.split_once("](#")).unwrap_or_else(|| {
                panic!("a cell is neither \"nothing\" nor links to lines: {cell:?}");
            });
        let slug = name.to_lowercase().replace(['.', '/'], "").replace(' ', "-");
        assert_eq!(anchor, format!("{slug})"), "the link of {name}");
        all.add(name);
    }
    all
}

impl Added {
    fn add(&mut self, line: &str) {
        // A heading starts with a capital letter.
        let heading = line[..1].to_uppercase() + &line[1..];
        for (language, code) in blocks(&heading) {
            assert_eq!(language, "yaml", "{line}");
            let yaml: Value = serde_saphyr::from_str(code).unwrap_or_else(|error| panic!("{line}: {error}"));
            if let Some(annotation) = yaml["metadata"]["annotations"]["bindery.dev/env"].as_str() {
                self.annotation = Some(annotation.to_owned());
            }
            for variable in yaml["env"].as_array().into_iter().flatten() {
                let text = |key: &str| variable[key].as_str().unwrap().to_owned();
                self.env.push((text("name"), text("value")));
            }
            if let Some(command) = yaml["command"][2].as_str() {
                let (before, _) = command.split_once(" && exec ").unwrap();
                self.before = Some(before.to_owned());
            }
        }
    }
}

/// The template for one binding with verification, below the heading of the second level.
pub(crate) fn template_that_verifies() -> String {
    let (_, section) = TEXT.split_once("\n## Verify the server\n").unwrap();
    let (_, code) = section.split_once("```yaml\n").unwrap();
    let yaml: Value = serde_saphyr::from_str(code.split_once("\n```").unwrap().0).unwrap();
    yaml["metadata"]["annotations"]["bindery.dev/env"].as_str().unwrap().to_owned()
}

/// Compares the generated table with the page, or writes it if `BINDERY_WRITE_DOCS` is set.
pub(crate) fn keep_truth_table(table: &str) {
    let (before, rest) = TEXT.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if env::var_os("BINDERY_WRITE_DOCS").is_some() {
        fs::write(path(), format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        shown, table,
        "the clients do something else than docs/clients.md says; with BINDERY_WRITE_DOCS=1 this test writes it"
    );
}
