//! Values that look random under names that sound like credentials. Plain entropy cannot tell `my-service-account-name`
//! from random letters. So a table says how much likelier each pair of characters is in random text than in words and
//! identifiers, and a value looks random if one stretch of it gives enough evidence. References, places and
//! placeholders are never random.

use std::{ops::RangeInclusive, sync::LazyLock};

use regex::Regex;

/// Lower-cased names that sound like a credential. Rust's `regex` and the API server's RE2 read the expression alike.
/// [`sounds_like_credential`] excludes some that match.
pub(super) const NAMES: &str = "token|secret|passw(or)?d|pass(phrase|code)|credential\
|(access|api|private|signing|encryption|master)_?key\
|(key|pass|pwd|cred|auth(ori[sz]ation)?|salt|pepper|signature|signing|private|session|cookie|jwt|bearer|webhook)s?([^a-z]|$)\
|(^|[^a-z])pin([^a-z]|$)";

#[expect(clippy::expect_used, reason = "the pattern is a constant, and a test compiles it")]
static COMPILED_NAMES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(NAMES).expect("the pattern is a regular expression"));

/// Words that only seem to contain one of a credential.
const INNOCENT: &str = "bypass compass donkey hockey jockey keyboard keycloak monkey secretary tokenis \
    tokeniz trespass turkey whiskey";

/// What a name ends in that tells where a credential is or what it is like, and not the credential.
const ABOUT: &str = "alg algorithm arn audience bits bucket class count dir directory domain enabled endpoint expiry \
    field file filename folder format header host hostname id ids image issuer kind length location \
    method mode name names namespace path port prefix provider ref region server size suffix timeout \
    ttl type uri url version";

/// Words anywhere in a name whose value everybody may see, such as the annotation `checksum/secret`.
const PUBLIC: [&str; 9] =
    ["checksum", "digest", "fingerprint", "md5", "pub", "public", "publishable", "sha256", "thumbprint"];

/// Whether a variable, argument, annotation or key of this name may hold a credential.
pub(super) fn sounds_like_credential(name: &str) -> bool {
    // An x, so that what stands around the word does not become another.
    let without = |name: String, word: &str| name.replace(word, "x");
    let lower = name.to_ascii_lowercase();
    let lower = if lower.contains("passw") { lower } else { INNOCENT.split(' ').fold(lower, without) };
    if !COMPILED_NAMES.is_match(&lower) {
        return false;
    }
    let words = words(name);
    if words.iter().any(|word| PUBLIC.contains(&word.as_str())) {
        return false;
    }
    // The number in API_KEY_PATH_2 says nothing.
    let mut ends = words.iter().rev().map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
    match ends.by_ref().find(|word| !word.is_empty()) {
        // Vault's secret_id is a password, and who knows a session's id has the session.
        Some("id") => matches!(ends.next(), Some("secret" | "session")),
        Some(last) => ABOUT.split(' ').all(|word| word != last),
        None => true,
    }
}

/// The words of a name, in lower case: those of `apiKeyPath` and `API_KEY-PATH` are `api`, `key` and `path`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = ' ';
    for character in name.chars() {
        if !character.is_ascii_alphanumeric()
            || (previous.is_ascii_lowercase() && character.is_ascii_uppercase())
        {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_ascii_alphanumeric()) {
            word.push(character.to_ascii_lowercase());
        }
        previous = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The names and values in a command line: `--name=value`, `NAME=value`, `--name value`, and the header `Name: value` in two words. Names have no dashes before them.
pub(super) fn named_values_of_arguments<'a>(
    arguments: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
    };
    arguments.iter().enumerate().filter_map(move |(index, argument)| {
        // What follows the first sign is padding if it is a second one: base64.
        let named = argument.split_once('=').filter(|(_, value)| !matches!(*value, "" | "="));
        let named = named.map(|(name, value)| (name.trim_start_matches('-'), value));
        if let Some((name, value)) = named.filter(|(name, _)| is_name(name)) {
            return Some((name, value));
        }
        let before = arguments.get(index.checked_sub(1)?)?;
        let name = before.strip_suffix(':').or_else(|| before.strip_prefix('-'))?.trim_start_matches('-');
        (is_name(name) && !argument.starts_with('-')).then_some((name, *argument))
    })
}

