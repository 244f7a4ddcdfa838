//! The program of a team: its projections, and what it adds to the logs, databases and formats that readcast knows.

use std::sync::Arc;

use readcast_core::{Projection, Registry};

use crate::decode::{Decoder, Formats};
use crate::schemes::{OpenError, Schemes, SourceSettings, StoreSettings};
use crate::source::Source;
use crate::store::Store;

/// A program that runs projections: the command line of readcast over what is registered here.
///
/// ```no_run
/// use std::process::ExitCode;
/// # use readcast::{Changes, ColumnType, Envelope, Projection, ProjectionError, TableSpec};
/// # struct Visits;
/// # impl Projection for Visits {
/// #     fn name(&self) -> &str { "visits" }
/// #     fn topics(&self) -> &[&str] { &["site"] }
/// #     fn event_types(&self) -> &[&str] { &["VISITED"] }
/// #     fn tables(&self) -> Vec<TableSpec> { vec![TableSpec::new("visits").key("page", ColumnType::Text)] }
/// #     fn project(&self, _: &Envelope<'_>, _: &mut Changes<'_>) -> Result<(), ProjectionError> { Ok(()) }
/// # }
/// fn main() -> ExitCode {
///     readcast::App::new().projection(Visits).run()
/// }
/// ```
#[derive(Clone)]
pub struct App {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) about: &'static str,
    pub(crate) registry: Registry,
    pub(crate) sample: Option<Sample>,
    pub(crate) demo: Option<fn() -> Registry>,
    pub(crate) sources: Schemes<SourceSettings, dyn Source>,
    pub(crate) stores: Schemes<StoreSettings, dyn Store>,
    pub(crate) formats: Formats,
}

/// An endless stream of made-up events, for the commands `demo` and `generate`.
#[derive(Clone, Copy)]
pub struct Sample {
    /// The topic that they belong to.
    pub topic: &'static str,
    /// The events, the same for the same seed.
    pub events: fn(seed: u64) -> SampleEvents,
}

