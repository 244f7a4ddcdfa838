//! Sends signals to the processes that the tests start.

pub(crate) use libc::{SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM};

/// Sends `signal` to the process `pid`, which must be one that we started and have not reaped, or the pid may be
/// another's.
#[allow(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
pub(crate) fn send(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a pid is an i32 on every Unix");
    // SAFETY: kill takes two integers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "signal {signal} to process {pid}: {}", std::io::Error::last_os_error());
}
