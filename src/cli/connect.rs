//! Opens the source and the store that are configured, and makes the options of projections from the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use readcast_core::topic_matches;

use super::{CommandError, Context};
use crate::app::App;
use crate::config::{
    Config, ConfigError, DuplicateId, KafkaProperties, ProjectionOptions, SourceOptions, StoreOptions,
};
use crate::control::{Control, StoreAccess};
use crate::decode::{Decoders, PreparedSource};
use crate::operations::{OnChange, Policy};
use crate::plan::{Identity, RecordPolicy};
use crate::schemes::{Access, SourceSettings, StoreSettings};
use crate::source::kafka::{HeaderFormat, KafkaDeadLetterTopic, Properties};
use crate::source::{DeadLetterSink, Source};
use crate::store::{Deployment, Instance, ParkingLimits, Store, WindowSize};
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

/// Which decoder reads which topic. Refuses formats that the program does not know, and topics that no projection reads, but
/// for the one that the command reads.
pub(super) fn decoders(app: &App, config: &Config, also_read: Option<&str>) -> Result<Decoders, ConfigError> {
    let topics = app.registry.definitions().iter().flat_map(|found| found.topics()).copied();
    let topics: BTreeSet<&str> = topics.chain(also_read).collect();
    config.check_topics(&topics)?;
    if let Ok(SourceOptions::Kafka { dead_letter_topic: Some(dead), .. }) = config.source()
        && let Some(topic) = topics.iter().find(|topic| topic_matches(topic, dead))
    {
        let problem = format!("`source.dead_letter_topic` is `{dead}`, which projections read as `{topic}`");
        return Err(ConfigError::overall(problem));
    }
    app.formats.decoders(config.topics(), config.other_topics(), &config.registry).map_err(ConfigError::overall)
}

pub(super) async fn source(context: &Context) -> Result<Arc<dyn Source>, CommandError> {
    let names = context.app.registry.definitions().iter().map(|definition| definition.name());
    // A command that makes a projection may have none yet, and reads as much.
    let of_none = || context.config.projection("").buffer_bytes;
    let buffer_bytes = names.map(|name| context.config.projection(name).buffer_bytes).max().unwrap_or_else(of_none);
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
    let source = context.app.sources.open(scheme, settings).await.map_err(CommandError::failed)?;
    Ok(Arc::new(PreparedSource::new(source, context.decoders.clone())))
}

/// The properties. They are read again for each client, because the files of secrets may have changed.
fn read_again(properties: &KafkaProperties) -> Properties {
    let properties = properties.clone();
    Properties::read_by(move || properties.current())
}

/// The topic that dead letters are copied to, if one is configured.
pub(super) fn dead_letter_sink(context: &Context) -> Result<Option<Arc<dyn DeadLetterSink>>, CommandError> {
    let SourceOptions::Kafka { properties, dead_letter_topic: Some(topic), spring_headers, .. } =
        context.config.source()?
    else {
        return Ok(None);
    };
    let headers = if *spring_headers { HeaderFormat::Spring } else { HeaderFormat::Connect };
    let topic = KafkaDeadLetterTopic::new(read_again(properties), topic, headers).map_err(CommandError::failed)?;
    Ok(Some(Arc::new(topic)))
}

pub(super) async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, CommandError> {
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
    context.app.stores.open(scheme, settings).await.map_err(CommandError::failed)
}

/// The deployment of this process, according to the configuration.
pub(super) fn deployment(context: &Context) -> Result<Deployment, CommandError> {
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

/// This process, as the store records it.
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

/// Control for a command that reads. The log is not needed for it, and the store need not be there yet.
pub(super) async fn reader(context: &Context) -> Result<Control, CommandError> {
    let store = store(context, Access::Read).await?;
    Ok(self::control_over(context, store, StoreAccess::Shared).with_stored().await?)
}

/// Control for a command that changes something while instances may run.
pub(super) async fn control(context: &Context) -> Result<Control, CommandError> {
    let (store, access) = match context.config.store()? {
        StoreOptions::Postgres { .. } | StoreOptions::Other { .. } => {
            (store(context, Access::Write).await?, StoreAccess::Shared)
        }
        StoreOptions::Sqlite { path } if !path.is_file() => {
            let path = path.display();
            return Err(CommandError::Failed(format!(
                "the file {path} does not exist. Next: `readcast run` creates it"
            )));
        }
        StoreOptions::Sqlite { .. } => match lock_store(context).await {
            Some(store) => (store, StoreAccess::Exclusive),
            None => (store(context, Access::Command).await?, StoreAccess::LockedByAnother),
        },
    };
    let control = control_over(context, store, access).with_stored().await?;
    control.prepare(&deployment(context)?).await?;
    Ok(control)
}

/// Control over a store that is open.
pub(super) fn control_over(context: &Context, store: Arc<dyn Store>, access: StoreAccess) -> Control {
    Control::new(context.app.registry.clone(), store, access, &*context.config.operator)
}

/// Opens the store for this process alone. `None` where another process has locked it, and where stores are not locked.
pub(super) async fn lock_store(context: &Context) -> Option<Arc<dyn Store>> {
    match context.config.store() {
        Ok(StoreOptions::Sqlite { .. }) => store(context, Access::Write).await.ok(),
        Ok(StoreOptions::Postgres { .. } | StoreOptions::Other { .. }) | Err(_) => None,
    }
}

/// How a projection is run, as configured.
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
            max_row_loss_percent: options.max_row_loss_percent as u64,
            max_live_lag: options.max_live_lag as u64,
            keep_indexes: options.keep_indexes,
            spool_directory: options.spool_directory,
        },
    }
}

/// How many generations of one projection are fed at the same time at most: the live one, a standby and a new one.
const GENERATIONS_AT_ONCE: usize = 3;

/// The duplicate window of each generation of a projection: its share of the memory, unless its offsets are configured. The
/// share is that of all projections of the program, so that it is the same in an instance that runs some of them.
fn duplicate_window(context: &Context, options: &ProjectionOptions) -> WindowSize {
    let projections = context.app.registry.definitions().len().max(1);
    match options.duplicate_window {
        Some(offsets) => WindowSize::Offsets(offsets as i64),
        None => {
            let bytes = context.config.projector.duplicate_memory / (projections * GENERATIONS_AT_ONCE);
            WindowSize::Bytes(bytes as u64)
        }
    }
}

/// How records are read and what is done about those that can't be projected, as configured.
pub(super) fn record_policy(context: &Context, options: &ProjectionOptions) -> RecordPolicy {
    RecordPolicy {
        decoders: context.decoders.clone(),
        identity: match &options.duplicate_id {
            DuplicateId::Body => Identity::Body,
            DuplicateId::Header(name) => Identity::Header(name.clone()),
            DuplicateId::Sequence(name) => Identity::Sequence(name.clone()),
        },
        duplicate_window: duplicate_window(context, options),
        max_record_bytes: options.max_record_bytes,
        longest_projection_ms: u64::try_from(options.longest_projection.as_millis()).unwrap_or(u64::MAX),
        registry: context.app.registry.clone(),
        parking: ParkingLimits { records: options.max_parked as u64, of_one_key: options.max_parked_per_key as u64 },
    }
}
