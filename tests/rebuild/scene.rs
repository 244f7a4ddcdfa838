//! A log, a store, and instances with any versions of a projection between them, in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use readcast::internals::health::{Detail, Health};
use readcast::internals::metrics::Metrics;
use readcast::internals::operations::{OnChange, Policy};
use readcast::internals::plan::RecordPolicy;
use readcast::internals::source::memory::MemorySource;
use readcast::internals::store::postgres::Postgres;
use readcast::internals::store::sqlite::Sqlite;

use readcast::internals::supervisor::{self, Options, Outcomes, RunProgress, Shared};
use readcast::internals::worker::Limits;
use readcast::source::Source;
use readcast::store::{
    self, Command, Deployment, GenerationState, GenerationStatus, Operation, OperationState, Rebuild, Store,
};
use readcast_core::{Changes, ColumnType, Definition, Envelope, Projection, ProjectionError, Registry, TableSpec};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::shop::events;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::postgres::Database;

pub(crate) const NAME: &str = "seen";
pub(crate) const PARTITIONS: i32 = 4;

/// A projection that counts the events of each order: one event too many or too few shows.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) tables: Vec<TableSpec>,
    pub(crate) project: fn(&Envelope<'_>, &mut Changes<'_>),
}

impl Seen {
    /// `seen (order_id, events)`.
    pub(crate) fn first() -> Self {
        Self { name: NAME, version: 1, tables: vec![seen()], project: count }
    }

    /// The same in another version, with other tables.
    pub(crate) fn next(version: u32, tables: Vec<TableSpec>, project: fn(&Envelope<'_>, &mut Changes<'_>)) -> Self {
        Self { name: NAME, version, tables, project }
    }

    pub(crate) fn definition(&self) -> Definition {
        Registry::new().register(self.clone()).definitions()[0].clone()
    }
}

pub(crate) fn seen() -> TableSpec {
    TableSpec::new("seen")
        .key("order_id", ColumnType::Text)
        .with_default("events", ColumnType::I64, 0)
        .index(["events"])
}

pub(crate) fn order_id(event: &Envelope<'_>) -> String {
    event.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default()
}

pub(crate) fn count(event: &Envelope<'_>, changes: &mut Changes<'_>) {
    changes.upsert("seen", [order_id(event)]).add("events", 1);
}

impl Projection for Seen {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn topics(&self) -> &[&str] {
        &["orders"]
    }

    fn event_types(&self) -> &[&str] {
        &["ORDER_PLACED", "ORDER_PAID", "ORDER_SHIPPED", "ORDER_CANCELLED", "ORDER_REFUNDED"]
    }

    fn tables(&self) -> Vec<TableSpec> {
        self.tables.clone()
    }

    fn project(&self, event: &Envelope<'_>, changes: &mut Changes<'_>) -> Result<(), ProjectionError> {
        (self.project)(event, changes);
        Ok(())
    }
}

/// Where the tables are.
pub(crate) enum ComparedPlace {
    Postgres(Box<Database>),
    Sqlite(tempfile::TempDir),
}

/// A log and a store.
pub(crate) struct Scene {
    pub(crate) log: MemorySource,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) place: ComparedPlace,
    written: usize,
}

/// What one process would be.
pub(crate) struct Instance {
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    stop: CancellationToken,
    running: JoinHandle<Outcomes>,
}

impl Instance {
    /// Starts an instance on any log and store.
    pub(crate) fn start(
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        group: &str,
        registry: Registry,
        policy: Policy,
    ) -> Instance {
        Self::start_handling(source, store, group, registry, policy, RecordPolicy::default())
    }

