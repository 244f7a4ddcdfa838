//! From what is configured to the source and the store that it means.

use std::sync::Arc;

use super::{Context, Refusal};
use crate::config::{SourceOptions, StoreOptions};
use crate::decode::Format;
use crate::source::Source;
use crate::source::file::FileSource;
use crate::source::kafka::KafkaSource;
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;
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
        SourceOptions::Kafka { properties, topic_prefix } => {
            let properties = properties.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            Arc::new(KafkaSource::new(properties, topic_prefix, buffer_bytes))
        }
    })
}

pub(super) async fn store(context: &Context, access: Access) -> Result<Arc<dyn Store>, Refusal> {
    Ok(match (context.config.store()?, access) {
        (StoreOptions::Postgres { url, schema }, _) => {
            let options = url.expose().parse().map_err(|_| Refusal::failed("the URL of the store can't be read"))?;
            Arc::new(Postgres::new(options, schema))
        }
        (StoreOptions::Sqlite { path }, Access::Write) => Arc::new(Sqlite::open(path).await.map_err(Refusal::failed)?),
        (StoreOptions::Sqlite { path }, Access::Read) => {
            Arc::new(Sqlite::open_read_only(path).await.map_err(Refusal::failed)?)
        }
    })
}

/// How the configuration wants this projection to be run.
pub(super) fn options(context: &Context, projection: &str, until_end: bool) -> Options {
    let options = context.config.projection(projection);
    Options {
        group: options.group,
        format: Format::default(),
        lanes: options.lanes,
        limits: Limits { records: options.batch_records, bytes: options.batch_bytes },
        buffer_bytes: options.buffer_bytes,
        until_end,
        seed: fastrand::u64(..),
    }
}
