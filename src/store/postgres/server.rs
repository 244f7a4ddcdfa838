//! Opens connections: chooses a server, limits the time, and makes the settings, so that a statement has the same
//! meaning on every connection.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::time::Instant;

use super::connection::{CONNECTING, POOLER, connecting};
use super::sql::quoted;
use crate::store::{Encoding, StoreError};

/// The default time limit for a server that accepts a connection but does not respond.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A failed attempt that took longer than this is not repeated at once.
const SLOW_ATTEMPT: Duration = Duration::from_secs(1);
/// How long the error of a slow attempt is returned instead of another attempt.
const SLOW_ATTEMPT_BACKOFF: Duration = Duration::from_secs(2);

/// Settings that affect the meaning or the result of a statement (PostgreSQL documentation, chapter 20). Without these,
/// the settings of the role and the database would apply.
const SEMANTIC_SETTINGS: &[(&str, &str)] = &[
    ("array_nulls", "on"),
    ("bytea_output", "hex"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("extra_float_digits", "3"),
    ("intervalstyle", "postgres"),
    ("quote_all_identifiers", "off"),
    // A statement fails if a policy hides rows, instead of ignoring them.
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transform_null_equals", "off"),
];

/// Settings that affect only the time: compiling short statements takes longer than running them.
const COST_SETTINGS: &[(&str, &str)] = &[("jit", "off")];

/// Time limits that the server enforces. They hold even if this process is stopped or disconnected: a transaction of a
/// dead process must not keep its locks.
const LIMITS: &[(&str, &str)] =
    &[("lock_timeout", "10s"), ("statement_timeout", "2min"), ("idle_in_transaction_session_timeout", "20s")];

/// What a connection is used for. It determines the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Short queries, and changes of readcast's own tables.
    Asking,
    /// Writing rows. These statements find thousands of rows by their keys. For that many keys the planner may choose
    /// to read the whole table, which takes longer as the table grows. The settings allow that only if no index is
    /// usable.
    Writing,
    /// Executing operations, without a time limit for statements: copies, indexes and comparisons take long. The leader
    /// queries the database regularly, so an idle session belongs to a disconnected leader and must end.
    Leading,
}

impl Use {
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Use::Asking => &[("idle_session_timeout", "0")],
            Use::Writing => &[
                ("idle_session_timeout", "0"),
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ],
            Use::Leading => &[("statement_timeout", "0"), ("idle_session_timeout", "15min")],
        }
    }
}

/// Whether this module sets the setting on every connection.
pub(super) fn is_fixed(name: &str) -> bool {
    let uses = [Use::Asking, Use::Writing, Use::Leading].map(Use::settings);
    let mut fixed = [SEMANTIC_SETTINGS, COST_SETTINGS, LIMITS].into_iter().chain(uses).flatten().map(|(name, _)| *name);
    fixed.any(|fixed| fixed.eq_ignore_ascii_case(name)) || name.eq_ignore_ascii_case("search_path")
}

/// The servers to which a connection may be opened, in the order of the attempts.
#[derive(Clone, Debug)]
pub struct Route {
    /// The address and credentials of each server.
    pub endpoints: Vec<PgConnectOptions>,
    /// The time limit of an attempt to connect to one server.
    pub connect_timeout: Duration,
    /// Whether only a writable server is accepted; the others are its standbys.
    pub writable: bool,
}

/// Returns the route for each new connection: a password may have changed in the meantime. The error is a message
/// without secrets.
pub type FindRoute = Arc<dyn Fn() -> Result<Route, String> + Send + Sync>;

/// Opens connections to one database.
#[derive(Clone)]
pub(super) struct Server {
    find_route: FindRoute,
    /// The schema of the readers' views. It is on the search path for triggers of users on the tables.
    schema: String,
    /// The server processes of the open connections.
    backends: Arc<Mutex<BTreeSet<Backend>>>,
    slow_attempt: Arc<Mutex<Option<(Instant, StoreError)>>>,
}

/// The server process of a connection: its id and its start time, because ids are reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) pid: i32,
    started: String,
}

/// An open connection with its settings.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) encoding: Encoding,
    registered: Registered,
}

impl Session {
    /// The server process of the connection.
    pub(super) fn backend(&self) -> &Backend {
        &self.registered.backend
    }
}

/// Registers the server process of a connection until it is dropped. Two connections with the same process share it
/// through a pooler, and would share session locks and settings.
#[derive(Debug)]
struct Registered {
    backend: Backend,
    all: Arc<Mutex<BTreeSet<Backend>>>,
}

impl Registered {
    fn new(backend: Backend, all: &Arc<Mutex<BTreeSet<Backend>>>) -> Option<Self> {
        let is_new = all.lock().unwrap_or_else(PoisonError::into_inner).insert(backend.clone());
        is_new.then(|| Self { backend, all: all.clone() })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.backend);
    }
}