/// Shorter values are not judged: too few characters tell chance from words.
const SHORTEST: usize = 12;

/// Only so many bytes of a value are judged.
const LONGEST: usize = 4096;

/// The evidence that makes a value random, in quarter bits, beside a half for each of its first 40 characters: a long
/// text has more stretches that look random by chance.
const ENOUGH: i32 = 38;

/// The evidence of a capital after a small letter, in quarter bits, beside that of the word which ends there.
const HUMP: i32 = 20;

/// The evidence of a character that stands in no identifier, such as `!`, in quarter bits.
const SYMBOL: i32 = 22;

/// Whether a value looks random. Equal values are always judged alike, in time that grows with the length up to
/// [`LONGEST`].
///
/// Of 20,000 random values each, it found, rounded down:
///
/// | characters | 12 | 14 | 16 | 20 | 24 | 32 |
/// |---|---|---|---|---|---|---|
/// | hexadecimal | 80.7 % | 86.6 % | 99.6 % | 99.9 % | 99.9 % | 100 % |
/// | base 36 | 97.7 % | 99.1 % | 99.6 % | 99.9 % | 99.9 % | 100 % |
/// | base 64 | 96.2 % | 98.1 % | 98.8 % | 99.6 % | 99.8 % | 99.9 % |
/// | small letters | 86.6 % | 91.8 % | 94.7 % | 98.0 % | 99.1 % | 99.8 % |
/// | with symbols | 91.0 % | 95.3 % | 97.1 % | 99.0 % | 99.6 % | 99.9 % |
///
/// Of words held out from the table, though they may be parts of identifiers in it, it took for random 3 of 100,000
/// joins of two to five words (by `-`, `_`, `.`, `,` or capitals), 129 with constants of C such as `SIOCGIFADDR` among
/// them, and 132 with words of other languages; and 197 of 26,107 names of Java classes. [`ENOUGH`] was chosen by the
/// same measurement.
pub(super) fn looks_random(value: &str) -> bool {
    let value = without_scheme(value.trim_ascii());
    let value = &value[..value.floor_char_boundary(LONGEST)];
    value.len() >= SHORTEST
        && !value.contains(|c: char| c.is_whitespace() || c.is_control())
        && !is_reference(value)
        && !is_place(value)
        && !is_placeholder(value.as_bytes())
        && (has_hexadecimal(value.as_bytes()) || is_unlike_words(without_pod_suffix(value).as_bytes()))
}

/// The value of a header such as `Authorization: Bearer VALUE` without the word before it.
fn without_scheme(value: &str) -> &str {
    let is_scheme =
        |word: &str| ["basic", "bearer", "token", "apikey"].iter().any(|it| word.eq_ignore_ascii_case(it));
    value
        .split_once(' ')
        .filter(|(word, _)| is_scheme(word))
        .map_or(value, |(_, rest)| rest.trim_ascii_start())
}

/// Whether another program puts the value in, or the value is a structure.
fn is_reference(value: &str) -> bool {
    let is_tag = value.find('<').is_some_and(|start| value[start..].contains('>'));
    is_tag
        || value.starts_with(['{', '['])
        || ["$(", "${", "{{", "%("].iter().any(|mark| value.contains(mark))
}

/// What the last label of a host or the extension of a file is.
const ENDINGS: &str = "app cer cloud cluster cnf com conf crt csr de dev env eu ini internal io jks json key local net \
    org p12 pem pfx properties pub sh svc toml txt xml yaml yml";

/// What the names of classes begin with.
const REVERSED: [&str; 9] = ["com.", "io.", "jakarta.", "java.", "javax.", "jdk.", "net.", "org.", "sun."];

/// The names of digests, which everybody may see.
const DIGESTS: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];

