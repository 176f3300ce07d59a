//! The value that `kubectl` reads from a scalar. `kubectl` reads YAML with sigs.k8s.io/yaml, that is go-yaml 2, whose
//! rules lie between YAML 1.1 and 1.2: `on` is a boolean, `0644` is octal, `1_000` is a number, `190:20:30` is text
//! (<https://github.com/yaml/go-yaml/blob/v2/resolve.go>). Pure.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Number, Value};

/// The value of a scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number above the largest `i64`.
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
}

/// The tags that go-yaml interprets, without `tag:yaml.org,2002:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Float,
    /// Text, and every tag that go-yaml ignores.
    Text,
    Binary,
}

impl Kind {
    /// The kind that a tag of YAML's own namespace names.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "binary" => Self::Binary,
            _ => Self::Text,
        }
    }
}

/// Why a scalar has no value. The texts never quote the scalar, which may be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScalarError {
    #[error("the value does not match its tag; correct the value or remove the tag")]
    OtherKind,
    #[error("the value of !!binary is not base64")]
    Base64,
    #[error(
        "JSON has no infinity and no NaN, so Kubernetes cannot receive them; quote the value if it is text"
    )]
    NoNumber,
    #[error("this value cannot be a field name; quote it")]
    Key,
}

/// The value of a scalar that has no tag and no quotes.
pub(super) fn plain(text: Cow<'_, str>) -> Scalar<'_> {
    if let Some(word) = word(&text) {
        return word;
    }
    match text.as_bytes().first() {
        Some(b'+' | b'-' | b'0'..=b'9') => number(&text).unwrap_or(Scalar::Text(text)),
        Some(b'.') if separates_digits(&text) => {
            float(&text.replace('_', "")).map_or(Scalar::Text(text), Scalar::Float)
        }
        _ => Scalar::Text(text),
    }
}

/// The value of a scalar with a tag.
pub(super) fn tagged(kind: Kind, text: Cow<'_, str>) -> Result<Scalar<'_>, ScalarError> {
    match (kind, kind) {
        (Kind::Text, _) => return Ok(Scalar::Text(text)),
        (Kind::Binary, _) => return binary(&text).map(|text| Scalar::Text(Cow::Owned(text))),
        _ => {}
    }
    match (kind, plain(text)) {
        (Kind::Null, Scalar::Null) => Ok(Scalar::Null),
        (Kind::Bool, Scalar::Bool(is)) => Ok(Scalar::Bool(is)),
        (Kind::Int, found @ (Scalar::Int(_) | Scalar::Unsigned(_))) => Ok(found),
        (Kind::Float, Scalar::Float(found)) => Ok(Scalar::Float(found)),
        #[expect(clippy::cast_precision_loss, reason = "go-yaml does the same")]
        (Kind::Float, Scalar::Int(found)) => Ok(Scalar::Float(found as f64)),
        _ => Err(ScalarError::OtherKind),
    }
}

fn word(text: &str) -> Option<Scalar<'static>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Scalar<'static>> {
    let digits = text.replace('_', "");
    if let Some(found) = integer(&digits) {
        return Some(found);
    }
    if is_float(&digits) {
        return float(&digits).map(Scalar::Float);
    }
    // Go's own syntax for these numbers is younger than go-yaml, so go-yaml parses them itself.
    let (negative, binary) = match (digits.strip_prefix("0b"), digits.strip_prefix("-0b")) {
        (Some(binary), _) => (false, binary),
        (None, Some(binary)) if !binary.starts_with(['+', '-']) => (true, binary),
        _ => return None,
    };
    let found = i64::from_str_radix(binary, 2).ok()?;
    Some(Scalar::Int(if negative { -found } else { found }))
}

/// Go's `strconv.ParseInt(text, 0, 64)`, or else `ParseUint`.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let radix = |prefix: &str| unsigned.get(..2).filter(|start| start.eq_ignore_ascii_case(prefix));
    let (radix, digits) = if radix("0x").is_some() {
        (16, &unsigned[2..])
    } else if radix("0o").is_some() {
        (8, &unsigned[2..])
    } else if radix("0b").is_some() {
        (2, &unsigned[2..])
    } else if unsigned.len() > 1 && unsigned.starts_with('0') {
        (8, &unsigned[1..])
    } else {
        (10, unsigned)
    };
    // Rust's parser would accept a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    if let Ok(found) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(Scalar::Int(found));
    }
    let has_sign = unsigned.len() < text.len();
    if has_sign { None } else { u64::from_str_radix(digits, radix).ok().map(Scalar::Unsigned) }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    exponent.is_none_or(is_number)
        && match mantissa.split_once('.') {
            Some(("", fraction)) => is_number(fraction),
            Some((whole, fraction)) => is_number(whole) && (fraction.is_empty() || is_number(fraction)),
            None => is_number(mantissa),
        }
}

