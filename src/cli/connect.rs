//! Opens the source and the store that are configured, and makes the options of projections from the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Context, Refusal};
use crate::app::App;
use crate::config::{
    Config, ConfigError, DuplicateId, KafkaProperties, ProjectionOptions, SourceOptions, StoreOptions,
};
use crate::decode::Decoders;
use crate::error::Failure;
use crate::operations::{OnChange, Policy};
use crate::plan::{Identity, RecordPolicy};
use crate::schemes::{Access, SourceSettings, StoreSettings};
use crate::source::kafka::{HeaderFormat, KafkaDeadLetterTopic, Properties};
use crate::source::{DeadLetterSink, Source};
use crate::store::{Deployment, Instance, ParkingLimits, Store};
use crate::supervisor::Options;
use crate::worker::Limits;

/// Refuses URLs whose scheme the program does not know.
pub(super) fn check_schemes(app: &App, config: &Config) -> Result<(), ConfigError> {
    if let Ok(SourceOptions::Other { scheme, place, .. }) = config.source() {
        app.sources.check(scheme).map_err(|problem| ConfigError::at(place, problem))?;
    }
    if let Ok(StoreOptions::Other { scheme, place, .. }) = config.store() {
        app.stores.check(scheme).map_err(|problem| ConfigError::at(place, problem))?;
    }
    Ok(())
}

/// Which decoder reads which topic. Refuses formats that the program does not know, and topics that no projection reads.
pub(super) fn decoders(app: &App, config: &Config) -> Result<Decoders, ConfigError> {
    let topics: BTreeSet<&str> = app.registry.definitions().iter().flat_map(|found| found.topics()).copied().collect();
    config.check_topics(&topics)?;
    let formats = topics.into_iter().map(|topic| (topic, config.format_of(topic)));
    app.formats.decoders(formats).map_err(ConfigError::overall)
}

pub(super) async fn source(context: &Context) -> Result<Arc<dyn Source>, Refusal> {
    let names = context.app.registry.definitions().iter().map(|definition| definition.name());
    let buffer_bytes = names.map(|name| context.config.projection(name).buffer_bytes).max().unwrap_or_default();
    let none = || Properties::from([]);
    let (scheme, url, topic_prefix, properties) = match context.config.source()? {
        SourceOptions::File(folder) => ("file", format!("file:{}", folder.display()), String::new(), none()),
        SourceOptions::Kafka { properties, topic_prefix, .. } => {
            let servers = properties.get("bootstrap.servers").unwrap_or_default();
            ("kafka", format!("kafka://{servers}"), topic_prefix.clone(), read_again(properties))
        }
        SourceOptions::Other { scheme, url, topic_prefix, .. } => {
            (scheme.as_str(), url.expose().to_owned(), topic_prefix.clone(), none())
        }
    };
    let settings = SourceSettings { url, topic_prefix, buffer_bytes, properties };
    context.app.sources.open(scheme, settings).await.map_err(Refusal::failed)
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
    let (scheme, settings) = match context.config.store()? {
        StoreOptions::Postgres { url, schema, max_connections } => {
            let (schema, max_connections) = (Some(schema.clone()), Some(*max_connections));
            let (shown, postgres) = (url.first().to_string(), Some(url.clone()));
            ("postgres", StoreSettings { url: shown, access, schema, max_connections, postgres })
        }
        StoreOptions::Sqlite { path } => {
            let url = format!("sqlite:{}", path.display());
            ("sqlite", StoreSettings { url, access, schema: None, max_connections: None, postgres: None })
        }
        StoreOptions::Other { scheme, url, schema, max_connections, .. } => {
            let (url, schema, max_connections) = (url.expose().to_owned(), schema.clone(), *max_connections);
            (scheme.as_str(), StoreSettings { url, access, schema, max_connections, postgres: None })
        }
    };
    context.app.stores.open(scheme, settings).await.map_err(Refusal::failed)
}

/// Whose positions and tables we mean, as far as the configuration says.
pub(super) fn deployment(context: &Context) -> Result<Deployment, Refusal> {
    let schema = match context.config.store()? {
        StoreOptions::Postgres { schema, .. } => Some(schema.clone()),
        StoreOptions::Other { schema, .. } => schema.clone(),
        StoreOptions::Sqlite { .. } => None,
    };
    let topic_prefix = match context.config.source()? {
        SourceOptions::Kafka { topic_prefix, .. } | SourceOptions::Other { topic_prefix, .. } => topic_prefix.clone(),
        SourceOptions::File(_) => String::new(),
    };
    Ok(Deployment { app: context.config.projector.app.clone(), schema, topic_prefix, cluster_id: None })
}

/// What this process says of itself, whatever it does.
pub(super) fn instance(context: &Context) -> Instance {
    let max_connections = match context.config.store() {
        Ok(StoreOptions::Postgres { max_connections, .. }) => Some(*max_connections),
        Ok(StoreOptions::Other { max_connections, .. }) => *max_connections,
        Ok(StoreOptions::Sqlite { .. }) | Err(_) => None,
    };
    let max_connections = max_connections.and_then(|most| u32::try_from(most).ok());
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
        StoreOptions::Postgres { .. } | StoreOptions::Other { .. } => {
            (self::store(context, Access::Write).await?, StoreAccess::AsNoted)
        }
        StoreOptions::Sqlite { path } if !path.is_file() => {
            let path = path.display();
            return Err(Refusal::Failed(format!("there is no file {path} yet: `readcast run` creates it")));
        }
        StoreOptions::Sqlite { .. } => match alone(context).await {
            Some(store) => (store, StoreAccess::Alone),
            None => return Ok((self::store(context, Access::Command).await?, StoreAccess::Beside)),
        },
    };
    store.migrate().await.map_err(Refusal::failed)?;
    same_deployment(context, &*store).await?;
    Ok((store, access))
}

/// The store, if it is a file that no other process has.
pub(super) async fn alone(context: &Context) -> Option<Arc<dyn Store>> {
    match context.config.store() {
        Ok(StoreOptions::Sqlite { .. }) => self::store(context, Access::Write).await.ok(),
        Ok(StoreOptions::Postgres { .. } | StoreOptions::Other { .. }) | Err(_) => None,
    }
}

/// How the configuration wants this projection to be run.
pub(super) fn options(context: &Context, projection: &str, until_end: bool) -> Options {
    let options = context.config.projection(projection);
    Options {
        record_policy: Arc::new(record_policy(context, &options)),
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
            most_lost_percent: options.max_row_loss_percent as u64,
            max_impact: options.max_live_lag as u64,
            keep_indexes: options.keep_indexes,
            spool_directory: options.spool_directory,
        },
    }
}

/// How records are read, and what is done about those that can't be projected.
pub(super) fn record_policy(context: &Context, options: &ProjectionOptions) -> RecordPolicy {
    RecordPolicy {
        decoders: context.decoders.clone(),
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
