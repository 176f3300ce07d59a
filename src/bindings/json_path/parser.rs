//! Parses templates. Errors name the part of the template that is wrong.

use serde_json::Value;

use super::{Comparison, Node, Path, Selector, Step};

/// How deep filters and ranges may nest.
const MAX_DEPTH: usize = 4;
/// What ends the name of a field.
const ENDS_NAME: &[char] =
    &['.', '[', ']', '{', '}', '(', ')', '=', '!', '<', '>', ',', ' ', '\'', '"', '$', '@', '*'];
/// What may follow a dot without a name: in `{.}` and `?(@. == 1)` the dot is the value itself.
const FOLLOWS_LONE_DOT: &[char] = &['[', ')', ' ', '=', '!', '<', '>'];

pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut rest = text;
    let nodes = parse_nodes(&mut rest, 0)?;
    if rest.is_empty() { Ok(nodes) } else { Err("{end} without {range}".to_owned()) }
}

/// Parses the nodes up to the end of the text, or up to `{end}`, which stays in `rest`.
fn parse_nodes(rest: &mut &str, depth: usize) -> Result<Vec<Node>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("{{range}} nests deeper than {MAX_DEPTH}"));
    }
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            nodes.push(Node::Text(std::mem::take(rest).to_owned()));
            break;
        };
        if open > 0 {
            nodes.push(Node::Text(rest[..open].to_owned()));
        }
        let (inside, after) = braced(&rest[open + 1..])?;
        if inside == "end" {
            *rest = &rest[open..];
            break;
        }
        *rest = after;
        if let Some(of) = inside.strip_prefix("range ") {
            let over = whole_path(of.trim())?;
            let inner = parse_nodes(rest, depth + 1)?;
            let Some((_, after)) = rest.strip_prefix('{').map(braced).transpose()? else {
                return Err(format!("{{{inside}}} has no {{end}}"));
            };
            *rest = after;
            nodes.push(Node::Range(over, inner));
        } else if inside.starts_with(['"', '\'']) {
            let mut quoted = inside;
            nodes.push(Node::Text(string(&mut quoted)?));
            if !quoted.is_empty() {
                return Err(format!("{{{inside}}}: braces may contain only one quoted text"));
            }
        } else {
            nodes.push(Node::Path(whole_path(inside)?));
        }
    }
    Ok(nodes)
}

/// Splits the text at the closing brace. A brace in a quoted text does not count.
fn braced(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            _ if is_escaped => is_escaped = false,
            (_, '\\') => is_escaped = true,
            (Some(open), _) if open == char => quote = None,
            (None, '"' | '\'') => quote = Some(char),
            (None, '}') => return Ok((text[..at].trim(), &text[at + 1..])),
            (None, '{') => return Err("a { is inside braces".to_owned()),
            _ => {}
        }
    }
    Err("a { is not closed".to_owned())
}

fn whole_path(text: &str) -> Result<Path, String> {
    let mut rest = text;
    let parsed = path(&mut rest, 0).map_err(|problem| format!("{{{text}}}: {problem}"))?;
    if rest.is_empty() {
        Ok(parsed)
    } else {
        Err(format!("{{{text}}}: {rest:?} cannot follow a path; write {{.name}}"))
    }
}

fn path(rest: &mut &str, depth: usize) -> Result<Path, String> {
    let text = *rest;
    let from_root = rest.starts_with('$');
    *rest = rest.strip_prefix(['$', '@']).unwrap_or(rest);
    let mut steps = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix("..") {
            *rest = after;
            steps.push(Step::Descend);
            if !rest.starts_with('[') {
                steps.push(Step::Select(vec![field(rest)?]));
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            *rest = after;
            if !after.is_empty() && !after.starts_with(FOLLOWS_LONE_DOT) {
                steps.push(Step::Select(vec![field(rest)?]));
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            *rest = after;
            steps.push(Step::Select(bracketed(rest, depth)?));
        } else {
            break;
        }
    }
    let text = text[..text.len() - rest.len()].to_owned();
    if text.is_empty() {
        return Err("this is not a path; write {.name}".to_owned());
    }
    Ok(Path { text, from_root, steps })
}

/// Parses `*` or the name of a field. A backslash takes the next character literally.
fn field(rest: &mut &str) -> Result<Selector, String> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        return Ok(Selector::All);
    }
    let mut name = String::new();
    let mut chars = rest.char_indices();
    let mut end = rest.len();
    while let Some((at, char)) = chars.next() {
        if char == '\\' {
            name.extend(chars.next().map(|(_, kept)| kept));
        } else if ENDS_NAME.contains(&char) {
            end = at;
            break;
        } else {
            name.push(char);
        }
    }
    *rest = &rest[end..];
    if name.is_empty() { Err("a name is missing after .".to_owned()) } else { Ok(Selector::Field(name)) }
}

