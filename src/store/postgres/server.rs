//! How a connection is made: to which of several servers, within which time, and with which settings, so that a
//! statement of ours means the same on every one of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::time::Instant;

use super::connection::{CONNECTING, POOLER, connecting};
use super::sql::quoted;
use crate::store::{Encoding, StoreError};

/// How long to wait for a server that accepts a connection and says nothing, where nobody says otherwise.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An attempt that took longer than this is not made again at once.
const SLOW_ATTEMPT: Duration = Duration::from_secs(1);
/// For so long, whoever wants a connection is told what the slow attempt came to.
const MEMORY_OF_A_SLOW_ATTEMPT: Duration = Duration::from_secs(2);

/// What could change what a statement means, or what it comes to (PostgreSQL documentation, chapter 20). Roles and
/// databases have settings of their own, which would otherwise hold for us.
const MEANING: &[(&str, &str)] = &[
    ("array_nulls", "on"),
    ("bytea_output", "hex"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("extra_float_digits", "3"),
    ("intervalstyle", "postgres"),
    ("quote_all_identifiers", "off"),
    // Where a policy hides rows from us, a statement fails and says so.
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transform_null_equals", "off"),
];

/// What could only cost time: compiling statements as short as ours takes longer than running them.
const COST: &[(&str, &str)] = &[("jit", "off")];

/// Limits stand on the server's side too, where they hold even when our process is stopped or cut off: a transaction of
/// a dead owner must not keep its locks from the next one.
const LIMITS: &[(&str, &str)] =
    &[("lock_timeout", "10s"), ("statement_timeout", "2min"), ("idle_in_transaction_session_timeout", "20s")];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Short questions, and changes to our own tables.
    Asking,
    /// Writing rows. Such statements find rows by their keys, thousands at a time, and by the whole table where no index
    /// serves. For thousands the planner likes to read all of a table instead, and takes the longer the larger the table
    /// grows; so it may only where there is no other way.
    Writing,
    /// Carrying out operations: copies, indexes and comparisons take as long as they take. Whoever has the lead asks the
    /// database now and then; a holder that was cut off without a word must not keep it for ever.
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

/// Whether a setting is one of those that every connection of ours makes.
pub(super) fn is_ours(name: &str) -> bool {
    let uses = [Use::Asking, Use::Writing, Use::Leading].map(Use::settings);
    let mut ours = [MEANING, COST, LIMITS].into_iter().chain(uses).flatten().map(|(name, _)| *name);
    ours.any(|ours| ours.eq_ignore_ascii_case(name)) || name.eq_ignore_ascii_case("search_path")
}

/// The servers that a connection may be made to, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Route {
    /// How to reach each of them.
    pub endpoints: Vec<PgConnectOptions>,
    /// How long each may take to let us in.
    pub connect_timeout: Duration,
    /// Take only one that can be written to: the others are standbys of it.
    pub writable: bool,
}

/// Finds the way anew for each connection: a password may have been replaced meanwhile.
pub type FindRoute = Arc<dyn Fn() -> Result<Route, String> + Send + Sync>;

/// A database, however it is reached.
#[derive(Clone)]
pub(super) struct Server {
    find_route: FindRoute,
    /// Where readers find their names; triggers of theirs on our tables find the rest of it there.
    schema: String,
    /// The server processes that our connections have.
    backends: Arc<Mutex<BTreeSet<Backend>>>,
    slow_attempt: Arc<Mutex<Option<(Instant, StoreError)>>>,
}

/// The server's process behind a connection: its number, and when it began, for numbers come again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) pid: i32,
    started: String,
}

/// A connection with its settings.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) encoding: Encoding,
    registered: Registered,
}

impl Session {
    /// The server's process behind it.
    pub(super) fn backend(&self) -> &Backend {
        &self.registered.backend
    }
}

/// That a connection of ours has this server process, until this is dropped. Two that have the same share it through a
/// pooler, and locks and settings that are to last for a session would be each other's.
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

