//! The connections of the process: as many as an operator allows, shared by all that it does.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use tokio::time::Instant;

use super::permits::{Permit, Permits, Rank};
use super::server::{Backend, NoConnection, Server, Session, Use, Work};
use crate::store::{Encoding, StoreError};

/// How long a question may take, the wait for a connection included.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// How long the server may take to say that a connection is alive.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// How long a farewell may take.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// A connection that has rested for longer than this may have died meanwhile.
const RESTED: Duration = Duration::from_millis(500);
/// A connection that nobody has needed for so long is closed.
const UNNEEDED: Duration = Duration::from_secs(300);
/// How long a statement takes until it is asked whether its connection is still alive, and how long that may take. Twice in
/// doubt, it is given up: within 15 seconds.
const DOUBT_AFTER: Duration = Duration::from_secs(4);
const DOUBT_LIMIT: Duration = Duration::from_secs(3);

/// The connections of the process. Clones share them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    server: Server,
    permits: Permits,
    idle: Mutex<Vec<Idle>>,
    asking: AsyncMutex<Option<Held>>,
    /// One connection in all may be made to ask after others.
    doubting: AsyncMutex<()>,
}

/// A connection that nobody uses at the moment.
struct Idle {
    session: Session,
    wanted: Use,
    last_user: u64,
    since: Instant,
}

impl Connections {
    /// At most `most` connections to `server`.
    pub(super) fn new(server: Server, most: usize) -> Self {
        // One is kept for asking after those that are in doubt.
        let permits = Permits::new(most.saturating_sub(1));
        let (idle, asking, doubting) = (Mutex::default(), AsyncMutex::new(None), AsyncMutex::new(()));
        Self(Arc::new(Shared { server, permits, idle, asking, doubting }))
    }

    /// Where they lead to.
    pub(super) fn server(&self) -> Server {
        self.0.server.clone()
    }

    /// Waits for room, and for a connection, which may have to be made. `user` gets the one that it had before, if
    /// nobody has it: its statements are prepared there.
    pub(super) async fn lease(&self, wanted: Use, rank: Rank, user: u64) -> Result<Lease, StoreError> {
        let held = self.hold(wanted, rank, user).await?;
        Ok(Lease { held, wanted, user, connections: self.clone() })
    }

    async fn hold(&self, wanted: Use, rank: Rank, user: u64) -> Result<Held, StoreError> {
        let permit = self.0.permits.take(rank).await;
        if let Some(session) = self.rested(wanted, user).await {
            return Ok(Held { session, permit });
        }
        self.make_room().await;
        let connected = self.0.server.connect(wanted).await.inspect_err(|_| {
            // Whatever is the matter with the server, the idle ones have met it too.
            self.idle().clear();
        });
        Ok(Held { session: connected?, permit })
    }

    /// An idle connection that is alive.
    async fn rested(&self, wanted: Use, user: u64) -> Option<Session> {
        while let Some(mut idle) = self.take_idle(wanted, user) {
            let is_alive = idle.since.elapsed() < RESTED || answers(&mut idle.session.connection).await;
            if is_alive {
                return Some(idle.session);
            }
        }
        None
    }

    fn take_idle(&self, wanted: Use, user: u64) -> Option<Idle> {
        let mut idle = self.idle();
        let fits = |idle: &Idle| idle.wanted == wanted;
        let own = idle.iter().rposition(|idle| fits(idle) && idle.last_user == user);
        let place = own.or_else(|| idle.iter().rposition(fits))?;
        Some(idle.remove(place))
    }

