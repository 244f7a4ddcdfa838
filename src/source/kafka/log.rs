//! What librdkafka says, in our log.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Hands librdkafka's log lines on to ours.
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