    /// The same, with a way of its own to handle records.
    pub(crate) fn start_handling(
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        group: &str,
        registry: Registry,
        policy: Policy,
        record_policy: RecordPolicy,
    ) -> Instance {
        let record_policy = Arc::new(record_policy);
        let metrics = Metrics::new();
        let names: Vec<String> = registry.definitions().iter().map(|definition| definition.name().to_owned()).collect();
        let health = Health::new(&metrics, names.iter().map(String::as_str));
        let stop = CancellationToken::new();
        let run_progress = RunProgress::default();
        let shared = Shared {
            source,
            store,
            health: health.clone(),
            deployment: Deployment::default(),
            instance: store::Instance::default(),
            dead_letter_sink: None,
            metrics: metrics.clone(),
            run_progress,
            stop: stop.clone(),
        };
        let group = group.to_owned();
        let options = move |name: &str| Options {
            group: format!("{group}.{name}"),
            record_policy: record_policy.clone(),
            stall_after: Duration::from_secs(60),
            lanes: 2,
            limits: Limits { records: 50, bytes: 1 << 20 },
            buffer_bytes: 1 << 20,
            until_end: false,
            policy: policy.clone(),
            seed: fastrand::u64(..),
        };
        let running =
            tokio::spawn(async move { supervisor::run(&registry, options, shared, Duration::from_secs(10)).await });
        Instance { health, metrics, stop, running }
    }

    /// SIGTERM.
    pub(crate) async fn stop(self) -> Outcomes {
        self.stop.cancel();
        self.running.await.unwrap()
    }

    pub(crate) fn verbose(&self) -> String {
        self.health.readiness(Detail::Verbose).unwrap_or_else(|text| text)
    }
}

impl Scene {
    pub(crate) async fn on_postgres() -> Self {
        let database = Database::create().await;
        let store: Arc<dyn Store> = Arc::new(Postgres::new(database.options(), "public"));
        Self::new(store, ComparedPlace::Postgres(Box::new(database))).await
    }

