//! One connection through the proxy.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use super::statements::Statements;
use super::wire::{self, Frame, Opening};
use super::{Fault, Moment, Shared, Way};

/// The open connections.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Ends>>>,
    next_id: AtomicU64,
}

/// The connection of a client and, once it exists, the connection to the server.
#[derive(Default)]
struct Ends(Mutex<Vec<TcpStream>>);

impl Connections {
    pub(super) fn cut(&self) {
        self.open().values().for_each(|ends| ends.cut());
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Ends>>> {
        self.open.lock().expect("nothing panics under this lock")
    }
}

impl Ends {
    fn add(&self, end: &TcpStream) -> io::Result<()> {
        self.0.lock().expect("nothing panics under this lock").push(end.try_clone()?);
        Ok(())
    }

    fn cut(&self) {
        for end in &*self.0.lock().expect("nothing panics under this lock") {
            // An error means that the peer has closed it already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

pub(super) fn serve(shared: &Shared, client: TcpStream) -> io::Result<()> {
    let ends = Arc::new(Ends::default());
    ends.add(&client)?;
    let id = shared.connections.next_id.fetch_add(1, Ordering::Relaxed);
    shared.connections.open().insert(id, Arc::clone(&ends));
    let served = converse(shared, client, &ends);
    ends.cut();
    shared.connections.open().remove(&id);
    served
}

fn converse(shared: &Shared, mut client: TcpStream, ends: &Ends) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some(startup) = open(shared, &mut client)? else { return Ok(()) };
    let mut server = TcpStream::connect(&shared.upstream)?;
    ends.add(&server)?;
    server.set_nodelay(true)?;
    server.write_all(&startup)?;
    let connection = Connection {
        shared,
        client: &client,
        server: &server,
        deaf: AtomicBool::default(),
        mute: AtomicBool::default(),
        vanished: AtomicBool::default(),
        awaited: Mutex::default(),
    };
    let over = |_: io::Result<()>| {
        if !connection.vanished.load(Ordering::SeqCst) {
            ends.cut();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| over(connection.pass_requests()));
        over(connection.pass_replies());
    });
    Ok(())
}

/// Handles the connection up to the client's startup message. `None` if a fault ended it.
fn open(shared: &Shared, client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let comes = |moment| shared.strikes(|it| it == moment);
    if !survives(comes(Moment::Connect), client)? {
        return Ok(None);
    }
    loop {
        match wire::read_opening(client)? {
            Opening::Startup(startup) => {
                return Ok(survives(comes(Moment::Startup), client)?.then_some(startup));
            }
            Opening::Encryption { tls: true } => {
                if !survives(comes(Moment::TlsRequest), client)? {
                    return Ok(None);
                }
                if let Some(fault) = comes(Moment::TlsHandshake) {
                    client.write_all(b"S")?;
                    survives(Some(fault), client)?;
                    return Ok(None);
                }
            }
            Opening::Encryption { tls: false } => {}
        }
        client.write_all(b"N")?;
    }
}

/// Applies a fault before the connection to the server exists. Returns whether the connection continues.
fn survives(fault: Option<Fault>, client: &mut TcpStream) -> io::Result<bool> {
    match fault {
        None => return Ok(true),
        Some(Fault::Delay(time)) => {
            thread::sleep(time);
            return Ok(true);
        }
        Some(Fault::Error(sqlstate)) => client.write_all(&wire::error("FATAL", sqlstate))?,
        Some(fault @ (Fault::Silence(_) | Fault::Vanish)) => {
            if fault == Fault::Vanish {
                lose_packets(client);
            }
            io::copy(client, &mut io::sink())?;
        }
        Some(Fault::Cut | Fault::Refuse | Fault::Ignore) => {}
    }
    Ok(false)
}

/// A connection that has reached the server.
struct Connection<'a> {
    shared: &'a Shared,
    client: &'a TcpStream,
    server: &'a TcpStream,
    /// Requests are no longer forwarded.
    deaf: AtomicBool,
    /// Responses are no longer forwarded.
    mute: AtomicBool,
    /// Neither end learns that the other has closed the connection.
    vanished: AtomicBool,
    /// The fault to apply after the server has executed the current statement.
    awaited: Mutex<Option<Fault>>,
}

impl Connection<'_> {
    fn pass_requests(&self) -> io::Result<()> {
        let mut statements = Statements::default();
        // The SQLSTATE with which a statement of several messages fails; the last message is a Sync.
        let mut failing = None;
        wire::pass(self.client, self.server, |frame| {
            if self.deaf.load(Ordering::SeqCst) {
                return Frame::Drop;
            }
            if let Some(sqlstate) = failing {
                if frame[0] != b'S' {
                    return Frame::Drop;
                }
                failing = None;
                *frame = wire::failing_query(sqlstate);
                return Frame::Pass;
            }
            let Some(step) = statements.step(frame) else { return Frame::Pass };
            if let Some(fault) = self.shared.strikes(|moment| step.is_after(moment)) {
                // Before the server can respond.
                *self.awaited() = Some(fault);
                return Frame::Pass;
            }
            let fault = self.shared.strikes(|moment| step.is_before(moment));
            self.shared.most_statements.fetch_max(statements.count(), Ordering::Relaxed);
            match fault {
                None => Frame::Pass,
                Some(Fault::Error(sqlstate)) if frame[0] == b'Q' => {
                    *frame = wire::failing_query(sqlstate);
                    Frame::Pass
                }
                Some(Fault::Error(sqlstate)) => {
                    failing = Some(sqlstate);
                    Frame::Drop
                }
                Some(fault) => self.suffer(fault),
            }
        })
    }

