//! Steps and events on stderr: one line each for people, JSON for pods.

mod unread;

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::args::LogFormat;
use crate::apply::progress::{MILESTONE, PROGRESS};
use crate::inspect::escape;

/// Turns logging on. `VIRT_LAUNCHER_LOG` holds a filter such as `debug`; `info` is the default.
pub fn start(format: LogFormat) {
    let mut filter =
        EnvFilter::try_from_env("VIRT_LAUNCHER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = format == LogFormat::Text && std::io::stderr().is_terminal();
    let unshown = if terminal { MILESTONE } else { PROGRESS };
    if let Ok(off) = format!("{unshown}=off").parse() {
        filter = filter.add_directive(off);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Nobody may read stderr any more: that is no reason to end a VM.
        .log_internal_errors(false)
        .with_writer(unread::Unread);
    // A second start in one process changes nothing.
    let _already = match format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init(),
        LogFormat::Text => builder.event_format(Line { terminal }).try_init(),
    };
}

/// The last line on the terminal is one of progress, and has no end yet.
static UNFINISHED: AtomicBool = AtomicBool::new(false);

/// `message (12.3 ms)`, with the level in front when it is not a step.
struct Line {
    terminal: bool,
}

/// To the line's beginning, and everything behind it erased (ECMA-48, EL).
const ANEW: &str = "\r\x1b[K";

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        if UNFINISHED.swap(parts.progress && self.terminal, Ordering::Relaxed) {
            out.write_str(ANEW)?;
        }
        match *event.metadata().level() {
            Level::INFO => {}
            Level::WARN => out.write_str("warning: ")?,
            Level::ERROR => out.write_str("error: ")?,
            level => write!(out, "{}: ", level.as_str().to_ascii_lowercase())?,
        }
        // A VMI and a guest have a hand in both.
        out.write_str(&escape::lines(&parts.message))?;
        if let Some(error) = parts.error {
            write!(out, ": {}", escape::lines(&error))?;
        }
        if let Some(ms) = parts.ms {
            write!(out, " ({ms} ms)")?;
        }
        if parts.progress && self.terminal {
            return Ok(());
        }
        // The console may have the terminal in raw mode, where a line feed alone does not return the carriage.
        out.write_str(if self.terminal && crate::local::console::is_terminal() {
            "\r\n"
        } else {
            "\n"
        })
    }
}

#[derive(Default)]
struct Parts {
    message: String,
    error: Option<String>,
    ms: Option<f64>,
    /// It will be said again soon with another number: on a terminal it takes the place of the one before.
    progress: bool,
}

impl Visit for Parts {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "ms" {
            self.ms = Some(value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "progress" {
            self.progress = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = Some(format!("{value:?}")),
            _ => {}
        }
    }
}