/// A number that is too large for a float stays text, such as the commit hash `7e12345`.
fn float(text: &str) -> Option<f64> {
    let starts_a_number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    text.parse().ok().filter(|found: &f64| found.is_finite() && starts_a_number(text))
}

/// Whether every underscore stands between two digits, as Go requires.
fn separates_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    (1..bytes.len())
        .all(|at| bytes[at] != b'_' || (is_digit(bytes.get(at - 1)) && is_digit(bytes.get(at + 1))))
}

/// Decodes base64. Invalid UTF-8 becomes replacement characters, as in Go's JSON.
fn binary(text: &str) -> Result<String, ScalarError> {
    let unbroken: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(unbroken).map_err(|_| ScalarError::Base64)?;
    let mut decoded = String::new();
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(decoded)
}

impl Scalar<'_> {
    /// The value in JSON, as Kubernetes receives it: a float without a fraction becomes an integer.
    pub(super) fn into_value(self) -> Result<Value, ScalarError> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(is),
            Self::Int(number) => Value::from(number),
            Self::Unsigned(number) => Value::from(number),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "it has no fraction and is in the range"
            )]
            Self::Float(number) if number.fract() == 0.0 && number.abs() < i64::MAX as f64 => {
                Value::from(number as i64)
            }
            Self::Float(number) => Value::Number(Number::from_f64(number).ok_or(ScalarError::NoNumber)?),
            Self::Text(text) => Value::String(text.into_owned()),
        })
    }

    /// The scalar as a field name.
    pub(super) fn into_key(self) -> Result<String, ScalarError> {
        match self {
            Self::Text(text) => Ok(text.into_owned()),
            Self::Bool(is) => Ok(is.to_string()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Float(number) => Ok(float_key(number)),
            Self::Null | Self::Unsigned(_) => Err(ScalarError::Key),
        }
    }
}

