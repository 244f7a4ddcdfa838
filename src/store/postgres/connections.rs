//! The connection pool of the process. An operator limits its size.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::time::Instant;

use super::permits::{Permit, Permits, Rank};
use super::server::{Backend, BackendState, ConnectError, Server, Session, Use};
use crate::store::{Encoding, StoreError};

/// The time limit of a query, including the wait for a connection.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit of a check whether a connection is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that was idle for longer than this is checked before it is used.
const CHECK_AFTER_IDLE: Duration = Duration::from_millis(500);
/// A connection that was idle for this long is closed.
const MAX_IDLE: Duration = Duration::from_secs(300);
/// A statement that takes longer than this has its connection checked. After two failed checks the statement is
/// abandoned, within 15 seconds in total.
const CHECK_AFTER: Duration = Duration::from_secs(4);
/// The time limit of such a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The connection pool of the process. Clones share it.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    server: Server,
    permits: Permits,
    idle: Mutex<Vec<IdleSession>>,
    /// The connection for short queries.
    asking: AsyncMutex<Option<PermittedSession>>,
    /// Locked during a check of another connection, because only one extra connection may exist for that.
    checking: AsyncMutex<()>,
}

/// A connection that is not in use.
struct IdleSession {
    session: Session,
    wanted: Use,
    last_user: u64,
    since: Instant,
}

impl Connections {
    /// A pool of at most `most` connections to `server`.
    pub(super) fn new(server: Server, most: usize) -> Self {
        // One connection is reserved for checks of the others.
        let permits = Permits::new(most.saturating_sub(1));
        let (idle, asking, checking) = (Mutex::default(), AsyncMutex::new(None), AsyncMutex::new(()));
        Self(Arc::new(Shared { server, permits, idle, asking, checking }))
    }

    /// The server to which the pool connects.
    pub(super) fn server(&self) -> Server {
        self.0.server.clone()
    }

    /// Waits for a permit and a connection, which may have to be opened. `user` gets its previous connection if that is
    /// idle, because its statements are prepared there.
    pub(super) async fn lease(&self, wanted: Use, rank: Rank, user: u64) -> Result<Lease, StoreError> {
        let held = self.acquire(wanted, rank, user).await?;
        Ok(Lease { held, wanted, user, connections: self.clone() })
    }

    async fn acquire(&self, wanted: Use, rank: Rank, user: u64) -> Result<PermittedSession, StoreError> {
        let permit = self.0.permits.take(rank).await;
        if let Some(session) = self.take_alive(wanted, user).await {
            return Ok(PermittedSession { session, permit });
        }
        self.make_room().await;
        let connected = self.0.server.connect(wanted).await.inspect_err(|_| {
            // The idle connections are broken for the same reason, most likely.
            self.idle().clear();
        });
        Ok(PermittedSession { session: connected?, permit })
    }

    /// An idle connection that is alive. Dead ones are dropped.
    async fn take_alive(&self, wanted: Use, user: u64) -> Option<Session> {
        while let Some(mut idle) = self.take_idle(wanted, user) {
            let is_alive = idle.since.elapsed() < CHECK_AFTER_IDLE || answers(&mut idle.session.connection).await;
            if is_alive {
                return Some(idle.session);
            }
        }
        None
    }

    fn take_idle(&self, wanted: Use, user: u64) -> Option<IdleSession> {
        let mut idle = self.idle();
        let fits = |idle: &IdleSession| idle.wanted == wanted;
        let own = idle.iter().rposition(|idle| fits(idle) && idle.last_user == user);
        let index = own.or_else(|| idle.iter().rposition(fits))?;
        Some(idle.remove(index))
    }