/// Why no connection could be opened.
pub(super) struct ConnectError {
    pub(super) error: StoreError,
    /// Whether a server responded, possibly with a refusal.
    pub(super) answered: bool,
}

impl From<ConnectError> for StoreError {
    fn from(none: ConnectError) -> Self {
        none.error
    }
}

impl Server {
    pub(super) fn new(find_route: FindRoute, schema: String) -> Self {
        Self { find_route, schema, backends: Arc::default(), slow_attempt: Arc::default() }
    }

    /// Connects to the first server that accepts the login and, if the route requires it, is writable.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if a server refuses the login, otherwise [`StoreError::Unavailable`], with the error of each
    /// server.
    pub(super) async fn connect(&self, wanted: Use) -> Result<Session, ConnectError> {
        // Many tasks may wait for a server that does not respond. Only the first waits for the time-out.
        if let Some(error) = self.recent_slow_failure() {
            return Err(ConnectError { error, answered: false });
        }
        let begun = Instant::now();
        let connected = self.try_each(wanted).await;
        if let Err(ConnectError { error, answered: false }) = &connected
            && begun.elapsed() > SLOW_ATTEMPT
        {
            *self.slow_attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
        }
        connected
    }

    fn recent_slow_failure(&self) -> Option<StoreError> {
        let slow = self.slow_attempt.lock().unwrap_or_else(PoisonError::into_inner);
        slow.as_ref().filter(|(at, _)| at.elapsed() < SLOW_ATTEMPT_BACKOFF).map(|(_, error)| error.clone())
    }

    async fn try_each(&self, wanted: Use) -> Result<Session, ConnectError> {
        let route = (self.find_route)().map_err(|error| ConnectError { error: no_route(error), answered: false })?;
        let (mut failures, mut answered) = (Vec::new(), false);
        for endpoint in &route.endpoints {
            let attempt =
                tokio::time::timeout(route.connect_timeout, self.connect_to(endpoint, wanted, route.writable));
            let failure = match attempt.await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(none)) => {
                    answered |= none.answered;
                    none.error
                }
                Err(_) => StoreError::Unavailable {
                    doing: CONNECTING.into(),
                    reason: format!("no answer within {} s", route.connect_timeout.as_secs_f32()),
                },
            };
            failures.push((name(endpoint), failure));
        }
        Err(ConnectError { error: all_failed(failures), answered })
    }

    async fn connect_to(
        &self,
        endpoint: &PgConnectOptions,
        wanted: Use,
        writable: bool,
    ) -> Result<Session, ConnectError> {
        // Poolers refuse unknown startup parameters, so the settings are made by statements.
        let mut options = endpoint.clone().extra_float_digits(None);
        if options.get_application_name().is_none() {
            options = options.application_name("readcast");
        }
        let mut connection = PgConnection::connect_with(&options).await.map_err(no_connection)?;
        let settings = self.settings(wanted);
        connection.execute(AssertSqlSafe(assignments(&settings))).await.map_err(no_connection)?;
        // A separate message is a separate transaction. A pooler in transaction mode has discarded the settings before
        // it.
        let row = connection.fetch_one(AssertSqlSafe(inspection(&settings))).await.map_err(no_connection)?;
        let inspection = Inspection::read(&row).map_err(no_connection)?;
        let answered = |error| ConnectError { error, answered: true };
        inspection.check(writable).map_err(answered)?;
        let registered = Registered::new(inspection.backend, &self.backends).ok_or_else(|| {
            let reason = format!("two connections have the same server process: {POOLER}");
            answered(StoreError::Unavailable { doing: CONNECTING.into(), reason })
        })?;
        Ok(Session { connection, encoding: inspection.encoding, registered })
    }

    /// The settings of a connection. Those of `wanted` override the others.
    fn settings(&self, wanted: Use) -> Vec<(&'static str, String)> {
        let fixed = [SEMANTIC_SETTINGS, COST_SETTINGS, LIMITS, wanted.settings()];
        let mut settings: Vec<(&str, String)> = Vec::new();
        for (name, value) in fixed.into_iter().flatten() {
            settings.retain(|(other, _)| other != name);
            settings.push((name, (*value).to_owned()));
        }
        settings.push(("search_path", format!("pg_catalog, {}", quoted(&self.schema))));
        settings
    }

    /// The state of a server process, queried on another connection: the connection of the process may be dead.
    pub(super) async fn state_of(&self, backend: &Backend) -> Result<BackendState, ConnectError> {
        const STATE: &str = "
            SELECT state FROM pg_stat_get_activity($1) AS activity WHERE activity.backend_start::text = $2";
        let mut session = self.connect(Use::Asking).await?;
        let state = sqlx::query_scalar(STATE).bind(backend.pid).bind(&backend.started);
        let state: Option<Option<String>> =
            state.fetch_optional(&mut session.connection).await.map_err(no_connection)?;
        Ok(match state {
            None => BackendState::Ended,
            Some(state) if state.as_deref() == Some("active") => BackendState::Running,
            Some(_) => BackendState::Idle,
        })
    }

    /// Terminates the server process of a dead connection, which releases its locks at once. If the connection is alive
    /// after all, the outcome of its current commit is unknown, as with any broken connection.
    pub(super) async fn terminate(&self, backend: &Backend) -> Result<(), ConnectError> {
        const END: &str = "
            SELECT pg_terminate_backend($1) FROM pg_stat_get_activity($1) AS activity
            WHERE activity.backend_start::text = $2";
        let mut session = self.connect(Use::Asking).await?;
        let ended = sqlx::query(END).bind(backend.pid).bind(&backend.started).execute(&mut session.connection).await;
        ended.map(drop).map_err(no_connection)
    }
}

