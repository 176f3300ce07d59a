//! Patterns of credentials in text. The patterns are regular expressions that Rust's `regex` and the API server's RE2
//! read alike, so both engines use the same ones: no look-around, no classes that depend on Unicode (`\w`, `\s`, `\b`).
//! References such as `$(NAME)`, `${NAME}`, `{{ .name }}` and `<name>` are not credentials.

use std::sync::LazyLock;

use regex::RegexSet;

/// A kind of credential.
#[derive(Debug)]
pub(super) struct Detector {
    /// What a match is, for messages.
    pub(super) what: &'static str,
    /// Any of these patterns matches the text.
    pub(super) patterns: &'static [&'static str],
    /// A text that matches contains one of these. The API server looks for them first, which is much faster than a pattern.
    pub(super) hints: &'static [&'static str],
}

/// Kinds of credentials in any text. Each kind is a validation of its own for the API server, which limits what one may
/// cost: the sum of a kind's patterns decides how much text a pod may have.
pub(super) const IN_TEXT: [Detector; 5] = [
    Detector {
        what: "an access key or token of a cloud",
        patterns: &[
            // Amazon: docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
            "(^|[^A-Za-z0-9])(AKIA|ASIA)[A-Z2-7]{16}($|[^A-Za-z0-9])",
            // Alibaba Cloud
            "(^|[^A-Za-z0-9])LTAI[A-Za-z0-9]{12,26}($|[^A-Za-z0-9])",
            // Google
            "(^|[^A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}($|[^A-Za-z0-9_-])",
            // Azure Storage
            "AccountKey=[A-Za-z0-9+/]{80,}={0,2}",
            // DigitalOcean
            "do[opr]_v1_[a-f0-9]{64}",
            // HashiCorp Vault
            "(^|[^A-Za-z0-9])hv[sbr][.][A-Za-z0-9_-]{24,}",
        ],
        hints: &["AKIA", "ASIA", "LTAI", "AIza", "AccountKey=", "_v1_", "hvs.", "hvb.", "hvr."],
    },
    Detector {
        what: "a token of a code host, package registry or service",
        patterns: &[
            // GitHub
            "(^|[^A-Za-z0-9])gh[opusr]_[A-Za-z0-9]{36}",
            "github_pat_[A-Za-z0-9_]{60,}",
            // GitLab
            "gl(pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}",
            // npm and PyPI
            "(^|[^A-Za-z0-9])npm_[A-Za-z0-9]{36}",
            "pypi-AgEI[A-Za-z0-9_-]{50,}",
            // Slack
            "xox[abeprs]-[A-Za-z0-9-]{10,}",
            "hooks[.]slack[.]com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
            // Stripe, SendGrid
            "(^|[^A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{20,}",
            "SG[.][A-Za-z0-9_-]{22}[.][A-Za-z0-9_-]{43}",
        ],
        hints: &["gh", "github_pat_", "gl", "npm_", "pypi-", "xox", "hooks.slack.com/", "k_live_", "SG."],
    },
    Detector {
        what: "a bearer token or the password of an Authorization header",
        patterns: &[
            // JSON Web Tokens, which tokens of Kubernetes are
            "eyJ[A-Za-z0-9_-]{10,}[.]eyJ[A-Za-z0-9_-]{10,}[.][A-Za-z0-9_-]{10,}",
            "(^|[Aa]uthorization[\"']?[:=] ?[\"']?)([Bb]asic|[Bb]earer) +[A-Za-z0-9+/=._~-]{8,}",
        ],
        hints: &["eyJ", "asic ", "earer "],
    },
    Detector {
        what: "a private key",
        patterns: &["-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----", "AGE-SECRET-KEY-1[A-Z0-9]{58}"],
        hints: &["PRIVATE KEY", "AGE-SECRET-KEY-1"],
    },
    Detector {
        what: "a password in a URL or an assignment",
        patterns: &[
            "[A-Za-z][A-Za-z0-9+.-]*://[^/?#@: \t\r\n\"']*:(%[0-9A-Fa-f]{2}|[^/?#@$<{%* \t\r\n\"'])[^/?#@ \t\r\n\"']*@",
            "([Pp]ass(word|wd|phrase)|PASS(WORD|WD|PHRASE))=[\"']?[^$<{%*/ \t\r\n\"';&,][^$<{% \t\r\n\"';&,]{5,}",
        ],
        hints: &["://", "assword=", "asswd=", "assphrase=", "ASSWORD=", "ASSWD=", "ASSPHRASE="],
    },
];