    /// Closes idle connections of other uses until one more may be opened. The caller has a permit, so closing idle
    /// ones suffices.
    async fn make_room(&self) {
        let surplus = {
            let mut idle = self.idle();
            // The permits in use include the one for the new connection.
            let surplus = (self.0.permits.taken() + idle.len()).saturating_sub(self.0.permits.most()).min(idle.len());
            idle.drain(..surplus).collect::<Vec<_>>()
        };
        for idle in surplus {
            close(idle.session).await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleSession>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection for short queries, which tasks use in turn.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut idle = self.0.asking.lock().await;
        // The connection may have died since the last query.
        if let Some(mut held) = idle.take()
            && answers(&mut held.session.connection).await
        {
            return Ok(Turn { idle, held });
        }
        let held = self.acquire(Use::Asking, Rank::Step, 0).await?;
        Ok(Turn { idle, held })
    }

    /// Runs `work` on the connection of `backend`, and abandons it if the connection is dead although no error was
    /// reported: if the server does not execute a statement of it, or does not respond.
    ///
    /// # Errors
    /// The error of `work`, or [`StoreError::Unavailable`] if the connection is dead.
    pub(super) async fn watched<T>(
        &self,
        backend: &Backend,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::pin!(work);
        let mut failed_checks = 0;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(CHECK_AFTER) => {}
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                problem = self.check(backend) => match problem {
                    None => failed_checks = 0,
                    Some(_) if failed_checks == 0 => failed_checks = 1,
                    Some(reason) => {
                        // Best effort: the server may not respond.
                        let _ = tokio::time::timeout(CHECK_TIMEOUT, self.0.server.terminate(backend)).await;
                        let doing = "waiting for a response of Postgres".into();
                        return Err(StoreError::Unavailable { doing, reason });
                    }
                },
            }
        }
    }

    /// Why the connection of `backend` seems dead. `None` if it is alive.
    async fn check(&self, backend: &Backend) -> Option<String> {
        let asked = async {
            let _one_at_a_time = self.0.checking.lock().await;
            self.0.server.state_of(backend).await
        };
        match tokio::time::timeout(CHECK_TIMEOUT, asked).await {
            Ok(Ok(BackendState::Running)) => None,
            Ok(Ok(BackendState::Idle)) => Some("the connection is dead: the server waits for a statement".into()),
            Ok(Ok(BackendState::Ended)) => Some("the connection is dead: the server has ended it".into()),
            // The server is alive: it responded that it is full or refuses the login.
            Ok(Err(ConnectError { answered: true, .. })) => None,
            Ok(Err(ConnectError { error, .. })) => Some(format!("the server does not respond: {error}")),
            Err(_) => Some("the server does not respond".into()),
        }
    }
}

/// Limits the time of a query.
///
/// # Errors
/// The error of `query`, or [`StoreError::Unavailable`] after the time limit.
pub(super) async fn limited<T>(query: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(QUERY_TIMEOUT, query).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", QUERY_TIMEOUT.as_secs());
        Err(StoreError::Unavailable { doing: "querying Postgres".into(), reason })
    })
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

/// Closes a connection properly, so that the server ends its process at once. Best effort.
async fn close(session: Session) {
    drop(tokio::time::timeout(CLOSE_TIMEOUT, session.connection.close()).await);
}

/// A connection with its permit.
struct PermittedSession {
    session: Session,
    permit: Permit,
}

/// A connection for the exclusive use of its holder. A lease that is dropped without [`give_back`](Self::give_back)
/// closes the connection, because its state is unknown.
pub(super) struct Lease {
    held: PermittedSession,
    wanted: Use,
    user: u64,
    connections: Connections,
}

impl Lease {
    /// The server process of the connection.
    pub(super) fn backend(&self) -> Backend {
        self.held.session.backend().clone()
    }

    /// The encoding of the database, which limits the characters of texts.
    pub(super) fn encoding(&self) -> Encoding {
        self.held.session.encoding
    }

    /// Returns the connection to the pool. No transaction may be open.
    pub(super) fn give_back(self) {
        let Self { held: PermittedSession { session, permit }, wanted, user: last_user, connections } = self;
        {
            let mut idle = connections.idle();
            idle.retain(|idle| idle.since.elapsed() < MAX_IDLE);
            idle.push(IdleSession { session, wanted, last_user, since: Instant::now() });
        }
        // After the push, so that the next holder of the permit finds the connection.
        drop(permit);
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.held.session.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.held.session.connection
    }
}

/// The use of the shared connection by one task. A turn that is dropped without [`end`](Self::end) closes the
/// connection.
pub(super) struct Turn<'a> {
    idle: AsyncMutexGuard<'a, Option<PermittedSession>>,
    held: PermittedSession,
}

impl Turn<'_> {
    /// The encoding of the database, which limits the characters of texts.
    pub(super) fn encoding(&self) -> Encoding {
        self.held.session.encoding
    }

    /// Returns the connection for the next task. No transaction may be open.
    pub(super) fn end(mut self) {
        *self.idle = Some(self.held);
    }
}

impl Deref for Turn<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.held.session.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.held.session.connection
    }
}