/// Whether the value says where something is: a URL, path, host, e-mail address, digest or ARN. These have random parts
/// that are no secrets.
fn is_place(value: &str) -> bool {
    let is_digest =
        |name: &&str| value.split_once(*name).is_some_and(|(_, rest)| rest.starts_with([':', '-']));
    value.contains("://")
        || ["arn:", "~", "./", "../"].iter().any(|start| value.starts_with(start))
        || REVERSED.iter().any(|start| value.starts_with(start))
        || DIGESTS.iter().any(is_digest)
        || is_number(value)
        || is_path(value)
        || is_host(value)
}

/// Whether the value is a number, time or duration, or has pairs of hexadecimal digits: an address or a fingerprint.
fn is_number(value: &str) -> bool {
    let is_time = |byte: u8| byte.is_ascii_digit() || b"+-.:hmsnuTZ".contains(&byte);
    let is_address = |byte: u8| byte.is_ascii_hexdigit() || b".:/".contains(&byte);
    value.bytes().all(is_time) || (value.matches(':').count() > 1 && value.bytes().all(is_address))
}

/// Whether slashes make the value a path. Base64 has slashes, too.
fn is_path(value: &str) -> bool {
    let has = |test: fn(&u8) -> bool| value.bytes().any(|byte| test(&byte));
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let is_base64 = is_mixed && !value.contains(['.', '-', '_']);
    (value.starts_with('/') || value.matches('/').count() > 1) && !is_base64
}

/// Whether the value ends like a host or a file, also with a port.
fn is_host(value: &str) -> bool {
    let host = value.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let host = host.map_or(value, |(host, _)| host);
    host.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.split(' ').any(|known| known == ending))
}

/// Whether the value repeats itself, or counts: `xxxx-xxxx`, `abcdefgh`, `deadbeefdeadbeef`.
fn is_placeholder(value: &[u8]) -> bool {
    let value = &value[..value.len().min(64)];
    let near = |distance: usize, most: u8| {
        let pairs = value.iter().zip(&value[distance..]);
        let near = pairs.filter(|(a, b)| a.abs_diff(**b) <= most).count();
        near * 2 > value.len() - distance
    };
    near(1, 1) || near(2, 1) || (3..=8).any(|distance| near(distance, 0))
}

/// Whether 16 hexadecimal digits stand together, in one case and with dashes as in a UUID at most.
fn has_hexadecimal(value: &[u8]) -> bool {
    [u8::is_ascii_lowercase, u8::is_ascii_uppercase].iter().any(|in_case| {
        let is_part =
            |byte: &u8| *byte == b'-' || byte.is_ascii_digit() || (byte.is_ascii_hexdigit() && in_case(byte));
        value.split(|byte| !is_part(byte)).any(|run| {
            let digits: Vec<u8> = run.iter().copied().filter(|byte| *byte != b'-').collect();
            let changes =
                digits.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit());
            digits.len() >= 16 && changes.count() >= 2
        })
    })
}

/// The name of a pod without what a `ReplicaSet` and its Deployment add, or a name that the API server completed.
fn without_pod_suffix(value: &str) -> &str {
    let strip = |value: &str, lengths: RangeInclusive<usize>| {
        let (_, part) = value.rsplit_once('-')?;
        let is_suffix = part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
        (lengths.contains(&part.len()) && is_suffix).then_some(value.len() - part.len() - 1)
    };
    let Some(pod) = strip(value, 5..=5) else { return value };
    &value[..strip(&value[..pod], 8..=10).unwrap_or(pod)]
}

/// Whether a stretch of the value gives enough evidence.
fn is_unlike_words(value: &[u8]) -> bool {
    let more = i32::try_from(value.len().min(40) / 2).unwrap_or(i32::MAX);
    evidence(value) >= ENOUGH.saturating_add(more)
}

/// The most evidence that a stretch of the value gives, in quarter bits.
fn evidence(value: &[u8]) -> i32 {
    let (mut most, mut sum, mut previous) = (0, 0, b'-');
    for &byte in value {
        sum = (sum + evidence_of_pair(previous, byte)).max(0);
        most = most.max(sum);
        previous = byte;
    }
    most
}

