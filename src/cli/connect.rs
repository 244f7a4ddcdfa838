//! From what is configured to the source and the store that it means.

use std::sync::Arc;

use super::{Context, Refusal};
use crate::config::{Config, DuplicateId, KafkaProperties, ProjectionOptions, SourceOptions, StoreOptions};
use crate::decode::Format;
use crate::error::Failure;
use crate::operations::{OnChange, Policy};
use crate::plan::{Identity, RecordPolicy};
use crate::source::file::FileSource;
use crate::source::kafka::{HeaderFormat, KafkaDeadLetterTopic, KafkaSource, Properties};
use crate::source::{DeadLetterSink, Source};
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;
use crate::store::{Deployment, Instance, ParkingLimits, Store};
use crate::supervisor::Options;
use crate::worker::Limits;

/// What a command wants of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

pub(super) fn source(context: &Context) -> Result<Arc<dyn Source>, Refusal> {
    let names = context.app.registry.definitions().iter().map(|definition| definition.name());
    let buffer_bytes = names.map(|name| context.config.projection(name).buffer_bytes).max().unwrap_or_default();
    Ok(match context.config.source()? {
        SourceOptions::File(directory) => Arc::new(FileSource::new(directory)),
        SourceOptions::Kafka { properties, topic_prefix, .. } => {
            Arc::new(KafkaSource::new(read_again(properties), topic_prefix, buffer_bytes))
        }
    })
}

/// The properties, read again for each client that is made.
fn read_again(properties: &KafkaProperties) -> Properties {
    let properties = properties.clone();
    Properties::read_by(move || properties.current())
}

/// Where dead letters are copied to, if anywhere.
pub(super) fn dead_letter_sink(context: &Context) -> Result<Option<Arc<dyn DeadLetterSink>>, Refusal> {
    let SourceOptions::Kafka { properties, dead_letter_topic: Some(topic), spring_headers, .. } =
        context.config.source()?
    else {
        return Ok(None);
    };
    let headers = if *spring_headers { HeaderFormat::Spring } else { HeaderFormat::Connect };
    let topic = KafkaDeadLetterTopic::new(read_again(properties), topic, headers).map_err(Refusal::failed)?;
    Ok(Some(Arc::new(topic)))
}

pub(super) async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, Refusal> {
    Ok(match (context.config.store()?, access) {
        (StoreOptions::Postgres { url, schema, max_connections }, _) => {
            Arc::new(Postgres::of_url(url.clone(), schema).with_most_connections(*max_connections))
        }
        (StoreOptions::Sqlite { path }, Access::Write) => Arc::new(Sqlite::open(path).await.map_err(Refusal::failed)?),
        (StoreOptions::Sqlite { path }, Access::Read) => {
            Arc::new(Sqlite::open_read_only(path).await.map_err(Refusal::failed)?)
        }
    })
}

/// Whose positions and tables we mean, as far as the configuration says.
pub(super) fn deployment(context: &Context) -> Result<Deployment, Refusal> {
    let schema = match context.config.store()? {
        StoreOptions::Postgres { schema, .. } => Some(schema.clone()),
        StoreOptions::Sqlite { .. } => None,
    };
    let topic_prefix = match context.config.source()? {
        SourceOptions::Kafka { topic_prefix, .. } => topic_prefix.clone(),
        SourceOptions::File(_) => String::new(),
    };
    Ok(Deployment { app: context.config.projector.app.clone(), schema, topic_prefix, cluster_id: None })
}

/// What this process says of itself, whatever it does.
pub(super) fn instance(context: &Context) -> Instance {
    let max_connections = match context.config.store() {
        Ok(StoreOptions::Postgres { max_connections, .. }) => u32::try_from(*max_connections).ok(),
        _ => None,
    };
    let Config { projector, host, .. } = &context.config;
    let (app, host) = (projector.app.clone(), host.clone());
    Instance { id: String::new(), app, host, process: std::process::id(), max_connections }
}

