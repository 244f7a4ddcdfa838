//! A TCP proxy in front of Postgres that simulates failures of servers, poolers and networks: it refuses connections,
//! does not respond, closes connections, delays, loses packets, or responds with an error. A fault happens during the
//! connection attempt, in the handshake, or at a statement.
//!
//! The proxy parses the frames of the frontend/backend protocol and the statements in them. It runs on its own threads,
//! so that a test that blocks its runtime does not block the database.

mod connection;
mod door;
mod statements;
mod wire;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use self::connection::Connections;
use self::door::Door;
use super::eventually::PATIENCE;

/// When a fault happens, in the order of the phases of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The client has connected. Nothing that it sent has been read.
    Connect,
    /// The client has requested TLS.
    TlsRequest,
    /// The client starts the TLS handshake that was offered.
    TlsHandshake,
    /// The client has sent its startup message.
    Startup,
    /// The server has accepted the login, and has sent nothing after that.
    Authenticated,
    /// The client sends a statement, which does not reach the server unchanged.
    Before(Statement),
    /// The server has executed the statement. Its response does not reach the client unchanged.
    After(Statement),
}

/// Selects statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A simple query that ends in COMMIT.
    Commit,
    /// Statements that contain this text.
    With(&'static str),
    /// The statement with this number on its connection, from 1.
    Nth(u32),
}

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The port does not listen. Only at [`Moment::Connect`].
    Refuse,
    /// Connection attempts get no response, as with a firewall that drops packets. Only at [`Moment::Connect`].
    Ignore,
    /// The connection is closed.
    Cut,
    /// The connection stays open, but nothing is forwarded in this direction any more, except the end of the
    /// connection.
    Silence(Way),
    /// Packets are lost in both directions from now on, as after a power failure. Neither end learns that the other has
    /// closed the connection. The client's system sees that nothing is acknowledged.
    Vanish,
    /// The message is delayed by this time.
    Delay(Duration),
    /// The response is an error with this SQLSTATE: fatal while a client connects, and an ordinary error at a
    /// statement. If the statement did not reach the server, the server's transaction fails too.
    Error(&'static str),
}

/// The direction of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    /// Only the server's messages: the server receives those of the client.
    Replies,
}

/// Forwards everything until a fault is set.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    target: PgConnectOptions,
    struck: UnboundedReceiver<()>,
}

struct Shared {
    upstream: String,
    rule: Mutex<Option<Rule>>,
    door: Door,
    connections: Connections,
    /// The highest number of statements on one connection.
    most_statements: AtomicU32,
    announce: UnboundedSender<()>,
}

struct Rule {
    moment: Moment,
    fault: Fault,
    /// The occurrence, counted over all connections, at which the fault happens once. `None`: at each occurrence.
    once_at: Option<u32>,
}

impl Proxy {
    /// Listens on a free port in front of the server of `database_url`.
    pub(crate) fn start(database_url: &str) -> Proxy {
        let target = PgConnectOptions::from_str(database_url).expect("the database's URL is one of Postgres");
        let (door, listener) = Door::open();
        let address = door.address();
        let (announce, struck) = unbounded_channel();
        let shared = Arc::new(Shared {
            upstream: format!("{}:{}", target.get_host(), target.get_port()),
            rule: Mutex::default(),
            door,
            connections: Connections::default(),
            most_statements: AtomicU32::default(),
            announce,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            accepting.door.accept(listener, |client| {
                let shared = Arc::clone(&accepting);
                // An error ends that connection, and both peers see it.
                thread::spawn(move || connection::serve(&shared, client));
            });
        });
        Proxy { shared, address, target, struck }
    }

    /// The URL of the database through the proxy.
    pub(crate) fn url(&self) -> String {
        // The proxy can't parse encrypted messages.
        self.url_with(PgSslMode::Disable, "")
    }

    /// As above, for a client that requests TLS, which is refused, and with further parameters such as `&user=app`.
    pub(crate) fn url_with(&self, tls: PgSslMode, parameters: &str) -> String {
        let options = self.target.clone().host(&self.address.ip().to_string()).port(self.address.port());
        options.ssl_mode(tls).to_url_lossy().to_string() + parameters
    }

    /// Sets a fault that happens once, at the `nth` such moment from now, counted over all connections from 1.
    pub(crate) fn arm(&self, moment: Moment, fault: Fault, nth: u32) {
        assert!(nth > 0, "moments are counted from 1");
        self.obey(Rule { moment, fault, once_at: Some(nth) });
    }

    /// Sets a fault that happens each time until [`lift`](Self::lift).
    pub(crate) fn impose(&self, moment: Moment, fault: Fault) {
        self.obey(Rule { moment, fault, once_at: None });
    }

    /// Removes the fault for new connections and statements. Connections that it has affected stay affected.
    pub(crate) fn lift(&self) {
        *self.shared.rule() = None;
        self.shared.door.becomes(door::State::Open);
    }

    fn obey(&self, rule: Rule) {
        let door = match rule.fault {
            Fault::Refuse => door::State::Refusing,
            Fault::Ignore => door::State::Ignoring,
            _ => door::State::Open,
        };
        let of_the_door = door != door::State::Open;
        assert!(
            !of_the_door || (rule.moment, rule.once_at) == (Moment::Connect, None),
            "nobody gets past a closed door"
        );
        *self.shared.rule() = (!of_the_door).then_some(rule);
        self.shared.door.becomes(door);
    }

    /// Waits until the fault has happened. Each occurrence ends one wait.
    pub(crate) async fn acted(&mut self) {
        let struck = timeout(PATIENCE, self.struck.recv()).await;
        struck
            .expect("the moment should have come that the proxy waits for")
            .expect("it announces as long as it lives");
    }

    /// Closes all open connections. New ones are forwarded.
    pub(crate) fn cut_everything(&self) {
        self.shared.connections.cut();
    }

    /// The highest number of statements that one connection has sent.
    pub(crate) fn most_statements(&self) -> u32 {
        self.shared.most_statements.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.door.becomes(door::State::Gone);
        self.cut_everything();
    }
}

impl Shared {
    fn rule(&self) -> MutexGuard<'_, Option<Rule>> {
        self.rule.lock().expect("nothing panics under this lock")
    }

    /// Handles a moment of a connection. `is_it` says whether a rule applies to it. Returns the fault of the rule that
    /// applies.
    fn strikes(&self, is_it: impl Fn(Moment) -> bool) -> Option<Fault> {
        let mut slot = self.rule();
        let rule = slot.as_mut().filter(|rule| is_it(rule.moment))?;
        let fault = rule.fault;
        match &mut rule.once_at {
            Some(nth @ 2..) => {
                *nth -= 1;
                return None;
            }
            Some(_) => *slot = None,
            None => {}
        }
        // Fails only after the test has ended.
        let _ = self.announce.send(());
        Some(fault)
    }
}
