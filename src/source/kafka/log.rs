//! Forwards librdkafka's log to `tracing`.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Forwards librdkafka's log lines and errors to `tracing`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToTracing;

impl ClientContext for ToTracing {
    fn log(&self, level: Level, facility: &str, message: &str) {
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => tracing::error!(facility, "{message}"),
            Level::Warning => tracing::warn!(facility, "{message}"),
            Level::Notice | Level::Info => tracing::info!(facility, "{message}"),
            Level::Debug => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "Kafka: {reason}");
    }
}

impl ConsumerContext for ToTracing {}

/// Forwards one line of librdkafka. `level` is a syslog level, from 0 (emergency) to 7 (debug).
pub(super) fn line(level: i32, facility: &str, text: &str) {
    let level = match level {
        ..=3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    };
    ToTracing.log(level, facility.trim(), text.trim());
}
