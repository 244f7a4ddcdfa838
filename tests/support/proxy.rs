//! A TCP proxy in front of Postgres that fails as servers, poolers and networks do: it refuses, keeps silent, cuts, delays,
//! loses packets or answers with an error, while a client connects, in the handshake, or at a statement.
//!
//! It understands the framing of the frontend/backend protocol, and which statement a message begins or runs. It runs on
//! threads of its own, so that a test that blocks its runtime does not block its database.

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

/// When a fault strikes, in the order in which a connection comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The client has connected, and has sent nothing that was read.
    Connect,
    /// It has asked for TLS.
    TlsRequest,
    /// It was told to go on with TLS, and begins.
    TlsHandshake,
    /// It has said who it is.
    Startup,
    /// The server has let it in, and has said no more than that.
    Authenticated,
    /// It sends a statement, which does not reach the server as it is.
    Before(Statement),
    /// The server has carried the statement out; nothing of its answer reaches the client as it is.
    After(Statement),
}

/// Which statements are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A simple query that ends in COMMIT.
    Commit,
    /// Those that have this in their text.
    With(&'static str),
    /// That with this number on its connection, counted from 1.
    Nth(u32),
}

/// What the proxy does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens. At [`Moment::Connect`] alone.
    Refuse,
    /// Whoever connects is not answered, as behind a firewall that drops packets. At [`Moment::Connect`] alone.
    Ignore,
    /// The connection ends.
    Cut,
    /// The connection stays open, and from now on nothing is passed this way. Its end still is.
    Silence(Way),
    /// From now on packets are lost in both directions, as when a machine lost its power. Neither end is told, not even of the
    /// other's end; the client's system sees that nothing is acknowledged any more.
    Vanish,
    /// All goes on after this time.
    Delay(Duration),
    /// The answer is an error with this SQLSTATE. It is fatal while a client connects, and no more than an error at a
    /// statement, where the server's transaction fails as well if the statement did not reach it.
    Error(&'static str),
}

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    /// The server's alone: it hears the client, and is not heard.
    Replies,
}

/// Passes everything through until it is told to fail.
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
    /// On the connection that has sent the most.
    most_statements: AtomicU32,
    announce: UnboundedSender<()>,
}

struct Rule {
    moment: Moment,
    fault: Fault,
    /// At which time from now it strikes, counted over all connections, and then no more. `None`: each time.
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
                // An error is the end of that one connection, and its peers see it.
                thread::spawn(move || connection::serve(&shared, client));
            });
        });
        Proxy { shared, address, target, struck }
    }

    /// The URL of the same database by way of the proxy.
    pub(crate) fn url(&self) -> String {
        // What is encrypted cannot be understood.
        self.url_with(PgSslMode::Disable, "")
    }

    /// The same for a client that asks for TLS, which it does not get, and with more parameters, such as `&user=app`.
    pub(crate) fn url_with(&self, tls: PgSslMode, parameters: &str) -> String {
        let options = self.target.clone().host(&self.address.ip().to_string()).port(self.address.port());
        options.ssl_mode(tls).to_url_lossy().to_string() + parameters
    }

    /// Fails once, at the `nth` such moment from now, counted over all connections from 1, and passes everything after that.
    pub(crate) fn arm(&self, moment: Moment, fault: Fault, nth: u32) {
        assert!(nth > 0, "moments are counted from 1");
        self.obey(Rule { moment, fault, once_at: Some(nth) });
    }

    /// Fails each time from now on, until the fault is [lifted](Self::lift).
    pub(crate) fn impose(&self, moment: Moment, fault: Fault) {
        self.obey(Rule { moment, fault, once_at: None });
    }

    /// Lets new connections and statements pass. Connections that were struck stay as they are.
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

    /// Waits until it has failed as it was told: once for each time that it does.
    pub(crate) async fn acted(&mut self) {
        let struck = timeout(PATIENCE, self.struck.recv()).await;
        struck
            .expect("the moment should have come that the proxy waits for")
            .expect("it announces as long as it lives");
    }

    /// Cuts all connections that are open now. New ones are let through.
    pub(crate) fn cut_everything(&self) {
        self.shared.connections.cut();
    }

    /// How many statements the connection has sent that has sent the most.
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

    /// Tells of a moment that has come, if `is_it` says that a rule's moment is that one; answers what to do then.
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
        // Nobody listens once the test is over.
        let _ = self.announce.send(());
        Some(fault)
    }
}