    pub(crate) async fn on_sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("read.db")).await.unwrap());
        Self::new(store, ComparedPlace::Sqlite(dir)).await
    }

    /// Its own tables are there already: a test may look at them at any moment.
    async fn new(store: Arc<dyn Store>, place: ComparedPlace) -> Self {
        store.migrate().await.unwrap();
        let log = MemorySource::default();
        log.create("orders", PARTITIONS);
        Self { log, store, place, written: 0 }
    }

    /// Appends the next events of the shop.
    pub(crate) fn write(&mut self, count: usize) {
        for (key, value) in events(self.written + count).skip(self.written) {
            self.append(&key, value);
        }
        self.written += count;
    }

    pub(crate) fn append(&self, key: &str, value: String) {
        let hash = key.bytes().fold(7_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        self.log.append("orders", hash.rem_euclid(PARTITIONS), Some(key), value);
    }

    /// How many events each order has so far: what `seen` must hold.
    pub(crate) fn expected(&self) -> BTreeMap<String, i64> {
        let mut expected = BTreeMap::new();
        for (key, _) in events(self.written) {
            *expected.entry(key).or_default() += 1;
        }
        expected
    }

    pub(crate) fn start(&self, versions: impl IntoIterator<Item = Seen>) -> Instance {
        self.start_with(versions, Policy::default())
    }

    /// Starts an instance with these versions, after the first version has built the tables.
    pub(crate) async fn continues(&self, versions: impl IntoIterator<Item = Seen>) -> Instance {
        let first = self.start([Seen::first()]);
        self.projects_all(1).await;
        first.stop().await;
        self.start(versions)
    }

    pub(crate) fn start_rebuilding(&self, versions: impl IntoIterator<Item = Seen>) -> Instance {
        self.start_with(versions, Policy { on_change: OnChange::Rebuild, ..Policy::default() })
    }

    pub(crate) fn start_with(&self, versions: impl IntoIterator<Item = Seen>, policy: Policy) -> Instance {
        let registry = versions.into_iter().fold(Registry::new(), Registry::register);
        Instance::start(Arc::new(self.log.clone()), self.store.clone(), "scene", registry, policy)
    }

    pub(crate) async fn statuses(&self) -> Vec<GenerationStatus> {
        self.store.generations().await.unwrap()
    }

    pub(crate) async fn live(&self) -> GenerationStatus {
        let live = self.statuses().await.into_iter().find(|status| status.state == GenerationState::Live);
        live.expect("a generation is live")
    }

    pub(crate) async fn state(&self, generation: i32) -> Option<GenerationState> {
        let statuses = self.statuses().await;
        statuses.iter().find(|status| status.generation.0 == generation).map(|status| status.state)
    }

    /// Waits until a generation is in this state.
    pub(crate) async fn reaches(&self, generation: i32, state: GenerationState) {
        eventually(&format!("generation {generation} is {state}"), PATIENCE, async || {
            let found = self.state(generation).await;
            if found == Some(state) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Waits until the generation has projected everything that was written.
    pub(crate) async fn projects_all(&self, generation: i32) {
        let wanted = i64::try_from(self.written).unwrap();
        eventually(&format!("generation {generation} projects {wanted} events"), PATIENCE, async || {
            let statuses = self.statuses().await;
            let status = statuses.iter().find(|status| status.generation.0 == generation).ok_or(0)?;
            let behind: i64 = status.checkpoints.iter().map(|held| held.next_offset).sum();
            if behind >= wanted { Ok(()) } else { Err(behind) }
        })
        .await;
    }

    pub(crate) async fn ask(&self, command: &Command) -> i64 {
        self.store.request(NAME, command, "a test").await.unwrap()
    }

    /// Waits for the end of an operation.
    pub(crate) async fn finished(&self, id: i64) -> Operation {
        finished(&*self.store, NAME, id).await
    }

    /// Asks for an operation, and waits until it is done.
    pub(crate) async fn does(&self, command: &Command) -> Operation {
        let operation = self.finished(self.ask(command).await).await;
        assert_eq!(operation.state, OperationState::Done, "{operation:?}");
        operation
    }

    /// Asks for an operation, and waits until it is refused. Why.
    pub(crate) async fn is_refused(&self, command: &Command) -> String {
        let operation = self.finished(self.ask(command).await).await;
        assert_eq!(operation.state, OperationState::Refused, "{operation:?}");
        operation.outcome.unwrap()
    }

    /// The rows that readers see, each as text.
    pub(crate) async fn rows(&self, table: &TableSpec) -> Vec<Vec<String>> {
        let rows = self.store.peek(table, 100_000).await.unwrap().rows;
        rows.into_iter().map(|row| row.into_iter().map(|cell| cell.unwrap_or("null".into())).collect()).collect()
    }

    /// Asserts that readers see the count of every order.
    pub(crate) async fn shows_every_count(&self) {
        let rows = self.rows(&seen()).await;
        let found: BTreeMap<String, i64> =
            rows.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
        assert_eq!(found, self.expected());
    }

    /// Runs a statement beside readcast, as somebody with a client would.
    pub(crate) async fn execute(&self, sql: &str) {
        match &self.place {
            ComparedPlace::Postgres(database) => database.execute(sql).await,
            ComparedPlace::Sqlite(dir) => {
                use sqlx::{ConnectOptions, Executor};
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("read.db"));
                let mut connection = options.connect().await.unwrap();
                connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
            }
        }
    }

    /// The physical name of a table.
    pub(crate) fn physical(&self, table: &str, generation: i32) -> String {
        match &self.place {
            ComparedPlace::Postgres(_) => format!("readcast_tables.{table}_g{generation}"),
            ComparedPlace::Sqlite(_) => format!("{table}_g{generation}"),
        }
    }
}

pub(crate) async fn finished(store: &dyn Store, projection: &str, id: i64) -> Operation {
    eventually(&format!("operation {id} ends"), PATIENCE, async || {
        let operations = store.operations(projection, 1_000).await.unwrap();
        let operation =
            operations.into_iter().find(|operation| operation.id == id).ok_or("it is not there".to_owned())?;
        if operation.state.is_open() { Err(format!("{operation:?}")) } else { Ok(operation) }
    })
    .await
}

/// The rebuild of a definition, with all defaults.
pub(crate) fn rebuild(definition: &Definition) -> Rebuild {
    Rebuild::of(definition.hash())
}