/// The evidence of a character after another one, in quarter bits.
fn evidence_of_pair(previous: u8, byte: u8) -> i32 {
    let entry = |row: usize, column: usize| i32::from(EVIDENCE[row][column]) - i32::from(b'H');
    let (row, column) = (class(previous), class(byte));
    if previous.is_ascii_lowercase() && byte.is_ascii_uppercase() {
        return entry(row, OTHER) + entry(OTHER, column) + HUMP;
    }
    // Lists of ciphers have symbols after separators.
    let is_separator = |byte| b"-_./:,;=+@|$".contains(&byte);
    let is_symbol = byte.is_ascii_punctuation() && !is_separator(byte) && !is_separator(previous);
    entry(row, column) + if is_symbol { SYMBOL } else { 0 }
}

/// The row or column of a character that is no letter and no digit.
const OTHER: usize = 27;

/// The row and column of a character.
fn class(byte: u8) -> usize {
    match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => usize::from(letter - b'a'),
        b'0'..=b'9' => 26,
        _ => OTHER,
    }
}

/// The evidence for random text of each pair of characters: the row is the first one's, the column the second one's,
/// of `a` to `z`, any digit, and any other character, which stands for the start of a word as well. `H` is none, each
/// character after it in ASCII a quarter bit more, each before it a quarter bit less. An entry is the binary logarithm
/// of the second one's frequency in random text (80 % letters, 17 % digits) over that after the first one in about
/// 160,000 identifiers and words: of bindery's sources and documentation, of Rust crates, Go modules, Go's and
/// Python's libraries, of messages in German, French, Spanish, Italian and Dutch, and of 131 names such as `sha256`,
/// which count more. An identifier counts by the logarithm of the number of files that have it, if three have it and
/// it does not look like a hash. A tenth was held out to measure. A capital after a small letter begins a word.
static EVIDENCE: [[u8; 28]; 28] = [
    *b"RHDENOHUIXKBCBZEZBD@INPPOQUB",
    *b"BKHSAWXKAILBSVEQZGIMCZXZIZP=",
    *b"CPKIALTAHZFEJW?MZFECKTZZNZW@",
    *b"DDOI=NRLBVZLPLFRZIGSJUWZLZT;",
    *b"HOEEMKNVPZOEIBPLO?ADPLPINYZ=",
    *b"CWOLEFKZ>ZMCRKBQZFGIHZVZPZR=",
    *b"EUGU=YMKBZMLRICSZBGOGVWZUZW<",
    *b"=ZWJ=YZYDZYNJSBWZIKBFZRZQYR>",
    *b"GLDEFIHZZVTFG=AHWICAYKZPZKZE",
    *b"@WZP?VVZHZDXWRDTZZAUGV<ZZVZ?",
    *b"BWDK<VLOFZVOKMHSZOBMGZRZVZN<",
    *b"AKTH?GTZ@ZUEUWARZWIGFUZZIZS>",
    *b">ISJ=XVZCZNEKSCBOVHLIZZZMZZ@",
    *b"CVFCAHAXGWOJULESZRD@LLVSSVZ>",
    *b"KKEEQKJZLZIDF=HFZ@GGDLJXXZZA",
    *b"ANIP@RSMEZGEUZAGZAHEIIYZPZS?",
    *b"OZZUQZUZSZZ;UVSVZTCW9ZZZZZZ?",
    *b"BTIJ=NKYBZPPLJBNZIEFJJVZKZZ>",
    *b"HYGW@VTGDZPNQRGIKOF?JRTZIZQ;",
    *b"BZMU?POEAZZLLWDJZCHGJZVTHXY<",
    *b"IEHJBKLZEZRDE?REZ@AAWVWLXWZG",
    *b">XFT;PXV@ZZQQUEJZRQVUZYTZZHA",
    *b"?ZRR>YWJAZDQVDDRZCDHQZQZZZZ?",
    *b"GRFEDMZVGZZQCWPBWUR>VZZNQZO;",
    *b"DUIWLZVZNZZPHEN@ZS?GPXWZZWT9",
    *b"@UUX:ZUQAXZQVU@ZZZUNAWPZPHZC",
    *b"YSZZZXZZZLZZZZZZZZHZZZZZZZB8",
    *b"CHCFEGGJDMIHFFHDUD@EJIKOUTZD",
];

#[cfg(test)]
mod tests;