/// Why there is no connection.
pub(super) struct NoConnection {
    pub(super) error: StoreError,
    /// Whether a server has answered, if only to say no.
    pub(super) answered: bool,
}

impl From<NoConnection> for StoreError {
    fn from(none: NoConnection) -> Self {
        none.error
    }
}

impl Server {
    pub(super) fn new(find_route: FindRoute, schema: String) -> Self {
        Self { find_route, schema, backends: Arc::default(), slow_attempt: Arc::default() }
    }

    /// Connects to the first server that lets us in and can be written to, if that is wanted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with what each server said; [`StoreError::Denied`] when one refused the login.
    pub(super) async fn connect(&self, wanted: Use) -> Result<Session, NoConnection> {
        // Many may wait for a server that says nothing. They need not find that out one after the other.
        if let Some(error) = self.failed_lately() {
            return Err(NoConnection { error, answered: false });
        }
        let begun = Instant::now();
        let connected = self.try_each(wanted).await;
        if let Err(NoConnection { error, answered: false }) = &connected
            && begun.elapsed() > SLOW_ATTEMPT
        {
            *self.slow_attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
        }
        connected
    }

    fn failed_lately(&self) -> Option<StoreError> {
        let slow = self.slow_attempt.lock().unwrap_or_else(PoisonError::into_inner);
        slow.as_ref().filter(|(at, _)| at.elapsed() < MEMORY_OF_A_SLOW_ATTEMPT).map(|(_, error)| error.clone())
    }

    async fn try_each(&self, wanted: Use) -> Result<Session, NoConnection> {
        let route = (self.find_route)().map_err(|error| NoConnection { error: no_way(error), answered: false })?;
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
        Err(NoConnection { error: all_failed(failures), answered })
    }

    async fn connect_to(
        &self,
        endpoint: &PgConnectOptions,
        wanted: Use,
        writable: bool,
    ) -> Result<Session, NoConnection> {
        // Poolers refuse startup parameters that they do not know, so ours are statements.
        let mut options = endpoint.clone().extra_float_digits(None);
        if options.get_application_name().is_none() {
            options = options.application_name("readcast");
        }
        let mut connection = PgConnection::connect_with(&options).await.map_err(no_connection)?;
        let settings = self.settings(wanted);
        connection.execute(AssertSqlSafe(assignments(&settings))).await.map_err(no_connection)?;
        // In a message of its own, so in a transaction of its own: what a pooler drops between the two is missing now.
        let row = connection.fetch_one(AssertSqlSafe(inspection(&settings))).await.map_err(no_connection)?;
        let found = Found::read(&row).map_err(no_connection)?;
        let answered = |error| NoConnection { error, answered: true };
        found.check(writable).map_err(answered)?;
        let registered = Registered::new(found.backend, &self.backends).ok_or_else(|| {
            let reason = format!("two connections have one server process: {POOLER}");
            answered(StoreError::Unavailable { doing: CONNECTING.into(), reason })
        })?;
        Ok(Session { connection, encoding: found.encoding, registered })
    }

    /// What our connections are set to, those of `wanted` last: they count.
    fn settings(&self, wanted: Use) -> Vec<(&'static str, String)> {
        let fixed = [MEANING, COST, LIMITS, wanted.settings()];
        let mut settings: Vec<(&str, String)> = Vec::new();
        for (name, value) in fixed.into_iter().flatten() {
            settings.retain(|(other, _)| other != name);
            settings.push((name, (*value).to_owned()));
        }
        settings.push(("search_path", format!("pg_catalog, {}", quoted(&self.schema))));
        settings
    }

    /// What the process behind a connection is doing. Asked on another connection: the one that is in doubt can't tell.
    pub(super) async fn work_of(&self, backend: &Backend) -> Result<Work, NoConnection> {
        const STATE: &str = "
            SELECT state FROM pg_stat_get_activity($1) AS activity WHERE activity.backend_start::text = $2";
        let mut session = self.connect(Use::Asking).await?;
        let state = sqlx::query_scalar(STATE).bind(backend.pid).bind(&backend.started);
        let state: Option<Option<String>> =
            state.fetch_optional(&mut session.connection).await.map_err(no_connection)?;
        Ok(match state {
            None => Work::Gone,
            Some(state) if state.as_deref() == Some("active") => Work::Going,
            Some(_) => Work::Idle,
        })
    }

