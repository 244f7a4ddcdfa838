//! The listening port of the proxy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::PATIENCE;

/// The backlog of connections: more than any test opens at a time.
const BACKLOG: i32 = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// The port refuses connections.
    Refusing,
    /// The port listens but does not respond.
    Ignoring,
    /// The proxy has ended.
    Gone,
}

pub(super) struct Door {
    address: SocketAddr,
    states: Mutex<States>,
    changed: Condvar,
}

struct States {
    wanted: State,
    actual: State,
}

impl Door {
    /// A door on a free port, and the listener for [`Self::accept`].
    pub(super) fn open() -> (Door, TcpListener) {
        // Bound by its number: the system takes back a port that it has chosen itself when the socket stops listening.
        let (address, listener) = std::iter::from_fn(|| {
            let chosen = TcpListener::bind(("127.0.0.1", 0)).and_then(|chosen| chosen.local_addr());
            let address = chosen.expect("the loopback interface has a free port");
            Some(TcpListener::bind(address).map(|listener| (address, listener)))
        })
        .find_map(Result::ok)
        .expect("it asks without end");
        let states = Mutex::new(States { wanted: State::Open, actual: State::Open });
        (Door { address, states, changed: Condvar::new() }, listener)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when the state has changed.
    pub(super) fn becomes(&self, wanted: State) {
        let mut states = self.states();
        let was_open = states.actual == State::Open;
        states.wanted = wanted;
        self.changed.notify_all();
        if was_open && wanted != State::Open {
            // Wakes the accepting thread.
            let _ = TcpStream::connect(self.address);
        }
        let waited = self.changed.wait_timeout_while(states, PATIENCE, |states| states.actual != wanted);
        let (states, _) = waited.expect("nothing panics under this lock");
        assert_eq!(states.actual, wanted, "the proxy's door");
    }

    /// Passes each client to `serve` while the door is open. Returns when the proxy has ended.
    pub(super) fn accept(&self, listener: TcpListener, serve: impl Fn(TcpStream)) {
        loop {
            match self.wanted() {
                State::Open => {
                    self.is(State::Open);
                    let client = listener.accept();
                    // It may be the connection that only wakes this thread.
                    if self.wanted() == State::Open {
                        client.into_iter().for_each(|(client, _)| serve(client));
                    }
                }
                State::Refusing => {
                    stop_listening(&listener);
                    self.is(State::Refusing);
                    self.wait_while(State::Refusing);
                    listen(&listener, BACKLOG);
                }
                State::Ignoring => {
                    let crowd = fill(&listener, self.address);
                    self.is(State::Ignoring);
                    self.wait_while(State::Ignoring);
                    listen(&listener, BACKLOG);
                    drop(crowd);
                }
                State::Gone => return self.is(State::Gone),
            }
        }
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().expect("nothing panics under this lock")
    }

    fn wanted(&self) -> State {
        self.states().wanted
    }

    fn is(&self, actual: State) {
        self.states().actual = actual;
        self.changed.notify_all();
    }

    fn wait_while(&self, state: State) {
        let waited = self.changed.wait_while(self.states(), |states| states.wanted == state);
        drop(waited.expect("nothing panics under this lock"));
    }
}

/// Fills the backlog, so that the system drops further connection attempts.
fn fill(listener: &TcpListener, address: SocketAddr) -> Vec<TcpStream> {
    const ENOUGH: Duration = Duration::from_millis(50);
    listen(listener, 0);
    std::iter::from_fn(|| TcpStream::connect_timeout(&address, ENOUGH).ok()).collect()
}

/// Refuses connections but keeps the port, so that no other process can listen on it.
#[allow(unsafe_code, reason = "the standard library can't")]
fn stop_listening(listener: &TcpListener) {
    // SAFETY: shutdown takes two integers and accesses no memory; the descriptor is open as long as the reference
    // lives.
    let result = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
    assert_eq!(result, 0, "shutdown: {}", std::io::Error::last_os_error());
}

/// Sets the backlog of the listening socket.
#[allow(unsafe_code, reason = "the standard library listens once")]
fn listen(listener: &TcpListener, backlog: i32) {
    // SAFETY: listen takes two integers and accesses no memory; the descriptor is open as long as the reference lives.
    let result = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
    assert_eq!(result, 0, "listen: {}", std::io::Error::last_os_error());
}
