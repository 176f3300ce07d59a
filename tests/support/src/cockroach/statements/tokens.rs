//! Splits statements into tokens, as far as needed to compare statements and to copy parts between them.

use std::ops::Range;

/// A token of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, an unquoted name or a number.
    Word(String),
    /// A text in double quotes.
    Name(String),
    /// A text in single quotes.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    /// The token as SQL.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Name(name) => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::Text(_) => self.literal(),
            Self::Mark(mark) => mark.to_string(),
        }
    }

    /// The token's content as a string literal.
    pub(super) fn literal(&self) -> String {
        format!("E'{}'", self.held().replace('\\', "\\\\").replace('\'', "''"))
    }

    /// The token's content without quotes.
    pub(super) fn held(&self) -> String {
        match self {
            Self::Word(held) | Self::Name(held) | Self::Text(held) => held.clone(),
            Self::Mark(mark) => mark.to_string(),
        }
    }
}

/// A token and its position.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: Range<usize>,
}

/// Splits a statement into tokens; `None` when a quote is not closed. Dollar quotes are not supported: they become
/// words and marks, so more statements are refused.
pub(super) fn tokens(sql: &str) -> Option<Vec<Placed>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let is_escaped = rest.starts_with("E'");
        let (token, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '\'' || is_escaped {
            let skipped = usize::from(is_escaped);
            let (held, length) = quoted(&rest[skipped..], '\'', is_escaped)?;
            (Token::Text(held), skipped + length)
        } else if first == '"' {
            let (held, length) = quoted(rest, '"', false)?;
            (Token::Name(held), length)
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            (Token::Mark(first), first.len_utf8())
        };
        found.push(Placed { token, at: at..at + length });
        at += length;
    }
    Some(found)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text between quotes, and its length with them.
fn quoted(text: &str, quote: char, has_escapes: bool) -> Option<(String, usize)> {
    let mut held = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && has_escapes {
            held.push(characters.next()?.1);
        } else if c != quote {
            held.push(c);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            held.push(quote);
        } else {
            return Some((held, at + quote.len_utf8()));
        }
    }
    None
}

/// Whether `tokens` contain `words` consecutively. The case of keywords does not matter.
pub(super) fn has(tokens: &[Token], words: &[Token]) -> bool {
    words.is_empty() || tokens.windows(words.len()).any(|part| begins(part, words))
}

/// Whether `tokens` begin with `words`. The case of keywords does not matter, and a quoted `?` matches any token of its
/// kind.
pub(super) fn begins(tokens: &[Token], words: &[Token]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| fits(token, word).is_some())
}

/// Whether a token matches the pattern; `Some(true)` if the pattern is a placeholder.
pub(super) fn fits(token: &Token, pattern: &Token) -> Option<bool> {
    match (token, pattern) {
        (Token::Name(_), Token::Name(any)) | (Token::Text(_), Token::Text(any)) if any == "?" => Some(true),
        (Token::Word(token), Token::Word(word)) if token.eq_ignore_ascii_case(word) => Some(false),
        _ => (token == pattern).then_some(false),
    }
}