fn bracketed(rest: &mut &str, depth: usize) -> Result<Vec<Selector>, String> {
    let mut selectors = Vec::new();
    loop {
        *rest = rest.trim_start();
        selectors.push(if let Some(after) = rest.strip_prefix("?(") {
            *rest = after;
            filter(rest, depth + 1)?
        } else if rest.starts_with(['"', '\'']) {
            Selector::Field(string(rest)?)
        } else if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            Selector::All
        } else {
            index_or_slice(rest)?
        });
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            *rest = after;
            return Ok(selectors);
        }
        *rest = rest.strip_prefix(',').ok_or("a [ is not closed")?;
    }
}

fn index_or_slice(rest: &mut &str) -> Result<Selector, String> {
    let end = rest.find([']', ',']).ok_or("a [ is not closed")?;
    let text = rest[..end].trim();
    *rest = &rest[end..];
    let number = |part: &str| match part.trim() {
        "" => Ok(None),
        digits => digits
            .parse::<i64>()
            .map(Some)
            .map_err(|_| format!("[{text}] is not an index, slice, quoted name, * or ?(filter)")),
    };
    let parts = text.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
    match *parts.as_slice() {
        [Some(index)] => Ok(Selector::Index(index)),
        [from, to] => Ok(Selector::Slice(from, to, 1)),
        [from, to, step] if step.is_none_or(|step| step > 0) => {
            Ok(Selector::Slice(from, to, step.unwrap_or(1)))
        }
        [_, _, Some(_)] => Err(format!("[{text}]: the step must be positive")),
        _ => Err(format!("[{text}] is not an index or slice")),
    }
}

/// Parses a filter after `?(`: `@.path)`, or `@.path OPERATOR literal)`.
fn filter(rest: &mut &str, depth: usize) -> Result<Selector, String> {
    if depth > MAX_DEPTH {
        return Err(format!("filters nest deeper than {MAX_DEPTH}"));
    }
    *rest = rest.trim_start();
    let inner = path(rest, depth)?;
    *rest = rest.trim_start();
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let operator = operators.iter().find_map(|(sign, how)| Some((rest.strip_prefix(sign)?, *how)));
    let comparison = match operator {
        None => None,
        Some((after, how)) => {
            *rest = after.trim_start();
            Some((how, literal(rest)?))
        }
    };
    *rest = rest.trim_start().strip_prefix(')').ok_or("write a filter as ?(@.path) or ?(@.path==literal)")?;
    Ok(Selector::Filter(inner, comparison))
}

fn literal(rest: &mut &str) -> Result<Value, String> {
    if rest.starts_with(['"', '\'']) {
        return string(rest).map(Value::String);
    }
    let end = rest.find([')', ' ']).ok_or("a filter is not closed")?;
    let text = &rest[..end];
    *rest = &rest[end..];
    serde_json::from_str(text).map_err(|_| format!("{text:?} is not a literal; put texts in quotes"))
}

/// Parses a text in single or double quotes. `\n` is a line break and `\t` a tab; before any other character, a backslash
/// takes that character literally.
fn string(rest: &mut &str) -> Result<String, String> {
    let mut chars = rest.char_indices();
    let (_, quote) = chars.next().ok_or("a quoted text is missing")?;
    let mut text = String::new();
    while let Some((at, char)) = chars.next() {
        match char {
            _ if char == quote => {
                *rest = &rest[at + quote.len_utf8()..];
                return Ok(text);
            }
            '\\' => text.extend(chars.next().map(|(_, kept)| match kept {
                'n' => '\n',
                't' => '\t',
                kept => kept,
            })),
            _ => text.push(char),
        }
    }
    Err("a quoted text is not closed".to_owned())
}