    /// Ends the process behind a connection that is dead, so that what it has locked is free at once. If the connection is
    /// not dead after all, a commit that was under way is in doubt, as with any that is cut off.
    pub(super) async fn end(&self, backend: &Backend) -> Result<(), NoConnection> {
        const END: &str = "
            SELECT pg_terminate_backend($1) FROM pg_stat_get_activity($1) AS activity
            WHERE activity.backend_start::text = $2";
        let mut session = self.connect(Use::Asking).await?;
        let ended = sqlx::query(END).bind(backend.pid).bind(&backend.started).execute(&mut session.connection).await;
        ended.map(drop).map_err(no_connection)
    }
}

/// What the process behind a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// It carries out a statement.
    Going,
    /// It waits for one: ours has not arrived, or its answer is under way.
    Idle,
    /// It is not there any more.
    Gone,
}

/// A trigger that fires for replicas alone would not fire for us, or the other way round. To say so takes a privilege, so it
/// is said only where it is needed.
const ORIGIN: &str = "
    DO $$ BEGIN
        IF current_setting('session_replication_role') <> 'origin' THEN SET session_replication_role = 'origin'; END IF;
    END $$";

/// The statements that make the settings, in one message.
fn assignments(settings: &[(&'static str, String)]) -> String {
    let assignment = |(name, value): &(&str, String)| match *name {
        // A list of names, each of them quoted already; SET would write them in its own way.
        "search_path" => format!("SELECT set_config('{name}', '{}', false)", value.replace('\'', "''")),
        _ => format!("SET {name} = '{value}'"),
    };
    let assignments = settings.iter().map(assignment).chain([ORIGIN.to_owned()]);
    assignments.collect::<Vec<_>>().join("; ")
}

/// What is to be known of a new connection, among it which settings it lacks.
fn inspection(settings: &[(&'static str, String)]) -> String {
    let wanted = |(name, value): &(&str, String)| format!("('{name}', '{}')", value.replace('\'', "''"));
    let wanted = settings.iter().map(wanted).collect::<Vec<_>>().join(", ");
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

/// What a new connection says of itself.
struct Found {
    backend: Backend,
    encoding: Encoding,
    read_only: bool,
    dropped: String,
}

impl Found {
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
            return Err(StoreError::Unavailable { doing: doing(), reason: "the server takes no writes".into() });
        }
        Ok(())
    }
}

fn no_connection(error: sqlx::Error) -> NoConnection {
    let answered = matches!(error, sqlx::Error::Database(_));
    NoConnection { error: connecting(&error), answered }
}

fn no_way(reason: String) -> StoreError {
    StoreError::Denied { doing: CONNECTING.into(), reason }
}

fn name(endpoint: &PgConnectOptions) -> String {
    match endpoint.get_socket() {
        Some(directory) => format!("{}:{}", directory.display(), endpoint.get_port()),
        None => format!("{}:{}", endpoint.get_host(), endpoint.get_port()),
    }
}

/// One error of what each server said. With one server, that is it.
fn all_failed(mut failures: Vec<(String, StoreError)>) -> StoreError {
    let doing = CONNECTING.to_owned();
    if failures.len() == 1
        && let Some((_, only)) = failures.pop()
    {
        return only;
    }
    let said = |(name, error): &(String, StoreError)| format!("{name}: {}", error.reason());
    let reason = failures.iter().map(said).collect::<Vec<_>>().join("; ");
    if failures.iter().any(|(_, error)| matches!(error, StoreError::Denied { .. })) {
        return StoreError::Denied { doing, reason };
    }
    StoreError::Unavailable { doing, reason }
}