/// The state of a server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackendState {
    /// The process executes a statement.
    Running,
    /// The process waits for a statement: the last one has not arrived, or its response is under way.
    Idle,
    /// The process does not exist any more.
    Ended,
}

/// Sets `session_replication_role`, which decides which triggers fire. Setting it requires a privilege, so that happens
/// only if the value differs.
const REPLICATION_ROLE: &str = "
    DO $$ BEGIN
        IF current_setting('session_replication_role') <> 'origin' THEN SET session_replication_role = 'origin'; END IF;
    END $$";

/// The statements that make the settings, as one message.
fn assignments(settings: &[(&'static str, String)]) -> String {
    let assignment = |(name, value): &(&str, String)| match *name {
        // A list of quoted names. SET would quote the list again.
        "search_path" => format!("SELECT set_config('{name}', '{}', false)", value.replace('\'', "''")),
        _ => format!("SET {name} = '{value}'"),
    };
    let assignments = settings.iter().map(assignment).chain([REPLICATION_ROLE.to_owned()]);
    assignments.collect::<Vec<_>>().join("; ")
}

/// The query that inspects a new connection, including the settings that it has lost.
fn inspection(settings: &[(&'static str, String)]) -> String {
    let expected = |(name, value): &(&str, String)| format!("('{name}', '{}')", value.replace('\'', "''"));
    let wanted = settings.iter().map(expected).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT pg_backend_pid() AS pid, activity.backend_start::text AS started,
                current_setting('server_encoding') AS encoding,
                pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
                array_to_string(ARRAY(
                    SELECT name FROM (VALUES {wanted}) AS wanted(name, value)
                    WHERE current_setting(name) IS DISTINCT FROM value), ', ') AS dropped
         FROM pg_stat_get_activity(pg_backend_pid()) AS activity"
    )
}

/// The result of the [`inspection`] of a new connection.
struct Inspection {
    backend: Backend,
    encoding: Encoding,
    read_only: bool,
    dropped: String,
}

impl Inspection {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            backend: Backend { pid: row.try_get("pid")?, started: row.try_get("started")? },
            encoding: Encoding::named(row.try_get("encoding")?),
            read_only: row.try_get("read_only")?,
            dropped: row.try_get("dropped")?,
        })
    }

    fn check(&self, writable: bool) -> Result<(), StoreError> {
        let doing = || CONNECTING.to_owned();
        if !self.dropped.is_empty() {
            let reason = format!("the settings {} do not last for the session: {POOLER}", self.dropped);
            return Err(StoreError::Refused { doing: doing(), reason });
        }
        if writable && self.read_only {
            return Err(StoreError::Unavailable { doing: doing(), reason: "the server is read-only".into() });
        }
        Ok(())
    }
}

fn no_connection(error: sqlx::Error) -> ConnectError {
    let answered = matches!(error, sqlx::Error::Database(_));
    ConnectError { error: connecting(&error), answered }
}

fn no_route(reason: String) -> StoreError {
    StoreError::Denied { doing: CONNECTING.into(), reason }
}

fn name(endpoint: &PgConnectOptions) -> String {
    match endpoint.get_socket() {
        Some(directory) => format!("{}:{}", directory.display(), endpoint.get_port()),
        None => format!("{}:{}", endpoint.get_host(), endpoint.get_port()),
    }
}

/// One error that contains the errors of all servers.
fn all_failed(mut failures: Vec<(String, StoreError)>) -> StoreError {
    let doing = CONNECTING.to_owned();
    if failures.len() == 1
        && let Some((_, only)) = failures.pop()
    {
        return only;
    }
    let message = |(name, error): &(String, StoreError)| format!("{name}: {}", error.reason());
    let reason = failures.iter().map(message).collect::<Vec<_>>().join("; ");
    if failures.iter().any(|(_, error)| matches!(error, StoreError::Denied { .. })) {
        return StoreError::Denied { doing, reason };
    }
    StoreError::Unavailable { doing, reason }
}