/// Record keys and the texts of events.
pub type SampleEvents = Box<dyn Iterator<Item = (String, String)> + Send>;

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// A program without projections, named `readcast`, that reads from Kafka or files and writes to Postgres or SQLite.
    pub fn new() -> Self {
        Self {
            name: "readcast",
            version: env!("CARGO_PKG_VERSION"),
            about: "Projects domain events from a log into read tables, rows and log positions in one transaction",
            registry: Registry::new(),
            sample: None,
            demo: None,
            sources: Schemes::of_sources(),
            stores: Schemes::of_stores(),
            formats: Formats::default(),
        }
    }

    /// The name of the program, as `--help`, `--version` and its errors show it.
    ///
    /// ```
    /// readcast::App::new().name("library").version(env!("CARGO_PKG_VERSION")).about("The read models of the library");
    /// ```
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The version of the program, as `--version` shows it. Without one, it is readcast's.
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// What the program is for: one sentence, which `--help` shows.
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Runs this projection too.
    pub fn projection(mut self, projection: impl Projection) -> Self {
        self.registry = self.registry.register(projection);
        self
    }

    /// Runs the projections of this registry, in place of all that were registered before: for registries that are made
    /// elsewhere, and for projections with earlier versions.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Offers the commands `demo` and `generate`, which write these events. Without a sample there are no such commands.
    ///
    /// ```
    /// use readcast::{App, Sample};
    ///
    /// let sample = Sample {
    ///     topic: "site",
    ///     events: |seed| {
    ///         Box::new((seed..).map(|n| {
    ///             let time = "2024-01-01T00:00:00Z";
    ///             let event = format!(r#"{{"event_id":"{n}","type":"VISITED","timestamp":"{time}","data":{{}}}}"#);
    ///             (n.to_string(), event)
    ///         }))
    ///     },
    /// };
    /// App::new().sample(sample);
    /// ```
    pub fn sample(mut self, sample: Sample) -> Self {
        self.sample = Some(sample);
        self
    }

    /// Runs these projections in the command `demo`, in place of those of the program.
    pub fn demo(mut self, projections: fn() -> Registry) -> Self {
        self.demo = Some(projections);
        self
    }

    /// Reads logs whose URL is `SCHEME://…` through what `open` returns. The URL is that of `--source`, of `url` in
    /// `[source]` or of `READCAST_SOURCE_URL`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use readcast::source::Source;
    /// # use readcast::source::*;
    /// # use std::collections::BTreeMap;
    /// # struct Nats;
    /// # impl Nats {
    /// #     async fn connect(_: &str) -> Result<Self, std::io::Error> { Ok(Self) }
    /// # }
    /// # #[async_trait::async_trait]
    /// # impl Source for Nats {
    /// #     async fn extents(&self, _: &[&str]) -> Result<Extents, SourceError> { Ok(Extents::new()) }
    /// #     async fn offsets_at(&self, _: &[&str], _: readcast::Timestamp)
    /// #         -> Result<BTreeMap<readcast::TopicPartition, i64>, SourceError> { Ok(BTreeMap::new()) }
    /// #     async fn subscribe(&self, _: &str, _: &[&str]) -> Result<Box<dyn Subscription>, SourceError> {
    /// #         Err(SourceError::NoTopic("none".into()))
    /// #     }
    /// # }
    ///
    /// readcast::App::new().with_source("nats", async |settings| {
    ///     let source: Arc<dyn Source> = Arc::new(Nats::connect(&settings.url).await?);
    ///     Ok(source)
    /// });
    /// ```
    ///
    /// An error of `open` ends the command with exit code 1. It must not show credentials of the URL.
    ///
    /// # Panics
    /// When the scheme is taken. `kafka` and `file` are readcast's own.
    pub fn with_source<F, O>(mut self, scheme: &str, open: F) -> Self
    where
        F: Fn(SourceSettings) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + 'static,
    {
        self.sources.add(scheme, open);
        self
    }

    /// Writes to databases whose URL is `SCHEME://…` through what `open` returns. The URL is that of `--store`, of `url`
    /// in `[store]` or of `READCAST_STORE_URL`.
    ///
    /// An error of `open` ends the command with exit code 1. It must not show credentials of the URL.
    ///
    /// # Panics
    /// When the scheme is taken. `postgres` and `sqlite` are readcast's own.
    pub fn with_store<F, O>(mut self, scheme: &str, open: F) -> Self
    where
        F: Fn(StoreSettings) -> O + Send + Sync + 'static,
        O: Future<Output = Result<Arc<dyn Store>, OpenError>> + Send + 'static,
    {
        self.stores.add(scheme, open);
        self
    }

    /// Reads the records of topics that the configuration gives the format `name` with `decoder`:
    ///
    /// ```toml
    /// [topics.loans]
    /// format = "typed"
    /// ```
    ///
    /// ```
    /// use readcast::source::Record;
    /// use readcast::{App, DecodeError, Envelope, Payload, Position};
    ///
    /// /// The type in a header, the data in the value.
    /// fn typed<'r>(position: &Position, record: &'r Record) -> Result<Envelope<'r>, DecodeError> {
    ///     let header = |name| str::from_utf8(record.header(name).unwrap_or_default());
    ///     let (id, event_type, time) = (header("id")?, header("type")?, header("time")?.parse()?);
    ///     let data = str::from_utf8(record.value.as_deref().ok_or("no value")?)?;
    ///     Ok(Envelope::new(position.clone(), record.key.as_deref(), id, event_type, time, Payload::json(data)?))
    /// }
    ///
    /// App::new().with_decoder("typed", typed);
    /// ```
    ///
    /// # Panics
    /// When the name is taken. Those of [readcast's own formats][formats] are.
    ///
    /// [formats]: https://github.com/readcast/readcast/blob/main/docs/src/guides/formats.md
    pub fn with_decoder(mut self, name: &str, decoder: impl Decoder + 'static) -> Self {
        self.formats.add(name, Arc::new(decoder));
        self
    }
}