/// Go's `strconv.FormatFloat(number, 'g', -1, 32)`.
fn float_key(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "sigs.k8s.io/yaml does the same")]
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// sigs.k8s.io/yaml 1.6.0 printed every expected value; `tests/catalog` compares with `kubectl` itself.
    #[rstest]
    #[case("7e12345", &json!("7e12345"))]
    #[case("6e5", &json!(600_000))]
    #[case("1e3", &json!(1000))]
    #[case("1.5e3", &json!(1500))]
    #[case("1_000", &json!(1000))]
    #[case("1__0_", &json!(10))]
    #[case("0o17", &json!(15))]
    #[case("0O17", &json!(15))]
    #[case("017", &json!(15))]
    #[case("-017", &json!(-15))]
    #[case("0777", &json!(511))]
    #[case("08", &json!(8))]
    #[case("0x1F", &json!(31))]
    #[case("0xffffffffffffffff", &json!(u64::MAX))]
    #[case("0b11", &json!(3))]
    #[case("0b-1", &json!(-1))]
    #[case("0b12", &json!("0b12"))]
    #[case("+1", &json!(1))]
    #[case("+-1", &json!("+-1"))]
    #[case("190:20:30", &json!("190:20:30"))]
    #[case("2026-01-01", &json!("2026-01-01"))]
    #[case("2026-01-01T00:00:00Z", &json!("2026-01-01T00:00:00Z"))]
    #[case("y", &json!(true))]
    #[case("N", &json!(false))]
    #[case("yEs", &json!("yEs"))]
    #[case("~", &json!(null))]
    #[case("nUll", &json!("nUll"))]
    #[case(".5", &json!(0.5))]
    #[case("5.", &json!(5))]
    #[case(".", &json!("."))]
    #[case("-.5", &json!(-0.5))]
    #[case("._5", &json!("._5"))]
    #[case(".1_0", &json!(0.1))]
    #[case("1._5", &json!(1.5))]
    #[case("1e-400", &json!(0))]
    #[case("9223372036854775807", &json!(i64::MAX))]
    #[case("9223372036854775808", &json!(9_223_372_036_854_775_808_u64))]
    #[case("-9223372036854775808", &json!(i64::MIN))]
    #[case("1e300", &json!(1e300))]
    #[case("=", &json!("="))]
    #[case("<<", &json!("<<"))]
    #[case("inf", &json!("inf"))]
    #[case("1.2.3", &json!("1.2.3"))]
    #[case("1e", &json!("1e"))]
    #[case("-", &json!("-"))]
    #[case("0x", &json!("0x"))]
    #[case("0", &json!(0))]
    #[case("-0", &json!(0))]
    #[case("0_7", &json!(7))]
    fn plain_scalars_have_the_values_that_kubectl_reads(#[case] text: &str, #[case] expected: &Value) {
        assert_eq!(&plain(Cow::Borrowed(text)).into_value().unwrap(), expected);
    }

    #[rstest]
    #[case("str", "123", Ok(json!("123")))]
    #[case("int", "12", Ok(json!(12)))]
    #[case("int", "x", Err(ScalarError::OtherKind))]
    #[case("float", "2", Ok(json!(2)))]
    #[case("bool", "yes", Ok(json!(true)))]
    #[case("null", "~", Ok(json!(null)))]
    #[case("timestamp", "2026-01-01", Ok(json!("2026-01-01")))]
    #[case("binary", "aGk=", Ok(json!("hi")))]
    #[case("binary", "/+KC", Ok(json!("\u{fffd}\u{fffd}\u{fffd}")))]
    #[case("binary", "a", Err(ScalarError::Base64))]
    #[case("unheard-of", "1", Ok(json!("1")))]
    fn tags_decide_the_type(
        #[case] tag: &str,
        #[case] text: &str,
        #[case] expected: Result<Value, ScalarError>,
    ) {
        let found = tagged(Kind::named(tag), Cow::Borrowed(text));
        assert_eq!(found.and_then(Scalar::into_value), expected);
    }

    #[rstest]
    #[case(".inf")]
    #[case("-.INF")]
    #[case(".NaN")]
    fn numbers_that_json_lacks_are_errors(#[case] text: &str) {
        assert_eq!(plain(Cow::Borrowed(text)).into_value(), Err(ScalarError::NoNumber));
    }

    #[rstest]
    #[case("5432", Ok("5432"))]
    #[case("on", Ok("true"))]
    #[case("1.5", Ok("1.5"))]
    #[case("1e3", Ok("1000"))]
    #[case("1e-5", Ok("1e-05"))]
    #[case("0.0001", Ok("0.0001"))]
    #[case("1e6", Ok("1e+06"))]
    #[case("123456789.0", Ok("1.2345679e+08"))]
    #[case("1e300", Ok(".inf"))]
    #[case(".inf", Ok(".inf"))]
    #[case("a", Ok("a"))]
    #[case("~", Err(ScalarError::Key))]
    #[case("18446744073709551615", Err(ScalarError::Key))]
    fn names_of_fields_are_text(#[case] text: &str, #[case] expected: Result<&str, ScalarError>) {
        assert_eq!(plain(Cow::Borrowed(text)).into_key().as_deref(), expected.as_ref().copied());
    }
}