/// A variable that holds a credential, by its name and its value.
#[derive(Debug)]
pub(super) struct NamedDetector {
    /// What a match is, for messages.
    pub(super) what: &'static str,
    /// The names of the variables.
    pub(super) name: &'static str,
    /// All of these patterns match the value.
    pub(super) all: &'static [&'static str],
    /// None of these patterns matches the value.
    pub(super) none: &'static [&'static str],
}

/// Variables that hold credentials.
pub(super) const BY_NAME: [NamedDetector; 2] = [
    NamedDetector {
        what: "a password",
        name: "([Pp]ass(word|wd|phrase)|PASS(WORD|WD|PHRASE))$",
        all: &["^[^$<{%*/ \t\r\n][^ \t\r\n]*$"],
        none: &[
            "^([Tt]rue|[Ff]alse|TRUE|FALSE|[Yy]es|[Nn]o|on|off|[Nn]one|null|nil|[0-9]|enabled|disabled)$",
            // A path, a Secret's key or a file
            "^([.]{1,2}/|file:|vault:|secretref:|secret:)",
        ],
    },
    NamedDetector {
        what: "a key, token or secret",
        name: "([Ss]ecret|SECRET|[Tt]oken|TOKEN|[Kk]ey|KEY|[Cc]redentials?|CREDENTIALS?)$",
        // Long, without spaces, and random to the eye: a digit, a capital and a small letter, or hexadecimal. Names of
        // Kubernetes objects have no capitals.
        all: &["^[A-Za-z0-9+/=_.~-]{16,}$", "[0-9]", "^[0-9a-f-]{32,}$|[A-Z].*[a-z]|[a-z].*[A-Z]"],
        none: &["^[.]{0,2}/", "^[A-Z]+_[A-Z0-9_]+$"],
    },
];

/// The compiled patterns of one detector.
struct Patterns(RegexSet);

impl Patterns {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    fn of(patterns: &[&str]) -> Self {
        Self(RegexSet::new(patterns).expect("a pattern is a regular expression"))
    }
}

static COMPILED: LazyLock<[Patterns; IN_TEXT.len()]> =
    LazyLock::new(|| IN_TEXT.each_ref().map(|detector| Patterns::of(detector.patterns)));

/// The name, what must match and what must not match, of one [`NamedDetector`].
type NamedPatterns = (Patterns, Patterns, Patterns);

static COMPILED_NAMES: LazyLock<[NamedPatterns; BY_NAME.len()]> = LazyLock::new(|| {
    BY_NAME.each_ref().map(|detector| {
        (Patterns::of(&[detector.name]), Patterns::of(detector.all), Patterns::of(detector.none))
    })
});

/// Which of [`IN_TEXT`] match the text.
pub(super) fn in_text(text: &str) -> impl Iterator<Item = &'static Detector> {
    let compiled = IN_TEXT.iter().zip(COMPILED.iter());
    compiled.filter(move |(_, compiled)| compiled.0.is_match(text)).map(|(detector, _)| detector)
}

/// Which of [`BY_NAME`] match the variable.
pub(super) fn by_name(name: &str, value: &str) -> impl Iterator<Item = &'static NamedDetector> {
    let compiled = BY_NAME.iter().zip(COMPILED_NAMES.iter());
    let is_match = move |(names, all, none): &NamedPatterns| {
        names.0.is_match(name) && all.0.matches(value).matched_all() && !none.0.is_match(value)
    };
    compiled.filter(move |(_, compiled)| is_match(compiled)).map(|(detector, _)| detector)
}

#[cfg(test)]
mod tests;
