//! Structured logs on stderr, as text or JSON.

use std::io::{self, IsTerminal, Write};

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

/// Starts logging for the whole process, and the making of spans if they are exported. `filter` has the syntax of
/// `RUST_LOG`, for instance `bindery=debug,info`.
///
/// # Errors
/// When the filter cannot be parsed or logging was started already.
pub fn start(format: LogFormat, filter: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        anyhow::anyhow!("log filter {filter:?}: {error}; write it as `info` or `bindery=debug,info`")
    })?;
    // Spans cost nothing unless somebody gets them.
    let filter = filter.and(filter_fn(|of| of.target() != traces::TARGET));
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut written = Vec::new();
        OneLine(&mut written).write_all("instance=x\nINFO forged \0 \u{fc}\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "instance=x\\nINFO forged \\x00 \u{fc}\n");
    }
}
