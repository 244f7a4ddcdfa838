//! What readcast logs, on standard error: standard output belongs to data.

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{ConfigError, LogFormat, LogOptions};

/// readcast's own lines from info on, and those of libraries from warn on.
pub(crate) const OWN_INFO: &str = "warn,readcast=info";
/// All lines from warn on: for commands that print what they do.
#[cfg(feature = "files")]
pub(crate) const WARNINGS: &str = "warn";

/// Begins to log, for the rest of the process: what is configured, or else what `default` says. A second call changes nothing.
///
/// # Errors
/// When the filter is not one.
pub(crate) fn init(options: &LogOptions, default: &str) -> Result<(), ConfigError> {
    let ansi = options.color && std::io::stderr().is_terminal();
    // Fails if a subscriber is set already, for example by a test. That subscriber serves as well.
    let _ = tracing::subscriber::set_global_default(subscriber(options, default, ansi, std::io::stderr)?);
    std::panic::set_hook(Box::new(|panic| {
        // Without the message: a projection that panics over a record may quote it.
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panicked");
    }));
    Ok(())
}

fn subscriber<W>(
    options: &LogOptions,
    default: &str,
    ansi: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ConfigError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(options.filter.as_deref().unwrap_or(default))
        .map_err(|error| ConfigError::at("RUST_LOG", error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match options.format {
        LogFormat::Text => Box::new(builder.with_ansi(ansi).finish()),
        LogFormat::Json => {
            let format = FlatJson(format().json().flatten_event(true).with_current_span(false));
            Box::new(builder.json().event_format(format).finish())
        }
    })
}

/// A JSON object a line, in which the fields of the spans around an event stand beside its own, so that a query for
/// `projection` finds every line about a projection, wherever in the code it was written. Of equal names the event's own
/// counts, and then the innermost span's.
struct FlatJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut nested = String::new();
        self.0.format_event(context, Writer::new(&mut nested), event)?;
        let mut line: Map<String, Value> = serde_json::from_str(&nested).map_err(|_| fmt::Error)?;
        if let Some(Value::Array(spans)) = line.remove("spans") {
            for (name, value) in spans.into_iter().rev().filter_map(fields).flatten().filter(|(name, _)| name != "name")
            {
                line.entry(name).or_insert(value);
            }
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

fn fields(span: Value) -> Option<Map<String, Value>> {
    if let Value::Object(fields) = span { Some(fields) } else { None }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn options(format: LogFormat, filter: Option<&str>) -> LogOptions {
        LogOptions { format, filter: filter.map(str::to_owned), color: false }
    }

    fn logged(options: &LogOptions, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(options, OWN_INFO, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn readcast_logs_from_info_on_and_libraries_from_warn_on() {
        let text = logged(&options(LogFormat::Text, None), || {
            tracing::debug!("ours, too fine");
            tracing::info!(target: "readcast_core", "ours");
            tracing::info!(target: "sqlx", "theirs, too fine");
            tracing::warn!(target: "sqlx", "theirs");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0].ends_with(": ours") && lines[1].ends_with(": theirs"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = logged(&options(LogFormat::Json, Some("debug")), || tracing::debug!(partition = 3, "read"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["message"], &line["partition"], &line["level"]),
            (&"read".into(), &3.into(), &"DEBUG".into())
        );
    }

    /// A line inside of a feed's span and a lane's.
    fn logged_in_spans(format: LogFormat) -> String {
        logged(&options(format, None), || {
            let feed = tracing::error_span!("feed", projection = "orders", generation = 1).entered();
            let lane = tracing::error_span!("lane", lane = 0).entered();
            tracing::info!(target: "readcast::worker", partition = "orders/3", "partition claimed");
            drop((lane, feed));
        })
    }

    #[test]
    fn a_line_inherits_the_fields_of_the_spans_around_it() {
        let text = logged_in_spans(LogFormat::Text);
        let has = r#"feed{projection="orders" generation=1}:lane{lane=0}: readcast::worker: partition claimed partition="orders/3""#;
        assert!(text.trim_end().ends_with(has), "{text}");
        let line: serde_json::Value = serde_json::from_str(&logged_in_spans(LogFormat::Json)).unwrap();
        let expected = serde_json::json!({
            "projection": "orders", "generation": 1, "lane": 0, "partition": "orders/3", "message": "partition claimed",
            "target": "readcast::worker", "level": "INFO", "timestamp": line["timestamp"]
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn the_fields_of_spans_are_there_at_every_log_level() {
        let text = logged(&options(LogFormat::Text, Some("warn")), || {
            tracing::error_span!("feed", projection = "orders").in_scope(|| tracing::warn!("feed failed"));
        });
        assert!(text.contains("orders"), "{text}");
    }

    #[test]
    fn a_broken_filter_is_a_configuration_error() {
        let error = subscriber(&options(LogFormat::Text, Some("readcast=loud")), OWN_INFO, false, std::io::stderr)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("RUST_LOG: "), "{error}");
    }
}