    fn pass_replies(&self) -> io::Result<()> {
        let mut welcome = false;
        let mut withheld = Vec::new();
        wire::pass(self.server, self.client, |frame| {
            if self.mute.load(Ordering::SeqCst) {
                return Frame::Drop;
            }
            if std::mem::replace(&mut welcome, wire::is_authentication_ok(frame))
                && let Some(fault) = self.shared.strikes(|moment| moment == Moment::Authenticated)
            {
                return self.refuse(fault, frame);
            }
            let awaited = *self.awaited();
            match (awaited, frame[0]) {
                // A COPY has messages in both directions before it is executed.
                (None, _) | (Some(_), b'G' | b'H' | b'W') => Frame::Pass,
                // ReadyForQuery: the statement is executed.
                (Some(fault), b'Z') => {
                    *self.awaited() = None;
                    self.falsify(fault, std::mem::take(&mut withheld), frame)
                }
                (Some(_), _) => {
                    withheld.append(frame);
                    Frame::Drop
                }
            }
        })
    }

    /// Applies a fault in place of the first message after the login.
    fn refuse(&self, fault: Fault, frame: &mut Vec<u8>) -> Frame {
        let Fault::Error(sqlstate) = fault else { return self.suffer(fault) };
        *frame = wire::error("FATAL", sqlstate);
        Frame::PassAsLast
    }

    /// Applies a fault in place of a response, whose last message is `frame`.
    fn falsify(&self, fault: Fault, withheld: Vec<u8>, frame: &mut Vec<u8>) -> Frame {
        match fault {
            Fault::Error(sqlstate) => {
                frame.splice(0..0, wire::error("ERROR", sqlstate));
                Frame::Pass
            }
            Fault::Silence(Way::Replies) => {
                self.mute.store(true, Ordering::SeqCst);
                Frame::Drop
            }
            fault => {
                frame.splice(0..0, withheld);
                self.suffer(fault)
            }
        }
    }

    /// Applies a fault that is the same in all phases. Returns what happens to the current frame.
    fn suffer(&self, fault: Fault) -> Frame {
        match fault {
            Fault::Silence(Way::Replies) => {
                self.mute.store(true, Ordering::SeqCst);
                return Frame::Pass;
            }
            Fault::Delay(time) => {
                thread::sleep(time);
                return Frame::Pass;
            }
            Fault::Cut | Fault::Refuse | Fault::Ignore | Fault::Error(_) => return Frame::Last,
            Fault::Silence(Way::Both) => {}
            Fault::Vanish => {
                self.vanished.store(true, Ordering::SeqCst);
                lose_packets(self.client);
            }
        }
        self.deaf.store(true, Ordering::SeqCst);
        self.mute.store(true, Ordering::SeqCst);
        Frame::Drop
    }

    fn awaited(&self) -> MutexGuard<'_, Option<Fault>> {
        self.awaited.lock().expect("nothing panics under this lock")
    }
}

/// Makes the system drop all packets for this socket before TCP sees them, so that nothing is acknowledged.
#[allow(unsafe_code, reason = "the standard library has no filters")]
fn lose_packets(socket: &TcpStream) {
    // A classic BPF program that accepts 0 bytes of every packet.
    const RETURN_A_CONSTANT: u16 = 0x06;
    let mut program = [libc::sock_filter { code: RETURN_A_CONSTANT, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).expect("it is short");
    // SAFETY: the kernel copies a filter of this length and its program, and both outlive the call.
    let result = unsafe {
        let filter = std::ptr::from_ref(&filter).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, filter, length)
    };
    assert_eq!(result, 0, "attaching a filter: {}", io::Error::last_os_error());
}
