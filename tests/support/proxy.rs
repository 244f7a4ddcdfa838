//! A TCP proxy in front of Postgres that cuts connections at the two moments that matter: just before a COMMIT reaches the
//! server, and just after the server has carried it out while the client still waits for the answer.
//!
//! It understands the framing of the frontend/backend protocol and one statement, `COMMIT` as a simple query. It runs on threads
//! of its own, so that a test that blocks its runtime does not block its database.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::eventually::PATIENCE;

/// The moment at which the proxy cuts the connection that sends a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the COMMIT, and rolls back.
    BeforeCommit,
    /// The server has carried it out; the client never hears of it.
    AfterCommit,
}

/// Passes everything through until it is [armed](Proxy::arm).
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    target: PgConnectOptions,
    announced: UnboundedReceiver<Cut>,
}

struct Shared {
    upstream: String,
    /// What to do, and at which COMMIT from now.
    plan: Mutex<Option<(Cut, u32)>>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
    closed: AtomicBool,
    announce: UnboundedSender<Cut>,
}

impl Proxy {
    /// Listens on a free port in front of the server of `database_url`.
    pub(crate) fn start(database_url: &str) -> Proxy {
        let target = PgConnectOptions::from_str(database_url).expect("the database's URL is one of Postgres");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (announce, announced) = unbounded_channel();
        let shared = Arc::new(Shared {
            upstream: format!("{}:{}", target.get_host(), target.get_port()),
            plan: Mutex::default(),
            connections: Mutex::default(),
            next_id: AtomicU64::default(),
            closed: AtomicBool::default(),
            announce,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&accepting, &listener));
        Proxy { shared, address, target, announced }
    }

    /// The URL of the same database by way of the proxy.
    pub(crate) fn url(&self) -> String {
        let options = self.target.clone().host(&self.address.ip().to_string()).port(self.address.port());
        // What is encrypted cannot be understood.
        options.ssl_mode(PgSslMode::Disable).to_url_lossy().to_string()
    }

    /// Cuts at the `nth` COMMIT from now, counted over all connections from 1, and passes everything again after that.
    pub(crate) fn arm(&self, cut: Cut, nth: u32) {
        assert!(nth > 0, "commits are counted from 1");
        *self.shared.plan.lock().expect("nothing panics under this lock") = Some((cut, nth));
    }

    /// Waits until the proxy has cut as [armed](Self::arm): once for each arming.
    pub(crate) async fn acted(&mut self) -> Cut {
        let cut =
            timeout(PATIENCE, self.announced.recv()).await.expect("the proxy should have seen the COMMIT it waits for");
        cut.expect("the proxy announces as long as it lives")
    }

    /// Cuts all connections that are open now. New ones are let through.
    pub(crate) fn cut_everything(&self) {
        for connection in self.shared.connections.lock().expect("nothing panics under this lock").values() {
            connection.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut_everything();
        // Wakes the thread that accepts, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Counts a COMMIT; answers what to do if it is the one.
    fn count_commit(&self) -> Option<Cut> {
        let mut plan = self.plan.lock().expect("nothing panics under this lock");
        let (cut, nth) = (*plan)?;
        if nth > 1 {
            *plan = Some((cut, nth - 1));
            return None;
        }
        *plan = None;
        Some(cut)
    }

    fn cut(&self, connection: &Connection, cut: Cut) {
        connection.cut();
        // Nobody listens once the test is over.
        let _ = self.announce.send(cut);
    }
}

/// A client's connection and the one made to the server for it.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Set when the answer to a COMMIT on its way must not reach the client.
    withhold_commit: AtomicBool,
}

impl Connection {
    fn cut(&self) {
        // An error means that the peer was quicker.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming().flatten() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        // An error is the end of that one connection, and its peers see it.
        thread::spawn(move || serve(&shared, client));
    }
}

fn serve(shared: &Arc<Shared>, mut client: TcpStream) -> io::Result<()> {
    let startup = read_startup(&mut client)?;
    let mut server = TcpStream::connect(&shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    server.write_all(&startup)?;
    let connection = Arc::new(Connection { client, server, withhold_commit: AtomicBool::default() });
    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
    shared.connections.lock().expect("nothing panics under this lock").insert(id, Arc::clone(&connection));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pass_requests(shared, &connection);
            connection.cut();
        });
        let _ = pass_replies(shared, &connection);
        connection.cut();
    });
    shared.connections.lock().expect("nothing panics under this lock").remove(&id);
    Ok(())
}

