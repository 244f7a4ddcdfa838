//! `readcast generate`: writes sample events to a log, at a chosen rate.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::run::stop_on_signal;
use super::{CommandError, Context, output};
use crate::app::{Sample, SampleEvents};
use crate::config::SourceOptions;
use crate::source::file::Appender;
use crate::source::kafka::Producer;
use crate::text::counted;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  readcast generate --rate 1000 --events 20000")]
pub(super) struct Arguments {
    /// Events per second; 0 for as many as possible
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// How many events; 0 to write until SIGTERM
    #[arg(long, default_value_t = 0)]
    events: u64,
    /// How many partitions the topic has if it is created
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// The seed of the events: the same seed gives the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) async fn run(context: Context, sample: Sample, arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Sample { topic, events } = sample;
    let log = match context.config.source()? {
        SourceOptions::File(directory) => {
            Log::File(Appender::open(directory, topic, arguments.partitions).map_err(CommandError::failed)?)
        }
        SourceOptions::Kafka { properties, topic_prefix, .. } => {
            let properties = properties.current().map_err(CommandError::failed)?;
            let producer = Producer::open(properties, format!("{topic_prefix}{topic}"), arguments.partitions).await;
            Log::Kafka(producer.map_err(CommandError::failed)?)
        }
        SourceOptions::Other { scheme, .. } => {
            let problem = format!("`generate` writes to files and to Kafka; the source is one of `{scheme}`");
            return Err(CommandError::Failed(problem));
        }
    };
    let stop = CancellationToken::new();
    let pace = Pace { rate: arguments.rate, events: arguments.events };
    let events = events(arguments.seed);
    let written = tokio::select! {
        written = write(log, events, pace, stop.clone()) => written?,
        () = stop_on_signal(stop)? => return Ok(ExitCode::SUCCESS),
    };
    output::line(format_args!("wrote {} to topic `{topic}`", counted(written, "event")))?;
    Ok(ExitCode::SUCCESS)
}

/// How many events, and how many of them per second; 0 means without bound.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) rate: u64,
    pub(super) events: u64,
}

impl Pace {
    /// How many events are due this long after the start.
    fn due(self, elapsed: Duration) -> u64 {
        let most = if self.events == 0 { u64::MAX } else { self.events };
        if self.rate == 0 { most } else { ((elapsed.as_secs_f64() * self.rate as f64) as u64).min(most) }
    }
}

/// A log that events are written to.
pub(super) enum Log {
    File(Appender),
    Kafka(Producer),
}

impl Log {
    fn append(&mut self, key: &str, value: &str) -> Result<(), String> {
        match self {
            Log::File(appender) => appender.append(key, value).map_err(|error| error.to_string()),
            Log::Kafka(producer) => producer.send(key, value).map_err(|error| error.to_string()),
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        match self {
            Log::File(appender) => appender.flush().map_err(|error| error.to_string()),
            Log::Kafka(producer) => producer.flush().map_err(|error| error.to_string()),
        }
    }
}

/// Writes events as they become due. Returns how many it wrote.
pub(super) async fn write(
    mut log: Log,
    mut events: SampleEvents,
    pace: Pace,
    stop: CancellationToken,
) -> Result<u64, CommandError> {
    /// Events between two checks of the clock and of `stop`.
    const MOST_AT_ONCE: u64 = 1_000;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = 0;
    while (pace.events == 0 || written < pace.events) && !stop.is_cancelled() {
        let due = pace.due(started.elapsed()).saturating_sub(written).min(MOST_AT_ONCE);
        for (key, value) in events.by_ref().take(usize::try_from(due).unwrap_or(usize::MAX)) {
            log.append(&key, &value).map_err(CommandError::failed)?;
        }
        written += due;
        if due < MOST_AT_ONCE {
            log.flush().map_err(CommandError::failed)?;
            tick.tick().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    log.flush().map_err(CommandError::failed)?;
    Ok(written)
}
