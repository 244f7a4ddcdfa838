//! `readcast generate`: made-up events, written into a log at a chosen rate.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::run::stop_on_signal;
use super::{Context, Refusal};
use crate::app::{Sample, SampleEvents};
use crate::config::SourceOptions;
use crate::source::file::Appender;
use crate::source::kafka::Producer;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How many events a second; 0 for as many as there is time for
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// How many events in all; 0 to go on until SIGTERM
    #[arg(long, default_value_t = 0)]
    events: u64,
    /// How many partitions the topic gets when it is created
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// What the events are drawn from; the same seed gives the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) async fn run(context: Context, sample: Sample, arguments: Arguments) -> Result<ExitCode, Refusal> {
    let Sample { topic, events } = sample;
    let log = match context.config.source()? {
        SourceOptions::File(directory) => {
            Log::File(Appender::open(directory, topic, arguments.partitions).map_err(Refusal::failed)?)
        }
        SourceOptions::Kafka { properties, topic_prefix, .. } => {
            let properties = properties.current().map_err(Refusal::failed)?;
            let producer = Producer::open(properties, format!("{topic_prefix}{topic}"), arguments.partitions).await;
            Log::Kafka(producer.map_err(Refusal::failed)?)
        }
        SourceOptions::Other { scheme, .. } => {
            return Err(Refusal::Failed(format!(
                "`generate` writes into files and into Kafka, and not into `{scheme}`"
            )));
        }
    };
    let stop = CancellationToken::new();
    let pace = Pace { rate: arguments.rate, events: arguments.events };
    let events = events(arguments.seed);
    let written = tokio::select! {
        written = write(log, events, pace, stop.clone()) => written?,
        () = stop_on_signal(stop)? => return Ok(ExitCode::SUCCESS),
    };
    println!("wrote {written} events to topic `{topic}`");
    Ok(ExitCode::SUCCESS)
}

/// How many events, and how fast; 0 means without bound.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) rate: u64,
    pub(super) events: u64,
}

impl Pace {
    /// How many events are due after this time.
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

/// Writes events as they become due, and says how many.
pub(super) async fn write(
    mut log: Log,
    mut events: SampleEvents,
    pace: Pace,
    stop: CancellationToken,
) -> Result<u64, Refusal> {
    /// Events between two looks at the clock and at `stop`.
    const MOST_AT_ONCE: u64 = 1_000;
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = 0;
    while (pace.events == 0 || written < pace.events) && !stop.is_cancelled() {
        let due = pace.due(begun.elapsed()).saturating_sub(written).min(MOST_AT_ONCE);
        for (key, value) in events.by_ref().take(usize::try_from(due).unwrap_or(usize::MAX)) {
            log.append(&key, &value).map_err(Refusal::failed)?;
        }
        written += due;
        if due < MOST_AT_ONCE {
            log.flush().map_err(Refusal::failed)?;
            tick.tick().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    log.flush().map_err(Refusal::failed)?;
    Ok(written)
}
