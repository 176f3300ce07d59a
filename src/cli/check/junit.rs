//! The findings as JUnit's XML, which CI servers show as tests: one test for each object. Findings that make
//! the command fail are failures of the test, and the others are its output.

use std::fmt::Write;

use super::report::{Judged, Report, sentence};
use crate::{apis::bindery::credential_policy::Mode, policy::Verdict};

/// Writes the report.
pub(super) fn junit(report: &Report, mildest: Mode) -> String {
    let is_failure = |verdict: &Verdict| verdict.is_violated(mildest);
    let failed = report.judged.iter().filter(|judged| judged.verdicts.iter().any(is_failure)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"bindery check\" tests=\"{}\" failures=\"{failed}\">\n",
        report.judged.len()
    );
    for judged in &report.judged {
        text.push_str(&test_case(judged, mildest));
    }
    text + "</testsuite>\n</testsuites>\n"
}

fn test_case(judged: &Judged, mildest: Mode) -> String {
    let (name, file) = (escaped(&judged.described()), escaped(&judged.file));
    let mut text = format!("<testcase classname=\"{file}\" name=\"{name}\" line=\"{}\">\n", judged.line);
    let (failures, others): (Vec<_>, Vec<_>) =
        judged.verdicts.iter().partition(|verdict| verdict.is_violated(mildest));
    // Writing into a String cannot fail.
    if !failures.is_empty() {
        let lines: Vec<_> = failures.iter().map(|verdict| line(verdict)).collect();
        let first = escaped(lines.first().map_or("", String::as_str));
        let _ = writeln!(text, "<failure message=\"{first}\">{}</failure>", escaped(&lines.join("\n")));
    }
    if !others.is_empty() {
        let lines: Vec<_> = others.iter().map(|verdict| line(verdict)).collect();
        let _ = writeln!(text, "<system-out>{}</system-out>", escaped(&lines.join("\n")));
    }
    text + "</testcase>\n"
}

fn line(verdict: &Verdict) -> String {
    let rule = verdict.finding.rule.name();
    let consequence = match &verdict.exception {
        Some(exception) => format!("exempt by {exception}"),
        None => verdict.mode.name().to_owned(),
    };
    format!("{consequence}: {}/{rule}: {}", verdict.policy, sentence(verdict))
}

/// Text for XML. Characters that XML 1.0 does not allow become question marks.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => {
                escaped.push(letter);
            }
            _ => escaped.push('?'),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_xml() {
        assert_eq!(escaped("a<b>&\"c\n\u{0}\u{fffe}ü"), "a&lt;b&gt;&amp;&quot;c&#10;??ü");
    }
}
