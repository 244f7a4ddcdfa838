//! A TCP forwarder between client and server that can become slow or dead. It forwards bytes without interpreting them.
//!
//! It runs on its own threads, so that a test that blocks its runtime does not block the line.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::servers::free_port;

/// How the line forwards bytes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// At once.
    Good,
    /// One byte a second.
    Trickle,
    /// Not at all. Connections and bytes are accepted, so that neither end notices.
    Dead,
}

/// A port that forwards to another one. Dropping this value ends the connections.
pub(crate) struct Line {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    upstream: u16,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    quality: Quality,
    closed: bool,
}

impl Line {
    /// A line to a free port, on which a server will listen.
    pub(crate) fn new(quality: Quality) -> Line {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Mutex::new(State { quality, closed: false });
        let shared = Arc::new(Shared { upstream: free_port(), state, changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state().closed {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || serve(&shared, &client));
            }
        });
        Line { shared, address }
    }

    /// The port of the server.
    pub(crate) fn upstream(&self) -> u16 {
        self.shared.upstream
    }

    /// The address for clients, as `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Also applies to open connections and to bytes in transit.
    pub(crate) fn becomes(&self, quality: Quality) {
        self.shared.state().quality = quality;
        self.shared.changed.notify_all();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Waits until some of `waiting` bytes may be forwarded, and returns their number. `None` after the line is closed.
    fn admit(&self, waiting: usize) -> Option<usize> {
        let mut state = self.state();
        loop {
            state = match state.quality {
                _ if state.closed => return None,
                Quality::Good => return Some(waiting),
                Quality::Dead => self.changed.wait(state).expect("nothing panics under this lock"),
                Quality::Trickle => {
                    let waited = self.changed.wait_timeout(state, Duration::from_secs(1));
                    let (state, waited) = waited.expect("nothing panics under this lock");
                    if waited.timed_out() {
                        return Some(1);
                    }
                    state
                }
            }
        }
    }
}

/// An error is the end of this one connection, and its peers see it.
fn serve(shared: &Shared, client: &TcpStream) {
    if shared.admit(0).is_none() {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.upstream)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pass(shared, client, &server));
        pass(shared, &server, client);
    });
}

fn pass(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; 16 * 1024];
    'reading: while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut waiting = &buffer[..read];
        while !waiting.is_empty() {
            let Some(admitted) = shared.admit(waiting.len()) else { break 'reading };
            let (next, rest) = waiting.split_at(admitted);
            if to.write_all(next).is_err() {
                break 'reading;
            }
            waiting = rest;
        }
    }
    // The other direction ends as well.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
