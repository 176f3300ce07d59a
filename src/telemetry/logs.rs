//! Structured logs on stderr, as text or JSON: those of bindery's own code. Those of its libraries are left out whatever the
//! filter says, for some quote what was sent or received, which may be a pod, a Secret or a password.

use std::io::{self, IsTerminal, Write};

use tracing::{Level, Metadata, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::traces::{self, Traces};

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log stores.
    Json,
}

/// Writes each event as one line: what others sent, such as an id, must not look like another event. Colours stay.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (line, end) = match event {
            [line @ .., b'\n'] => (line, "\n"),
            line => (line, ""),
        };
        let mut escaped = Vec::with_capacity(event.len());
        for &byte in line {
            match byte {
                b'\t' | 0x1b | b' '..=0x7e | 0x80.. => escaped.push(byte),
                control => escaped.extend(control.escape_ascii()),
            }
        }
        escaped.extend(end.bytes());
        self.0.write_all(&escaped)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whose events and spans may be logged: bindery's, and of the libraries' those that quote nothing and tell an operator what
/// nobody else does, up to a level.
const LOGGED: [(&str, Level); 2] = [("bindery", Level::TRACE), ("opentelemetry_sdk", Level::WARN)];

/// Whether an event or a span may be logged at all.
fn may_be_logged(of: &Metadata<'_>) -> bool {
    LOGGED.iter().any(|(name, most)| is_within(of.target(), name) && of.level() <= most)
        // Spans cost nothing unless somebody gets them.
        && of.target() != traces::TARGET
}

/// Whether a target is a crate or in it.
fn is_within(target: &str, name: &str) -> bool {
    target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The targets in a filter of which nothing is ever logged.
fn never_logged(filter: &str) -> Vec<&str> {
    let target = |directive: &str| directive.find(['=', '[']).unwrap_or(directive.len());
    let mut targets: Vec<&str> = filter
        .split(',')
        .map(|directive| directive[..target(directive)].trim())
        .filter(|target| !target.is_empty() && target.parse::<LevelFilter>().is_err())
        .filter(|target| !LOGGED.iter().any(|(name, _)| is_within(target, name)))
        .collect();
    targets.dedup();
    targets
}

/// Starts logging for the whole process, and the making of spans if they are exported. `filter` has the syntax of
/// `RUST_LOG`, for instance `bindery::catalog=debug,info`; it says how much is logged of what may be logged.
///
/// # Errors
/// When the filter cannot be parsed or logging was started already.
pub fn start(format: LogFormat, filter: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let wanted = filter;
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!("log filter {filter:?}: {error}; write it as `info` or `bindery=debug,info`")
    })?;
    let filter = filter.and(filter_fn(may_be_logged));
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(colours)
                .with_writer(|| OneLine(std::io::stderr()));
            layer.with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let layer =
                tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            layer.with_filter(filter).boxed()
        }
    };
    let spans =
        traces.map(|traces| traces.layer().with_filter(filter_fn(|of| of.target() == traces::TARGET)));
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    let never = never_logged(wanted);
    if !never.is_empty() {
        warn!(
            targets = never.join(","),
            "the log filter names what is never logged, since it may quote credentials"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_filter_asks_for_in_vain_is_named() {
        for (filter, expected) in [
            ("info", &[][..]),
            ("bindery=debug,info", &[]),
            ("bindery::catalog=trace,opentelemetry_sdk=off,5", &[]),
            ("trace,kube_client=trace,hyper[span]=debug,binderyx", &["kube_client", "hyper", "binderyx"]),
        ] {
            assert_eq!(never_logged(filter), expected, "{filter}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut written = Vec::new();
        OneLine(&mut written).write_all("instance=x\nINFO forged \0 \u{fc}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "instance=x\\nINFO forged \\x00 \u{fc}\n");
    }
}
