//! Opens the source and the store that are configured, and turns the configuration into the options of the engine.

use std::sync::Arc;

use super::{CommandError, Context};
use crate::config::{Config, DuplicateId, KafkaProperties, ProjectionOptions, SourceOptions, StoreOptions};
use crate::control::{Control, StoreAccess};
use crate::decode::Format;
use crate::plan::{Identity, RecordPolicy};
use crate::rebuild::{OnChange, Policy};
use crate::source::Source;
use crate::source::file::FileSource;
use crate::source::kafka::{DeadLetterTopic, Dialect, KafkaSource, Properties};
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;
use crate::store::{Deployment, Instance, ParkingLimits, Store};
use crate::supervisor::Options;
use crate::worker::Limits;

/// What a command does with the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

pub(super) fn source(context: &Context) -> Result<Arc<dyn Source>, CommandError> {
    let names = context.app.registry.definitions().iter().map(|definition| definition.name());
    let buffer_bytes = names.map(|name| context.config.projection(name).buffer_bytes).max().unwrap_or_default();
    Ok(match context.config.source()? {
        SourceOptions::File(directory) => Arc::new(FileSource::new(directory)),
        SourceOptions::Kafka { properties, topic_prefix, .. } => {
            Arc::new(KafkaSource::new(read_again(properties), topic_prefix, buffer_bytes))
        }
    })
}

/// The properties, read again for each client: secrets in files may be replaced meanwhile.
fn read_again(properties: &KafkaProperties) -> Properties {
    let properties = properties.clone();
    Properties::read_by(move || properties.current())
}

/// The topic that dead letters are copied to, if one is configured.
pub(super) fn dead_letter_topic(context: &Context) -> Result<Option<DeadLetterTopic>, CommandError> {
    let SourceOptions::Kafka { properties, dead_letter_topic: Some(topic), spring_headers, .. } =
        context.config.source()?
    else {
        return Ok(None);
    };
    let dialect = if *spring_headers { Dialect::Spring } else { Dialect::Connect };
    DeadLetterTopic::new(read_again(properties), topic, dialect).map(Some).map_err(CommandError::failed)
}

pub(super) async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, CommandError> {
    Ok(match (context.config.store()?, access) {
        (StoreOptions::Postgres { url, schema, max_connections }, _) => {
            Arc::new(Postgres::of_url(url.clone(), schema).with_most_connections(*max_connections))
        }
        (StoreOptions::Sqlite { path }, Access::Write) => {
            Arc::new(Sqlite::open(path).await.map_err(CommandError::failed)?)
        }
        (StoreOptions::Sqlite { path }, Access::Read) => {
            Arc::new(Sqlite::open_read_only(path).await.map_err(CommandError::failed)?)
        }
    })
}

/// The deployment that this process belongs to, as far as the configuration says.
pub(super) fn deployment(context: &Context) -> Result<Deployment, CommandError> {
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

/// This process, as the store records it.
pub(super) fn instance(context: &Context) -> Instance {
    let max_connections = match context.config.store() {
        Ok(StoreOptions::Postgres { max_connections, .. }) => u32::try_from(*max_connections).ok(),
        _ => None,
    };
    let Config { projector, host, .. } = &context.config;
    let (app, host) = (projector.app.clone(), host.clone());
    Instance { id: String::new(), app, host, process: std::process::id(), max_connections }
}

/// Control for a command that reads. The log is not needed for it, and the store need not be there yet.
pub(super) async fn reader(context: &Context) -> Result<Control, CommandError> {
    let store = store(context, Access::Read).await?;
    Ok(self::control_over(context, store, StoreAccess::Shared))
}

/// Control for a command that changes something while instances may run.
pub(super) async fn control(context: &Context) -> Result<Control, CommandError> {
    let (store, access) = match context.config.store()? {
        StoreOptions::Postgres { .. } => (store(context, Access::Write).await?, StoreAccess::Shared),
        StoreOptions::Sqlite { path } if !path.is_file() => {
            let path = path.display();
            return Err(CommandError::Failed(format!(
                "the file {path} does not exist. Next: `readcast run` creates it"
            )));
        }
        StoreOptions::Sqlite { path } => match lock_store(context).await {
            Some(store) => (store, StoreAccess::Exclusive),
            None => {
                let store = Sqlite::open_to_control(path).await.map_err(CommandError::failed)?;
                (Arc::new(store) as Arc<dyn Store>, StoreAccess::LockedByAnother)
            }
        },
    };
    let control = control_over(context, store, access);
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
        Ok(StoreOptions::Sqlite { path }) => Some(Arc::new(Sqlite::open(path).await.ok()?)),
        Ok(StoreOptions::Postgres { .. }) | Err(_) => None,
    }
}

/// How a projection is run, as configured.
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

/// How records are read and what is done about those that can't be projected, as configured.
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
