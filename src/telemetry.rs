//! What readcast logs, on standard error: standard output belongs to data.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{ConfigError, LogFormat, LogOptions};

/// Our own doings, and of others only what is amiss.
const DEFAULT_FILTER: &str = "warn,readcast=info";

/// Begins to log, for the rest of the process. A second call changes nothing.
pub(crate) fn init(options: &LogOptions) -> Result<(), ConfigError> {
    let ansi = options.color && std::io::stderr().is_terminal();
    // Refused when somebody else already logs, as a test may: theirs is as good.
    let _ = tracing::subscriber::set_global_default(subscriber(options, ansi, std::io::stderr)?);
    std::panic::set_hook(Box::new(|panic| {
        // Not what it says: a projection that panics over a record may quote it.
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panicked");
    }));
    Ok(())
}

fn subscriber<W>(options: &LogOptions, ansi: bool, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, ConfigError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(options.filter.as_deref().unwrap_or(DEFAULT_FILTER))
        .map_err(|error| ConfigError::at("RUST_LOG", error.to_string()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match options.format {
        LogFormat::Text => Box::new(builder.with_ansi(ansi).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
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
        let subscriber = subscriber(options, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn we_are_heard_at_info_and_others_at_warn() {
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

    #[test]
    fn a_broken_filter_is_a_configuration_error() {
        let error = subscriber(&options(LogFormat::Text, Some("readcast=loud")), false, std::io::stderr).err().unwrap();
        assert!(error.to_string().starts_with("RUST_LOG: "), "{error}");
    }
}
