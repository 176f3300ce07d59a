//! Structured logs of bindery's own code on stderr, as text or JSON. Messages of libraries are dropped regardless of
//! the filter, because some quote data that was sent or received, such as a pod, a Secret or a password.

use std::io::{self, IsTerminal, Write};

use tracing::{Level, Metadata, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::traces::{self, Traces};

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object for each line, for log stores.
    Json,
}

/// Escapes line breaks, so that external data such as an id cannot forge another event. Colours remain.
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

/// The crates whose events and spans may be logged, each up to a level: bindery, and libraries that quote no data and
/// report what nothing else reports.
const LOGGED: [(&str, Level); 2] = [("bindery", Level::TRACE), ("opentelemetry_sdk", Level::WARN)];

/// Whether an event or a span may be logged at all.
fn may_be_logged(of: &Metadata<'_>) -> bool {
    LOGGED.iter().any(|(name, most)| is_within(of.target(), name) && of.level() <= most)
        // Spans cost nothing unless they are exported.
        && of.target() != traces::TARGET
}

/// Whether a target is this crate or a module of it.
fn is_within(target: &str, name: &str) -> bool {
    target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The targets in a filter that are never logged.
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

/// Starts logging for the whole process, and creates spans if they are exported. `filter` has the syntax of
/// `RUST_LOG`, for example `bindery::catalog=debug,info`.
///
/// # Errors
/// When the filter cannot be parsed or logging was already started.
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
            "the log filter names a library that is never logged, because its messages may contain credentials"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_are_never_logged_are_named() {
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
    fn an_event_is_always_one_line() {
        let mut written = Vec::new();
        OneLine(&mut written).write_all("instance=x\nINFO forged \0 \u{fc}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "instance=x\\nINFO forged \\x00 \u{fc}\n");
    }
}
