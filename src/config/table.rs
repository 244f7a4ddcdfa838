//! The settings. A row here is all that a setting needs: the parser, the variables, the errors, `--help` and the reference
//! are made from it, and so is the field that holds its value.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigError;
use super::kind::{Boolean, Kind, Milliseconds, OneOf, Seconds, SecretText, Size, Text, Texts, Whole};
use super::locator::{Locator, TimeLocator, body_pointer};
use super::secret::SecretSource;
use super::setting::{Scope, Setting, settings};
use super::values::Values;

const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;
const DAY: usize = 24 * 60 * 60;

settings! {
    /// Which log is read.
    pub(super) struct SourceSettings for Service {
        /// The URL of the log. It sets `kind`, and `path` or `bootstrap.servers`. A program with sources of its own has more
        /// schemes.
        url: Option<SecretSource> = "source.url", SecretText("`file:DIR`, `kafka://host:port,…` or another URL"),
            flag "--source";
        /// The kind of the log. Without it, `bootstrap.servers` makes it `kafka`. `url` is for the logs that only a URL names.
        kind: Option<SourceKind> = "source.kind",
            OneOf(&[("kafka", SourceKind::Kafka), ("file", SourceKind::File), ("url", SourceKind::Url)]);
        /// The directory of the log, with files named `<topic>/<partition>.ndjson`. Required for `kind = "file"`.
        path: Option<PathBuf> = "source.path", PATH;
        /// The text that precedes the name of every topic in this cluster. Projections use the names without it. Kafka only.
        topic_prefix: Option<String> = "source.topic_prefix", KAFKA_NAME;
        /// The topic to which readcast copies dead letters, written without the prefix. Kafka only.
        dead_letter_topic: Option<String> = "source.dead_letter_topic", KAFKA_NAME;
        /// The headers of these copies: those of Kafka Connect or those of Spring Kafka.
        spring_headers: bool = "source.dead_letter_headers", OneOf(&[("connect", false), ("spring", true)]),
            default "connect";
    }

    /// Which database holds the read tables.
    pub(super) struct StoreSettings for Service {
        /// The database that holds the read tables.
        url: Option<SecretSource> = "store.url", SecretText("`postgres://…`, `sqlite:PATH` or another URL"), flag "--store";
        /// The password for Postgres, apart from the URL.
        password: Option<SecretSource> = "store.password", SecretText("a text");
        /// The Postgres schema of the names that readers use. It must exist. The schemas of readcast and of Postgres are
        /// refused.
        schema: String = "store.schema", Text("a name of letters, digits and `_`", identifier), default "public";
        /// The most connections to Postgres that the process opens. All projections share them.
        max_connections: usize = "store.max_connections", Whole("connections", 5..=10_000), default "20";
        /// Whether a Postgres on another machine may be reached without `sslmode=verify-full`.
        insecure: bool = "store.insecure", Boolean, default "false";
    }

    /// Where the admin server listens, and who may read from it.
    pub struct AdminOptions for Service {
        /// The address on which the admin server listens. An address that other machines can reach needs a token.
        listen: SocketAddr = "admin.listen", Text("an address and a port, like `127.0.0.1:8088`", parsed::<SocketAddr>),
            default "127.0.0.1:8088", flag "--admin-listen";
        /// The bearer token that callers must present. The probes need none.
        token: Option<SecretSource> = "admin.token", SecretText("a text");
    }

    /// The registry that has the schemas of records.
    pub struct RegistryOptions for Service {
        /// The URL of the schema registry, with the path at which it speaks Confluent's API. For Apicurio that path is
        /// `/apis/ccompat/v7`.
        url: Option<SecretSource> = "registry.url", SecretText("`http://HOST` or `https://HOST`, with a path");
        /// The user for basic authentication.
        username: Option<String> = "registry.username", Text("a text", |text| Some(text.to_owned()));
        /// The password for basic authentication.
        password: Option<SecretSource> = "registry.password", SecretText("a text");
        /// The bearer token, in place of user and password.
        token: Option<SecretSource> = "registry.token", SecretText("a text");
        /// A file with certificates in PEM of authorities that are trusted beside those of the system.
        ca: Option<PathBuf> = "registry.ca", FILE;
    }

    /// What holds for the service as a whole.
    pub struct ProjectorOptions for Service {
        /// The first part of the name of every consumer group.
        app: String = "projector.app", KAFKA_NAME, default "readcast";
        /// How long lanes may take to finish their batches when the service stops.
        drain: Duration = "projector.drain_seconds", Seconds(0..=3600), default "10";
        /// How many bytes of memory hold the ids of the last events, by which second copies are recognised. All projections
        /// of the program share them. With 0, no second copy is recognised.
        duplicate_memory: usize = "projector.duplicate_memory", Size(0..=64 * GIB), default "64 MiB";
    }

    /// The projections that are written as files.
    pub struct ProjectionFiles for Service {
        /// The folder with a file `NAME.toml` for each projection that is not code. Files `NAME.test.toml` are their tests.
        path: Option<PathBuf> = "projections.path", PATH, flag "--projections";
    }

    /// What holds for one projection.
    pub struct ProjectionOptions for Projection {
        /// How many lanes share the partitions. Each lane uses a connection to the database.
        lanes: usize = "projector.lanes", Whole("lanes", 1..=64), default "2";
        /// About how many records one transaction takes at most.
        batch_records: usize = "projector.batch_records", Whole("records", 1..=1_000_000), default "10000";
        /// How many bytes of records one transaction takes at most. A single record always fits.
        batch_bytes: usize = "projector.batch_bytes", Size(KIB..=GIB), default "8 MiB";
        /// How many bytes of records all lanes together hold before they are committed. Not less than `batch_bytes`.
        buffer_bytes: usize = "projector.buffer_bytes", Size(KIB..=64 * GIB), default "32 MiB";
        /// What happens when the code declares the projection differently than its tables were built: the projection halts
        /// (`refuse`), or its tables are rebuilt (`rebuild`).
        rebuild_on_change: bool = "projector.on_change", OneOf(&[("refuse", false), ("rebuild", true)]),
            default "refuse";
        /// How long tables that a rebuild replaced stay up to date, so that `readcast rollback` can return to them.
        standby: Duration = "projector.standby_seconds", Seconds(0..=30 * DAY), default "86400";
        /// How long readers may wait for a swap. A swap that takes longer is undone and tried again.
        swap_lock_timeout: Duration = "projector.swap_lock_timeout_ms", Milliseconds(10..=10_000), default "100";
        /// How much of a table's rows a rebuild with a changed declaration may lose. A larger loss prevents the swap.
        max_row_loss_percent: usize = "projector.max_row_loss_percent", Whole("percent", 0..=100), default "5",
            formerly "projector.most_lost_percent";
        /// How far the live generation may lag before a rebuild waits for it. With 0, a rebuild never waits.
        max_live_lag: usize = "projector.max_live_lag", Whole("records", 0..=1_000_000_000_000), default "10000",
            formerly "projector.max_impact";
        /// Whether a rebuild creates the indexes again that users created on the live tables.
        keep_indexes: bool = "projector.keep_indexes", Boolean, default "false";
        /// How long a partition with unread records may deliver none of them before readcast reports and restarts its
        /// subscription.
        stall_after: Duration = "projector.stall_seconds", Seconds(1..=DAY), default "60";
        /// How many records may be parked before the projection halts. With 0, it halts at the first dead letter.
        max_parked: usize = "projector.max_parked", Whole("records", 0..=1_000_000_000), default "10000";
        /// How many records of one key may be parked before the projection halts.
        max_parked_per_key: usize = "projector.max_parked_per_key", Whole("records", 1..=1_000_000_000), default "1000";
        /// The largest record that is decoded. A larger one is parked unread.
        max_record_bytes: usize = "projector.max_record_bytes", Size(KIB..=GIB), default "16 MiB";
        /// How long the code of a projection may take for one record. A record that takes longer is parked.
        longest_projection: Duration = "projector.projection_seconds", Seconds(1..=3600), default "10";
        /// Over how many offsets of a partition a second copy of an event is recognised, whatever memory that takes. With 0,
        /// none is recognised. Without this setting, as many as fit into `duplicate_memory`.
        duplicate_window: Option<usize> = "projector.duplicate_window", Whole("offsets", 0..=10_000_000);
        /// Where the id of an event is: in the event, in a header, or its key with a sequence number in a header.
        duplicate_id: DuplicateId = "projector.duplicate_id",
            Text("`body`, `header:NAME` or `sequence:NAME`", duplicate_id), default "body";
        /// The directory to which a rebuild writes what does not fit into `buffer_bytes`.
        spool_directory: PathBuf = "projector.spool_directory", PATH, computed "the system's temporary directory";
        /// The consumer group in which the live generation reads. Later generations append `.g` and their number.
        group: String = "projections.NAME.group", KAFKA_NAME, computed "`<projector.app>.<projection>`";
    }

    /// What holds for one topic.
    pub struct TopicOptions for Topic {
        /// The format of the topic's records.
        format: String = "topics.NAME.format", Text("a name of letters, digits, `.`, `_` and `-`", kafka_name),
            default "envelope";
        /// The format of the records' keys: texts or bytes (`plain`), JSON, or Avro, Protobuf and JSON with a schema in the
        /// registry.
        key: KeyFormat = "topics.NAME.key",
            OneOf(&[("plain", KeyFormat::Plain), ("json", KeyFormat::Json), ("registry", KeyFormat::Registry)]),
            default "plain";
        /// Where the type of an event stands. Required for the format `json`.
        event_type: Option<Locator> = "topics.NAME.type", PLACE;
        /// Where the id of an event stands. Places of an array form the id together. `position` gives each record an id of its
        /// own, so no second copy is recognised.
        event_id: Option<Vec<Locator>> = "topics.NAME.event_id", Texts(PLACES, parsed::<Locator>);
        /// Where the time of an event stands. `record` is the time at which the record was written.
        timestamp: Option<TimeLocator> = "topics.NAME.timestamp",
            Text("`record`, or a place, as RFC 3339 or with `as seconds`, `as millis`, `as micros` or `as nanos` behind it",
                parsed::<TimeLocator>);
        /// Where the version of the event's schema stands. An event without one has version 1.
        version: Option<Locator> = "topics.NAME.version", PLACE;
        /// Where the correlation id of an event stands.
        correlation_id: Option<Locator> = "topics.NAME.correlation_id", PLACE;
        /// Where the data of an event stands. A text that holds a JSON object or array is taken for that.
        data: Option<String> = "topics.NAME.data", BODY;
        /// The file of a JSON Schema that the data of each event must meet; a record whose data does not is parked. With the
        /// format `avro`, the file of the schema to which values are resolved.
        schema: Option<PathBuf> = "topics.NAME.schema", FILE;
        /// Where the events stand, if a record holds several: a JSON array. The other places in the body are then places in an
        /// item of that array.
        events: Option<String> = "topics.NAME.events", BODY;
        /// The type that a record without a value (a tombstone) gets. Without this setting, such a record is undecodable.
        tombstone: Option<String> = "topics.NAME.tombstone", Text("a type of events", |text| Some(text.to_owned()));
    }
}

