//! The sink of `tracing`: one line per event on standard error, for people or for programs.
//!
//! Lives here: [`init`], the text format, and the guard that keeps a line one line. Not here: what is logged, and at which
//! level. Levels by who is woken: `error` the administrator now, `warn` the administrator tomorrow, `info` nobody (start, stop,
//! sessions), `debug` whoever looks for a fault. Whatever a stranger can cause goes through a [`super::limiter::Limiter`].

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{Layer, reload};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time, level, message, fields of the event, fields of its spans.
    Text,
    /// The same as one JSON object; span fields under `span`.
    Json,
}

/// Changes the level of a running log.
#[derive(Clone, Debug)]
pub struct Handle(reload::Handle<LevelFilter, Registry>);

impl Handle {
    /// From now on log this much.
    pub fn set_level(&self, level: LevelFilter) {
        // Fails only if the log is gone, and then there is nothing to change.
        let _ = self.0.reload(level);
    }
}

/// Starts logging for the whole process. Colours if standard error is a terminal and `NO_COLOR` is not set.
///
/// # Errors
/// It was started before.
pub fn init(level: LevelFilter, format: Format) -> Result<Handle, tracing::subscriber::SetGlobalDefaultError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, handle) = subscriber(level, format, colours, io::stderr);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(handle)
}

fn subscriber<W>(
    level: LevelFilter,
    format: Format,
    colours: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync, Handle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level);
    let colours = colours && format == Format::Text;
    // Never with_ansi: it lets escape sequences in values pass to the terminal. The level gets its colour in OneLine.
    let lines = tracing_subscriber::fmt::layer().with_writer(OneLine { inner: writer, colours }).with_ansi(false);
    let lines = match format {
        Format::Text => lines.event_format(Text).boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).with_target(false).boxed()
        }
    };
    (Registry::default().with(filter).with(lines), Handle(handle))
}

/// The format for people.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(&mut to)?;
        write!(to, " {:<5} ", event.metadata().level().as_str())?;
        context.format_fields(to.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(to, " {fields}")?;
            }
        }
        writeln!(to)
    }
}

/// Keeps every event on one line of printable characters, whatever its values hold. `tracing-subscriber` leaves line ends in
/// values alone, and with those a peer could write lines of its own; escape sequences it removes only from messages.
struct OneLine<W> {
    inner: W,
    colours: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine { inner: self.inner.make_writer(), colours: self.colours }
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Takes a whole event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let plain = |byte: &u8| matches!(byte, b' '..=b'~');
        if !self.colours && line.iter().all(plain) {
            self.inner.write_all(event)?;
            return Ok(event.len());
        }
        let mut clean = String::with_capacity(event.len() + 16);
        for c in String::from_utf8_lossy(line).chars() {
            match c {
                ' '..='~' => clean.push(c),
                _ => clean.extend(c.escape_debug()),
            }
        }
        if self.colours {
            colour(&mut clean);
        }
        clean.push('\n');
        self.inner.write_all(clean.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Colours the level, which stands after the time.
fn colour(line: &mut String) {
    let Some((time, rest)) = line.split_once(' ') else { return };
    let colours = [("ERROR", 31), ("WARN", 33), ("INFO", 32), ("DEBUG", 34), ("TRACE", 35)];
    if let Some((level, colour)) = colours.into_iter().find(|(level, _)| rest.starts_with(level)) {
        let rest = rest.get(level.len()..).unwrap_or_default();
        *line = format!("{time} \x1b[{colour}m{level}\x1b[0m{rest}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, info_span, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, colours: bool, events: impl FnOnce(&Handle)) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, handle) = subscriber(LevelFilter::INFO, format, colours, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || events(&handle));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_hold_time_level_message_and_fields() {
        let text = logged(Format::Text, false, |_| {
            let _session = info_span!("session", id = 7, client = "192.0.2.1").entered();
            info!(port = 50000, "pinhole opened");
            debug!("not shown");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() == 27, "{time}");
        assert_eq!(rest, "INFO  pinhole opened port=50000 id=7 client=\"192.0.2.1\"\n");
    }

    #[test]
    fn json_lines_are_objects_with_the_same_content() {
        let text = logged(Format::Json, true, |_| {
            let _session = info_span!("session", id = 7).entered();
            warn!(reason = "low_port", line = "a\nb\x1b[2J", "refused");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["message"], "refused");
        assert_eq!(object["reason"], "low_port");
        assert_eq!(object["span"]["id"], 7);
        assert!(object["timestamp"].is_string());
    }

    #[test]
    fn no_value_can_end_a_line_or_move_the_cursor() {
        let evil = "x\r\n2026-01-01T00:00:00Z ERROR forged Größe\x1b[2J\x07\u{9b}1m";
        for colours in [false, true] {
            let text = logged(Format::Text, colours, |_| {
                let _session = info_span!("session", user = %evil).entered();
                info!(value = %evil, quoted = ?evil, "message {evil}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let text = text.trim_end().replace("\x1b[32mINFO\x1b[0m", "INFO");
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains("Größe"), "{text:?}");
        }
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let text = logged(Format::Text, false, |handle| {
            debug!("before");
            handle.set_level(LevelFilter::DEBUG);
            debug!("between");
            handle.set_level(LevelFilter::ERROR);
            warn!("after");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("DEBUG between"), "{text}");
    }
}
