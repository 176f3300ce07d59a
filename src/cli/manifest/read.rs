//! Reads one YAML document as `kubectl` does: a YAML 1.2 parser yields events, and the rules of go-yaml 2 turn them
//! into values (<https://github.com/yaml/go-yaml/blob/v2/decode.go>). The last of repeated keys counts, a merge key
//! overrides the keys before it, and the expansion of aliases is limited. Pure.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Tag};

use super::scalar::{self, Kind, Scalar, ScalarError};

/// The namespace of YAML's own tags.
const YAML_TAGS: &str = "tag:yaml.org,2002:";
/// The merge key: takes over the fields of another mapping.
const MERGE: &str = "<<";

/// What a document holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) value: Value,
    pub(crate) has_comments: bool,
    /// Keys that a mapping repeats, each with the line of the value that counts.
    pub(crate) repeated: Vec<(usize, String)>,
}

/// Why the document cannot be read. The text quotes nothing of the document, which may hold credentials.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}, column {column}")]
pub(super) struct ReadError {
    line: usize,
    column: usize,
    problem: Unreadable,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Syntax(String),
    #[error(transparent)]
    Scalar(#[from] ScalarError),
    #[error("<< takes a mapping, or a list of mappings")]
    NoMapping,
    #[error("an alias refers to a node that contains it")]
    Endless,
    #[error("its aliases expand to too much; replace them by what they stand for")]
    TooMuch,
}

/// Reads the first document of `text`, which begins on line `first_line` of its file.
pub(super) fn read(text: &str, first_line: usize) -> Result<Contents, ReadError> {
    #[cfg(test)]
    counted::BYTES.set(counted::BYTES.get() + text.len());
    let mut composer = Composer::default();
    let mut is_over = false;
    // The parser only counts comments, so the limit can be high.
    let options = granit_parser::options! { max_buffered_comment_events: usize::MAX };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(&error, first_line))?;
        if matches!(event, Event::Comment(..)) {
            composer.contents.has_comments = true;
        }
        is_over |= matches!(event, Event::DocumentEnd);
        if !is_over {
            let line = first_line - 1 + span.start.line();
            let column = span.start.col() + 1;
            composer.take(event, line).map_err(|problem| ReadError { line, column, problem })?;
        }
    }
    Ok(composer.contents)
}

fn syntax(error: &ScanError, first_line: usize) -> ReadError {
    let (line, column) = (first_line - 1 + error.marker().line(), error.marker().col() + 1);
    ReadError { line, column, problem: Unreadable::Syntax(error.info()) }
}

/// Counts parsed nodes, for tests of the cost.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static BYTES: Cell<usize> = const { Cell::new(0) };
    }
}

/// Builds values from events.
#[derive(Default)]
struct Composer {
    contents: Contents,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    /// The number of nodes so far, expanded aliases included, and how many of them come from aliases.
    nodes: usize,
    aliased: usize,
}

/// A value that aliases can refer to, and its number of nodes.
struct Anchored {
    value: Value,
    weight: usize,
}

/// A list or mapping whose end has not been read yet.
struct Open {
    collection: Collection,
    anchor: usize,
    weight: usize,
}

enum Collection {
    List(Vec<Value>),
    Mapping {
        entries: Map<String, Value>,
        /// The key of the next value.
        key: Option<Key>,
        /// Keys that came from merge keys. Writing one of them again is not a repetition.
        merged: HashSet<String>,
    },
}

enum Key {
    Field(String),
    Merge,
}

/// A complete node.
#[derive(Clone)]
enum Node<'a> {
    Scalar { scalar: Scalar<'a>, is_merge: bool },
    Collection(Value),
    Alias(Value),
}

