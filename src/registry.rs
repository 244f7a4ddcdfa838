//! The schemas of a registry: fetched over HTTP once, and known from then on.
//!
//! The API is Confluent's, which Apicurio and Karapace speak too:
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>. Ids of schemas are immutable, so what was
//! fetched is kept for ever. A schema that the registry does not have is asked for again after [`UNKNOWN_FOR`].

mod client;
mod frame;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use readcast_core::DataError;
use uuid::Uuid;

pub(crate) use self::client::{Client, Credentials};
pub(crate) use self::frame::{Frame, OF_KEY, OF_VALUE, framed};

/// How long a schema that the registry does not have counts as unknown.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// The id of a schema, as records name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SchemaId {
    /// A number that the registry gave.
    Number(u32),
    /// An id that is the same in every registry.
    Global(Uuid),
}

/// A schema that can be used.
#[derive(Clone, Debug)]
pub(crate) enum Schema {
    /// For Avro's binary encoding.
    #[cfg(feature = "avro")]
    Avro(readcast_core::AvroSchema),
    /// For Protobuf's binary encoding.
    #[cfg(feature = "protobuf")]
    Protobuf(readcast_core::ProtobufSchema),
    /// For JSON, which needs no schema to be read.
    Json,
}

/// The text of a schema, with those of the schemas to which it refers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaText {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    pub(crate) kind: String,
    pub(crate) text: String,
    /// By the names under which they are referred to, the referred ones before those that refer to them.
    pub(crate) references: Vec<(String, String)>,
}

/// Why a schema could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The registry says that it has no such schema.
    Unknown,
    /// The registry can't be reached, or does not answer as a registry. A later attempt may succeed.
    Unavailable(String),
}

/// What is known of a schema.
#[derive(Clone, Debug)]
enum Entry {
    /// The schema, or why it can't be used.
    Known(Result<Schema, String>),
    /// The registry had no such schema at that time.
    Unknown(Instant),
}

/// The schemas that were fetched, and the client that fetches more.
pub(crate) struct SchemaRegistry {
    client: Client,
    entries: RwLock<HashMap<SchemaId, Entry>>,
    /// Held while schemas are fetched, so that each is fetched once.
    fetching: tokio::sync::Mutex<()>,
}

impl SchemaRegistry {
    /// The registry that `client` asks, of which nothing is known yet.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, entries: RwLock::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The schema with this id, which was fetched before.
    ///
    /// # Errors
    /// Why it can't be used.
    pub(crate) fn schema(&self, id: SchemaId) -> Result<Schema, String> {
        match self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Entry::Known(schema)) => schema.clone(),
            Some(Entry::Unknown(_)) => Err(format!("the schema registry has no schema {id}")),
            None => Err(format!("schema {id} was not fetched")),
        }
    }

    /// Fetches those of the schemas that are not known.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub(crate) async fn fetch(&self, ids: impl IntoIterator<Item = SchemaId>) -> Result<(), String> {
        let missing: Vec<SchemaId> = ids.into_iter().filter(|id| self.must_be_fetched(*id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let _fetching = self.fetching.lock().await;
        for id in missing {
            // Another task may have fetched it in the meantime.
            if self.must_be_fetched(id) {
                let entry = match self.client.fetch(id).await {
                    Ok(text) => Entry::Known(parsed(id, &text)),
                    Err(FetchError::Unknown) => Entry::Unknown(Instant::now()),
                    Err(FetchError::Unavailable(reason)) => return Err(reason),
                };
                self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
            }
        }
        Ok(())
    }

    /// Asks whether the registry answers.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn check(&self) -> Result<String, String> {
        self.client.check().await
    }

    fn must_be_fetched(&self, id: SchemaId) -> bool {
        match self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            None => true,
            Some(Entry::Known(_)) => false,
            Some(Entry::Unknown(since)) => since.elapsed() >= UNKNOWN_FOR,
        }
    }
}

fn parsed(id: SchemaId, text: &SchemaText) -> Result<Schema, String> {
    let SchemaText { kind, text, references } = text;
    let schema = match kind.as_str() {
        #[cfg(feature = "avro")]
        "AVRO" => {
            let references: Vec<String> = references.iter().map(|(_, text)| text.clone()).collect();
            readcast_core::AvroSchema::parse(id.to_string(), text, &references).map(Schema::Avro)
        }
        #[cfg(feature = "protobuf")]
        "PROTOBUF" => readcast_core::ProtobufSchema::parse(text, references).map(Schema::Protobuf),
        "JSON" => Ok(Schema::Json),
        other => return Err(format!("schema {id} is of the type {other}, which is not read")),
    };
    schema.map_err(|error: DataError| format!("schema {id} can't be used: {error}"))
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Global(id) => write!(f, "{id}"),
        }
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").field("client", &self.client).finish_non_exhaustive()
    }
}