/// Refuses to go on in a database that belongs to another deployment.
pub(super) async fn same_deployment(context: &Context, store: &dyn Store) -> Result<(), Refusal> {
    let recorded = store.deployment().await.map_err(Refusal::failed)?;
    let same = deployment(context)?.is_that_of(recorded.as_ref());
    same.map_err(|error| Refusal::Failed(advised(error.into())))
}

/// A failure, and what is to be done about it.
pub(super) fn advised(failure: Failure) -> String {
    let (_, advice) = failure.disposition();
    format!("{failure}. Next: {advice}")
}

/// Who else may be at work in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreAccess {
    /// Nobody: no other process can write the file while we have it.
    Alone,
    /// Another process has the file. All that we may do is leave commands for it.
    Beside,
    /// Whoever has noted that it runs.
    AsNoted,
}

/// The store of a command that changes something while projectors may run, and who they are. Our own tables are up to
/// date in it, unless they are another process's to bring up to date.
pub(super) async fn control(context: &Context) -> Result<(Arc<dyn Store>, StoreAccess), Refusal> {
    let (store, access) = match context.config.store()? {
        StoreOptions::Postgres { .. } => (self::store(context, Access::Write).await?, StoreAccess::AsNoted),
        StoreOptions::Sqlite { path } if !path.is_file() => {
            let path = path.display();
            return Err(Refusal::Failed(format!("there is no file {path} yet: `readcast run` creates it")));
        }
        StoreOptions::Sqlite { path } => match alone(context).await {
            Some(store) => (store, StoreAccess::Alone),
            None => {
                let store: Arc<dyn Store> = Arc::new(Sqlite::open_to_control(path).await.map_err(Refusal::failed)?);
                return Ok((store, StoreAccess::Beside));
            }
        },
    };
    store.migrate().await.map_err(Refusal::failed)?;
    same_deployment(context, &*store).await?;
    Ok((store, access))
}

/// The store, if it is a file that no other process has.
pub(super) async fn alone(context: &Context) -> Option<Arc<dyn Store>> {
    match context.config.store() {
        Ok(StoreOptions::Sqlite { path }) => Some(Arc::new(Sqlite::open(path).await.ok()?)),
        Ok(StoreOptions::Postgres { .. }) | Err(_) => None,
    }
}

/// How the configuration wants this projection to be run.
pub(super) fn options(context: &Context, projection: &str, until_end: bool) -> Options {
    let options = context.config.projection(projection);
    Options {
        record_policy: Arc::new(record_policy(&options)),
        group: options.group,
        lanes: options.lanes,
        limits: Limits { records: options.batch_records, bytes: options.batch_bytes },
        buffer_bytes: options.buffer_bytes,
        stall_after: options.stall_after,
        until_end,
        seed: fastrand::u64(..),
        policy: Policy {
            on_change: if options.rebuild_on_change { OnChange::Rebuild } else { OnChange::Refuse },
            standby_for: options.standby,
            lock_timeout: options.swap_lock_timeout,
            most_lost_percent: options.most_lost_percent as u64,
            max_impact: options.max_impact as u64,
            keep_indexes: options.keep_indexes,
            spool_directory: options.spool_directory,
        },
    }
}

/// How records are read, and what is done about those that can't be projected.
pub(super) fn record_policy(options: &ProjectionOptions) -> RecordPolicy {
    RecordPolicy {
        format: Format::default(),
        identity: match &options.duplicate_id {
            DuplicateId::Body => Identity::Body,
            DuplicateId::Header(name) => Identity::Header(name.clone()),
            DuplicateId::Sequence(name) => Identity::Sequence(name.clone()),
        },
        duplicate_window: i64::try_from(options.duplicate_window).unwrap_or(i64::MAX),
        max_record_bytes: options.max_record_bytes,
        longest_projection_ms: u64::try_from(options.longest_projection.as_millis()).unwrap_or(u64::MAX),
        parking: ParkingLimits { records: options.max_parked as u64, of_one_key: options.max_parked_per_key as u64 },
    }
}