impl Composer {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Unreadable> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = text == MERGE && is_merge_key(style, tag.as_deref());
                let scalar = resolved(text, style, tag.as_deref())?;
                self.complete(Node::Scalar { scalar, is_merge }, anchor, 1, line)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(Collection::List(Vec::new()), anchor);
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                let (entries, key, merged) = (Map::new(), None, HashSet::new());
                self.start(Collection::Mapping { entries, key, merged }, anchor);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { collection, anchor, weight }) = self.open.pop() else { return Ok(()) };
                let value = match collection {
                    Collection::List(items) => Value::Array(items),
                    Collection::Mapping { entries, .. } => Value::Object(entries),
                };
                self.complete(Node::Collection(value), anchor, weight, line)
            }
            Event::Alias(anchor) => self.alias(anchor, line),
            _ => Ok(()),
        }
    }

    fn start(&mut self, collection: Collection, anchor: usize) {
        self.nodes += 1;
        self.open.push(Open { collection, anchor, weight: 1 });
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Unreadable> {
        let Some(Anchored { value, weight }) = self.anchors.get(&anchor) else {
            return Err(Unreadable::Endless);
        };
        self.nodes += weight;
        self.aliased += weight;
        if self.aliased > 100 && self.nodes > 1000 && is_excessive(self.aliased, self.nodes) {
            return Err(Unreadable::TooMuch);
        }
        let (node, weight) = (Node::Alias(value.clone()), 1 + weight);
        self.complete(node, 0, weight, line)
    }

    /// Adds a node to its parent. The anchor 0 means none.
    fn complete(
        &mut self,
        node: Node<'_>,
        anchor: usize,
        weight: usize,
        line: usize,
    ) -> Result<(), Unreadable> {
        if !matches!(node, Node::Collection(_)) {
            self.nodes += 1;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { value: node.clone().into_value()?, weight });
        }
        let Some(open) = self.open.last_mut() else {
            self.contents.value = node.into_value()?;
            return Ok(());
        };
        open.weight += weight;
        let Collection::Mapping { entries, key, merged } = &mut open.collection else {
            if let Collection::List(items) = &mut open.collection {
                items.push(node.into_value()?);
            }
            return Ok(());
        };
        match key.take() {
            None => *key = Some(node.into_key()?),
            Some(Key::Merge) => {
                for (name, value) in node.into_mappings()?.into_iter().flatten() {
                    merged.insert(name.clone());
                    entries.insert(name, value);
                }
            }
            Some(Key::Field(name)) => {
                let is_new = !entries.contains_key(&name) || merged.remove(&name);
                if !is_new {
                    self.contents.repeated.push((line, name.clone()));
                }
                entries.insert(name, node.into_value()?);
            }
        }
        Ok(())
    }
}

impl Node<'_> {
    fn into_value(self) -> Result<Value, Unreadable> {
        match self {
            Self::Scalar { scalar, .. } => Ok(scalar.into_value()?),
            Self::Collection(value) | Self::Alias(value) => Ok(value),
        }
    }

    fn into_key(self) -> Result<Key, Unreadable> {
        match self {
            Self::Scalar { is_merge: true, .. } => Ok(Key::Merge),
            Self::Scalar { scalar, .. } => Ok(Key::Field(scalar.into_key()?)),
            Self::Alias(Value::String(text)) => Ok(Key::Field(text)),
            Self::Alias(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Key::Field(value.to_string())),
            Self::Collection(_) | Self::Alias(_) => Err(ScalarError::Key.into()),
        }
    }

    /// The mappings that a merge key takes over; later ones override earlier ones.
    fn into_mappings(self) -> Result<Vec<Map<String, Value>>, Unreadable> {
        let mapping = |value| match value {
            Value::Object(mapping) => Ok(mapping),
            _ => Err(Unreadable::NoMapping),
        };
        match self {
            Self::Collection(Value::Array(items)) => items.into_iter().rev().map(mapping).collect(),
            Self::Collection(value) | Self::Alias(value) => Ok(vec![mapping(value)?]),
            Self::Scalar { .. } => Err(Unreadable::NoMapping),
        }
    }
}

fn is_merge_key(style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => tag.suffix_in_namespace(YAML_TAGS).is_some_and(|name| name == "merge"),
    }
}

fn resolved<'a>(
    text: Cow<'a, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Scalar<'a>, ScalarError> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(scalar::plain(text)),
        None => Ok(Scalar::Text(text)),
        Some(tag) => {
            let kind = tag.suffix_in_namespace(YAML_TAGS).map_or(Kind::Text, |name| Kind::named(&name));
            scalar::tagged(kind, text)
        }
    }
}

/// go-yaml's limit: in a small document nearly all nodes may come from aliases, in a large one a tenth.
fn is_excessive(aliased: usize, nodes: usize) -> bool {
    const SMALL: usize = 400_000;
    const LARGE: usize = 4_000_000;
    let percent = match nodes {
        ..=SMALL => 99,
        LARGE.. => 10,
        _ => 99 - 89 * (nodes - SMALL) / (LARGE - SMALL),
    };
    aliased * 100 > nodes * percent
}