/// Which kind of log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    /// A Kafka cluster.
    Kafka,
    /// A directory of files.
    File,
    /// A log that a source of the program opens.
    Url,
}

/// How the keys of a topic's records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// `plain`: not at all.
    Plain,
    /// `json`: as JSON.
    Json,
    /// `registry`: as the schema says that the registry has.
    Registry,
}

/// Where the id of an event is, by which readcast recognises an event that a producer wrote twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DuplicateId {
    /// `body`: in the event itself.
    #[default]
    Body,
    /// `header:NAME`: in a header of the record.
    Header(String),
    /// `sequence:NAME`: its key, with its number among the events of that key in a header.
    Sequence(String),
}

/// A kind of value: the path of a directory.
const PATH: Text<PathBuf> = Text("a directory", |text| Some(text.into()));
/// The path of a file.
const FILE: Text<PathBuf> = Text("a file", |text| Some(text.into()));
/// A name that Kafka takes for topics and groups.
const KAFKA_NAME: Text<String> = Text("a name of letters, digits, `.`, `_` and `-`", kafka_name);

fn kafka_name(text: &str) -> Option<String> {
    let valid = text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    valid.then(|| text.to_owned())
}

/// A name that needs no quotes in SQL, within Postgres's limit on the length of names.
fn identifier(text: &str) -> Option<String> {
    let valid = text.len() <= 63
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then(|| text.to_owned())
}

/// Where a text may stand in a record.
const PLACES: &str = "`header:NAME`, `body:/POINTER`, `attribute:NAME`, `key`, `topic`, `position` or `const:TEXT`";
/// The place of a text.
const PLACE: Text<Locator> = Text(PLACES, parsed);
/// A place in the body.
const BODY: Text<String> = Text("`body:` or `body:/POINTER`", body_pointer);

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn duplicate_id(text: &str) -> Option<DuplicateId> {
    match text.split_once(':') {
        None if text == "body" => Some(DuplicateId::Body),
        Some(("header", name)) if !name.is_empty() => Some(DuplicateId::Header(name.to_owned())),
        Some(("sequence", name)) if !name.is_empty() => Some(DuplicateId::Sequence(name.to_owned())),
        _ => None,
    }
}
