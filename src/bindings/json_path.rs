//! Templates in Kubernetes' JSONPath dialect, such as `{.credentials.host}:{.port}`, evaluated over credentials. Pure. Text
//! outside braces stays as it is. Braces contain a path (fields, indexes, slices, wildcards, unions, `..`, filters), a quoted
//! text, or `range PATH` … `end`. Unlike in kubectl, a path that selects nothing is an error even inside a list, and lists and
//! objects become JSON. A user of a namespace can write both the template and the credentials, so the work and the size of the
//! result are limited.

mod parser;
mod select;

use serde_json::Value;

use super::values::as_text;

/// The longest result of a template, in bytes: a Secret cannot hold more.
const MAX_TEXT: usize = 1 << 20;

/// Why a template has no result. No error shows a value of the credentials.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PathError {
    #[error("{0}")]
    Syntax(String),
    #[error("{{{0}}} selects nothing")]
    Nothing(String),
    #[error("the template visits more than {limit} values; write a narrower path")]
    TooMuchWork { limit: usize },
    #[error("the result is longer than {MAX_TEXT} bytes")]
    TooLong,
}

/// A parsed template.
#[derive(Debug, PartialEq)]
pub(crate) struct Template(Vec<Node>);

#[derive(Debug, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Self>),
}

/// A path with its text, for errors.
#[derive(Debug, PartialEq)]
struct Path {
    text: String,
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq)]
enum Step {
    /// Any of the selectors.
    Select(Vec<Selector>),
    /// The value itself and everything below it.
    Descend,
}

#[derive(Debug, PartialEq)]
enum Selector {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// The elements for which the path selects a value, or a value for which the comparison with the literal holds.
    Filter(Path, Option<(Comparison, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// How many more values may be visited.
pub(crate) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    fn spend(&mut self) -> Result<(), PathError> {
        self.left = self.left.checked_sub(1).ok_or(PathError::TooMuchWork { limit: self.limit })?;
        Ok(())
    }
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        parser::template(text).map(Self).map_err(PathError::Syntax)
    }

    /// Fills in the template with the values of `root`.
    pub(crate) fn render(&self, root: &Value, budget: &mut Budget) -> Result<String, PathError> {
        let mut text = String::new();
        render(&self.0, root, root, budget, &mut text)?;
        Ok(text)
    }
}

fn render(
    nodes: &[Node],
    root: &Value,
    current: &Value,
    budget: &mut Budget,
    text: &mut String,
) -> Result<(), PathError> {
    for node in nodes {
        budget.spend()?;
        match node {
            Node::Text(literal) => append(text, literal)?,
            Node::Path(path) => {
                for (index, value) in select::path(path, root, current, budget)?.into_iter().enumerate() {
                    append(text, if index == 0 { "" } else { " " })?;
                    append(text, &as_text(value))?;
                }
            }
            Node::Range(path, inner) => {
                for value in select::path(path, root, current, budget)? {
                    render(inner, root, value, budget, text)?;
                }
            }
        }
    }
    Ok(())
}

fn append(text: &mut String, more: &str) -> Result<(), PathError> {
    if text.len() + more.len() > MAX_TEXT {
        return Err(PathError::TooLong);
    }
    text.push_str(more);
    Ok(())
}

#[cfg(test)]
mod tests;