    /// Closes connections of other uses until there is room for one more. Whoever calls this has a permit, so that room
    /// is there once enough idle ones are closed.
    async fn make_room(&self) {
        let surplus = {
            let mut idle = self.idle();
            // The new one counts among the permits already.
            let surplus = (self.0.permits.taken() + idle.len()).saturating_sub(self.0.permits.most()).min(idle.len());
            idle.drain(..surplus).collect::<Vec<_>>()
        };
        for idle in surplus {
            close(idle.session).await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection for short questions, with which tasks take turns.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let mut idle = self.0.asking.lock().await;
        // It may have died since the last question.
        if let Some(mut held) = idle.take()
            && answers(&mut held.session.connection).await
        {
            return Ok(Turn { idle, held });
        }
        let held = self.hold(Use::Asking, Rank::Step, 0).await?;
        Ok(Turn { idle, held })
    }

    /// Does `work` on the connection of `backend`, and gives it up when that connection turns out to be dead without a
    /// word: when the server shows no sign of it, or none of itself.
    pub(super) async fn watched<T>(
        &self,
        backend: &Backend,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::pin!(work);
        let mut doubts = 0;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(DOUBT_AFTER) => {}
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                doubt = self.doubt(backend) => match doubt {
                    None => doubts = 0,
                    Some(_) if doubts == 0 => doubts = 1,
                    Some(reason) => {
                        // Where the server does not answer, there is nobody to tell.
                        let _ = tokio::time::timeout(DOUBT_LIMIT, self.0.server.end(backend)).await;
                        let doing = "waiting for an answer of Postgres".into();
                        return Err(StoreError::Unavailable { doing, reason });
                    }
                },
            }
        }
    }

    /// Why the connection of `backend` may be dead.
    async fn doubt(&self, backend: &Backend) -> Option<String> {
        let asked = async {
            let _one_at_a_time = self.0.doubting.lock().await;
            self.0.server.work_of(backend).await
        };
        match tokio::time::timeout(DOUBT_LIMIT, asked).await {
            Ok(Ok(Work::Going)) => None,
            Ok(Ok(Work::Idle)) => Some("the connection is dead: the server waits for a statement".into()),
            Ok(Ok(Work::Gone)) => Some("the connection is dead: the server has ended it".into()),
            // It lives, if only to say that it is full or does not let us in.
            Ok(Err(NoConnection { answered: true, .. })) => None,
            Ok(Err(NoConnection { error, .. })) => Some(format!("no sign of the server: {error}")),
            Err(_) => Some("no sign of the server".into()),
        }
    }
}

/// Puts an end to a question that is not answered.
pub(super) async fn limited<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(QUESTION_LIMIT, question).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", QUESTION_LIMIT.as_secs());
        Err(StoreError::Unavailable { doing: "asking Postgres".into(), reason })
    })
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_LIMIT, connection.ping()).await, Ok(Ok(())))
}

/// Says farewell, so that the server need not find out. It may not listen.
async fn close(session: Session) {
    drop(tokio::time::timeout(FAREWELL_LIMIT, session.connection.close()).await);
}

/// A connection, and the room that it takes.
struct Held {
    session: Session,
    permit: Permit,
}

/// A connection that is ours for a while. One that is not given back is in a state that nobody knows, and is closed.
pub(super) struct Lease {
    held: Held,
    wanted: Use,
    user: u64,
    connections: Connections,
}

impl Lease {
    /// The server's process behind it.
    pub(super) fn backend(&self) -> Backend {
        self.held.session.backend().clone()
    }

    /// What its texts may hold.
    pub(super) fn encoding(&self) -> Encoding {
        self.held.session.encoding
    }

    /// Leaves it to the next one. No transaction may be open.
    pub(super) fn give_back(self) {
        let Self { held: Held { session, permit }, wanted, user: last_user, connections } = self;
        {
            let mut idle = connections.idle();
            idle.retain(|idle| idle.since.elapsed() < UNNEEDED);
            idle.push(Idle { session, wanted, last_user, since: Instant::now() });
        }
        // Whoever gets the room finds the connection there.
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

/// One task's turn. A connection whose turn was dropped before its end is closed.
pub(super) struct Turn<'a> {
    idle: AsyncMutexGuard<'a, Option<Held>>,
    held: Held,
}

impl Turn<'_> {
    /// What its texts may hold.
    pub(super) fn encoding(&self) -> Encoding {
        self.held.session.encoding
    }

    /// Leaves the connection to the next task. No transaction may be open.
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