fn pass_requests(shared: &Shared, connection: &Connection) -> io::Result<()> {
    pass(&connection.client, &connection.server, |frame| {
        let cut = if is_commit(frame) { shared.count_commit() } else { None };
        match cut {
            Some(Cut::BeforeCommit) => shared.cut(connection, Cut::BeforeCommit),
            // Before the server can possibly answer.
            Some(Cut::AfterCommit) => connection.withhold_commit.store(true, Ordering::SeqCst),
            None => {}
        }
        cut != Some(Cut::BeforeCommit)
    })
}

fn pass_replies(shared: &Shared, connection: &Connection) -> io::Result<()> {
    pass(&connection.server, &connection.client, |frame| {
        let withheld = is_transaction_end(frame) && connection.withhold_commit.load(Ordering::SeqCst);
        if withheld {
            shared.cut(connection, Cut::AfterCommit);
        }
        !withheld
    })
}

/// Copies frames as long as `admit` lets them through.
fn pass(from: &TcpStream, to: &TcpStream, admit: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    loop {
        // Only when nothing more is waiting: a frame a packet would make a slow database of a fast one.
        if from.buffer().is_empty() {
            to.flush()?;
        }
        if from.fill_buf()?.is_empty() {
            return Ok(());
        }
        let frame = read_frame(&mut from)?;
        if !admit(&frame) {
            return Ok(());
        }
        to.write_all(&frame)?;
    }
}

/// A frame as it is on the wire: a byte for its type, four for the length of the rest with themselves, and the rest.
fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 5];
    from.read_exact(&mut frame)?;
    read_rest(from, frame, 1)
}

/// The first frame of a connection, which has no type. Offers of encryption that come before it are declined.
fn read_startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_i32.to_be_bytes();
    const GSS_ENCRYPTION_REQUEST: [u8; 4] = 80_877_104_i32.to_be_bytes();
    loop {
        let mut length = vec![0; 4];
        client.read_exact(&mut length)?;
        let frame = read_rest(client, length, 0)?;
        if !frame.ends_with(&SSL_REQUEST) && !frame.ends_with(&GSS_ENCRYPTION_REQUEST) {
            return Ok(frame);
        }
        client.write_all(b"N")?;
    }
}

/// Completes `frame`, whose length stands at `at` and counts from there.
fn read_rest(from: &mut impl Read, mut frame: Vec<u8>, at: usize) -> io::Result<Vec<u8>> {
    let length = [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
    let length = u32::from_be_bytes(length).max(4) as usize;
    let read = frame.len();
    frame.resize(at + length, 0);
    from.read_exact(&mut frame[read..])?;
    Ok(frame)
}

/// A simple query, `Q`, whose last statement is COMMIT.
fn is_commit(frame: &[u8]) -> bool {
    let text = frame.strip_prefix(b"Q").and_then(|rest| rest.get(4..)).and_then(|text| std::str::from_utf8(text).ok());
    text.is_some_and(|text| {
        let mut statements = text.trim_end_matches('\0').rsplit(';').map(str::trim);
        statements.find(|statement| !statement.is_empty()).is_some_and(|last| last.eq_ignore_ascii_case("COMMIT"))
    })
}

/// The server's CommandComplete, `C`, for a COMMIT, or for the ROLLBACK that it makes of the COMMIT of a failed transaction.
fn is_transaction_end(frame: &[u8]) -> bool {
    let tag = frame.strip_prefix(b"C").and_then(|rest| rest.get(4..));
    tag.is_some_and(|tag| tag.starts_with(b"COMMIT") || tag.starts_with(b"ROLLBACK"))
}
